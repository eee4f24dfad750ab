"""What planning must know about the data, measured on held-out episodes and stored in the checkpoint."""
import numpy as np
import torch

from diffusion_planner.diffusion.noise import add_noise
from diffusion_planner.objectives.terms import mismatch
from diffusion_planner.statistics import roc_area

TYPICALITY_LEVEL = 0.5      # noise at which the residual is measured
BANDS = 8                   # of horizons, equally wide


@torch.no_grad()
def _held_out_logits(job, head):
    """Log-odds of held-out postures, drawn as they occur, given pictures of other instants: -> logit [N], reward [N]"""
    random = np.random.default_rng(3)
    logits, rewards = [], []
    for episode in np.array_split(np.tile(job.held_out, 4), 16):
        first, count = job.episodes.frame_start[episode], np.diff(job.episodes.frame_start)[episode]
        frames = first[:, None] + (random.random((len(episode), 2)) * count[:, None]).astype(int)
        start, length = job.episodes.joint_start[episode], np.diff(job.episodes.joint_start)[episode]
        rows = start[:, None] + (random.random((len(episode), 32)) * length[:, None]).astype(int)
        place, width = head.places(job.latent[torch.from_numpy(frames)].to(job.device))
        position = job.normal_position(rows)
        logit = head(position, torch.zeros(rows.shape, device=job.device), place[:, None], width[:, None])
        logits.append(logit.flatten().cpu())
        rewards.append(torch.from_numpy(job.episodes.reward[rows]).flatten())
    return torch.cat(logits), torch.cat(rewards)


def fit_reward_heads(job, held_out_logits=_held_out_logits):
    """Fit scale and bias of each head (Platt 1999) on one half of the held-out episodes' samples and score it on the other."""
    figures = {}
    for name, head in (('guide', job.model.guide_head), ('judge', job.model.judge_head)):
        logit, reward = held_out_logits(job, head)
        half = len(logit) // 2
        head.calibration.copy_(_platt(logit[:half], reward[:half]))
        probability = torch.sigmoid(head.calibration[0] * logit[half:] + head.calibration[1])
        figures[name] = {'expected_calibration_error': _calibration_error(probability, reward[half:]),
                         'recall': float((probability > 0.5)[reward[half:] > 0].float().mean()),
                         'precision': float(reward[half:][probability > 0.5].mean())}
    return figures


def _platt(logit, reward):
    """Fit scale and bias of log-odds: logit, reward [N] -> [2]"""
    parameters = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(parameters[0] * logit + parameters[1], reward)
        loss.backward()
        return loss
    optimizer.step(closure)
    return parameters.detach()


@torch.no_grad()
def _imagined_logits(job, head):
    """The same of what was imagined in held-out scenes: -> logit [N], reward [N]"""
    made = job.imagined['held_out']
    random = np.random.default_rng(9)
    episode = made.episode.numpy()
    first, count = job.episodes.frame_start[episode], np.diff(job.episodes.frame_start)[episode]
    frames = first[:, None] + (random.random((len(episode), 2)) * count[:, None]).astype(int)
    place, width = head.places(job.latent[torch.from_numpy(frames)])
    logit = head(made.far[:, job.model.layout.position], torch.zeros(len(made.far)), place, width)
    order = torch.from_numpy(random.permutation(len(logit)))
    return logit[order], made.reward[order]


def fit_panel(job):
    """Calibrate every head on held-out play, and score it on held-out play and on what was imagined in held-out scenes.

    -> {head: {'play': figures, 'imagined': figures}}, each with a reliability diagram. 'plain judge' is the judge as it was
    before it saw anything imagined. Heads that learned from imagined tokens are calibrated on halves of both.
    """
    heads = {'guide': job.model.guide_head, **{f'panel{index}': head for index, head in enumerate(job.model.panel)},
             'judge': job.model.judge_head, 'plain judge': job.plain}
    figures = {}
    for name, head in heads.items():
        sets = {'play': _held_out_logits(job, head), 'imagined': _imagined_logits(job, head)}
        told = {kind: (logit[:len(logit) // 2], reward[:len(logit) // 2]) for kind, (logit, reward) in sets.items()}
        learned = [told['play']] if name in ('guide', 'plain judge') else list(told.values())
        with torch.enable_grad():
            head.calibration.copy_(_platt(*(torch.cat(parts) for parts in zip(*learned))))
        figures[name] = {kind: _scored(torch.sigmoid(head.calibration[0] * logit[len(logit) // 2:] + head.calibration[1]),
                                       reward[len(logit) // 2:]) for kind, (logit, reward) in sets.items()}
        print(f'{name}: ' + '; '.join(f'{kind}: calibration error {part["expected_calibration_error"]:.3f}, ROC area {part["roc_area"]:.3f}'
                                      for kind, part in figures[name].items()))
    return figures


def _scored(probability, reward, bins=10):
    bin_of = (probability * bins).long().clamp(max=bins - 1)
    diagram = [[float(probability[bin_of == index].mean()), float(reward[bin_of == index].mean()), int((bin_of == index).sum())]
               for index in range(bins) if (bin_of == index).any()]
    return {'expected_calibration_error': _calibration_error(probability, reward), 'roc_area': roc_area(probability.numpy(), reward.numpy() > 0),
            'said': float(probability.mean()), 'happened': float(reward.mean()), 'reliability': diagram}


def stages(job):
    """What the judges' stages took: -> {stage: steps, minutes}"""
    found = {}
    for name in ('panel', 'transition', 'genuineness', 'flaw'):
        state = torch.load(job.work / f'{name}.pt', map_location='cpu', weights_only=True)
        found[name] = {'steps': state['done'], 'minutes': round(state['seconds'] / 60, 1)}
    return found


def _calibration_error(probability, reward, bins=10):
    bin_of = (probability * bins).long().clamp(max=bins - 1)
    return float(sum((bin_of == index).float().mean() * (probability[bin_of == index].mean() - reward[bin_of == index].mean()).abs()
                     for index in range(bins) if (bin_of == index).any()))


@torch.no_grad()
def typicality(job):
    """Measure the denoising residual of held-out far tokens given their context, per band of horizons.

    Returns {'level', 'band_s' [N + 1], 'median' [N], 'q90' [N], 'q99' [N]} of residuals in network space (RMS over
    positions and velocities).
    """
    generator, random = torch.Generator().manual_seed(2), np.random.default_rng(2)
    context = len(job.settings.model.context_offset_s)
    residuals, horizons = [], []
    for _ in range(16):
        clean, offset_s, present = job.window_tokens.draw(job.held_out, 512, 0, random)
        residuals.append(residual(job.model, clean, offset_s, present, context, generator))
        horizons.append(offset_s[:, -1])
    residuals, horizons = torch.cat(residuals).cpu(), torch.cat(horizons).cpu()
    band_s = [index * job.settings.model.horizon_s / BANDS for index in range(BANDS + 1)]
    table = {'level': TYPICALITY_LEVEL, 'band_s': band_s, 'median': [], 'q90': [], 'q99': []}
    for low, high in zip(band_s, band_s[1:]):
        inside = residuals[(horizons >= low) & (horizons < high)]
        for name, share in (('median', 0.5), ('q90', 0.9), ('q99', 0.99)):
            table[name].append(float(inside.quantile(share)) if len(inside) > 20 else float(residuals.quantile(share)))
    return table


def residual(model, clean, offset_s, present, context, generator):
    """Noise the last token, denoise it given the context, and measure by how much it misses: -> [B]"""
    level = torch.zeros(offset_s.shape, device=clean.device)
    level[:, -1] = TYPICALITY_LEVEL
    level = torch.where(present, level, torch.ones_like(level))
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    estimate = model.denoise(add_noise(clean, noise, level), level, offset_s)
    return (estimate - clean)[:, -1, model.layout.motion].square().mean(-1).sqrt()


@torch.no_grad()
def step_mismatch(job, gaps_s=(0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.32)):
    """Measure how well the velocities of two instants explain the way between them, on held-out episodes.

    Returns {'gap_s' [N], 'q999' [N]}: the 99.9 % quantile of the largest mismatch of a joint, in network space.
    """
    random, windows = np.random.default_rng(4), job.windows
    spread = job.model.normalizer.spread
    table = {'gap_s': list(gaps_s), 'q999': []}
    for gap_s in gaps_s:
        episode = random.choice(job.held_out, 20_000)
        last = (windows.joint_count[episode] - 1) * windows.period_s
        now = random.random(len(episode)) * (last - gap_s)
        offset = np.stack([np.zeros_like(now), np.full_like(now, gap_s)], 1)
        joint, _, _, offset_s, _ = windows.rows(episode, now, offset, np.zeros_like(offset))
        motion = job.window_tokens.motion[torch.from_numpy(joint)]
        joints = job.model.layout.joints
        missed = mismatch(motion[..., :joints], motion[..., joints:], torch.from_numpy(offset_s).diff(dim=1))
        table['q999'].append(float((missed / spread[:joints]).amax((1, 2)).quantile(0.999)))
    return table
