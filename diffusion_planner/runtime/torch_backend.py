"""The planner's backend in PyTorch."""
import warnings
from collections import OrderedDict

import numpy as np
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.diffusion.guidance import guide
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.noise import add_noise
from diffusion_planner.diffusion.samplers import MultistepStep, ddim_step, ddpm_step, sample
from diffusion_planner.objectives.terms import mismatch
from diffusion_planner.runtime import checkpoint

CACHED_PICTURES = 64
FAMILIAR_MARGIN = 1.0   # log-odds above the floor from which on a posture is left alone
STEP_TOLERANCE = 0.03   # network space; what a step of imagined tokens may miss on top of what play does
PATH_POINTS = 4         # postures that are looked at between two tokens
PULL = 0.1     # what scale 1 means: the metric head is so sharp that more leaves the prior no say in the last steps


class Context:
    """An encoded observation: tokens [1, C, D] in network space, level [1, C], offset_s [1, C], and what is rewarded."""

    def __init__(self, tokens, level, offset_s, places):
        self.tokens, self.level, self.offset_s, self.places = tokens, level, offset_s, places

    def repeat(self, batch):
        return (value.expand(batch, *value.shape[1:]) for value in (self.tokens, self.level, self.offset_s))


class TorchBackend:
    """Runs a WorldModel for the planner; see planning.planner.Backend for the shapes."""

    def __init__(self, model, planning, device='cpu'):
        self.network, self.planning, self.device = model, planning, torch.device(device)
        self.config, self.layout = model.config, model.layout
        self.latents = OrderedDict()
        self.denoise = _traced(model, self.device)

    def forget(self):
        self.latents.clear()

    @torch.no_grad()
    def encode(self, observation, goal):
        """Encode the context and what is rewarded in it; every picture is encoded once in its life. -> Context"""
        latent = self._latents(observation)
        motion = torch.tensor(np.concatenate([observation.position_rad, observation.velocity_rad_s], 1), dtype=torch.float32)
        tokens = self.network.normalizer(torch.cat([motion.to(self.device), latent], 1))[None]
        level = torch.tensor(observation.level, dtype=torch.float32, device=self.device)[None]
        offset_s = torch.tensor(observation.offset_s, dtype=torch.float32, device=self.device)[None]
        # A token at level 1 is pure noise by definition; the value behind it must not leak through.
        tokens = add_noise(tokens, torch.zeros_like(tokens), level)
        heads = (self.network.guide_head, self.network.judge_head)
        if self.config.goal == 'position':
            return Context(tokens, level, offset_s, [head.places(self._normal_position(goal)) for head in heads])
        return Context(tokens, level, offset_s, [head.places(latent[None], level) for head in heads])

    def _normal_position(self, goal):
        """Bring the goal to network space: -> [1, 1, J]"""
        own = self.layout.position
        if goal.position_rad is None or np.shape(goal.position_rad) != (self.layout.joints,):
            raise ValueError(f'goal: got position {goal.position_rad}, expected {self.layout.joints} numbers; this model sees no goal by itself')
        position = torch.tensor(np.asarray(goal.position_rad), dtype=torch.float32, device=self.device)
        return ((position - self.network.normalizer.mean[own]) / self.network.normalizer.spread[own])[None, None]

    def _latents(self, observation):
        """Encode the pictures of an observation: -> [C, V Z]"""
        if not self.config.cameras:
            return torch.zeros(len(observation.offset_s), 0, device=self.device)
        return torch.stack([torch.cat([self._latent(pixels, stamp) for pixels, stamp in zip(row, stamps)])
                            for row, stamps in zip(observation.pictures, observation.picture_stamp_s)])

    def _latent(self, pixels, stamp_s):
        key = float(stamp_s)
        if key not in self.latents:
            self.latents[key] = self.network.encode_pictures(torch.from_numpy(np.ascontiguousarray(pixels))[None].to(self.device))[0]
            while len(self.latents) > CACHED_PICTURES:
                self.latents.popitem(last=False)
        return self.latents[key]

    def _odds(self, index, context, tokens, level):
        """Log-odds of reward of tokens [B, T, D] at level [B, T] by one of the two heads: -> [B, T]"""
        head = (self.network.guide_head, self.network.judge_head)[index]
        place, width = context.places[index]
        return head.logit(tokens[..., self.layout.position], level, place[:, None], width[:, None])

    @torch.no_grad()
    def imagine_far(self, context, offset_s, goal, settings, seed, warm=None, stop=None):
        """Denoise a far token per arrival time, pulled towards reward: -> far [B, 1, D]; `stop`: see planning.pace

        The last rows start from the last plan's far token (warm [W, D], noised to settings.warm_level), the others from noise.
        """
        batch, generator = len(offset_s), torch.Generator().manual_seed(seed)
        known, level, seconds = context.repeat(batch)
        far_s = torch.tensor(offset_s, device=self.device)[:, None]
        noise = torch.randn(batch, 1, self.layout.width, generator=generator).to(self.device)
        far_level = torch.ones_like(far_s)
        if warm is not None:
            far_level[-len(warm):] = settings.warm_level
            noise[-len(warm):] = add_noise(warm[:, None], noise[-len(warm):], far_level[-len(warm):])
        return self._sample(self._guided(context, goal, settings), context, torch.cat([known, noise], 1),
                            _matrix(level, far_level, settings.far_steps, settings.bend), torch.cat([seconds, far_s], 1),
                            settings, generator, stop)[:, -1:]

    def _sample(self, denoise, context, noisy, matrix, offset_s, settings, generator, stop):
        """Sample with the sampler of the settings, the context held. `stop` is asked after every step."""
        ending = None if stop is None else lambda *_: stop()
        step = {'multistep': MultistepStep(), 'ddim': ddim_step, 'ddpm': ddpm_step}[settings.sampler]
        fresh = generator if settings.sampler == 'ddpm' else None
        return sample(_holding(denoise, context), noisy, matrix, offset_s, step, fresh, ending)

    def _guided(self, context, goal, settings):
        """Wrap the denoiser so that the last token is pulled towards reward."""
        scale = 0 if goal.candidates_only else float(goal.guidance_scale)
        mask = torch.zeros(self.layout.width, dtype=torch.bool, device=self.device)
        mask[self.layout.position] = True   # pressure on what the arm does not control only leaves the data (DESIGN 9)
        place, width = context.places[0]
        head = self.network.guide_head
        clean = head.sharpness(torch.zeros(1, device=self.device), width)    # the same at every step: these forms judge at level 0

        def objective(tokens, level):
            position = tokens[:, -1, self.layout.position]
            sharpness = head.sharpness(level[:, -1], width) if settings.guidance_form == 'noisy' else clean
            return sharpness * head.distance(position, place) + self._unfamiliar(position)

        return guide(self.denoise, objective, PULL * scale, form=settings.guidance_form, mask=mask,
                     max_shift=settings.guidance_max_shift, proximal=settings.guidance_form != 'noisy',
                     negligible=settings.guidance_negligible)

    def _unfamiliar(self, position):
        """Log-probability, up to a margin, that postures are of a kind seen at play: position [..., J] -> [...], at most 0."""
        return -torch.nn.functional.softplus(self.network.familiarity.floor + FAMILIAR_MARGIN - self.network.familiarity(position))

    def _kept_familiar(self, context, settings):
        """Wrap the denoiser so that fill-in tokens are kept away from postures that play never took."""
        mask = torch.zeros(self.layout.width, dtype=torch.bool, device=self.device)
        mask[self.layout.position] = True
        count = context.tokens.shape[1]

        def objective(tokens, _level):
            return self._unfamiliar(tokens[:, count:-1, self.layout.position]).sum(1)

        return guide(self.denoise, objective, settings.familiarity_scale, form='clean', mask=mask,
                     max_shift=settings.familiarity_max_shift)

    @torch.no_grad()
    def familiarity(self, context, tokens, offset_s, cubic=False):
        """How far the least familiar posture of each path is above the floor, or above where the arm stands if that is lower.

        familiarity(context, tokens [P, F + 1, D], offset_s [P, F + 1]) -> log-odds, numpy [P]; below 0: where play never went
        cubic: look along the cubic that meets the tokens' velocities instead of along straight lines.
        """
        path = torch.cat([context.tokens[:, -1:].expand(len(tokens), -1, -1), tokens], 1)
        here = self.network.familiarity(path[:, 0, self.layout.position])
        lowest = self.network.familiarity(self._between(path, offset_s, cubic)).amin((0, 2))
        return (lowest - torch.minimum(here - 0.5, self.network.familiarity.floor)).cpu().numpy()

    def _between(self, path, offset_s, cubic):
        """Take PATH_POINTS postures per stretch: path [P, T, D], offset_s [P, T - 1] -> position [N, P, T - 1, J]"""
        own, normalizer = self.layout.position, self.network.normalizer
        position = path[..., own]
        start, way = position[:, :-1], position[:, 1:] - position[:, :-1]
        share = torch.linspace(0, 1, PATH_POINTS + 1, device=self.device)[1:, None, None, None]
        if not cubic:
            return start + share * way
        gap_s = torch.tensor(np.diff(offset_s, axis=1, prepend=0.0), dtype=torch.float32, device=self.device)[..., None]
        rate = normalizer.inverse(path)[..., self.layout.velocity] / normalizer.spread[own]     # network space per second
        return (start + share ** 2 * (3 - 2 * share) * way
                + gap_s * (share * (1 - share) ** 2 * rate[:, :-1] - share ** 2 * (1 - share) * rate[:, 1:]))

    @torch.no_grad()
    def judge_far(self, context, far, offset_s, seed, typicality=True):
        """Judge far tokens: predicted reward by both heads, and how far from typical: -> numpy [B] each; 'reach' is below 0 where there is too little time"""
        clean = torch.zeros(far.shape[:2], device=self.device)
        reward, judge = (torch.sigmoid(self._odds(index, context, far, clean))[:, 0].cpu().numpy() for index in (0, 1))
        return {'reward': reward, 'judge': judge, 'typicality': self._typicality(context, far, offset_s, seed) if typicality else np.zeros(len(far)),
                'reach': self._reach(context.tokens[:, -1].expand(len(far), -1), far[:, 0], offset_s)}

    def _reach(self, near, far, gap_s):
        """How far transitions are above the floor of the transition head: -> numpy, 0 for models that have none"""
        if not self.config.transition:
            return np.zeros(far.shape[:-1])
        gap_s = torch.as_tensor(np.asarray(gap_s, np.float32), device=self.device)
        head, own = self.network.transition, self.layout.motion
        return (head(near[..., own], far[..., own], gap_s) - head.floor).cpu().numpy()

    @torch.no_grad()
    def steps(self, context, tokens, offset_s):
        """How far the least likely step of each path is above the floor of the transition head: -> numpy [P]"""
        path = torch.cat([context.tokens[:, -1:].expand(len(tokens), -1, -1), tokens], 1)
        return self._reach(path[:, :-1], path[:, 1:], np.diff(offset_s, axis=1, prepend=0.0)).min(1)

    def _typicality(self, context, far, offset_s, seed):
        """Denoising residual of far tokens given the context, in units of the held-out 99 % quantile: -> numpy [B]"""
        table, batch = self.planning['typicality'], len(offset_s)
        known, level, seconds = context.repeat(batch)
        noise = torch.randn(far.shape, generator=torch.Generator().manual_seed(seed + 1)).to(self.device)
        far_level = torch.full((batch, 1), float(table['level']), device=self.device)
        estimate = self.denoise(torch.cat([known, add_noise(far, noise, far_level)], 1), torch.cat([level, far_level], 1),
                                        torch.cat([seconds, torch.tensor(offset_s, device=self.device)[:, None]], 1))
        residual = (estimate[:, -1] - far[:, 0])[:, self.layout.motion].square().mean(-1).sqrt().cpu().numpy()
        band = np.clip(np.searchsorted(table['band_s'], offset_s, side='right') - 1, 0, len(table['q99']) - 1)
        return residual / np.array(table['q99'])[band]

    @torch.no_grad()
    def fill_in(self, context, far, chosen, offset_s, settings, seed, warm=None, stop=None):
        """Denoise the tokens between the origin and each chosen far token, both ends known: -> [P, F + 1, D]

        Where warm [P, F, D] is not NaN the tokens start from it, noised to settings.warm_level, and else from noise.
        """
        count, fill = len(chosen), settings.fill_in
        known, level, seconds = context.repeat(count)
        far_s = torch.tensor(offset_s[chosen], device=self.device)[:, None]
        share = torch.arange(1, fill + 2, device=self.device) / (fill + 1)
        generator = torch.Generator().manual_seed(seed + 2)
        noise = torch.randn(count, fill, self.layout.width, generator=generator).to(self.device)
        between = torch.ones(count, fill, device=self.device)
        if warm is not None:
            has = ~warm.isnan().any(-1)
            between = torch.where(has, settings.warm_level, between)
            noise = torch.where(has[..., None], add_noise(warm.nan_to_num(), noise, between), noise)
        imagined = torch.cat([between, torch.zeros_like(far_s)], 1)
        return self._sample(self._kept_familiar(context, settings), context, torch.cat([known, noise, far[chosen]], 1),
                            _matrix(level, imagined, settings.fill_steps, settings.bend), torch.cat([seconds, far_s * share], 1),
                            settings, generator, stop)[:, -fill - 1:]

    def network_tokens(self, position_rad, velocity_rad_s, latent):
        """Bring a decoded plan back to network space: position, velocity [T, J], latent [T, Z] (network space) -> [T, D]"""
        motion = torch.tensor(np.concatenate([position_rad, velocity_rad_s], 1), dtype=torch.float32, device=self.device)
        normalizer, own = self.network.normalizer, self.layout.motion
        return torch.cat([(motion - normalizer.mean[own]) / normalizer.spread[own],
                          torch.tensor(latent, dtype=torch.float32, device=self.device)], 1)

    def decode(self, tokens):
        """Bring tokens to SI units: -> position_rad, velocity_rad_s [P, T, J], latent [P, T, Z] (network space), numpy"""
        values = self.network.normalizer.inverse(tokens)
        return (values[..., self.layout.position].cpu().numpy(), values[..., self.layout.velocity].cpu().numpy(),
                tokens[..., self.layout.picture].cpu().numpy())

    @torch.no_grad()
    def consistency(self, context, tokens, offset_s):
        """Compare the command that inverse dynamics infers with the path itself: -> mean difference in radians, numpy [P]"""
        origin = context.tokens[:, -1:].expand(len(tokens), -1, -1)
        path = torch.cat([origin, tokens], 1)[..., self.layout.motion]
        gap_s = torch.tensor(np.diff(offset_s, axis=1, prepend=0.0), dtype=torch.float32, device=self.device)
        command = self.network.inverse_dynamics(path[:, :-1], path[:, 1:], gap_s)
        spread, mean = (getattr(self.network.normalizer, name)[self.layout.position] for name in ('spread', 'mean'))
        near = self.network.normalizer.inverse(torch.cat([origin, tokens], 1))[:, :-1]
        expected = near[..., self.layout.position] + 0.05 * near[..., self.layout.velocity]
        return (command * spread + mean - expected).abs().mean((1, 2)).cpu().numpy()

    @torch.no_grad()
    def mismatch(self, context, tokens, offset_s):
        """How far the worst step of each path is from what its velocities explain, in units of what play shows: -> numpy [P]

        Zero for models whose checkpoint says nothing about it.
        """
        table = self.planning.get('step_mismatch')
        if table is None:
            return np.zeros(len(tokens))
        path = self.network.normalizer.inverse(torch.cat([context.tokens[:, -1:].expand(len(tokens), -1, -1), tokens], 1))
        gap_s = np.diff(offset_s, axis=1, prepend=0.0)
        missed = mismatch(path[..., self.layout.position], path[..., self.layout.velocity], torch.tensor(gap_s, dtype=torch.float32))
        missed = (missed / self.network.normalizer.spread[self.layout.position]).amax(-1).cpu().numpy()
        return (missed / (np.interp(gap_s, table['gap_s'], table['q999']) + STEP_TOLERANCE)).max(1)

    @torch.no_grad()
    def picture(self, latent):
        """Decode one latent [Z] in network space: -> pixels [Y, X, 3] uint8"""
        return self.network.decode_pictures(torch.as_tensor(latent, device=self.device)[None])[0].cpu().numpy()


class _Planning(torch.nn.Module):
    """The denoiser as planning calls it: every candidate has the same context."""

    def __init__(self, model):
        super().__init__()
        self.denoiser, self.shared = model.denoiser, len(model.config.context_offset_s)

    def forward(self, noisy, level, offset_s):
        return self.denoiser(noisy, level, offset_s, self.shared)


def _traced(model, device):
    """Trace the denoiser: a sixth of a plan was spent between its operators, in Python."""
    count = len(model.config.context_offset_s) + 1
    example = (torch.zeros(2, count, model.layout.width, device=device), torch.full((2, count), 0.5, device=device),
               torch.ones(2, count, device=device))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)   # it unpacks a stack of three, whose length is fixed
        warnings.simplefilter('ignore', DeprecationWarning)
        return torch.jit.freeze(torch.jit.trace(_Planning(model).eval(), example, check_trace=False))


def _matrix(context_level, imagined_level, steps, bend):
    """Schedule imagined tokens from their own levels to 0 beside a context that keeps its levels: -> [S + 1, B, T]"""
    share = scheduling_matrix(torch.ones(1, device=imagined_level.device), steps, bend=bend)   # every imagined token falls alike
    imagined = share[:, :, None] * imagined_level
    return torch.cat([context_level.expand(len(imagined), *context_level.shape), imagined], 2)


def _holding(denoise, context):
    """Wrap a denoiser so that context tokens come out as they went in, raised levels included."""
    count = context.tokens.shape[1]

    def held(noisy, level, offset_s):
        clean = denoise(noisy, level, offset_s)
        return torch.cat([noisy[:, :count], clean[:, count:]], 1)
    return held


def load_backend(model_dir, robot, threads=1, device='cpu'):
    """Load a model folder for a robot: -> TorchBackend.

    Raises ModelError for a bad folder and ConfigError for a robot whose joints are not the model's.
    """
    torch.set_num_threads(threads)
    network, config = checkpoint.load(model_dir, device)
    if tuple(robot.joint_names) != tuple(network.config.joint_names):
        raise ConfigError(f'{model_dir}: trained for joints {list(network.config.joint_names)}, the robot has {list(robot.joint_names)}')
    return TorchBackend(network, config['planning'], device)
