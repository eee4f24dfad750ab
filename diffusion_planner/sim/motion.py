"""Collision-free motion for play data: ompl finds the path, ruckig times it within the arm's limits."""
from dataclasses import dataclass

import numpy as np
from ruckig import InputParameter, Result, Ruckig, Trajectory
from scipy.interpolate import BSpline

from diffusion_planner.sim.scene import OBSTACLE_CLEARANCE_M, TABLE_CLEARANCE_M

STEP_RAD = 0.06            # spacing of collision checks; the clearance covers what lies between
SAMPLES = 80               # points at which a path's derivatives are bounded
KNOTS_RAD = (0.6, 0.4, 0.25, 0.12)   # spacings tried for the control points that round a path's corners
ATTEMPTS = 5               # searches per motion; the quickest result is kept


class NoPath(RuntimeError):
    """The path planner found nothing in its time."""


@dataclass(frozen=True)
class Limits:
    """What a motion may use: velocity_rad_s [J], acceleration_rad_s2 [J], jerk_rad_s3."""

    velocity_rad_s: np.ndarray
    acceleration_rad_s2: np.ndarray
    jerk_rad_s3: float


@dataclass(frozen=True)
class TimedPath:
    """A joint-space path q(s) and its jerk-limited timing s(time)."""

    curve: object
    timing: Trajectory

    @property
    def duration_s(self):
        return self.timing.duration

    def samples(self, period_s):
        """Sample the whole motion: samples(period_s) -> position_rad [N, J], velocity_rad_s [N, J]."""
        stamps = np.arange(0.0, self.duration_s + period_s, period_s)
        profile = [self.timing.at_time(min(stamp, self.duration_s))[:2] for stamp in stamps]
        share = np.clip([position for (position,), _ in profile], 0.0, 1.0)
        rate = np.array([velocity for _, (velocity,) in profile])
        return self.curve(share), self.curve(share, 1) * rate[:, None]


class PathFinder:
    """Plans clear paths in one world between postures of one robot."""

    def __init__(self, world, robot, seed):
        from ompl import base, geometric, util
        util.setLogLevel(util.LogLevel.LOG_NONE)
        util.RNG.setSeed(seed % 2**31 + 1)
        self.base, self.geometric, self.world = base, geometric, world
        space = base.RealVectorStateSpace(len(robot.joint_names))
        bounds = base.RealVectorBounds(len(robot.joint_names))
        for index, (home, low, high) in enumerate(zip(robot.home_rad, robot.position_min_rad, robot.position_max_rad)):
            bounds.setLow(index, max(low + 0.05, home - 1.3))
            bounds.setHigh(index, min(high - 0.05, home + 1.3))
        space.setBounds(bounds)
        self.space, self.joints, self.bounds = space, len(robot.joint_names), bounds

    def is_clear(self, position_rad):
        return self.world.is_clear(position_rad, OBSTACLE_CLEARANCE_M, TABLE_CLEARANCE_M)

    def move(self, start_rad, goal_rad, limits):
        """Find the quickest of a few clear motions, so that the play data holds few detours.

        move(start [J], goal [J], limits: Limits) -> TimedPath. Raises NoPath.
        """
        straight = _curve(np.stack([start_rad, goal_rad]))
        if self._all_clear(straight):
            return time_path(straight, limits)
        found = [time_path(curve, limits) for _ in range(ATTEMPTS)
                 if (curve := self._round(self._search(start_rad, goal_rad))) is not None]
        if not found:
            raise NoPath(f'no clear path from {np.round(start_rad, 2)} to {np.round(goal_rad, 2)}')
        return min(found, key=lambda motion: motion.duration_s)

    def _round(self, vertices):
        """Round a polyline's corners as widely as stays clear: [N, J] -> BSpline | None."""
        for knot_rad in KNOTS_RAD:
            curve = _curve(_subdivide(vertices, knot_rad))
            if self._all_clear(curve):
                return curve
        return None

    def _all_clear(self, curve):
        length_rad = np.abs(np.diff(curve(np.linspace(0, 1, 30)), axis=0)).sum(0).max()
        shares = np.linspace(0, 1, int(np.ceil(length_rad / STEP_RAD)) + 2)
        return all(self.is_clear(position_rad) for position_rad in curve(shares))

    def _search(self, start_rad, goal_rad):
        """Run RRT-Connect and shorten its path: -> vertices [N, J]. Raises NoPath."""
        setup = self.geometric.SimpleSetup(self.space)
        setup.setStateValidityChecker(lambda state: self.is_clear([state[index] for index in range(self.joints)]))
        information = setup.getSpaceInformation()
        information.setStateValidityCheckingResolution(STEP_RAD / self.space.getMaximumExtent())
        setup.setPlanner(self.geometric.RRTConnect(information))
        start, goal = self.space.allocState(), self.space.allocState()
        for index in range(self.joints):
            start[index], goal[index] = float(start_rad[index]), float(goal_rad[index])
        setup.setStartAndGoalStates(start, goal)
        if not setup.solve(1.0) or not setup.haveExactSolutionPath():
            raise NoPath(f'no clear path from {np.round(start_rad, 2)} to {np.round(goal_rad, 2)}')
        path, simplifier = setup.getSolutionPath(), setup.getPathSimplifier()
        for _ in range(2):
            simplifier.reduceVertices(path)
            simplifier.partialShortcutPath(path)
            simplifier.ropeShortcutPath(path)
        return np.array([[state[index] for index in range(self.joints)] for state in path.getStates()])


def straight(start_rad, goal_rad, limits):
    """Time the straight joint-space line, whatever stands in the way: -> TimedPath"""
    return time_path(_curve(np.stack([start_rad, goal_rad])), limits)


def _subdivide(vertices, knot_rad):
    """Put points along a polyline, at most knot_rad apart: [N, J] -> [M, J]."""
    lengths = np.linalg.norm(np.diff(vertices, axis=0), axis=1)
    counts = np.maximum(np.ceil(lengths / knot_rad).astype(int), 1)
    pieces = [vertices[i] + np.linspace(0, 1, count, endpoint=False)[:, None] * (vertices[i + 1] - vertices[i])
              for i, count in enumerate(counts)]
    return np.concatenate([*pieces, vertices[-1:]])


def _curve(points):
    """Fit a clamped B-spline, quintic where there are points enough, with `points` as control points: it rounds corners
    and never leaves their convex hull."""
    degree = min(5, len(points) - 1)
    knots = np.concatenate([np.zeros(degree), np.linspace(0, 1, len(points) - degree + 1), np.ones(degree)])
    return BSpline(knots, points, degree)


def time_path(curve, limits):
    """Time a path so that every joint keeps its limits, at rest at both ends: time_path(curve, limits) -> TimedPath."""
    shares = np.linspace(0, 1, SAMPLES)
    slope, bend = np.abs(curve(shares, 1)), np.abs(curve(shares, 2)) if curve.k > 1 else np.zeros((SAMPLES, 1))
    with np.errstate(divide='ignore'):
        # |q'' rate^2 + q' rate'| <= limit: half of the acceleration is left to each term.
        rate = min((limits.velocity_rad_s / slope).min(), np.sqrt((0.5 * limits.acceleration_rad_s2 / bend).min()))
        share_of_limit = 1.0 if not bend.any() else 0.5
        acceleration = (share_of_limit * limits.acceleration_rad_s2 / slope).min()
        jerk = (limits.jerk_rad_s3 / slope).min()
    request = InputParameter(1)
    request.current_position, request.target_position = [0.0], [1.0]
    request.max_velocity, request.max_acceleration, request.max_jerk = [rate], [acceleration], [jerk]
    timing = Trajectory(1)
    outcome = Ruckig(1).calculate(request, timing)
    if outcome not in (Result.Working, Result.Finished):
        raise NoPath(f'ruckig could not time a path with rate {rate:.3g}: {outcome}')
    return TimedPath(curve, timing)
