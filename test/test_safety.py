"""The last look at a chunk: each defect gives its reason, a sound chunk none."""
from dataclasses import replace

import numpy as np
import pytest

from diffusion_planner import config, files
from diffusion_planner.records import ActionChunk, MotionState
from diffusion_planner.robot import Robot
from diffusion_planner.safety import check_chunk, check_inputs, peak_jerk
from diffusion_planner.splines import quintic_at


@pytest.fixture(scope='module')
def robot():
    return config.load(Robot, files.find('config/panda.yaml'))


@pytest.fixture
def chunk(robot):
    """Half a second at rest at home, at 50 Hz."""
    position = np.tile(robot.home_rad, (26, 1))
    return ActionChunk(3.0, 0.02 * np.arange(26), position, np.zeros((26, 7)), np.zeros((26, 7)))


@pytest.fixture
def reference(robot):
    return MotionState(3.0, np.array(robot.home_rad), np.zeros(7), np.zeros(7))


def changed(chunk, field, row, joint, value):
    values = getattr(chunk, field).copy()
    values[row, joint] = value
    return replace(chunk, **{field: values})


def test_a_sound_chunk_may_go(chunk, robot, reference):
    assert check_chunk(chunk, robot) == [] == check_chunk(chunk, robot, reference)


@pytest.mark.parametrize('field', ['position_rad', 'velocity_rad_s', 'acceleration_rad_s2'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_not_finite(chunk, robot, field, value):
    assert check_chunk(changed(chunk, field, 4, 2, value), robot) == ['not finite']


def test_times_and_shapes(chunk, robot):
    stuck = chunk.offset_s.copy()
    stuck[5] = stuck[4]
    assert check_chunk(replace(chunk, offset_s=stuck), robot) == ['times not increasing']
    assert check_chunk(replace(chunk, velocity_rad_s=np.zeros((26, 6))), robot) == ['wrong shape']
    empty = ActionChunk(0.0, np.zeros(0), *(np.zeros((0, 7)),) * 3)
    assert check_chunk(empty, robot) == ['wrong shape']


def test_limits_name_the_joint(chunk, robot):
    assert 'position limit of panda_joint4' in check_chunk(changed(chunk, 'position_rad', 9, 3, 0.0), robot)
    assert 'velocity limit of panda_joint1' in check_chunk(changed(chunk, 'velocity_rad_s', 9, 0, -2.2), robot)
    assert check_chunk(changed(chunk, 'acceleration_rad_s2', 9, 1, 7.6), robot) == ['acceleration limit of panda_joint2']


def test_limits_hold_between_knots(robot, reference):
    # 0.6 rad in half a second, rest to rest: the quintic's peak is 1.875 * 0.6 / 0.5 = 2.25 rad/s, above 2.175.
    position = np.stack([reference.position_rad, reference.position_rad])
    position[1, 0] += 0.6
    jump = ActionChunk(3.0, np.array([0.0, 0.5]), position, np.zeros((2, 7)), np.zeros((2, 7)))
    assert check_chunk(jump, robot) == ['velocity limit of panda_joint1']


def test_jerk_is_kept_between_knots(chunk, robot):
    # From rest to rest in time T the quintic's jerk is 60 way / T^3 at both ends: 3750 rad/s^3 in 20 ms is 0.5 mrad.
    for way_rad, reasons in ((0.00049, []), (0.00051, ['jerk limit of panda_joint2'])):
        moved = chunk.position_rad.copy()
        moved[10:, 1] += way_rad
        assert check_chunk(replace(chunk, position_rad=moved), robot) == reasons


def test_the_peak_of_jerk_is_that_of_the_spline():
    # Jerk 6 u (1 - u) over a second, nothing at both ends and 1.5 half way: from 0 to a = 1, v = 1/2, p = 3/20.
    ends = np.array([0.0, 1.0]), *(np.array([[0.0], [value]]) for value in (0.15, 0.5, 1.0))
    assert peak_jerk(ActionChunk(0.0, *ends)) == pytest.approx(1.5)
    random, offset_s = np.random.default_rng(0), np.array([0.0, 0.1, 0.17])
    rows = random.normal(size=(3, 3, 4))
    for index in range(2):
        at_s = np.linspace(offset_s[index], offset_s[index + 1], 10001)[:-1]
        jerk = np.diff(quintic_at(offset_s, *rows, at_s)[2], axis=0) / (at_s[1] - at_s[0])
        np.testing.assert_allclose(peak_jerk(ActionChunk(0.0, offset_s, *rows))[index], np.abs(jerk).max(axis=0), rtol=1e-3)


def test_jerk_counts_at_the_first_point_too(chunk, robot, reference):
    # 5000 rad/s^3 for one period of 1/240 s is 20.8 rad/s^2.
    for step, reasons in ((20.0, []), (22.0, ['jerk limit of panda_joint3'])):
        pushed = reference.acceleration_rad_s2 + step * (np.arange(7) == 2)
        assert check_chunk(chunk, robot, replace(reference, acceleration_rad_s2=pushed), tolerance=25.0) == reasons


def test_it_must_start_at_the_reference_and_end_at_rest(chunk, robot, reference):
    off = replace(reference, velocity_rad_s=np.full(7, 0.01))
    assert check_chunk(chunk, robot, off) == ['does not start at the reference']
    assert check_chunk(chunk, robot, replace(reference, stamp_s=3.1)) == ['does not start at the reference']
    assert check_chunk(chunk, robot, off, tolerance=0.1) == []
    assert check_chunk(changed(chunk, 'velocity_rad_s', -1, 0, 1e-6), robot) == ['does not end at rest']


@pytest.mark.parametrize('way_rad, reasons', [(-0.1, []), (0.1, ['position limit of panda_joint4'])])
def test_outside_the_position_limits_only_inward(chunk, robot, way_rad, reasons):
    ends = np.tile(robot.home_rad, (2, 1))
    ends[:, 3] = robot.position_max_rad[3] + 0.05 + np.array([0.0, way_rad])
    rest = np.zeros((2, 7))
    position, velocity, acceleration = quintic_at(np.array([0.0, 0.5]), ends, rest, rest, chunk.offset_s)
    velocity[-1] = acceleration[-1] = 0.0       # at rest to the last bit
    assert check_chunk(ActionChunk(3.0, chunk.offset_s, position, velocity, acceleration), robot) == reasons


def test_inputs_are_missing_or_stale():
    limit_s = {'camera': 0.5, 'joint states': 0.1}
    assert check_inputs({'camera': 0.2, 'joint states': 0.02}, limit_s) == []
    assert check_inputs({'camera': 0.6, 'joint states': None}, limit_s) == ['joint states: nothing received', 'camera: stale']
    assert check_inputs({'camera': np.nan}, limit_s) == ['joint states: nothing received', 'camera: stale']
