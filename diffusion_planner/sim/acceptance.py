"""Which trajectories joint_trajectory_controller (JTC) takes, per ROS distribution: its checks, and only those.

What JTC does not check is not checked here either: duplicate names, NaN, limits, distance from the current state. Nor is here what
it refuses without a check: a stamp before 0 throws, and while it is inactive it drops everything. Master's `positions_upsampling`,
off by default, gives times to positions that have none before they are checked; it is not imitated.
Read from ros2_controllers humble 2.54, jazzy 4.42, kilted 5.17 and master (6.9) of August 2026; the last three have the same checks.
"""
from dataclasses import dataclass

DISTRIBUTIONS = ('humble', 'jazzy', 'kilted', 'master')
FLOAT_EPSILON = 2.0**-23        # std::numeric_limits<float>::epsilon(), JTC's zero for a final velocity


@dataclass(frozen=True)
class AcceptanceOptions:
    """JTC's parameters that change what it takes; None is the distribution's default."""

    allow_partial_joints_goal: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool | None = None
    allow_integration_in_goal_trajectories: bool = False
    effort_interface: bool = False


def acceptance_errors(trajectory, joint_names, now_s, distribution='jazzy', options=None):
    """List why JTC would refuse a trajectory; an empty list is acceptance.

    `trajectory` has the attributes of trajectory_msgs/JointTrajectory. JTC logs the first reason only. Raises ValueError
    for an unknown distribution.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f'distribution: got {distribution!r}, expected one of {", ".join(DISTRIBUTIONS)}')
    options = options or AcceptanceOptions()
    errors = _joint_errors(trajectory.joint_names, joint_names, options)
    if len(trajectory.points) == 0:
        return errors + ['no points: an empty trajectory is not a stop']
    errors += _end_errors(trajectory, distribution, options)
    errors += _past_errors(trajectory, now_s)
    errors += _time_errors(trajectory.points)
    for index, point in enumerate(trajectory.points):
        errors += _field_errors(point, index, len(trajectory.joint_names), options)
        if len(point.effort) and (distribution == 'humble' or not options.effort_interface):
            errors.append(f'point {index}: effort is given, the controller has no effort interface')
    return errors


def nanoseconds(stamp):
    """Read a builtin_interfaces Time or Duration as whole nanoseconds, the unit JTC compares in."""
    return stamp.sec * 10**9 + stamp.nanosec


def _joint_errors(names, joint_names, options):
    errors = []
    if len(names) == 0:
        errors.append('joint names: the list is empty')
    if len(names) != len(joint_names) and not options.allow_partial_joints_goal:
        errors.append(f'joint names: got {len(names)}, expected {len(joint_names)}')
    return errors + [f'joint names: {name!r} is not a joint of the controller' for name in names if name not in joint_names]


def _end_errors(trajectory, distribution, options):
    allowed = options.allow_nonzero_velocity_at_trajectory_end
    if (distribution == 'humble') if allowed is None else allowed:
        return []
    # NaN passes, as in JTC: it is not above epsilon.
    return [f'last point: velocity {index} is {velocity}, expected zero'
            for index, velocity in enumerate(trajectory.points[-1].velocities) if abs(velocity) > FLOAT_EPSILON]


def _past_errors(trajectory, now_s):
    start = nanoseconds(trajectory.header.stamp)
    end = start + nanoseconds(trajectory.points[-1].time_from_start)
    if start == 0 or end >= round(now_s * 1e9):
        return []
    return [f'stamp: the trajectory ended at {end / 1e9} s, it is {now_s} s']


def _time_errors(points):
    times = [nanoseconds(point.time_from_start) for point in points]
    return [f'point {index + 1}: time_from_start is {after / 1e9} s after {before / 1e9} s, expected strictly increasing'
            for index, (before, after) in enumerate(zip(times, times[1:])) if after <= before]


def _field_errors(point, index, count, options):
    """Compare lengths: positions are required, the rest may be empty; with integration one of the three is enough."""
    fields = {name: len(getattr(point, name)) for name in ('positions', 'velocities', 'accelerations')}
    if options.allow_integration_in_goal_trajectories and not any(fields.values()):
        return [f'point {index}: no positions, velocities or accelerations']
    required = () if options.allow_integration_in_goal_trajectories else ('positions',)
    return [f'point {index}: got {length} {name}, expected {count}'
            for name, length in fields.items() if length != count and (length or name in required)]
