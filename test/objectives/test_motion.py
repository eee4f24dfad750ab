"""Motions: the fingertip against the robot file's own kinematics and by hand, the path between tokens, gradients."""
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.autograd import gradcheck

from diffusion_planner.config import load
from diffusion_planner.objectives.motion import Kinematics, Motion, dense, least, quantities, standing
from diffusion_planner.robot import JointFrame, Robot
from diffusion_planner.splines import cubic

PANDA = load(Robot, Path(__file__).resolve().parents[2] / 'config' / 'panda.yaml')
KINEMATICS = Kinematics(PANDA)


def lever():
    """One joint that turns a tip at 2 m about z."""
    one = {name: (3.0,) for name in ('position_max_rad', 'velocity_max_rad_s', 'acceleration_max_rad_s2', 'jerk_max_rad_s3')}
    frame = JointFrame((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    return Robot('lever', ('hinge',), (-3.0,), **one, control_period_s=0.01, chain=(frame,),
                 tip=JointFrame((2.0, 0.0, 0.0), (0.0, 0.0, 0.0)), home_rad=(0.0,))


def random_motion(plans=2, points=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    position, velocity = torch.randn(2, plans, points, 7, generator=random, dtype=torch.float64)
    gap_s = 0.1 + torch.rand(plans, points, generator=random, dtype=torch.float64)
    return Motion(position, velocity, gap_s.cumsum(1) - gap_s[:, :1], KINEMATICS)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=7, max_size=7))
def test_tip_is_the_robots_tip(position_rad):
    for dtype, error_m in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        tip_m = KINEMATICS.tip_m(torch.tensor(position_rad, dtype=dtype))
        assert tip_m.dtype == dtype and tip_m.shape == (3,)
        assert np.abs(tip_m.numpy() - PANDA.tip_m(position_rad)).max() < error_m


def test_tip_keeps_the_leading_shape():
    position_rad = torch.randn(2, 3, 4, 7, dtype=torch.float64)
    assert np.abs(KINEMATICS.tip_m(position_rad).numpy() - PANDA.tip_m(position_rad.numpy())).max() < 1e-12


def test_every_frame_of_a_chain_counts():
    # rpy all at once, an offset tip, and a joint frame that is off its axis: what the Panda's right angles would hide.
    frame = JointFrame((0.1, -0.2, 0.3), (0.4, -0.5, 0.6))
    one = {name: (3.0,) * 3 for name in ('position_max_rad', 'velocity_max_rad_s', 'acceleration_max_rad_s2', 'jerk_max_rad_s3')}
    robot = Robot('odd', ('a', 'b', 'c'), (-3.0,) * 3, **one, control_period_s=0.01, chain=(frame,) * 3, tip=frame, home_rad=(0.0,) * 3)
    position_rad = torch.randn(5, 3, dtype=torch.float64)
    assert np.abs(Kinematics(robot).tip_m(position_rad).numpy() - robot.tip_m(position_rad.numpy())).max() < 1e-12


def test_lever_by_hand():
    # At a quarter turn the 2 m lever points along y, 1 m up; turning by 0.5 rad/s its tip moves at 2 * 0.5 = 1 m/s along -x.
    motion = Motion(torch.tensor([[[math.pi / 2]]]), torch.tensor([[[0.5]]]), torch.zeros(1, 1), Kinematics(lever()))
    assert motion.tip_m[0, 0].tolist() == pytest.approx([0, 2, 1], abs=1e-6)
    assert motion.tip_speed_m_s.tolist() == [[pytest.approx(1.0)]]
    velocity = motion.kinematics.tip_velocity_m_s(motion.position_rad, motion.velocity_rad_s)
    assert velocity[0, 0].tolist() == pytest.approx([-1, 0, 0], abs=1e-6)


def test_tip_velocity_is_the_slope_of_the_tip():
    motion, step_s = random_motion(), 1e-6
    ahead, behind = [KINEMATICS.tip_m(motion.position_rad + sign * step_s * motion.velocity_rad_s) for sign in (1, -1)]
    exact = KINEMATICS.tip_velocity_m_s(motion.position_rad, motion.velocity_rad_s)
    assert (exact - (ahead - behind) / (2 * step_s)).abs().max() < 1e-7


def test_gradients_are_those_of_finite_differences():
    motion = random_motion()
    position, velocity = motion.position_rad.requires_grad_(), motion.velocity_rad_s.requires_grad_()

    def seen(position, velocity):
        path = dense(Motion(position, velocity, motion.offset_s, KINEMATICS), 3)
        return path.tip_m, path.tip_speed_m_s

    assert gradcheck(seen, (position, velocity))


def test_standing_still_has_a_gradient_that_is_a_number():
    motion = standing(PANDA.home_rad, KINEMATICS)
    velocity = motion.velocity_rad_s.clone().requires_grad_()
    Motion(motion.position_rad, velocity, motion.offset_s, KINEMATICS).tip_speed_m_s.sum().backward()
    assert motion.tip_speed_m_s.tolist() == [[0.0]] and torch.isfinite(velocity.grad).all()


def test_dense_by_hand():
    # From 0 to 1 in 2 s, at 0 rad/s at both ends: half way through 0.5, at the cubic's top speed 1.5 * 1 / 2 = 0.75 rad/s.
    motion = Motion(torch.tensor([[[0.0], [1.0]]]), torch.zeros(1, 2, 1), torch.tensor([[0.0, 2.0]]), Kinematics(lever()))
    path = dense(motion, 2)
    assert path.position_rad.flatten().tolist() == [0.0, 0.5, 1.0]
    assert path.velocity_rad_s.flatten().tolist() == [0.0, 0.75, 0.0]
    assert path.offset_s.tolist() == [[0.0, 1.0, 2.0]] and path.per_stretch == 2


def test_dense_is_the_cubic_of_the_controllers():
    motion = random_motion(points=4)
    path = dense(motion, 5)
    assert path.position_rad.shape == (2, 16, 7)
    begin, end = [(motion.position_rad[:, 1:3].numpy()[:, at], motion.velocity_rad_s[:, 1:3].numpy()[:, at]) for at in (0, 1)]
    duration_s = (motion.offset_s[:, 2] - motion.offset_s[:, 1]).numpy()
    position, velocity, _ = cubic(0.6 * duration_s, duration_s, begin, end)
    assert np.allclose(path.position_rad[:, 8], position) and np.allclose(path.velocity_rad_s[:, 8], velocity)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5))
def test_dense_loses_no_point(count, points):
    motion = random_motion(points=points)
    path = dense(motion, count)
    assert path.position_rad.shape[1] == 1 + (points - 1) * count
    for name in ('position_rad', 'velocity_rad_s', 'offset_s'):
        assert torch.allclose(getattr(path, name)[:, ::count], getattr(motion, name), atol=1e-12)


def test_dense_survives_two_points_at_one_instant():
    motion = Motion(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), torch.zeros(1, 2), Kinematics(lever()))
    assert torch.isfinite(dense(motion, 4).velocity_rad_s).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(0.001, 1))
def test_soft_least_is_below_by_at_most_temperature_times_log(values, temperature):
    values = torch.tensor(values, dtype=torch.float64)
    below = values.min() - least(values, -1, temperature)
    assert -1e-9 <= below <= temperature * math.log(len(values)) + 1e-9
    assert least(values) == values.min()


def test_quantities_read_what_they_name():
    motion = random_motion()
    known = quantities(PANDA.joint_names)
    assert len(known) == 3 + 2 + 2 * 7
    assert torch.equal(known['tip_y'].signal(motion), motion.tip_m[..., 1])
    assert torch.equal(known['tip_speed'].signal(motion), motion.tip_speed_m_s)
    assert torch.equal(known['seconds'].signal(motion), motion.offset_s)
    assert torch.equal(known['panda_joint3'].signal(motion), motion.position_rad[..., 2])
    assert torch.equal(known['panda_joint7_speed'].signal(motion), motion.velocity_rad_s[..., 6])
