"""Every message that can go out: all controllers take it, it begins in what runs, keeps every limit, and ends at rest.

`--hypothesis-profile=thorough` tries 10,000 runs of each test, new ones every time.
"""
import numpy as np
from contract_cases import CASES, KNOT_S, chunk_of, moving_start, robots, tries
from hypothesis import given
from hypothesis import strategies as some

from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import JERK_RATIO
from diffusion_planner.records import ActionChunk
from diffusion_planner.ros.conversions import to_joint_trajectory
from diffusion_planner.safety import check_chunk, peak_jerk
from diffusion_planner.sim.acceptance import DISTRIBUTIONS, acceptance_errors, nanoseconds
from diffusion_planner.splines import quintic_at


def read(message):
    """Turn a message back into a chunk, as a controller reads it: -> ActionChunk from origin 0"""
    offset_s = [nanoseconds(point.time_from_start) / 1e9 for point in message.points]
    rows = [np.array([getattr(point, name) for point in message.points]) for name in ('positions', 'velocities', 'accelerations')]
    return ActionChunk(0.0, np.array(offset_s), *rows)


def assert_contract(message, robot):
    """Check what any message must be, whatever it commands."""
    assert nanoseconds(message.header.stamp) == 0 and tuple(message.joint_names) == robot.joint_names
    times_ns = [nanoseconds(point.time_from_start) for point in message.points]
    assert times_ns[0] > 0 and all(after > before for before, after in zip(times_ns, times_ns[1:]))
    chunk = read(message)
    for rows in (chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2):
        assert rows.shape == (len(times_ns), len(robot.joint_names)) and np.all(np.isfinite(rows))
    assert not chunk.velocity_rad_s[-1].any() and not chunk.acceleration_rad_s2[-1].any()
    for distribution in DISTRIBUTIONS:
        assert acceptance_errors(message, robot.joint_names, 1.75e9, distribution) == []
    assert check_chunk(chunk, robot) == []


def assert_operators_limits(chunk, limits, period_s):
    """Check what the operator asked for, at every control period."""
    at_s = np.arange(0.0, chunk.offset_s[-1], period_s)
    _, velocity, acceleration = quintic_at(chunk.offset_s, chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2, at_s)
    assert np.all(np.abs(acceleration) <= limits.acceleration_rad_s2 * (1 + 1e-9))
    assert np.all(peak_jerk(chunk) <= JERK_RATIO * limits.jerk_rad_s3 + 1e-6)
    # An operator who turns the speed down while the arm is faster than that does not have it stopped more abruptly.
    begun = np.abs(chunk.velocity_rad_s[0]) + chunk.acceleration_rad_s2[0]**2 / (2 * limits.solver(KNOT_S).jerk_rad_s3)
    assert np.all(np.abs(velocity) <= np.maximum(limits.velocity_rad_s, begun * (begun > limits.velocity_rad_s) * 1.1) * (1 + 1e-9))


def test_every_robot_takes_part():
    assert {robot.name for robot in robots()} >= {'panda'}


@tries(120)
@given(case=CASES, delay_s=some.floats(1e-6, 2.0))
def test_every_message_keeps_the_contract(case, delay_s):
    random = np.random.default_rng(case.seed)
    state = moving_start(random, case.robot, case.limits(0), case.origin_s)
    for index in range(len(case.kinds)):
        chunk, limits = chunk_of(case, index, random, state)
        assert check_chunk(chunk, case.robot, state) == []
        starts = chunk.position_rad[0], chunk.velocity_rad_s[0], chunk.acceleration_rad_s2[0]
        np.testing.assert_array_equal(starts, (state.position_rad, state.velocity_rad_s, state.acceleration_rad_s2))
        assert chunk.origin_s + chunk.offset_s[0] == state.stamp_s
        assert_operators_limits(chunk, limits, case.robot.control_period_s)
        assert_contract(to_joint_trajectory(chunk, case.robot.joint_names, chunk.origin_s - delay_s), case.robot)
        state = sample(chunk, chunk.origin_s + random.uniform(0.0, chunk.offset_s[-1] + 0.1))
