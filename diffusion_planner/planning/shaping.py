"""An imagined plan becomes commands: followed within velocity, acceleration and jerk limits, ended by a brake to rest."""
from dataclasses import dataclass

import numpy as np

from diffusion_planner.planning.jerk_limited import JerkLimited, State, extent, state_at
from diffusion_planner.records import ActionChunk
from diffusion_planner.splines import cubic_at

AHEAD_S = (0.20, 0.30, 0.44)    # each knot meets the plan this much later, at the earliest of these that it can
SMOOTH_S = 0.20       # half width of the triangle that averages the plan: tokens jitter by a few milliradians
MARGIN_RAD = 0.01     # distance that the pursuit keeps from the robot's position limits
TINY_RAD = 1e-6
JERK_RATIO = 2.18     # by how much the controller's quintic may exceed the jerk limit of a motion whose knots it joins
TAIL_S = 10.0         # a plan's last token farther than this is not driven to: the message would have no end


@dataclass(frozen=True)
class ShapingLimits:
    """What a chunk may use, each [J]; positions already exclude a margin at the robot's limits."""

    position_min_rad: np.ndarray
    position_max_rad: np.ndarray
    velocity_rad_s: np.ndarray
    acceleration_rad_s2: np.ndarray
    jerk_rad_s3: np.ndarray

    @classmethod
    def of(cls, robot, velocity_scale, acceleration_scale, jerk_rad_s3):
        """Take shares of a robot's limits, and one jerk for all joints, but never one that breaks the robot's between knots."""
        return cls(np.array(robot.position_min_rad) + MARGIN_RAD, np.array(robot.position_max_rad) - MARGIN_RAD,
                   velocity_scale * np.array(robot.velocity_max_rad_s),
                   acceleration_scale * np.array(robot.acceleration_max_rad_s2),
                   np.minimum(jerk_rad_s3, np.array(robot.jerk_max_rad_s3) / JERK_RATIO))

    def solver(self, knot_s):
        """Make the ruckig that keeps these limits between knots too.

        The controller's quintic between two knots overshoots a jerk-limited motion by up to 0.051 jerk knot_s in
        acceleration and 0.022 jerk knot_s^2 in velocity (worst of 80,000 random jerk profiles). A jerk that could turn the
        acceleration round several times between two knots is of no use, so it is cut to once. What no margin mends is the jerk
        itself: the quintic's is the mean-square fit of a parabola to that of the motion, up to 2.176 times as large at a knot
        (for the worst of all profiles; 2.172 was met in 12,000 wild chunks), and within jerk_rad_s3 at the mean between knots.
        """
        jerk = np.minimum(self.jerk_rad_s3, 2 * self.acceleration_rad_s2 / knot_s)
        slack = jerk * knot_s
        acceleration = self.acceleration_rad_s2 - 0.06 * slack
        velocity = np.maximum(self.velocity_rad_s - 0.03 * slack * knot_s - 0.06 * acceleration * knot_s,
                              0.5 * self.velocity_rad_s)
        return JerkLimited(velocity, acceleration, jerk)


def shape(plan_offset_s, plan_position_rad, plan_velocity_rad_s, start, limits, duration_s, knot_s=0.02):
    """Follow a plan from exactly `start` for `duration_s` or to its last token, then come to exact rest.

    shape(plan_offset_s [T], plan_position_rad [T, J], plan_velocity_rad_s [T, J], start: MotionState, limits: ShapingLimits,
          duration_s, knot_s) -> ActionChunk with H knots

    A plan beyond the limits is followed late or in part, never faster than allowed. Once its last token is due the arm
    settles there. Raises ValueError for a plan or start that is not finite.
    """
    for name, values in (('plan', plan_position_rad), ('plan', plan_velocity_rad_s), ('start', start.position_rad),
                         ('start', start.velocity_rad_s), ('start', start.acceleration_rad_s2)):
        if not np.all(np.isfinite(values)):
            raise ValueError(f'{name}: got values that are not finite, expected numbers')
    finish_s = min(duration_s, float(plan_offset_s[-1]))
    count = int(round(finish_s / knot_s))
    solver, begin = limits.solver(knot_s), _state(start)
    states = [begin]
    if count > 0:
        targets = _targets(plan_offset_s, plan_position_rad, plan_velocity_rad_s, start, limits, solver, count, knot_s)
        states = _follow(solver, begin, targets, count, limits, knot_s)
    last = np.clip(plan_position_rad[-1], limits.position_min_rad, limits.position_max_rad)
    arrives = finish_s >= float(plan_offset_s[-1])
    tail = _settle(solver, states[-1], last, limits, begin) if arrives else None
    return _chunk(start.stamp_s, states, tail or _brake(solver, states[-1]), knot_s)


def brake(start, limits, knot_s=0.02):
    """Come to rest as fast as the limits allow: brake(start: MotionState, limits: ShapingLimits) -> ActionChunk"""
    state = _state(start)
    return _chunk(start.stamp_s, [state], _brake(limits.solver(knot_s), state), knot_s)


def _state(start):
    return State(*(np.asarray(values, dtype=np.float64)
                   for values in (start.position_rad, start.velocity_rad_s, start.acceleration_rad_s2)))


def _targets(offset_s, position_rad, velocity_rad_s, start, limits, solver, count, knot_s):
    """Lay out what there is to steer for: the plan averaged over +-SMOOTH_S, knot by knot, beyond its end at rest.

    -> position [count + the longest AHEAD_S, J], velocity [the same, J]
    """
    knots_s = np.concatenate([[0.0], offset_s])
    positions, velocities = _into_limits(np.concatenate([[start.position_rad], position_rad]),
                                         np.concatenate([[start.velocity_rad_s], velocity_rad_s]), limits, solver)
    half = int(round(SMOOTH_S / knot_s))
    at_s = knot_s * np.arange(-half, count + round(AHEAD_S[-1] / knot_s) + 1 + half)
    position, velocity, _ = cubic_at(knots_s, positions, velocities, at_s)
    before = (at_s < 0)[:, None]        # go on backwards as the start moves, so that the average is not held back
    position = np.where(before, positions[0] + velocities[0] * at_s[:, None], position)
    velocity = np.where(before, velocities[0], velocity)
    return _into_limits(_average(position, half), _average(velocity, half), limits, solver)


def _average(values, half):
    weights = half + 1 - np.abs(np.arange(-half, half + 1))
    rows = np.lib.stride_tricks.sliding_window_view(values, len(weights), axis=0)
    return rows @ (weights / weights.sum())


def _into_limits(position, velocity, limits, solver):
    """Clip targets; one at a position limit has no velocity further out."""
    clipped = np.clip(position, limits.position_min_rad, limits.position_max_rad)
    velocity = np.where(clipped == position, velocity, 0.0)
    room = np.minimum(0.98 * limits.velocity_rad_s, 0.999 * solver.velocity_rad_s)     # a target at the very limit is refused
    return clipped, np.clip(velocity, -room, room)


def _follow(solver, begin, targets, count, limits, knot_s):
    """Step from knot to knot towards the targets: -> states [count + 1], the first being `begin`.

    The first pass does not look at position limits. From where it might leave them on, it is repeated with a look at every knot.
    """
    states = _steps(solver, [begin], targets, count, knot_s, lambda state, candidate: candidate)
    near = _near_limits(solver, states, limits)
    if not near.any():
        return states
    low, high = _bounds(solver, begin, limits)

    def guard(state, candidate):
        """Replace the step of joints that could no longer stop inside by a step of braking, which can by induction."""
        if not _near_limits(solver, [candidate], limits).any():
            return candidate
        lowest, highest = extent(_brake(solver, candidate))
        outside = (lowest < low) | (highest > high)
        if not outside.any():
            return candidate
        braked = state_at(_brake(solver, state), knot_s)
        return State(*(np.where(outside, brakes, goes) for brakes, goes in zip(braked, candidate)))
    return _steps(solver, states[:max(int(near.argmax()), 1)], targets, count, knot_s, guard)


def _steps(solver, states, targets, count, knot_s, guard):
    states, choice = list(states), 0
    for index in range(len(states) - 1, count):
        motion, choice = _intercept(solver, states[-1], targets, index, choice, knot_s)
        states.append(guard(states[-1], state_at(motion or _brake(solver, states[-1]), knot_s)))
    return states


def _intercept(solver, state, targets, index, choice, knot_s):
    """Meet the plan at the earliest of AHEAD_S that the limits allow; the search begins one before the last choice.

    A joint that cannot make it would otherwise make all others late, and each late knot the next one later.
    -> Trajectory | None, choice
    """
    for choice in range(max(choice - 1, 0), len(AHEAD_S)):
        row = index + round(AHEAD_S[choice] / knot_s)
        motion = solver.move(state, targets[0][row], targets[1][row], AHEAD_S[choice])
        if motion is not None and motion.duration <= AHEAD_S[choice] + 1e-6:
            break
    return motion, choice


def _near_limits(solver, states, limits):
    """Return which states might be unable to stop inside the position limits, by bounding the braking distance: -> [H] bool"""
    position, velocity, acceleration = (np.stack(parts) for parts in zip(*states))
    acceleration = np.abs(acceleration)
    # Worst case: the acceleration drives on while it is taken back, then full braking with its ramps.
    speed = np.abs(velocity) + acceleration**2 / (2 * solver.jerk_rad_s3)
    lasting_s = (acceleration + solver.acceleration_rad_s2) / solver.jerk_rad_s3 + speed / solver.acceleration_rad_s2
    reach = speed * lasting_s
    return np.any((position - reach < limits.position_min_rad) | (position + reach > limits.position_max_rad), axis=1)


def _bounds(solver, begin, limits):
    """Return the position limits, widened to where braking from `begin` leads anyway: -> low [J], high [J]"""
    low, high = extent(_brake(solver, begin))
    return (np.minimum(limits.position_min_rad, low) - TINY_RAD, np.maximum(limits.position_max_rad, high) + TINY_RAD)


def _settle(solver, state, position, limits, begin):
    """Plan to rest at a position, unless the way there leaves the limits or takes longer than TAIL_S: -> Trajectory | None"""
    motion = solver.move(state, position, np.zeros_like(position))
    if motion is None or motion.duration > TAIL_S:
        return None
    (low, high), (lowest, highest) = _bounds(solver, begin, limits), extent(motion)
    return motion if np.all(lowest >= low) and np.all(highest <= high) else None


def _brake(solver, state):
    motion = solver.stop(state)
    if motion is None:
        raise ValueError(f'no way to brake from velocity {state.velocity} and acceleration {state.acceleration}')
    return motion


def _chunk(origin_s, states, tail, knot_s):
    """Append the tail's knots to the states; the last knot is at exact rest."""
    count = max(int(np.ceil(tail.duration / knot_s - 1e-9)), 1)
    states = states + [state_at(tail, knot_s * (1 + index)) for index in range(count)]
    position, velocity, acceleration = (np.stack(parts) for parts in zip(*states))
    velocity[-1] = acceleration[-1] = 0.0
    return ActionChunk(origin_s, knot_s * np.arange(len(states)), position, velocity, acceleration)
