"""Start the simulated arm and the planner that moves it: ros2 launch diffusion_planner sim.launch.py."""
import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# name, type, meaning; left empty, what config/*.yaml says holds
ARGUMENTS = (
    ('model', str, 'model folder of the planner'),
    ('scene_seed', int, 'seed of the first scene'),
    ('guidance_scale', float, 'how strongly the reward guides the plan; 0: not at all'),
    ('guard', bool, 'bound guidance and refuse doubtful plans; false: plain classifier guidance, for measurement only'),
    ('objective', str, 'YAML file of what plans must satisfy beside the reward; the simulator counts entries into its keep_out zones'),
    ('oddity', str, 'what sets the scenes apart from the play data'),
    ('gui', bool, "show the simulator's window; needs a display"),
)
SIM = ('scene_seed', 'objective', 'oddity', 'gui')
PLANNER = ('model', 'guidance_scale', 'guard', 'objective')


def given(context):
    """Read the arguments that were given: -> name to typed value. Raises RuntimeError naming a value that does not fit."""
    values = {}
    for name, kind, _ in ARGUMENTS:
        text = LaunchConfiguration(name).perform(context)
        if text:
            values[name] = converted(name, kind, text)
    return values


def converted(name, kind, text):
    """Read one argument as its type."""
    words = {'true': True, 'false': False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = 'true or false' if kind is bool else f'of type {kind.__name__}'
        raise RuntimeError(f'{name}:={text}: expected a value {expected}') from None


def nodes(context):
    """Build both nodes: files first, arguments over them."""
    config, values = Path(get_package_share_directory('diffusion_planner')) / 'config', given(context)
    if values.get('gui') and not os.environ.get('DISPLAY'):
        raise RuntimeError('gui:=true: DISPLAY is not set; expected the name of a running X display')

    def overrides(names):
        # Left to itself, launch reads a text as YAML: an objective would arrive as a mapping.
        return {name: ParameterValue(values[name], value_type=str) if isinstance(values[name], str) else values[name]
                for name in names if name in values}

    return [
        Node(package='diffusion_planner', executable='sim_node', name='sim', output='screen', on_exit=Shutdown(),
             parameters=[str(config / 'sim.yaml'), overrides(SIM)]),
        Node(package='diffusion_planner', executable='planner_node', name='planner', output='screen',
             parameters=[str(config / 'planner.yaml'), {'autostart': True, 'use_sim_time': True, **overrides(PLANNER)}]),
    ]


def localhost_only():
    """Keep a simulation away from robots on the same network, unless the environment says otherwise."""
    wanted = [('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')]
    if os.environ.get('ROS_DISTRO') == 'humble':   # which does not know the variable above yet
        wanted.append(('ROS_LOCALHOST_ONLY', '1'))
    return [SetEnvironmentVariable(name, value) for name, value in wanted if name not in os.environ]


def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value='', description=meaning) for name, _, meaning in ARGUMENTS]
    return LaunchDescription([*localhost_only(), *declared, OpaqueFunction(function=nodes)])
