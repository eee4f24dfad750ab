"""The files for other programs: a controller configuration that ros2_control knows every name of, and an RViz view of our topics."""
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from diffusion_planner import config
from diffusion_planner.robot import Robot

ROOT = Path(__file__).resolve().parent.parent
PANDA = config.load(Robot, ROOT / 'config' / 'panda.yaml')
EXAMPLE = ROOT / 'config' / 'ros2_controllers.example.yaml'

# Which distributions know a parameter, from the sources of joint_trajectory_controller and controller_manager in August 2026.
ALL = {'humble', 'jazzy', 'kilted'}
TRAJECTORY = {
    'joints': ALL, 'command_interfaces': ALL, 'state_interfaces': ALL, 'allow_partial_joints_goal': ALL, 'interpolation_method': ALL,
    'allow_nonzero_velocity_at_trajectory_end': ALL, 'set_last_command_interface_value_as_state_on_activation': ALL, 'cmd_timeout': ALL,
    'interpolate_from_desired_state': {'jazzy', 'kilted'}, 'open_loop_control': {'humble', 'jazzy'}, 'state_publish_rate': {'humble'},
    'constraints.stopped_velocity_tolerance': ALL, 'constraints.goal_time': ALL, 'constraints.decelerate_on_cancel': {'jazzy', 'kilted'},
    'constraints.JOINT.trajectory': ALL, 'constraints.JOINT.goal': ALL, 'constraints.JOINT.max_deceleration_on_cancel': {'jazzy', 'kilted'},
    'speed_scaling.state_interface': {'jazzy', 'kilted'},
}
MANAGER = {'update_rate': ALL, 'enforce_command_limits': {'jazzy', 'kilted'}, 'CONTROLLER.type': ALL}


def flat(mapping, known_as, prefix=''):
    """Spell a mapping's keys out with dots, `known_as` replacing names that users choose: -> name to value"""
    found = {}
    for key, value in mapping.items():
        name = f'{prefix}{known_as.get(key, key)}'
        found.update(flat(value, known_as, f'{name}.') if isinstance(value, dict) else {name: value})
    return found


@pytest.fixture
def example():
    return {node: content['ros__parameters'] for node, content in yaml.safe_load(EXAMPLE.read_text()).items()}


@pytest.fixture
def trajectory(example):
    return flat(example['joint_trajectory_controller'], dict.fromkeys(PANDA.joint_names, 'JOINT'))


def paragraph_of(name):
    """Return the comment above the line that sets a parameter."""
    lines = EXAMPLE.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip().removeprefix('# ').startswith(f'{name}:'))
    above = []
    while at and lines[at - 1].strip().startswith('#'):
        at -= 1
        above.insert(0, lines[at].strip('# '))
    return ' '.join(above)


def test_every_name_is_known(example, trajectory):
    controllers = dict.fromkeys(('joint_state_broadcaster', 'joint_trajectory_controller'), 'CONTROLLER')
    assert set(flat(example['controller_manager'], controllers)) == set(MANAGER)
    assert set(trajectory) <= set(TRAJECTORY)
    assert set(example) == {'controller_manager', 'joint_trajectory_controller'}


@pytest.mark.parametrize('name', [name for name, known in (TRAJECTORY | MANAGER).items() if known != ALL and '.' not in name])
def test_says_where_a_name_is_not_known_everywhere(name):
    assert any(distribution in paragraph_of(name) for distribution in (TRAJECTORY | MANAGER)[name])


@pytest.mark.parametrize('distribution', sorted(ALL))
def test_chunks_join_at_the_reference_in_every_distribution(distribution, trajectory):
    ways = [name for name in ('interpolate_from_desired_state', 'open_loop_control') if distribution in TRAJECTORY[name]]
    set_or_shown = [name for name in ways if trajectory.get(name) or f'# {name}: true' in EXAMPLE.read_text()]
    assert set_or_shown


def test_joints_are_the_pandas(example):
    parameters = example['joint_trajectory_controller']
    assert tuple(parameters['joints']) == PANDA.joint_names
    assert tuple(name for name in parameters['constraints'] if isinstance(parameters['constraints'][name], dict)) == PANDA.joint_names


def test_the_controller_does_what_the_planner_counts_on(trajectory):
    assert trajectory['interpolate_from_desired_state'] is True
    assert trajectory['allow_partial_joints_goal'] is False and trajectory['allow_nonzero_velocity_at_trajectory_end'] is False
    assert trajectory['command_interfaces'] == ['position'] and trajectory['state_interfaces'] == ['position', 'velocity']
    assert trajectory['interpolation_method'] == 'splines'


def test_the_planner_notices_before_the_controller_does(example):
    planner = yaml.safe_load((ROOT / 'config' / 'planner.yaml').read_text())['/**/planner']['ros__parameters']
    constraints = example['joint_trajectory_controller']['constraints']
    assert all(constraints[name]['trajectory'] > planner['following_tolerance_rad'] for name in PANDA.joint_names)


def test_the_controllers_brake_is_within_the_arms_limits(example):
    constraints = example['joint_trajectory_controller']['constraints']
    for name, limit in zip(PANDA.joint_names, PANDA.acceleration_max_rad_s2):
        assert 0 < constraints[name]['max_deceleration_on_cancel'] <= 0.3 * limit + 1e-9


@pytest.fixture
def displays():
    """The displays of the RViz configuration: -> name to mapping"""
    view = yaml.safe_load((ROOT / 'config' / 'planner.rviz').read_text())['Visualization Manager']
    assert view['Global Options']['Fixed Frame'] == 'panda_link0'
    return {display['Name']: display for display in view['Displays']}


def test_rviz_shows_what_there_is_to_see(displays):
    classes = sorted(display['Class'].removeprefix('rviz_default_plugins/') for display in displays.values())
    assert classes == ['Grid', 'Image', 'Image', 'MarkerArray', 'RobotModel', 'TF']
    assert all(display['Enabled'] is display['Value'] is True for display in displays.values())
    description = displays['RobotModel']['Description Topic']
    # robot_state_publisher latches it: asked for as Volatile, an RViz that starts later would never see the arm
    assert (description['Value'], description['Durability Policy'], description['Reliability Policy']) == ('robot_description', 'Transient Local', 'Reliable')


def test_rviz_asks_for_the_planners_topics(displays):
    """Start the node as users do, without a namespace, and compare topics, types and quality of service with RViz's."""
    domains, rclpy = pytest.importorskip('diffusion_planner.ros.domains'), pytest.importorskip('rclpy')
    with domains.lease() as domain:
        node = subprocess.Popen([sys.executable, ROOT / 'test' / 'ros' / 'planners.py', 'hold', '--ros-args', '-p', 'autostart:=true'],
                                cwd=ROOT, env={**os.environ, 'OMP_NUM_THREADS': '1'})
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        try:
            ears = rclpy.create_node('ears', context=context)
            for name, kind in (('Imagined path', 'visualization_msgs/msg/MarkerArray'), ('Imagined picture', 'sensor_msgs/msg/Image'),
                               ('Camera', 'sensor_msgs/msg/Image')):
                check_endpoint(ears, displays[name]['Topic'], kind, name == 'Camera')
        finally:
            node.kill()
            node.wait()
            rclpy.shutdown(context=context)


def check_endpoint(ears, topic, kind, is_input):
    """Wait for the planner's end of a topic and compare it with what RViz asks for; a camera's publisher is somebody else's."""
    ends, until = [], time.monotonic() + 60
    while not ends and time.monotonic() < until:
        time.sleep(0.1)
        ends = (ears.get_subscriptions_info_by_topic if is_input else ears.get_publishers_info_by_topic)(topic['Value'])
    assert ends, f'the planner has no topic {topic["Value"]}'
    assert ends[0].topic_type == kind
    assert topic['Reliability Policy'].upper().replace(' ', '_') == ends[0].qos_profile.reliability.name
    assert topic['Durability Policy'].upper().replace(' ', '_') == ends[0].qos_profile.durability.name
    assert topic['History Policy'] == 'Keep Last' and topic['Depth'] >= 1
