"""What latency is measured on: moments of episodes in the simulator, the arm moving, every plan with pictures that are new to it."""
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from diffusion_planner.benchmarks.latency_contenders import load
from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.planning.cycle import CycleSettings, PlanningCycle
from diffusion_planner.records import Goal, ImaginedPlan, MotionState, Observation
from diffusion_planner.sim.env import ArmEnv, SimSettings

# Plans come every 0.5 s. At 10 Hz, as at 30, no two of them share a picture: each of the context's three is encoded for every plan.
FRAME_EVERY = 24
ENLARGED, BESIDE_PX = 5, 80     # 96 x 96 pixels in the middle of 640 x 480, as a camera sends them
SCENES = 5                      # for every case that is wanted, before it is given up


@dataclass(frozen=True)
class Case:
    """One plan to make: what it is asked, the last plan, what the arm will be doing then, the plan that came of it, a camera's message."""

    first: bool                 # of its episode: nothing was seen before
    observation: Observation
    goal: Goal
    seed: int
    previous: ImaginedPlan | None
    handover: MotionState
    plan: ImaginedPlan
    message: SimpleNamespace


class Enough(Exception):
    """There are as many cases as were asked for."""


class Recorder:
    """A planner that keeps what it is asked where it planned at once; plans after a refusal have more to do."""

    def __init__(self, planner, count, advance):
        self.planner, self.count, self.advance, self.cases = planner, count, advance, []

    def __getattr__(self, name):
        return getattr(self.planner, name)

    def reset(self):
        self.planner.reset()
        self.fresh = True

    def plan(self, observation, goal, seed, *more):
        previous, refused = self.planner.previous, self.planner.refused
        plan = self.planner.plan(observation, goal, seed, *more)
        if not refused:
            pixels = observation.pictures[-1][0]
            self.cases.append(Case(self.fresh, observation, goal, seed, previous, self.handover, plan, to_message(pixels)))
            self.fresh = False
            self.advance()
        if len(self.cases) == self.count:
            raise Enough
        return plan


class Cycle(PlanningCycle):
    """A cycle that tells its planner where the chunk takes over."""

    def begin(self, now_s):
        observation, self.planner.handover = super().begin(now_s)
        return observation, self.planner.handover


class Rehearsal(Loop):
    """Episodes whose planner is a Recorder."""

    def cycle(self, history):
        return Cycle(self.planner, self.robot, CycleSettings(), history)


def record(options, advance=lambda: None):
    """Record cases in one scene after another, the backend in torch planning: -> list of Case. Raises ConfigError where too few come."""
    env, count, model = ArmEnv(SimSettings(frame_every=FRAME_EVERY)), options.cases, str(options.model)
    try:
        planner = Recorder(load('torch', 'cpu', options, env.robot).planner, count, advance)
        if planner.cameras != (env.camera.name,):
            raise ConfigError(f'bench latency: {model} has cameras {list(planner.cameras)}, expected {[env.camera.name]}, the one of the simulator')
        loop = Rehearsal(LoopSettings(model), env, planner)
        for scene in range(options.seed, options.seed + SCENES * count):
            loop.run(scene)
    except Enough:
        return planner.cases
    finally:
        env.close()
    raise ConfigError(f'bench latency: {len(planner.cases)} plans in {SCENES * count} scenes, expected {count}: this model refuses nearly all')


def to_message(pixels):
    """Put a square picture in the middle of one of 640 x 480: pixels [96, 96, 3] -> message shaped as sensor_msgs/Image"""
    large = np.pad(pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1), ((0, 0), (BESIDE_PX, BESIDE_PX), (0, 0)), 'edge')
    height, width, _ = large.shape
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0)), height=height, width=width, encoding='rgb8',
                           step=3 * width, is_bigendian=0, data=large.tobytes())


def pictures_per_plan(cases):
    """How many pictures that it has not seen an episode's planner gets with every plan: -> mean"""
    seen, new = set(), 0
    for case in cases:
        seen = set() if case.first else seen
        stamps = set(case.observation.picture_stamp_s.ravel().tolist())
        new, seen = new + len(stamps - seen), seen | stamps
    return new / len(cases)


def seen_by(case, cameras):
    """Show several cameras the same: case, number of cameras -> Case"""
    known = case.observation
    levels = known.picture_level if known.picture_level is None else known.picture_level.repeat(cameras, 1)
    return replace(case, observation=replace(known, pictures=known.pictures.repeat(cameras, 1), picture_stamp_s=known.picture_stamp_s.repeat(cameras, 1),
                                             picture_level=levels), previous=None)
