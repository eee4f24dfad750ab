"""Numbers that say, on held-out scenes, whether what was learned is what is needed."""
import numpy as np
import torch

from diffusion_planner.data import store
from diffusion_planner.diffusion.noise import add_noise
from diffusion_planner.nets.encoders import encode_views
from diffusion_planner.training.representation import TIP_SCALE_M

PROBE_PICTURES = 6000


@torch.no_grad()
def _latents(job, encoder, wanted, limit):
    """Encode two pictures of each wanted episode: -> latent [N, V Z], episode [N]"""
    latent, owner, shard_start = [], [], 0
    wanted = np.asarray(wanted)
    for path in job.episodes.paths:
        episodes = wanted[(job.episodes.frame_start[wanted] >= shard_start)]
        count = store.frame_total(path)
        episodes = episodes[job.episodes.frame_start[episodes] < shard_start + count]
        if len(episodes):
            rows = np.concatenate([job.episodes.frame_start[episodes], (job.episodes.frame_start[episodes] + job.episodes.frame_start[episodes + 1]) // 2])
            pixels = torch.from_numpy(store.read_pictures(path)[rows - shard_start]).to(job.device)
            latent.append(encode_views(encoder, pixels).cpu())
            owner.append(np.concatenate([episodes, episodes]))
        shard_start += count
        if sum(map(len, owner)) >= limit:
            break
    return torch.cat(latent), np.concatenate(owner)


def representation(job, average):
    """Regress the target's position from the latent by ridge regression on random features, scored on held-out scenes.

    The target's position is in the data for this probe alone, or fitted to the rewards (places.py): no loss ever sees it. Returns
    the median error in cm on held-out scenes, and what the guiding head's own idea of the rewarded place misses it by.
    """
    encoder = job.model.encoder if average is None else average['encoder']
    head = job.model.guide_head if average is None else average['guide']
    target_m, known = job.places.centre_m, job.places.known
    fitted, fit_owner = _latents(job, encoder, job.train_set[known[job.train_set]], PROBE_PICTURES // 2)
    tested, test_owner = _latents(job, encoder, job.held_out[known[job.held_out]], PROBE_PICTURES)
    error = _probe_error(fitted, target_m[fit_owner, :2], tested, target_m[test_owner, :2])
    with torch.no_grad():
        place, _ = head.places(tested[:, None].to(job.device))
    place_m = place[:, :3].cpu().numpy() * TIP_SCALE_M
    return {'target_probe_cm': float(np.median(error) * 100), 'target_probe_p90_cm': float(np.quantile(error, 0.9) * 100),
            'rewarded_place_cm': float(np.median(np.linalg.norm(place_m - target_m[test_owner], axis=1)) * 100),
            'rewarded_place_p90_cm': float(np.quantile(np.linalg.norm(place_m - target_m[test_owner], axis=1), 0.9) * 100)}


@torch.no_grad()
def rewarded_place(job, head):
    """Distance from the place that a head takes for rewarded, read off one picture, to the target on held-out scenes, in cm."""
    episodes = job.held_out[job.places.known[job.held_out]]
    frames = job.episodes.frame_start[episodes]
    place, _ = head.places(job.latent[torch.from_numpy(frames)][:, None].to(job.device))
    error_m = place[:, :3].cpu().numpy() * TIP_SCALE_M - job.places.centre_m[episodes]
    distance, flat = np.linalg.norm(error_m, axis=1), np.linalg.norm(error_m[:, :2], axis=1)
    return {'rewarded_place_cm': float(np.median(distance) * 100), 'rewarded_place_p90_cm': float(np.quantile(distance, 0.9) * 100),
            'on_the_table_cm': float(np.median(flat) * 100), 'on_the_table_p90_cm': float(np.quantile(flat, 0.9) * 100)}


def _probe_error(fitted, fit_target, tested, test_target, features=1500):
    """Errors [N] in metres of a random-feature ridge regression from latents to places on the table."""
    generator = torch.Generator().manual_seed(0)
    mean, spread = fitted.mean(0), fitted.std(0).clamp_min(1e-3)
    project = torch.randn(fitted.shape[1], features, generator=generator) / fitted.shape[1] ** 0.5
    bias = torch.rand(features, generator=generator) * 6.28

    def lift(latent):
        normal = (latent - mean) / spread
        return torch.cat([torch.cos(normal @ project + bias), normal, torch.ones(len(normal), 1)], 1)
    inputs = lift(fitted)
    gram = inputs.T @ inputs + 1e-1 * torch.eye(inputs.shape[1])
    solution = torch.linalg.solve(gram, inputs.T @ torch.from_numpy(fit_target))
    return (lift(tested) @ solution - torch.from_numpy(test_target)).norm(dim=1).numpy()


@torch.no_grad()
def denoiser(job, net):
    """Held-out denoising error of fill-in tokens with both ends known, and of the far token, in radians (RMS)."""
    generator, random = torch.Generator().manual_seed(1), np.random.default_rng(1)
    context, layout = len(job.settings.model.context_offset_s), job.model.layout
    spread = job.model.normalizer.spread[layout.position]
    clean, offset_s, present = job.window_tokens.draw(job.held_out, 512, 11, random)
    figures = {}
    for name, level_far, level_fill in (('fill', 0.0, 0.6), ('far', 0.6, 1.0)):
        level = torch.cat([torch.zeros(512, context), torch.full((512, 11), level_fill), torch.full((512, 1), level_far)], 1).to(job.device)
        level = torch.where(present, level, torch.ones_like(level))
        noisy = add_noise(clean, torch.randn(clean.shape, generator=generator).to(job.device), level)
        error = (net(noisy, level, offset_s) - clean)[..., layout.position] * spread
        part = error[:, context:-1] if name == 'fill' else error[:, -1:]
        figures[f'{name}_rad'] = part.square().mean().sqrt().item()
    return figures
