"""Levels, sampling steps and guidance's arithmetic in numpy, for whoever runs the networks without PyTorch.

The formulas are those of the room `diffusion`; a sampling step is linear in what it combines, so it is a row of weights here.
"""
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

MIN_SIGNAL = 0.05      # see diffusion.guidance
PULL = 0.1             # what scale 1 means: the metric head is so sharp that more leaves the prior no say in the last steps
FREE = 1e9             # a trust region that is none
PICTURES_ALONE = 0.5   # the level of a token whose joints are known and whose pictures are not
QUARTER = np.float32(np.pi / 2)
KINDS = ('multistep', 'ddim', 'ddpm')


def draw(seed, *shape):
    """Draw noise, the same in every backend: -> float32 [*shape]"""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def readings(observation, sensors):
    """Take the readings of an observation's sensors, the same in every backend: sensors (name, size) -> [C, K]. Raises ValueError."""
    expected = (len(observation.offset_s), sum(size for _, size in sensors))
    if observation.sensors is None and not sensors:
        return np.zeros(expected, np.float32)
    found = None if observation.sensors is None else np.shape(observation.sensors)
    if found != expected:
        names = ', '.join(f'{name} ({size})' for name, size in sensors) or 'none'
        raise ValueError(f'observation: got {"no sensors" if found is None else f"sensors of shape {found}"}, expected {expected}: {names}')
    return np.asarray(observation.sensors, np.float32)


def fresh(seed):
    """Make what draws the noise of each sampling step, the same in every backend: -> function of a shape"""
    random = np.random.default_rng((seed, 0xF5))
    return lambda *shape: random.standard_normal(shape, dtype=np.float32)


def signal(level):
    """Factor on the clean token, see diffusion.noise: level [...] -> [...]"""
    return np.maximum(np.cos(np.float32(level) * QUARTER), 0)


def sigma(level):
    """Standard deviation of the noise in a token: level [...] -> [...]"""
    return np.sin(np.float32(level) * QUARTER)


def add_noise(clean, noise, level):
    """Bring clean tokens to their levels: clean, noise [..., D], level [...] -> noisy [..., D]"""
    return signal(level)[..., None] * clean + sigma(level)[..., None] * noise


def levels(start_level, steps, bend):
    """Schedule tokens from their own levels to 0, all alike: start_level [...] -> [S + 1, ...]; see diffusion.matrices"""
    share = np.clip(np.arange(steps, -1, -1, dtype=np.float32) / np.float32(steps), 0, 1) ** np.float32(bend)
    return share.reshape(-1, *[1] * np.ndim(start_level)) * np.float32(start_level)


def step_weights(kind, level):
    """Lay out the steps of a sampler: level [S + 1, ...] -> weights [S, ..., 4] on (noisy, clean, clean before, fresh noise)

    kind: multistep, ddim or ddpm, see diffusion.samplers. A token whose level does not fall keeps its value. Raises ValueError.
    """
    if kind not in KINDS:
        raise ValueError(f'sampler: got {kind!r}, expected one of {", ".join(KINDS)}')
    now, after = level[:-1], level[1:]
    weights = np.zeros((*now.shape, 4), np.float32)
    if kind == 'ddpm':
        ratio = signal(now) / np.maximum(signal(after), 1e-6)
        added = np.maximum(sigma(now) ** 2 - (ratio * sigma(after)) ** 2, 0)
        fresh = sigma(after) * np.sqrt(added) / np.maximum(sigma(now), 1e-6)
        kept = np.sqrt(np.maximum(sigma(after) ** 2 - fresh ** 2, 0)) / np.maximum(sigma(now), 1e-6)
        weights[..., 3] = fresh
    else:
        kept = sigma(after) / np.maximum(sigma(now), 1e-6)
    aim = signal(after) - kept * signal(now)
    half = _extrapolation(level) if kind == 'multistep' else 0
    weights[..., 0], weights[..., 1], weights[..., 2] = kept, aim * (1 + half), -aim * half
    weights[after >= now] = (1, 0, 0, 0)
    return weights


def _extrapolation(level):
    """Half the ratio of a step's log-SNR to that of the step before: [S + 1, ...] -> [S, ...]; 0 where it is no number"""
    with np.errstate(divide='ignore', invalid='ignore'):
        rise = np.diff(np.log(signal(level)) - np.log(sigma(level)), axis=0)
        ratio = np.zeros_like(rise)
        ratio[1:] = rise[1:] / rise[:-1]
    return np.where(np.isfinite(ratio), ratio / 2, 0)


def gain(form, level):
    """What turns a gradient of this form into a shift of the clean estimate, for a prior of variance 1: level [...] -> [...]"""
    variance = sigma(level) ** 2
    return variance / (signal(level) ** 2 + variance) if form == 'clean' else variance / np.maximum(signal(level), MIN_SIGNAL)


def damping(wanted, slope, value):
    """Turn gradient steps into proximal ones, see diffusion.guidance: wanted, slope [B, J], value [B] -> factor [B]"""
    pull = np.maximum(np.einsum('bj,bj->b', wanted, slope), 0)
    return 1 / (1 + pull / np.maximum(2 * np.abs(value), 1e-30))


def limited(shift, most):
    """Shorten each token's shift to at most `most` (RMS), keeping its direction: shift [..., J], most [...] -> shift, RMS before [...]"""
    length = rms(shift)
    return shift * np.minimum(most / np.maximum(length, 1e-12), 1)[..., None], length


def rms(values):
    """Root of the mean square over the last axis: [..., J] -> [...]"""
    return np.sqrt(np.einsum('...j,...j->...', values, values) / values.shape[-1])


@dataclass(frozen=True)
class Plan:
    """What sampling from certain levels will do at each of its steps: `clean` is the gain of the form that judges clean estimates."""

    level: np.ndarray        # [S + 1, B, F]
    weights: np.ndarray      # [S, 4, B, F, 1], see step_weights
    fade: np.ndarray         # [S, B, F, 2], signal and sigma
    clean: np.ndarray        # [S, B, F]


_plans = OrderedDict()
KEPT_PLANS = 32


def lay_out(sampler, start_level, steps, bend):
    """Make the schedule of one sampling, or remember it: most plans start from the same levels. start_level [B, F] -> Plan"""
    key = sampler, steps, bend, start_level.shape, start_level.tobytes()
    if key not in _plans:
        level = levels(start_level, steps, bend)
        weights = np.ascontiguousarray(np.moveaxis(step_weights(sampler, level), -1, 1)[..., None])
        _plans[key] = Plan(level, weights, np.stack([signal(level[:-1]), sigma(level[:-1])], -1), gain('clean', level[:-1]))
        while len(_plans) > KEPT_PLANS:
            _plans.popitem(last=False)
    return _plans[key]
