"""A robot_description: it only ever narrows a robot file, and a robot made of one moves as PyBullet's does."""
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffusion_planner import cli, config, urdf
from diffusion_planner.config import ConfigError
from diffusion_planner.robot import Robot

PANDA, XARM6 = (config.load(Robot, Path(__file__).resolve().parent.parent / 'config' / name) for name in ('panda.yaml', 'xarm6.yaml'))

# Two hinges about axes that are not z, a fixed bend before, between and after them, a wheel without end and a finger beside.
CRANE = '''<?xml version="1.0" encoding="utf-8"?>
<robot name="crane">
  <link name="floor"/><link name="foot"/><link name="mast"/><link name="knee"/><link name="boom"/><link name="wheel"/><link name="hook"/>
  <link name="finger"/>
  <joint name="bolt" type="fixed"><parent link="floor"/><child link="foot"/><origin xyz="0.1 0.2 0.3" rpy="0.2 -0.1 0.7"/></joint>
  <joint name="sway" type="revolute"><parent link="foot"/><child link="mast"/><origin xyz="0 0 0.4" rpy="0.1 0.5 -0.3"/>
    <axis xyz="0 2 0"/><limit lower="-1" upper="2" velocity="1.5" effort="9" acceleration="6" deceleration="4" jerk="40"/></joint>
  <joint name="bend" type="fixed"><parent link="mast"/><child link="knee"/><origin xyz="0.3 0 0.1" rpy="0 1.5707963267948966 0"/></joint>
  <joint name="lift" type="revolute"><parent link="knee"/><child link="boom"/><origin xyz="0 0.2 0"/>
    <limit lower="-2" upper="-0.5" velocity="2" effort="9"/>
    <safety_controller soft_lower_limit="-1.5" soft_upper_limit="0" k_velocity="1"/></joint>
  <joint name="spin" type="continuous"><parent link="boom"/><child link="wheel"/><origin xyz="0.1 0 0" rpy="0 0 1"/>
    <axis xyz="0.6 0 -0.8"/><limit velocity="3" effort="9"/></joint>
  <joint name="tool" type="fixed"><parent link="wheel"/><child link="hook"/><origin xyz="0 0 0.25" rpy="-0.4 0 0"/></joint>
  <joint name="grip" type="revolute"><parent link="hook"/><child link="finger"/><limit lower="0" upper="1" velocity="1" effort="1"/>
    <mimic joint="spin"/></joint>
  <ros2_control name="crane" type="system"><joint name="sway"/></ros2_control>
</robot>'''
CRANE_ROBOT = urdf.robot_from_urdf(CRANE, 'hook')


def without(pattern):
    """Leave something out of the crane: -> URDF text"""
    assert re.search(pattern, CRANE)
    return re.sub(pattern, '', CRANE, count=1)


def refused(call, *arguments, **options):
    """Return the one line with which a call is refused."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def bullet_poses(path, robot, link, postures):
    """Ask PyBullet where a link is, [N, J] joint positions: -> list of (position [3], rotation [3, 3])"""
    bullet = pytest.importorskip('pybullet')
    client = bullet.connect(bullet.DIRECT)
    try:
        body = bullet.loadURDF(str(path), useFixedBase=True, physicsClientId=client)
        infos = [bullet.getJointInfo(body, index, physicsClientId=client) for index in range(bullet.getNumJoints(body, physicsClientId=client))]
        joints = {info[1].decode(): info[0] for info in infos}
        links = {info[12].decode(): info[0] for info in infos}
        found = []
        for posture in postures:
            for name, angle in zip(robot.joint_names, posture):
                bullet.resetJointState(body, joints[name], angle, physicsClientId=client)
            state = bullet.getLinkState(body, links[link], computeForwardKinematics=True, physicsClientId=client)
            found.append((np.array(state[4]), np.array(bullet.getMatrixFromQuaternion(state[5])).reshape(3, 3)))
        return found
    finally:
        bullet.disconnect(client)


def check_against_bullet(path, robot, link):
    postures = np.random.default_rng(3).uniform(robot.position_min_rad, robot.position_max_rad, (20, len(robot.joint_names)))
    for posture, (position_m, rotation) in zip(postures, bullet_poses(path, robot, link, postures)):
        ours_m, ours = robot.tip_pose(posture)
        assert np.allclose(ours_m, position_m, rtol=0, atol=1e-6) and np.allclose(ours, rotation, rtol=0, atol=1e-6)


def shipped(name):
    """Find one of PyBullet's own URDFs."""
    return Path(pytest.importorskip('pybullet_data').getDataPath()) / name


@pytest.mark.parametrize('name, tip', [('franka_panda/panda.urdf', 'panda_grasptarget'), ('franka_panda/panda.urdf', 'panda_link5'),
                                       ('kuka_iiwa/model.urdf', 'lbr_iiwa_link_7'), ('xarm/xarm6_robot.urdf', 'link6')])
def test_moves_as_in_pybullet(name, tip):
    path = shipped(name)
    check_against_bullet(path, urdf.robot_from_urdf(path.read_bytes(), tip), tip)


@pytest.mark.parametrize('axis', ['0 0 1', '0 0 -1', '0 2 0', '-1 0 0', '0.5 -0.5 0.7', '0.6 0 -0.8'])
def test_moves_as_in_pybullet_about_any_axis(tmp_path, axis):
    path = tmp_path / 'crane.urdf'
    path.write_text(CRANE.replace('0 2 0', axis))
    check_against_bullet(path, urdf.robot_from_urdf(path.read_text(), 'hook'), 'hook')


def test_panda_yaml_is_pybullets_panda():
    made = urdf.robot_from_urdf(shipped('franka_panda/panda.urdf').read_text(), 'panda_grasptarget', joints=PANDA.joint_names)
    for ours, theirs in zip((*made.chain, made.tip), (*PANDA.chain, PANDA.tip), strict=True):
        assert np.allclose((ours.xyz_m, ours.rpy_rad), (theirs.xyz_m, theirs.rpy_rad), atol=1e-9)
    for name in ('joint_names', 'position_min_rad', 'position_max_rad', 'velocity_max_rad_s'):
        assert getattr(made, name) == getattr(PANDA, name)


def test_xarm6_yaml_is_pybullets_xarm6():
    made = urdf.robot_from_urdf(shipped('xarm/xarm6_robot.urdf').read_text(), 'link6', 'link_base')
    assert (made.joint_names, made.chain, made.tip) == (XARM6.joint_names, XARM6.chain, XARM6.tip)
    assert np.allclose(made.position_min_rad, XARM6.position_min_rad) and np.allclose(made.position_max_rad, XARM6.position_max_rad)


def test_a_robot_of_a_urdf():
    assert CRANE_ROBOT.name == 'crane' and CRANE_ROBOT.joint_names == ('sway', 'lift', 'spin')
    assert CRANE_ROBOT.position_min_rad == (-1.0, -1.5, -2 * math.pi) and CRANE_ROBOT.position_max_rad == (2.0, -0.5, 2 * math.pi)
    assert CRANE_ROBOT.velocity_max_rad_s == (1.5, 2.0, 3.0)
    assert CRANE_ROBOT.acceleration_max_rad_s2 == (4.0, 2.0, 2.0) and CRANE_ROBOT.jerk_max_rad_s3 == (40.0, 20.0, 20.0)
    assert CRANE_ROBOT.home_rad == (0.0, -1.0, 0.0)      # zero where that is allowed, else the middle


@pytest.mark.parametrize('limits, home_rad', [('lower="-0.2" upper="1"', 0.0), ('lower="-0.05" upper="1.05"', 0.5), ('lower="-1" upper="0.05"', -0.475)])
def test_home_is_not_at_a_limit(limits, home_rad):
    assert urdf.robot_from_urdf(CRANE.replace('lower="-1" upper="2"', limits), 'hook').home_rad[0] == home_rad


def test_options_bound_a_robot_of_a_urdf():
    made = urdf.robot_from_urdf(CRANE, 'hook', 'foot', name='hoist', acceleration_rad_s2=5.0, jerk_rad_s3=30.0, home_rad=(1, -1, 0))
    assert made.acceleration_max_rad_s2 == (4.0, 5.0, 5.0) and made.jerk_max_rad_s3 == (30.0,) * 3
    assert made.name == 'hoist' and made.home_rad == (1, -1, 0)
    assert made.chain[0].xyz_m == (0.0, 0.0, 0.4)        # from the foot, without the bolt below it


@pytest.mark.parametrize('arguments, expected', [
    ((CRANE, 'claw'), 'claw: got no such link, expected one of floor, foot'),
    ((CRANE, 'hook', 'wall'), 'wall: got no such link'),
    ((CRANE, 'foot', 'hook'), 'foot: got a way up to floor, expected one up to hook'),
    ((CRANE, 'foot'), 'joint_names: got []'),
    ((CRANE, 'finger'), 'grip: got a joint that mimics spin'),
    ((CRANE, 'hook', None, ('sway', 'lift')), "joints: got ['sway', 'lift'], expected ['sway', 'lift', 'spin']"),
    ((CRANE.replace('"fixed"><parent link="mast"', '"prismatic"><parent link="mast"'), 'hook'), 'bend: got a prismatic joint'),
    ((CRANE.replace('0.1 0.2 0.3', '0.1 0.2'), 'hook'), "bolt: <origin> xyz: got '0.1 0.2', expected three numbers"),
    ((CRANE.replace('0 2 0', '0 ${y} 0'), 'hook'), "sway: <axis> xyz: got '0 ${y} 0', expected three numbers"),
    ((CRANE.replace('0 2 0', '0 0 0'), 'hook'), 'sway: <axis> xyz: got [0.0, 0.0, 0.0], expected a direction'),
    ((without(' velocity="3"'), 'hook'), 'spin: <limit> velocity: got none'),
    ((CRANE.replace('<parent link="floor"/><child link="foot"/>', '<parent link="hook"/><child link="foot"/>'), 'hook'), 'hook: got joints in a ring'),
    ((CRANE.replace('<child link="knee"/>', '<child link="mast"/>'), 'hook'), "bend: got parent and child ['mast', 'mast'], expected two links"),
    ((without('<parent link="foot"/>'), 'hook'), "sway: got parent and child [None, 'mast']"),
])
def test_refuses_to_make_a_robot(arguments, expected):
    assert f'robot_description: {expected}' in refused(urdf.robot_from_urdf, *arguments)


def test_says_what_robot_a_urdf_cannot_be():
    assert 'home_rad: got 2 values, expected 3' in refused(urdf.robot_from_urdf, CRANE, 'hook', home_rad=(0, -1))
    assert 'lift: home_rad: got 0, expected -1.5 to -0.5' in refused(urdf.robot_from_urdf, CRANE, 'hook', home_rad=(0, 0, 0))
    assert 'control_period_s: got 0' in refused(urdf.robot_from_urdf, CRANE, 'hook', control_period_s=0)


def test_narrows_and_never_widens():
    robot = replace(CRANE_ROBOT, position_min_rad=(-3.0, -1.2, -4.0), position_max_rad=(1.0, 3.0, 4.0), velocity_max_rad_s=(1.0, 9.0, 9.0),
                    acceleration_max_rad_s2=(9.0, 3.0, 3.0), jerk_max_rad_s3=(30.0, 30.0, 30.0), home_rad=(0.5, -1.0, 3.5))
    narrow = urdf.narrowed(robot, CRANE)
    assert narrow.position_min_rad == (-1.0, -1.2, -4.0)      # the URDF's, the file's, the file's: the wheel has none
    assert narrow.position_max_rad == (1.0, -0.5, 4.0)
    assert narrow.velocity_max_rad_s == (1.0, 2.0, 3.0)
    assert narrow.acceleration_max_rad_s2 == (4.0, 3.0, 3.0)  # the lower of acceleration and deceleration
    assert narrow.jerk_max_rad_s3 == (30.0, 30.0, 30.0)
    assert (narrow.chain, narrow.tip, narrow.home_rad, narrow.name) == (robot.chain, robot.tip, robot.home_rad, robot.name)


def test_a_description_that_allows_more_changes_nothing():
    assert urdf.narrowed(PANDA, shipped('franka_panda/panda.urdf').read_text()) == PANDA


def test_soft_limits_that_nobody_set_do_not_count():
    text = CRANE.replace('soft_lower_limit="-1.5" soft_upper_limit="0"', 'soft_lower_limit="0" soft_upper_limit="0"')
    assert urdf.narrowed(replace(CRANE_ROBOT, position_min_rad=(-1.0, -3.0, -1.0)), text).position_min_rad[1] == -2.0


def test_soft_limits_count_from_one_side_too():
    text = CRANE.replace('soft_lower_limit="-1.5" soft_upper_limit="0"', 'soft_upper_limit="-0.75"')
    assert urdf.narrowed(CRANE_ROBOT, text).position_max_rad[1] == -0.75


@pytest.mark.parametrize('text, expected', [
    ('joint_states', 'got what is not XML'),
    (CRANE[:300], 'got what is not XML'),
    ('', 'got what is not XML'),
    ('<sdf version="1.7"/>', 'got <sdf>, expected <robot>'),
    (CRANE.replace('name="sway" type', 'name="swing" type'), 'sway: got no such joint, expected one of swing, lift, spin, grip'),
    (CRANE.replace('name="sway" type="revolute"', 'name="sway" type="fixed"'), 'sway: got a fixed joint, expected revolute or continuous'),
    (CRANE.replace('name="sway" type="revolute"', 'name="sway" type="prismatic"'), 'sway: got a prismatic joint'),
    (CRANE.replace('name="bend"', 'name="sway"'), 'sway: got two joints of that name'),
    (CRANE.replace('name="bend" ', ''), 'got a <joint> without a name'),
    (CRANE.replace('<axis xyz="0 2 0"/>', '<mimic joint="lift"/>'), 'sway: got a joint that mimics lift'),
    (CRANE.replace('lower="-1" upper="2"', 'lower="2" upper="-1"'), 'sway: got limits 2.0 to -1.0 rad, expected the lower below the upper'),
    (without(' lower="-1" upper="2"'), 'sway: got limits 0.0 to 0.0 rad'),
    (CRANE.replace('soft_upper_limit="0"', 'soft_upper_limit="-1.6"'), 'lift: got limits -1.5 to -1.6 rad'),
    (without('<limit lower="-1".*?/>'), 'sway: got no <limit>'),
    (CRANE.replace('lower="-1"', 'lower="nan"'), "sway: <limit> lower: got 'nan', expected a number"),
    (CRANE.replace('lower="-1"', 'lower="${-pi}"'), "sway: <limit> lower: got '${-pi}', expected a number"),
    (CRANE.replace('velocity="1.5"', 'velocity="0"'), 'sway: <limit> velocity: got 0.0, expected a positive limit'),
    (CRANE.replace('jerk="40"', 'jerk="-40"'), 'sway: <limit> jerk: got -40.0, expected a positive limit'),
    (CRANE.replace('lower="-1" upper="2"', 'lower="2" upper="3"'), 'sway: got 2.0 to 3.0 rad, expected a range that overlaps -1.0 to 2.0 rad'),
    (CRANE.replace('lower="-1" upper="2"', 'lower="1" upper="3"'), 'sway: home_rad: got 0.0, expected 1.0 to 2.0'),
])
def test_refuses_a_description(text, expected):
    assert refused(urdf.narrowed, CRANE_ROBOT, text).startswith(f'robot_description: {expected}')


@pytest.mark.parametrize('robot', [CRANE_ROBOT, replace(CRANE_ROBOT, name='no', joint_names=('1', 'off', 'left: wrist'), control_period_s=1e-5)])
def test_the_file_reads_back_as_the_robot(tmp_path, robot):
    path = tmp_path / 'crane.yaml'
    path.write_text(urdf.to_yaml(robot, 'Made from crane.urdf.'))
    assert config.load(Robot, path) == robot


@pytest.fixture
def crane(tmp_path):
    path = tmp_path / 'crane.urdf'
    path.write_text(CRANE)
    return str(path)


def test_the_command_shows_a_file(crane, capsys):
    assert not cli.main(['robot', crane, '--tip', 'hook'])
    assert capsys.readouterr().out == urdf.to_yaml(CRANE_ROBOT, 'Made from crane.urdf: its root to hook.')


def test_the_command_writes_a_file(crane, tmp_path):
    out = tmp_path / 'hoist.yaml'
    assert not cli.main(['robot', crane, '--tip', 'hook', '--base', 'foot', '--name', 'hoist', '--acceleration', '3', '--jerk', '25',
                         '--home', '-0.5,-1,0.25', '--period', '0.002', '--out', str(out)])
    assert config.load(Robot, out) == urdf.robot_from_urdf(CRANE, 'hook', 'foot', None, 'hoist', 3.0, 25.0, (-0.5, -1.0, 0.25), 0.002)


@pytest.mark.parametrize('arguments, expected', [
    (['--tip', 'claw'], 'crane.urdf: claw: got no such link'),
    (['--tip', 'hook', '--home', '0,x'], "--home: got '0,x', expected numbers"),
    (['--tip', 'hook', '--home', '0,0'], 'crane.urdf: home_rad: got 2 values, expected 3'),
    (['--tip', 'hook', '--jerk', '0'], 'crane.urdf: sway: jerk_max_rad_s3: got 0.0'),
    (['--tip', 'hook', '--out', __file__], 'test_urdf.py, which is there already'),
])
def test_the_command_says_what_is_wrong(crane, capsys, arguments, expected):
    assert cli.main(['robot', crane, *arguments]) == 2
    said = capsys.readouterr()
    assert expected in said.err and len(said.err.splitlines()) == 1 and not said.out
