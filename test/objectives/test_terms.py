"""Terms of the choice of a plan, by hand."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.objectives import terms
from diffusion_planner.sim.scene import default_robot


def _mismatch(kind, position_rad, velocity_rad_s, gap_s):
    return terms.mismatch(kind(position_rad), kind(velocity_rad_s), kind(gap_s)).tolist()


@pytest.mark.parametrize('kind', [np.array, torch.tensor])
def test_mismatch_by_hand(kind):
    # One path of three points and two joints. Joint 0, first step: velocities 1 and 3 have mean 2, in half a second they lead
    # 1 rad, and it went 1.25: off by 0.25. Second step: (3 - 1) / 2 = 1, in 2 s 2 rad, and it went back by 1: off by 3.
    # Joint 1 stands where its velocities say: nothing, then 0.5 * 0.5 * 2 = 0.5.
    position_rad = [[[0.0, 1.0], [1.25, 1.0], [0.25, 1.5]]]
    velocity_rad_s = [[[1.0, 0.0], [3.0, 0.0], [-1.0, 0.5]]]
    assert _mismatch(kind, position_rad, velocity_rad_s, [[0.5, 2.0]]) == [[[0.25, 0.0], [3.0, 0.0]]]


def test_mismatch_takes_each_path_with_its_own_gaps():
    position_rad, velocity_rad_s = np.array([[[0.0], [1.0]], [[0.0], [1.0]]]), np.ones((2, 2, 1))
    assert terms.mismatch(position_rad, velocity_rad_s, np.array([[1.0], [0.25]])).tolist() == [[[0.0]], [[0.75]]]


@settings(max_examples=100, deadline=None)
@given(*[st.floats(-5, 5)] * 3, st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_constant_acceleration_has_no_mismatch(start, speed, acceleration, gap_s):
    offset_s = np.concatenate([[0.0], np.cumsum(gap_s)])
    position = start + speed * offset_s + acceleration * offset_s ** 2 / 2
    missed = terms.mismatch(position[None, :, None], (speed + acceleration * offset_s)[None, :, None], np.array(gap_s)[None])
    assert missed.shape == (1, len(gap_s), 1) and (missed < 1e-9).all()


def test_speeds_and_smoothness_by_hand():
    # One rad in the first second, three in the next two: 1 and 1.5 rad/s, a change of 0.5.
    position_rad, offset_s = np.array([[[0.0], [1.0], [4.0]]]), np.array([[0.0, 1.0, 3.0]])
    assert terms.speeds(position_rad, offset_s).tolist() == [[[1.0], [1.5]]]
    assert terms.smoothness(position_rad, offset_s).tolist() == [-0.5]
    assert terms.smoothness(position_rad[:, :2], offset_s[:, :2]).tolist() == [0.0]     # a single stretch does not change speed


def test_within_limits_asks_for_positions_and_speeds():
    robot = default_robot()
    home, far = np.array(robot.home_rad), np.array(robot.position_max_rad) + 0.01
    position_rad = np.array([[home, home], [home, far], [home, home + 0.1]])
    # A tenth of a rad is slow in a second; in 0.01 s it is 10 rad/s, above every limit.
    assert terms.within_limits(position_rad, np.array([[0.0, 1.0], [0.0, 100.0], [0.0, 1.0]]), robot).tolist() == [True, False, True]
    assert terms.within_limits(position_rad[2:], np.array([[0.0, 0.01]]), robot).tolist() == [False]
