"""The last look at what goes out, and the first at what comes in. Every refusal has a reason of a few fixed words."""
import numpy as np

from diffusion_planner.splines import quintic_at


def check_chunk(chunk, robot, reference=None, tolerance=1e-4):
    """List why a chunk must not reach the robot; an empty list is leave to go.

    check_chunk(chunk: ActionChunk, robot: Robot, reference: MotionState | None, tolerance) -> reasons

    Limits are the robot's own, kept at every control period of the controller's quintic, not at the knots alone; jerk at every
    instant, and where the acceleration steps from the reference's to the first point's, in one control period. A chunk that starts
    outside the position limits may only come inward. `reference` is the state it must start from, within `tolerance` (rad, rad/s,
    rad/s^2 and rad/s^3).
    """
    reasons = _shape_reasons(chunk, len(robot.joint_names))
    if reasons:
        return reasons
    knots = (chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2)
    at_s = np.arange(chunk.offset_s[0], chunk.offset_s[-1], robot.control_period_s)
    at_s = np.concatenate([chunk.offset_s, at_s])
    position, velocity, acceleration = quintic_at(chunk.offset_s, *knots, at_s)
    reasons += _beyond('position limit', _excess(position, robot), _excess(knots[0][:1], robot) + tolerance, robot)
    reasons += _beyond('velocity limit', np.abs(velocity), np.array(robot.velocity_max_rad_s) + tolerance, robot)
    reasons += _beyond('acceleration limit', np.abs(acceleration), np.array(robot.acceleration_max_rad_s2) + tolerance, robot)
    reasons += _beyond('jerk limit', _jerks(chunk, robot, reference), np.array(robot.jerk_max_rad_s3) + tolerance, robot)
    if knots[1][-1].any() or knots[2][-1].any():
        reasons.append('does not end at rest')
    if reference is not None and not _starts_at(chunk, reference, tolerance):
        reasons.append('does not start at the reference')
    return reasons


def check_inputs(age_s, limit_s):
    """List which inputs a plan cannot stand on: check_inputs({name: age_s | None}, {name: limit_s}) -> reasons

    An age is the time since receipt; None is an input that has never come.
    """
    missing = [f'{name}: nothing received' for name in limit_s if age_s.get(name) is None]
    stale = [f'{name}: stale' for name, limit in limit_s.items() if age_s.get(name) is not None and not age_s[name] <= limit]
    return missing + stale


def _shape_reasons(chunk, joints):
    """List what makes the chunk no chunk at all; later checks would only trip over it."""
    knots = (chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2)
    if len(chunk.offset_s) == 0 or any(np.shape(values) != (len(chunk.offset_s), joints) for values in knots):
        return ['wrong shape']
    if not all(np.all(np.isfinite(values)) for values in (chunk.origin_s, chunk.offset_s, *knots)):
        return ['not finite']
    if np.any(np.diff(chunk.offset_s) <= 0):
        return ['times not increasing']
    return []


def peak_jerk(chunk):
    """Return the largest absolute jerk of the controller's quintic between each knot and the next: -> [H - 1, J] in rad/s^3

    The jerk of a quintic is a parabola over time, which its two ends and its mean give.
    """
    time_s = np.diff(chunk.offset_s)[:, None]
    (speed, next_speed), (drive, next_drive) = [(rows[:-1], rows[1:]) for rows in (chunk.velocity_rad_s, chunk.acceleration_rad_s2)]
    way = 60 * np.diff(chunk.position_rad, axis=0) / time_s**3
    begin = way - (36 * speed + 24 * next_speed) / time_s**2 + (3 * next_drive - 9 * drive) / time_s
    end = way - (24 * speed + 36 * next_speed) / time_s**2 + (9 * next_drive - 3 * drive) / time_s
    mean = (next_drive - drive) / time_s
    bend, slope = 3 * (begin + end - 2 * mean), 6 * mean - 4 * begin - 2 * end
    vertex = np.clip(np.divide(-slope, 2 * bend, out=np.zeros_like(bend), where=bend != 0), 0.0, 1.0)
    return np.abs([begin, end, begin + (slope + bend * vertex) * vertex]).max(axis=0)


def _jerks(chunk, robot, reference):
    """List the peak of each interval, and what the step from the reference to the first point comes to in one period: -> [H, J]"""
    step = np.zeros(len(robot.joint_names)) if reference is None else chunk.acceleration_rad_s2[0] - reference.acceleration_rad_s2
    return np.concatenate([np.abs(step)[None] / robot.control_period_s, peak_jerk(chunk)])


def _excess(position_rad, robot):
    """Return how far positions are outside the robot's limits: [..., J] -> [..., J] >= 0"""
    return np.maximum(np.maximum(position_rad - robot.position_max_rad, robot.position_min_rad - position_rad), 0.0)


def _beyond(what, values, limit, robot):
    return [f'{what} of {name}' for name, beyond in zip(robot.joint_names, np.any(values > limit, axis=0)) if beyond]


def _starts_at(chunk, reference, tolerance):
    pairs = ((chunk.position_rad, reference.position_rad), (chunk.velocity_rad_s, reference.velocity_rad_s),
             (chunk.acceleration_rad_s2, reference.acceleration_rad_s2))
    starts = abs(chunk.origin_s + chunk.offset_s[0] - reference.stamp_s) <= tolerance
    return starts and all(np.abs(values[0] - expected).max() <= tolerance for values, expected in pairs)
