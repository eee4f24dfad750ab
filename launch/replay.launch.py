"""Play a bag to the planner in shadow mode: ros2 launch diffusion_planner replay.launch.py bag:=PATH model:=... robot:=...

Nothing moves: chunks go to planner/shadow/joint_trajectory. When the bag is over, everything ends, with a summary of what was planned.
"""
import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node

from diffusion_planner.ros import launching
from diffusion_planner.ros.launching import Argument, BadArgument

# left empty, what config/planner.yaml and the mapping say holds
ARGUMENTS = (
    Argument('bag', str, 'bag to play: a rosbag2 folder, or a single .mcap or .db3 file'),
    Argument('model', str, 'model folder', 'models/panda_reach'),
    Argument('robot', str, 'robot file: joint names and limits; empty: that of the mapping'),
    Argument('map', str, 'which topic of the bag is what', 'config/mapping.yaml'),
    Argument('rate', float, 'seconds of the bag per second', '1.0'),
    Argument('start', float, 'begin so many seconds after the beginning of the bag', '0.0'),
    Argument('duration', float, 'play so many seconds; 0: to the end', '0.0'),
    Argument('player', str, 'what plays: rosbag2 (ros2 bag play), own, or auto for the first that can', 'auto'),
    Argument('report', str, 'JSON file for the plans and what they were made from'),
    Argument('guidance_scale', float, 'how strongly the reward guides the plan; 0: not at all'),
    Argument('objective', str, 'YAML file of what plans must satisfy beside the reward'),
    Argument('backend', str, 'what runs the networks: torch or onnx'),
    Argument('device', str, 'auto, cpu or cuda; with onnx tensorrt, too'),
    Argument('deadline_ms', float, 'time that a plan has; 0: as long as it takes'),
    Argument('params_file', str, 'parameter file over config/planner.yaml'),
    Argument('profile', str, 'Fast DDS profile of both nodes, unless the environment names one; empty: none', 'config/fastdds_localhost.xml'),
    Argument('rviz', bool, 'show camera and imagined paths in RViz'),
)
PLANNER = ('model', 'robot', 'guidance_scale', 'objective', 'backend', 'device', 'deadline_ms')
OURS = {'start_s': 'start', 'duration_s': 'duration'}     # parameters of the player that have other names here


def nodes(context):
    """Build what runs, after a look into the bag. Raises BadArgument before anything is started."""
    share, values = get_package_share_directory('diffusion_planner'), launching.given(context, ARGUMENTS)
    config, shared = Path(share) / 'config', {'additional_env': launching.profile(values.get('profile', ''), share)}
    extras = rviz(values, config, shared)
    player, planner = look(values)
    files = [str(config / 'planner.yaml'), *further(values, share), {**launching.parameters(values, PLANNER), **launching.parameters(planner, planner)}]
    return [
        *launching.strangers(context, ARGUMENTS),
        launching.node('planner_node', 'planner', files, **shared),
        launching.node('player_node', 'player', [launching.parameters(player, player)], on_exit=Shutdown(reason='the bag is over'), **shared),
        *extras,
    ]


def look(values):
    """Look into the bag: -> parameters of the player, parameters that the planner must have for it. Raises BadArgument."""
    from diffusion_planner.ros import replay_options
    if 'bag' not in values:
        raise BadArgument('bag', '', 'a rosbag2 folder, or a single .mcap or .db3 file')
    names = ('bag', 'map', 'model', 'rate', 'player', 'report')
    player = {name: values[name] for name in names if name in values} | {name: values[ours] for name, ours in OURS.items()}
    try:
        player, planner = replay_options.chosen(player, values.get('robot'))
    except (ValueError, OSError) as error:
        raise RuntimeError(' '.join(str(error).split())) from None
    return player, planner


def further(values, share):
    """Find the parameter file that holds over ours: -> list of str"""
    return [str(launching.located('params_file', values['params_file'], share))] if 'params_file' in values else []


def rviz(values, config, shared):
    """Show RViz where asked to: -> list of actions"""
    if not values.get('rviz'):
        return []
    launching.installed('rviz', 'true', 'rviz2', get_package_share_directory)
    return [Node(package='rviz2', executable='rviz2', output='screen', arguments=['-d', str(config / 'planner.rviz')],
                 parameters=[{'use_sim_time': True}], **shared)]


def localhost_only():
    """Keep a replay away from robots on the same network, unless the environment says otherwise."""
    wanted = [('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')]
    if os.environ.get('ROS_DISTRO') == 'humble':   # which does not know the variable above yet
        wanted.append(('ROS_LOCALHOST_ONLY', '1'))
    return [SetEnvironmentVariable(name, value) for name, value in wanted if name not in os.environ]


def generate_launch_description():
    return LaunchDescription([*localhost_only(), *launching.declared(ARGUMENTS), OpaqueFunction(function=nodes)])
