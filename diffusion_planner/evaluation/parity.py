"""Whether two backends of one model imagine the same from the same noise."""
import itertools
from dataclasses import dataclass, replace

import numpy as np

from diffusion_planner.planning.planner import PlannerSettings
from diffusion_planner.records import Goal, Observation

LIMIT = 1e-4        # network space: by which plans may differ,
NUDGE, NUDGES = 1e-6, 6     # or by a few times as much as PyTorch's own do under a few nudges of arm and noise (network space), about
AS_MUCH = 10.0              # what the rounding of many operators amounts to
EDGES = 0.1                 # share of the cases that may need that
FORMS, SAMPLERS = ('clean', 'through', 'noisy'), ('multistep', 'ddim', 'ddpm')
FIGURES = ('reward', 'panel', 'doubt', 'judge')      # probabilities, held against LIMIT too


@dataclass(frozen=True)
class Case:
    """One thing to imagine: what was observed and asked, how, and for how many."""

    observation: object
    goal: object
    settings: object
    offset_s: np.ndarray
    chosen: np.ndarray
    seed: int
    warm: bool

    def __str__(self):
        settings = self.settings
        return (f'form {settings.guidance_form}, sampler {settings.sampler}, guard {settings.guard}, scale {self.goal.guidance_scale:g}, '
                f'{len(self.offset_s)} candidates, {settings.fill_in} tokens filled in, seed {self.seed}')


def cases(backend, count, seed=0):
    """Draw cases for a model, every form and sampler in turn, with sizes, scales, levels and warm starts at random: -> iterator of Case"""
    random = np.random.default_rng(seed)
    for number, (form, sampler) in zip(range(count), itertools.cycle(itertools.product(FORMS, SAMPLERS))):
        guard = bool(random.random() < 0.8)
        # What an unguarded pull, or one of a sharp head at a level, makes of rounding grows from step to step: there one step is compared.
        steps = random.integers(1, 6 if guard and form != 'noisy' else 2, 2)
        settings = PlannerSettings(guidance_form=form, sampler=sampler, guard=guard, fill_in=int(random.integers(1, 24)),
                                   far_steps=int(steps[0]), fill_steps=int(steps[1]), warm_samples=2)
        batch, scale = int(random.integers(3, 40)), float(random.choice([0.0, 0.5, 1.0, 2.0]))
        chosen = random.choice(batch, int(random.integers(1, min(batch, 7))), replace=False)
        position = None
        if backend.config.goal == 'position':
            position = _drawn(backend, random, 1)[0, :backend.layout.joints]
        yield Case(_observation(backend, random, number), Goal(guidance_scale=scale, position_rad=position), settings,
                   np.sort(random.uniform(0.3, backend.config.horizon_s, batch)).astype(np.float32), chosen, number, bool(random.random() < 0.5))


def _drawn(backend, random, count):
    """Draw motions like those of the data: -> [N, 2 J]"""
    own, state = backend.layout.motion, backend.scales()
    return state[0][own] + state[1][own] * random.normal(0, 1, (count, own.stop))


def _observation(backend, random, number):
    config, joints = backend.config, backend.layout.joints
    count, cameras = len(config.context_offset_s), len(config.cameras)
    motion, stamp_s = _drawn(backend, random, count), 10.0 * number + np.array(config.context_offset_s)
    known, sensors = random.random() < 0.7, {}
    if config.sensors:
        own, (mean, spread) = backend.layout.sensor, backend.scales()
        sensors = {'sensors': mean[own] + spread[own] * random.normal(0, 1, (count, len(mean[own]))),
                   'sensor_level': random.uniform(0, 0 if known else 1, (count, len(config.sensors)))}
    return Observation(10.0 * number, np.array(config.context_offset_s), motion[:, :joints], motion[:, joints:],
                       random.integers(0, 256, (count, cameras, *config.picture_shape), np.uint8), np.repeat(stamp_s[:, None], cameras, 1),
                       np.zeros(count) if known else random.choice([0.0, 0.3, 1.0], count), random.uniform(0, 0 if known else 1, (count, cameras)), **sensors)


def difference(one, other, case):
    """Imagine with both: -> {what: largest difference}, network space, tokens of far and path and what is said of them"""
    return _apart(_imagine(one, case), _imagine(other, case))


def _apart(first, second):
    """-> {what: largest difference}; of numbers beyond 1, as unguarded guidance makes them, the share that differs"""
    largest = {}
    for name in first:
        here, there = np.asarray(first[name], float), np.asarray(second[name], float)
        largest[name] = float((np.abs(here - there) / np.maximum(1.0, np.abs(here))).max(initial=0))
    return largest


def sensitivity(backend, case):
    """How much of a case changes with the arm and the noise nudged, for a TorchBackend: -> {what: largest difference}"""
    random, first, largest = np.random.default_rng(case.seed), _imagine(backend, case), {}
    for _ in range(NUDGES):
        found = _apart(first, _nudged(backend, case, random))
        largest = {name: max(largest.get(name, 0.0), value) for name, value in found.items()}
    return largest


def _nudged(backend, case, random):
    """Imagine a case that is a little other: -> {what: array}"""
    observation, own, spread, noise = case.observation, backend.layout, backend.scales()[1], backend.noise

    def nudge(shape):
        return NUDGE * random.choice([-1.0, 1.0], shape)
    nudged = replace(observation, position_rad=observation.position_rad + nudge(observation.position_rad.shape) * spread[own.position],
                     velocity_rad_s=observation.velocity_rad_s + nudge(observation.velocity_rad_s.shape) * spread[own.velocity])
    backend.noise = lambda seed, *shape: (drawn := noise(seed, *shape)) + drawn.new_tensor(nudge(tuple(drawn.shape)))
    try:
        return _imagine(backend, replace(case, observation=nudged))
    finally:
        del backend.noise


def _imagine(backend, case):
    """Go through the stages of a plan: -> {what: array}; the second stage begins with the first one's far tokens, as planned"""
    settings, context = case.settings, backend.encode(case.observation, case.goal)
    motion = case.observation.position_rad, case.observation.velocity_rad_s
    last = backend.network_tokens(*motion, np.zeros((len(motion[0]), backend.layout.width - backend.layout.motion.stop)))[-1]
    far = backend.imagine_far(context, case.offset_s, case.goal, settings, case.seed, last if case.warm else None)
    judged = backend.judge_far(context, far, case.offset_s, case.seed)
    warm = None
    if case.warm:
        still = (*motion, np.zeros((1, len(last) - backend.layout.motion.stop)))
        warm = backend.network_tokens(*(np.repeat(part[-1:], settings.fill_in, 0) for part in still)), np.arange(len(case.chosen)) == 0
    tokens = backend.fill_in(context, far, case.chosen, case.offset_s, settings, case.seed, warm)
    return {'far': far, 'path': tokens, **{name: judged[name] for name in FIGURES}}


class Different(ValueError):
    """Two backends that do not imagine the same."""


def check(one, other, count=27, seed=0, advance=lambda: None):
    """Hold two backends against each other: -> {what: largest difference over the cases}, 'edges' being the cases left out of that

    A case is an edge where a nudge changes what `one` imagines, a TorchBackend, as much: nobody can be held to one side of it. Raises
    Different.
    """
    worst = {'edges': 0}
    for case in cases(one, count, seed):
        found = difference(one, other, case)
        beyond = [name for name, value in found.items() if not value <= LIMIT]      # nan, too
        if beyond:
            own = sensitivity(one, case)
            if not all(found[name] <= AS_MUCH * own[name] for name in beyond):
                name = beyond[0]
                raise Different(f'{name}: backends differ by {found[name]:.1e}, expected at most {LIMIT:g} (network space) with {case}')
            worst['edges'] += 1
        else:
            worst |= {name: max(worst.get(name, 0.0), value) for name, value in found.items()}
        advance()
    if worst['edges'] > EDGES * count:
        raise Different(f'{worst["edges"]} of {count} cases change as much with rounding, expected at most {EDGES:.0%}: too few to compare')
    return worst
