"""Start the simulated arm, or several, and the planners that move them: ros2 launch diffusion_planner sim.launch.py."""
import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node

from diffusion_planner.ros import launching
from diffusion_planner.ros.launching import Argument, BadArgument

# left empty, what config/*.yaml says holds
ARGUMENTS = (
    Argument('model', str, 'model folder of the planner'),
    Argument('scene_seed', int, 'seed of the first scene'),
    Argument('guidance_scale', float, 'how strongly the reward guides the plan; 0: not at all'),
    Argument('guard', bool, 'bound guidance and refuse doubtful plans; false: plain classifier guidance, for measurement only'),
    Argument('objective', str, 'YAML file of what plans must satisfy beside the reward; the simulator counts entries into its keep_out zones'),
    Argument('backend', str, 'what runs the networks: torch or onnx'),
    Argument('device', str, 'auto, cpu or cuda; with onnx tensorrt, too'),
    Argument('deadline_ms', float, 'time that a plan has; 0: as long as it takes'),
    Argument('oddity', str, 'what sets the scenes apart from the play data'),
    Argument('gui', bool, "show the simulator's window; needs a display"),
    Argument('inject', bool, 'let faults be injected on ~/inject of the simulator'),
    Argument('namespaces', str, "one arm and one planner in each: 'left,right'"),
    Argument('record', str, 'folder for a bag of what training needs; made by ros2 bag, must not exist yet'),
    Argument('rviz', bool, 'show camera and imagined paths in RViz, once per namespace'),
    Argument('profile', str, 'Fast DDS profile of all nodes, unless the environment names one; empty: none', 'config/fastdds_localhost.xml'),
)
SIM = ('scene_seed', 'objective', 'oddity', 'gui', 'inject', 'namespaces')
PLANNER = ('model', 'guidance_scale', 'guard', 'objective', 'backend', 'device', 'deadline_ms')
RECORDED = ('camera/image', 'camera/camera_info', 'joint_states', 'joint_trajectory', 'planner/status', 'planner/plan', 'sim/episode')
RECORDED_ONCE = ('/clock', '/diagnostics')


def nodes(context):
    """Build what runs: files first, arguments over them. Raises BadArgument before anything is started."""
    share, values = get_package_share_directory('diffusion_planner'), launching.given(context, ARGUMENTS)
    if values.get('gui') and not os.environ.get('DISPLAY'):
        raise RuntimeError('gui:=true: DISPLAY is not set; expected the name of a running X display')
    spaces, config = launching.namespaces(values.get('namespaces', '')), Path(share) / 'config'
    shared = {'additional_env': launching.profile(values.get('profile', ''), share)}
    ours = {'autostart': True, 'use_sim_time': True, **launching.parameters(values, PLANNER)}
    extras = [*recorder(values, spaces, shared), *rviz(values, spaces, config, shared)]
    return [
        *launching.strangers(context, ARGUMENTS),
        launching.node('sim_node', 'sim', [str(config / 'sim.yaml'), launching.parameters(values, SIM)], on_exit=Shutdown(), **shared),
        *(launching.node('planner_node', 'planner', [str(config / 'planner.yaml'), ours], namespace=space, **shared) for space in spaces),
        *extras,
    ]


def topics(spaces):
    """List what is recorded: -> full topic names"""
    return [*RECORDED_ONCE, *(f'/{space}/{topic}' if space else f'/{topic}' for space in spaces for topic in RECORDED)]


def recorder(values, spaces, shared):
    """Record a bag where asked to: -> list of actions"""
    if 'record' not in values:
        return []
    folder = Path(values['record']).expanduser().absolute()
    launching.installed('record', values['record'], 'ros2bag', get_package_share_directory)
    if folder.exists():
        raise BadArgument('record', values['record'], 'a folder that does not exist yet')
    # A regular expression, because the ways to list topics differ between distributions.
    command = ['ros2', 'bag', 'record', '--output', str(folder), '--use-sim-time', '--regex', f'^({"|".join(topics(spaces))})$']
    return [ExecuteProcess(cmd=command, name='record', output='screen', **shared)]


def rviz(values, spaces, config, shared):
    """Show RViz where asked to: -> list of actions"""
    if not values.get('rviz'):
        return []
    launching.installed('rviz', 'true', 'rviz2', get_package_share_directory)
    return [Node(package='rviz2', executable='rviz2', namespace=space, output='screen', arguments=['-d', str(config / 'planner.rviz')],
                 parameters=[{'use_sim_time': True}], **shared) for space in spaces]


def localhost_only():
    """Keep a simulation away from robots on the same network, unless the environment says otherwise."""
    wanted = [('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')]
    if os.environ.get('ROS_DISTRO') == 'humble':   # which does not know the variable above yet
        wanted.append(('ROS_LOCALHOST_ONLY', '1'))
    return [SetEnvironmentVariable(name, value) for name, value in wanted if name not in os.environ]


def generate_launch_description():
    return LaunchDescription([*localhost_only(), *launching.declared(ARGUMENTS), OpaqueFunction(function=nodes)])
