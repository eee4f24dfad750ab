"""The planner's backend in PyTorch."""
from collections import OrderedDict

import numpy as np
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.noise import add_noise, signal
from diffusion_planner.diffusion.samplers import MultistepStep, ddim_step, ddpm_step, sample
from diffusion_planner.runtime import checkpoint
from diffusion_planner.runtime.frozen import frozen
from diffusion_planner.runtime.judging import Judging
from diffusion_planner.runtime.pressure import Pressure
from diffusion_planner.runtime.schedule import PICTURES_ALONE, draw, fresh, readings

CACHED_PICTURES = 64


class Context:
    """An encoded observation: tokens [1, C, D] in network space, level [1, C], offset_s [1, C], the last token before it was brought
    to its level [1, D], what was asked, and what is rewarded: a place [1, E] and a width [1] per head that guides, and the judge's."""

    def __init__(self, tokens, level, offset_s, origin, goal, guides, judge):
        self.tokens, self.level, self.offset_s, self.origin, self.goal, self.judge = tokens, level, offset_s, origin, goal, judge
        self.places, self.widths = (torch.stack(column) for column in zip(*guides))
        self.pressure = None    # what imagine_far did, for the figures

    def repeat(self, batch):
        return (value.expand(batch, *value.shape[1:]) for value in (self.tokens, self.level, self.offset_s))


class TorchBackend(Judging):
    """Runs a WorldModel for the planner; see planning.planner.Backend for the shapes."""

    def __init__(self, model, planning, device='cpu'):
        self.network, self.planning, self.device = model, planning, torch.device(device)
        self.config, self.layout = model.config, model.layout
        self.latents, self.judged, self.identity = OrderedDict(), (None, {}), ''
        self.threads = torch.get_num_threads()
        self.denoise = _traced(model, self.device)
        self.prepare()
        self.pressure = Pressure(model, planning, self.device, self.pairs)

    def scales(self):
        """Mean and spread of the data: -> [D], [D], numpy"""
        return self.network.normalizer.mean.cpu().numpy(), self.network.normalizer.spread.cpu().numpy()

    def begin_thread(self):
        """Let a thread of its own keep to as many cores as the one that loaded the model: OpenMP asks every thread anew."""
        torch.set_num_threads(self.threads)

    def forget(self):
        self.latents.clear()
        self.judged = None, {}

    def plant(self, path):
        """Let a reward head with a planted flaw guide in place of the first one. Raises ModelError."""
        self.network.guide_head = checkpoint.load_flaw(path, self.network).to(self.device)
        self.pressure = Pressure(self.network, self.planning, self.device, self.pairs)

    @torch.no_grad()
    def encode(self, observation, goal):
        """Encode the context and what is rewarded in it; every picture is encoded once in its life: -> Context. Raises ValueError."""
        latent, felt = self._latents(observation), torch.tensor(readings(observation, self.layout.sensors), device=self.device)
        motion = torch.tensor(np.concatenate([observation.position_rad, observation.velocity_rad_s], 1), dtype=torch.float32)
        tokens = self.network.normalizer(torch.cat([motion.to(self.device), latent, felt], 1))[None]
        origin, (known, level, doubt, distrust) = tokens[:, -1], self._levels(observation)
        offset_s = torch.tensor(observation.offset_s, dtype=torch.float32, device=self.device)[None]
        # A token at level 1 is pure noise by definition; the value behind it must not leak through.
        tokens = add_noise(tokens, torch.zeros_like(tokens), level)
        for camera in range(self.layout.cameras):
            tokens[..., self.layout.picture_of(camera)] *= signal(doubt[..., camera])[..., None]
        for number in range(len(self.layout.sensors)):
            tokens[..., self.layout.sensor_of(number)] *= signal(distrust[..., number])[..., None]
        told = (self._normal_position(goal),) if self.config.goal == 'position' else (self._seen(latent, doubt), torch.maximum(known, doubt.mean(-1)))
        guides, judge = [head.places(*told) for head in self.network.guides()], self.network.judge_head.places(*told)
        return Context(tokens, level, offset_s, origin, goal, guides, judge)

    def _levels(self, observation):
        """Read the noise levels of an observation's tokens, raised by what its pictures and readings are worth

        -> level without that [1, C], with it [1, C], doubt of pictures [1, C, V], of sensors [1, C, S]. The arm is known even where the
        camera is not: pictures and sensors together bring a token no higher than PICTURES_ALONE.
        """
        known = torch.tensor(observation.level, dtype=torch.float32, device=self.device)[None]
        given = (observation.picture_level, self.layout.cameras), (observation.sensor_level, len(self.layout.sensors))
        doubts = [torch.zeros(*known.shape, count, device=self.device) if values is None or not count
                  else torch.tensor(values, dtype=torch.float32, device=self.device)[None] for values, count in given]
        doubt = torch.cat(doubts, -1)
        return known, torch.maximum(known, PICTURES_ALONE * doubt.mean(-1)) if doubt.shape[-1] else known, *doubts

    def _seen(self, latent, doubt):
        """Put the mean of play's pictures for those that count for nothing: latent [C, V Z], doubt [1, C, V] -> [1, C, V Z]

        What guides reads the whole latent, however doubtful; fading it would move what it reads towards the mean scene's.
        """
        blind = (doubt >= 1.0).repeat_interleave(self.layout.latent, -1)
        return torch.where(blind, self.network.normalizer.mean[self.layout.picture], latent)

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
        return torch.stack([torch.cat([self._latent(pixels, (camera, float(stamp))) for camera, (pixels, stamp) in enumerate(zip(row, stamps))])
                            for row, stamps in zip(observation.pictures, observation.picture_stamp_s)])

    def _latent(self, pixels, key):
        """Encode a picture, or remember what it was: key: number of its camera and its stamp. -> [Z]"""
        if key not in self.latents:
            self.latents[key] = self.network.encode_pictures(torch.from_numpy(np.ascontiguousarray(pixels))[None].to(self.device), key[0])[0]
            while len(self.latents) > CACHED_PICTURES:
                self.latents.popitem(last=False)
        return self.latents[key]

    @torch.no_grad()
    def imagine_far(self, context, offset_s, goal, settings, seed, warm=None, stop=None):
        """Denoise a far token per arrival time, pulled towards reward: -> far [B, 1, D]; `stop`: see planning.pace

        The last settings.warm_samples rows start from the last plan's far token (warm [D], noised to settings.warm_level).
        """
        batch = len(offset_s)
        known, level, seconds = context.repeat(batch)
        far_s = torch.tensor(offset_s, device=self.device)[:, None]
        noise = self.noise(seed, batch, 1)
        far_level = torch.ones_like(far_s)
        if warm is not None:
            far_level[-settings.warm_samples:] = settings.warm_level
            noise[-settings.warm_samples:] = add_noise(warm, noise[-settings.warm_samples:], far_level[-settings.warm_samples:])
        return self._sample(self.pressure.on_far(self.denoise, context, settings), context, torch.cat([known, noise], 1),
                            _matrix(level, far_level, settings.far_steps, settings.bend), torch.cat([seconds, far_s], 1),
                            settings, seed, stop)[:, -1:]

    def noise(self, seed, *shape):
        """Draw noise with numpy, so that a seed means the same to every backend: -> [*shape, D]"""
        return torch.from_numpy(draw(seed, *shape, self.layout.width)).to(self.device)

    def _fresh(self, seed, known):
        """Make what draws the noise of each step, none for known tokens: -> function of tokens [B, T, D]"""
        random = fresh(seed)

        def draw_like(tokens):
            imagined = torch.from_numpy(random(len(tokens), tokens.shape[1] - known, tokens.shape[2])).to(self.device)
            return torch.cat([torch.zeros_like(tokens[:, :known]), imagined], 1)
        return draw_like

    def _sample(self, denoise, context, noisy, matrix, offset_s, settings, seed, stop):
        """Sample with the sampler of the settings, the context held. `stop` is asked after every step."""
        ending = None if stop is None else lambda *_: stop()
        step = {'multistep': MultistepStep(), 'ddim': ddim_step, 'ddpm': ddpm_step}[settings.sampler]
        noise = self._fresh(seed, context.tokens.shape[1]) if settings.sampler == 'ddpm' else None
        return sample(_holding(denoise, context), noisy, matrix, offset_s, step, noise, ending)

    @torch.no_grad()
    def fill_in(self, context, far, chosen, offset_s, settings, seed, warm=None, stop=None):
        """Denoise the tokens between the origin and each chosen far token, both ends known: -> [P, F + 1, D]

        warm: tokens [F, D] and which rows [P] bool start from them, noised to settings.warm_level; all else starts from noise.
        """
        count, fill = len(chosen), settings.fill_in
        known, level, seconds = context.repeat(count)
        far_s = torch.tensor(offset_s[chosen], device=self.device)[:, None]
        share = torch.arange(1, fill + 2, device=self.device) / (fill + 1)
        noise = self.noise(seed + 2, count, fill)
        between = torch.ones(count, fill, device=self.device)
        if warm is not None:
            tokens, rows = warm
            between[rows] = settings.warm_level
            noise[rows] = add_noise(tokens, noise[rows], between[rows])
        imagined = torch.cat([between, torch.zeros_like(far_s)], 1)
        return self._sample(self.pressure.on_path(self.denoise, context, far_s * share, settings), context, torch.cat([known, noise, far[chosen]], 1),
                            _matrix(level, imagined, settings.fill_steps, settings.bend), torch.cat([seconds, far_s * share], 1),
                            settings, seed + 2, stop)[:, -fill - 1:]

    def network_tokens(self, position_rad, velocity_rad_s, latent):
        """Bring a decoded plan back to network space: position, velocity [T, J], latent [T, V Z + K] (network space) -> [T, D]"""
        motion = torch.tensor(np.concatenate([position_rad, velocity_rad_s], 1), dtype=torch.float32, device=self.device)
        normalizer, own = self.network.normalizer, self.layout.motion
        return torch.cat([(motion - normalizer.mean[own]) / normalizer.spread[own],
                          torch.tensor(latent, dtype=torch.float32, device=self.device)], 1)

    def decode(self, tokens):
        """Bring tokens to SI units: -> position_rad, velocity_rad_s [P, T, J], latent [P, T, V Z + K] (network space), numpy"""
        values = self.network.normalizer.inverse(tokens)
        return (values[..., self.layout.position].cpu().numpy(), values[..., self.layout.velocity].cpu().numpy(),
                tokens[..., self.layout.seen].cpu().numpy())

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
    return frozen(_Planning(model), *example)


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

    Raises ModelError for a bad folder and ConfigError for a robot whose joints are not the model's, or for a GPU that is not there.
    """
    torch.set_num_threads(threads)
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('device: got cuda, but torch sees no GPU; expected auto or cpu')
    network, config = checkpoint.load(model_dir, device)
    if tuple(robot.joint_names) != tuple(network.config.joint_names):
        raise ConfigError(f'{model_dir}: trained for joints {list(network.config.joint_names)}, the robot has {list(robot.joint_names)}')
    backend = TorchBackend(network, config['planning'], device)
    backend.identity = f'format {config["format"]}, sha256 {config["sha256"]}'
    return backend
