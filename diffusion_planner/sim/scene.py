"""Scenes: a start posture, a target on the table and the obstacles, all drawn from one seed."""
from dataclasses import dataclass
from functools import cache

import numpy as np

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """A box on the table, in the base frame."""

    centre_m: Vector
    half_m: Vector
    rgba: tuple[float, float, float, float] = (0.20, 0.35, 0.75, 1.0)


# The wall runs away from the base and splits the table in two; it stands here in every scene of the play data.
WALL = Box(centre_m=(0.56, 0.0, 0.11), half_m=(0.26, 0.02, 0.11))
TARGET_Z_M = 0.03
REACH_M = (0.38, 0.72)
SIDE_M = (0.13, 0.42)
POSTURE_Z_M = (0.04, 0.38)
OBSTACLE_CLEARANCE_M, TABLE_CLEARANCE_M = 0.045, 0.008


@dataclass(frozen=True)
class Scene:
    """What differs from episode to episode. More obstacles go into `obstacles`."""

    seed: int
    start_rad: tuple[float, ...]
    target_m: Vector
    obstacles: tuple[Box, ...] = (WALL,)


def sample_target(random):
    """Draw a target's centre: on the table, within reach, far enough from the wall for the hand."""
    while True:
        x, y = random.uniform(0.30, REACH_M[1]), random.choice((-1, 1)) * random.uniform(*SIDE_M)
        if REACH_M[0] <= np.hypot(x, y) <= REACH_M[1]:
            return float(x), float(y), TARGET_Z_M


def sample_tip(random):
    """Draw a fingertip position over the table, either side of the wall or above it."""
    while True:
        x, y, z = random.uniform(0.30, REACH_M[1]), random.uniform(-SIDE_M[1], SIDE_M[1]), random.uniform(*POSTURE_Z_M)
        if REACH_M[0] <= np.hypot(x, y) <= REACH_M[1] and (abs(y) >= SIDE_M[0] or z > 0.30):
            return np.array((x, y, z))


def sample_posture(world, robot, random, tip_m, attempts=20):
    """Draw a clear posture with the fingertip at a place, the hand pointing roughly down; None where there is none.

    sample_posture(tip_m [3]) -> position_rad [7] | None
    """
    import pybullet
    azimuth = np.arctan2(tip_m[1], tip_m[0])
    for _ in range(attempts):
        tilt, roll, yaw = random.normal(0, 0.12), random.normal(0, 0.12), azimuth + random.normal(0, 0.20)
        quaternion = pybullet.getQuaternionFromEuler((np.pi + roll, tilt, yaw))
        seed_rad = np.array(robot.home_rad) + random.normal(0, 0.10, 7)
        seed_rad[0] += azimuth
        for _ in range(3):
            seed_rad = world.inverse(seed_rad, tip_m, quaternion)
        if _is_usable(world, robot, seed_rad, tip_m):
            return seed_rad
    return None


def _is_usable(world, robot, position_rad, tip_m):
    return (np.all(position_rad > np.array(robot.position_min_rad) + 0.05)
            and np.all(position_rad < np.array(robot.position_max_rad) - 0.05)
            and np.linalg.norm(robot.tip_m(position_rad) - tip_m) < 0.006
            and world.is_clear(position_rad, OBSTACLE_CLEARANCE_M, TABLE_CLEARANCE_M))


def draw_scene(world, robot, seed):
    """Draw the scene of a seed: the arm starts clear of everything and at least 15 cm from the target."""
    random = np.random.default_rng((seed, 0x5CE9E))
    world.set_obstacles((WALL,))
    while True:
        target_m, tip_m = sample_target(random), sample_tip(random)
        if np.linalg.norm(tip_m - target_m) < 0.15:
            continue
        start_rad = sample_posture(world, robot, random, tip_m)
        reachable = sample_posture(world, robot, random, np.array(target_m))
        if start_rad is not None and reachable is not None:
            return Scene(seed, tuple(float(angle) for angle in start_rad), target_m)


@cache
def _sampler():
    from diffusion_planner.sim.world import World
    return World(), default_robot()


@cache
def default_robot():
    """Load the Panda that the simulator is built around."""
    from diffusion_planner import config, robot
    from diffusion_planner.files import find
    return config.load(robot.Robot, find('config/panda.yaml'))


def sample_scene(seed):
    """Draw the scene of a seed, in a world kept for the purpose."""
    return draw_scene(*_sampler(), seed)


def goal_posture(world, robot, scene):
    """Find a posture that touches the target, for baselines that are told where it is: -> position_rad [7] | None."""
    random = np.random.default_rng((scene.seed, 0x60A1))
    return sample_posture(world, robot, random, np.array(scene.target_m), attempts=100)


def line_is_blocked(world, start_rad, goal_rad, step_rad=0.02):
    """Return whether the straight joint-space line runs into an obstacle or the table."""
    count = int(np.ceil(np.abs(np.subtract(goal_rad, start_rad)).max() / step_rad)) + 1
    return any(not world.is_clear(start_rad + share * np.subtract(goal_rad, start_rad), 0.0, 0.0)
               for share in np.linspace(0, 1, count))


def blocked_share(count, seed):
    """Measure the share of scenes in which a straight joint-space line to the goal collides."""
    world, robot = _sampler()
    blocked = 0
    for scene in (sample_scene(seed + index) for index in range(count)):
        world.set_obstacles(scene.obstacles)
        goal_rad = goal_posture(world, robot, scene)
        blocked += goal_rad is None or line_is_blocked(world, np.array(scene.start_rad), goal_rad)
    return blocked / count
