"""Robots, starts and plans for the tests of the contract, the wildest that may come."""
import re
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from hypothesis import settings
from hypothesis import strategies as some

from diffusion_planner import config, files
from diffusion_planner.planning.shaping import ShapingLimits, brake, shape
from diffusion_planner.planning.stretching import stretch
from diffusion_planner.records import MotionState
from diffusion_planner.robot import Robot

KNOT_S = 0.02
KINDS = ('smooth', 'noisy', 'beyond limits', 'jump', 'one token', 'standing', 'tiny steps', 'long steps', 'brake')


def tries(count):
    """So many examples, always the same ones; in the thorough profile as many as that says, new ones every time."""
    thorough = settings.get_current_profile_name() == 'thorough'
    return settings(settings.default if thorough else settings(max_examples=count, derandomize=True), deadline=None)


@cache
def robots():
    """Load every arm that config/ has: -> tuple of Robot"""
    files_there = sorted(files.find('config/panda.yaml').parent.glob('*.yaml'))
    return tuple(config.load(Robot, path) for path in files_there if re.search('^joint_names:', path.read_text(), re.M))


@dataclass(frozen=True)
class Case:
    """One run: chunk after chunk, each with its own plan, taken over at a random instant, the operator changing the speed."""

    robot: Robot
    seed: int
    kinds: tuple[str, ...]
    scales: tuple[float, float, float]     # velocity, acceleration, jerk [rad/s^3]
    speed_scales: tuple[float, ...]        # of one chunk after the other
    chunk_s: float
    origin_s: float
    stretched: bool

    def limits(self, index):
        velocity_scale, *scales = self.scales
        return ShapingLimits.of(self.robot, velocity_scale * self.speed_scales[index % len(self.speed_scales)], *scales)


def shares(low, high):
    """Draw numbers, as many of them in each decade."""
    return some.floats(np.log(low), np.log(high)).map(np.exp).map(float)


SCALES = some.tuples(shares(0.01, 1.0), shares(0.01, 1.0), shares(1.0, 10000.0)) | some.just((0.6, 0.3, 60.0)) | some.just((1.0, 1.0, 10000.0))
ROBOTS = some.builds(lambda robot, period_s: replace(robot, control_period_s=period_s),
                     some.deferred(lambda: some.sampled_from(robots())), some.sampled_from([0.001, 0.002, 1 / 240, 0.01]))
CASES = some.builds(Case, robot=ROBOTS, seed=some.integers(0, 2**32 - 1),
                    kinds=some.lists(some.sampled_from(KINDS), min_size=1, max_size=4).map(tuple),
                    scales=SCALES, speed_scales=some.just((1.0,)) | some.lists(shares(0.01, 1.0), min_size=1, max_size=3).map(tuple),
                    chunk_s=some.sampled_from([0.1, 0.5, 1.5, 3.0]),
                    origin_s=some.sampled_from([0.0, 10.0, 1.75e9]), stretched=some.booleans())


def moving_start(random, robot, limits, stamp_s):
    """Draw a state that an arm may be in: within the limits, and able to stop within them: -> MotionState"""
    joints = len(robot.joint_names)
    effort, jerk = random.choice([0.0, 0.3, 0.9]), limits.solver(KNOT_S).jerk_rad_s3
    acceleration = effort * random.uniform(-1, 1, joints) * np.minimum(limits.acceleration_rad_s2, 0.5 * np.sqrt(limits.velocity_rad_s * jerk))
    room = 0.9 * limits.velocity_rad_s - acceleration**2 / (2 * jerk)
    velocity = effort * random.uniform(-1, 1, joints) * room
    for _ in range(20):
        still = MotionState(stamp_s, np.zeros(joints), velocity, acceleration)
        way = brake(still, limits).position_rad
        lowest, highest = robot.position_min_rad - way.min(axis=0), robot.position_max_rad - way.max(axis=0)
        if np.all(lowest < highest):
            break
        velocity, acceleration = velocity / 2, acceleration / 2
    return replace(still, position_rad=random.uniform(lowest, highest))


def plan(random, kind, state):
    """Draw a plan of a kind: -> offset_s [T], position [T, J], velocity [T, J]"""
    joints = len(state.position_rad)
    count = 1 if kind == 'one token' else int(random.integers(2, 13))
    step_s = {'tiny steps': random.choice([1e-6, 1e-3]), 'long steps': random.uniform(1.0, 20.0)}.get(kind, random.uniform(0.05, 0.3))
    offset_s = step_s * np.cumsum(random.uniform(0.5, 1.5, count))
    share = np.linspace(1 / count, 1, count)[:, None]
    reach_rad = random.uniform(-1, 1, joints) * {'jump': 100.0, 'beyond limits': 7.0, 'standing': 0.0}.get(kind, 0.7)
    position = state.position_rad + reach_rad * share**2 * (3 - 2 * share)
    velocity = reach_rad * 6 * share * (1 - share) / offset_s[-1]
    if kind in ('noisy', 'beyond limits'):
        noise = 0.02 if kind == 'noisy' else 4.0
        position, velocity = position + random.normal(0, noise, position.shape), velocity + random.normal(0, 2 * noise, velocity.shape)
    return offset_s, position, velocity


def chunk_of(case, index, random, state):
    """Make one chunk of a case from a state: -> ActionChunk, ShapingLimits"""
    limits, kind = case.limits(index), case.kinds[index]
    if kind == 'brake':
        return brake(state, limits), limits
    offset_s, position, velocity = plan(random, kind, state)
    if case.stretched:
        offset_s, velocity, _ = stretch(offset_s, position, velocity, state, limits)
    return shape(offset_s, position, velocity, state, limits, case.chunk_s), limits
