"""The robot as data: what cannot be is refused, naming the joint, and the shipped arms are the arms they say they are."""
import math
import re
from pathlib import Path

import numpy as np
import pytest

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.robot import JointFrame, Robot, rotation_rpy

CONFIG = Path(__file__).resolve().parent.parent / 'config'
PANDA, UR5E, XARM6 = (config.load(Robot, CONFIG / f'{name}.yaml') for name in ('panda', 'ur5e', 'xarm6'))
ARMS = pytest.mark.parametrize('robot', (PANDA, UR5E, XARM6), ids=lambda robot: robot.name)

# Universal Robots, "DH parameters for calculations of kinematics and dynamics", UR5e: a [m], d [m], alpha [rad]
UR5E_DH = ((0.0, 0.1625, math.pi / 2), (-0.425, 0.0, 0.0), (-0.3922, 0.0, 0.0),
           (0.0, 0.1333, math.pi / 2), (0.0, 0.0997, -math.pi / 2), (0.0, 0.0996, 0.0))
# UFACTORY, "Kinematic and Dynamic Parameters of xArm 6", standard DH: a [m], d [m], alpha [rad], and what is added to the joint
LEAN_RAD = math.atan(284.5 / 53.5)
XARM6_DH = ((0.0, 0.267, -math.pi / 2), (math.hypot(0.2845, 0.0535), 0.0, 0.0), (0.0775, 0.0, -math.pi / 2),
            (0.0, 0.3425, math.pi / 2), (0.076, 0.0, -math.pi / 2), (0.0, 0.097, 0.0))
XARM6_ZERO_RAD = (0.0, -LEAN_RAD, LEAN_RAD, 0.0, 0.0, 0.0)


def postures(robot, count=20):
    """Draw postures within the limits: -> [count, J]"""
    return np.random.default_rng(7).uniform(robot.position_min_rad, robot.position_max_rad, (count, len(robot.joint_names)))


def denavit_hartenberg(table, position_rad):
    """Compute forward kinematics from a table of a, d, alpha: -> pose [4, 4]"""
    pose = np.eye(4)
    for (a, d, alpha), angle in zip(table, position_rad):
        (cosine, ca), (sine, sa) = np.cos((angle, alpha)), np.sin((angle, alpha))
        pose = pose @ [[cosine, -sine * ca, sine * sa, a * cosine], [sine, cosine * ca, -cosine * sa, a * sine], [0, sa, ca, d], [0, 0, 0, 1]]
    return pose


def changed(name, joint, value):
    """Change one joint's value of the Panda: -> mapping"""
    mapping = config.to_mapping(PANDA)
    mapping[name][joint] = value
    return mapping


@pytest.mark.parametrize('mapping, expected', [
    (changed('position_min_rad', 1, 1.8), 'panda_joint2: position_min_rad must be below position_max_rad, got 1.8 and 1.7628'),
    (changed('position_max_rad', 3, -3.0718), 'panda_joint4: position_min_rad must be below position_max_rad, got -3.0718 and -3.0718'),
    (changed('home_rad', 3, 0.5), 'panda_joint4: home_rad: got 0.5, expected -3.0718 to -0.0698'),
    (changed('velocity_max_rad_s', 6, 0.0), 'panda_joint7: velocity_max_rad_s: got 0.0, expected positive'),
    (changed('acceleration_max_rad_s2', 0, -1.0), 'panda_joint1: acceleration_max_rad_s2: got -1.0, expected positive'),
    (changed('jerk_max_rad_s3', 2, 0.0), 'panda_joint3: jerk_max_rad_s3: got 0.0, expected positive'),
    (changed('position_max_rad', 4, math.nan), 'panda_joint5: position_max_rad: got nan, expected a finite number'),
    (changed('velocity_max_rad_s', 4, math.inf), 'panda_joint5: velocity_max_rad_s: got inf, expected a finite number'),
    (changed('home_rad', 0, math.nan), 'panda_joint1: home_rad: got nan, expected a finite number'),
    (changed('chain', 5, {'xyz_m': [0, math.nan, 0], 'rpy_rad': [0, 0, 0]}), 'panda_joint6: chain: xyz_m: got nan, expected a finite number'),
    ({**config.to_mapping(PANDA), 'tip': {'xyz_m': [0, 0, 0], 'rpy_rad': [0, -math.inf, 0]}}, 'tip: rpy_rad: got -inf, expected a finite number'),
    ({**config.to_mapping(PANDA), 'control_period_s': 0.0}, 'control_period_s: got 0.0, expected a positive period'),
    ({**config.to_mapping(PANDA), 'control_period_s': math.nan}, 'control_period_s: got nan, expected a finite number'),
    ({**config.to_mapping(PANDA), 'joint_names': []}, 'joint_names: got [], expected one joint at least'),
    (changed('joint_names', 2, ''), "joint_names: got ['panda_joint1', 'panda_joint2', '', "),
    (changed('joint_names', 2, 'panda_joint1'), 'has duplicates'),
    ({**config.to_mapping(PANDA), 'chain': []}, 'chain: got 0 values, expected 7, one per joint'),
])
def test_refuses_what_cannot_be(mapping, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        config.from_mapping(Robot, mapping, 'panda.yaml')
    assert str(caught.value).startswith('panda.yaml: ') and '\n' not in str(caught.value)


def test_a_limit_may_be_home():
    mapping = changed('home_rad', 3, PANDA.position_max_rad[3])
    assert config.from_mapping(Robot, mapping).home_rad[3] == PANDA.position_max_rad[3]


@pytest.mark.parametrize('rpy_rad', [(0.3, -0.4, 2.9), (-3.0, 1.5, -1.0), (0.5, math.pi / 2, 0.2), (0.5, -math.pi / 2, 0.2), (0.0, 0.0, 0.0)])
def test_a_frame_keeps_its_rotation(rpy_rad):
    rotation = np.round(rotation_rpy(rpy_rad), 12)    # straight up or down then leaves nothing but zeros to tell roll and yaw by
    frame = JointFrame.of((0.1, -0.0, 0.3), rotation)
    assert np.allclose(rotation_rpy(frame.rpy_rad), rotation, atol=1e-9)
    assert math.copysign(1, frame.xyz_m[1]) == 1      # -0.0 reads badly in a file


@ARMS
def test_shipped_arms_are_at_home_well_inside_their_limits(robot):
    assert np.all(np.array(robot.home_rad) > np.array(robot.position_min_rad) + 0.3)
    assert np.all(np.array(robot.home_rad) < np.array(robot.position_max_rad) - 0.3)


@ARMS
def test_shipped_arms_point_down_at_home(robot):
    position_m, rotation = robot.tip_pose(robot.home_rad)
    assert rotation[2, 2] < -0.99 and 0.3 < position_m[0] < 0.6 and 0.3 < position_m[2] < 0.6


def test_ur5e_is_what_its_maker_publishes():
    half_turn = np.diag([-1.0, -1.0, 1.0])    # from base_link of ROS to the controller's base frame
    for position_rad in postures(UR5E):
        pose = denavit_hartenberg(UR5E_DH, position_rad)
        position_m, rotation = UR5E.tip_pose(position_rad)
        assert np.allclose(half_turn @ position_m, pose[:3, 3], atol=1e-9)
        assert np.allclose(half_turn @ rotation, pose[:3, :3], atol=1e-9)


def test_xarm6_is_what_its_maker_publishes():
    for position_rad in postures(XARM6):
        pose = denavit_hartenberg(XARM6_DH, position_rad + XARM6_ZERO_RAD)
        position_m, rotation = XARM6.tip_pose(position_rad)
        assert np.allclose(position_m, pose[:3, 3], atol=2e-5)    # the ROS description writes a quarter turn as 1.5708
        assert np.allclose(rotation, pose[:3, :3], atol=2e-5)
