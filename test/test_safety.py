"""The last look at a chunk: each defect gives its reason, a sound chunk none."""
from dataclasses import replace

import numpy as np
import pytest

from diffusion_planner import config, files
from diffusion_planner.records import ActionChunk, MotionState
from diffusion_planner.robot import Robot
from diffusion_planner.safety import check_chunk, check_inputs
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
