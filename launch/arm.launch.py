"""Start the planner beside a real arm's drivers: ros2 launch diffusion_planner arm.launch.py robot:=... image_topic:=...

Parameters come from config/planner.yaml, params_file over that, arguments over both. Include it once per arm, with a namespace each, and
each in a GroupAction of its own: launch would hand the arguments of one on to the next.
"""
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from diffusion_planner.ros import launching
from diffusion_planner.ros.launching import Argument, BadArgument

# left empty, what the parameter files say holds
ARGUMENTS = (
    Argument('robot', str, 'robot file: joint names and limits'),
    Argument('model', str, 'model folder'),
    Argument('shadow', bool, 'publish to ~/shadow/joint_trajectory only, so that nothing moves; holds over params_file', 'true'),
    Argument('speed_scale', float, 'share of the planned speed, 0.01 to 1; holds over params_file', '0.2'),
    Argument('namespace', str, 'namespace of the node, and of the topics below where they do not begin with /'),
    Argument('camera', str, "name of the model's camera; of several: front,wrist", 'camera'),
    Argument('image_topic', str, 'where that camera publishes, or each of them: /front/color,/wrist/color; empty: CAMERA/image'),
    Argument('camera_size', str, "size of the pictures that arrive, as 640x480, where it is not the model's"),
    Argument('compressed', bool, 'take CompressedImage, on IMAGE_TOPIC/compressed'),
    Argument('sensors', str, "where the model's further sensors are: YAML file of name: {topic, type, fields}, as in config/mapping.yaml"),
    Argument('joint_states_topic', str, 'where the joint states are published', 'joint_states'),
    Argument('trajectory_topic', str, 'where the controller listens', 'joint_trajectory_controller/joint_trajectory'),
    Argument('speed_scaling_topic', str, 'where the driver says its speed scaling, if it does', 'speed_scaling'),
    Argument('robot_description_file', str, 'URDF or xacro file whose limits hold beside those of the robot file'),
    Argument('guidance_scale', float, 'how strongly the reward guides the plan; 0: not at all'),
    Argument('objective', str, 'YAML file of what plans must satisfy beside the reward'),
    Argument('backend', str, 'what runs the networks: torch or onnx'),
    Argument('device', str, 'auto, cpu or cuda; with onnx tensorrt, too'),
    Argument('deadline_ms', float, 'time that a plan has; 0: as long as it takes'),
    Argument('autostart', bool, 'configure and activate at once; false: a lifecycle manager does', 'true'),
    Argument('use_sim_time', bool, 'take the time from /clock', 'false'),
    Argument('params_file', str, 'parameter file over config/planner.yaml'),
    Argument('log_level', str, 'debug, info, warn, error or fatal', 'info'),
    Argument('profile', str, 'Fast DDS profile, unless the environment names one; empty: none', 'config/fastdds.xml'),
    Argument('rviz', bool, 'show camera and imagined paths in RViz'),
)
PLANNER = ('robot', 'model', 'shadow', 'speed_scale', 'guidance_scale', 'objective', 'backend', 'device', 'deadline_ms', 'autostart', 'use_sim_time',
           'robot_description', 'camera_size', 'compressed', 'sensors')


def nodes(context):
    """Build what runs. Raises BadArgument before anything is started."""
    share, values = get_package_share_directory('diffusion_planner'), launching.given(context, ARGUMENTS)
    config, space = Path(share) / 'config', launching.namespaces(values.get('namespace', ''), 'namespace')
    if len(space) > 1:
        raise BadArgument('namespace', values['namespace'], 'one namespace; include this file once per arm')
    if 'robot_description_file' in values:
        values['robot_description'] = launching.described(values['robot_description_file'])
    files = [str(config / 'planner.yaml'), *further(values, share), launching.parameters(values, PLANNER)]
    shared = {'namespace': space[0], 'remappings': remappings(values), 'additional_env': launching.profile(values.get('profile', ''), share)}
    return [
        *launching.strangers(context, ARGUMENTS),
        launching.node('planner_node', 'planner', files, ros_arguments=log_level(values['log_level'], space[0]), **shared),
        *rviz(values, config, shared),
    ]


def further(values, share):
    """Find the parameter file that holds over ours: -> list of str"""
    return [str(launching.located('params_file', values['params_file'], share))] if 'params_file' in values else []


def remappings(values):
    """Lead the node's topics to the arm's: -> list of (from, to). Raises BadArgument."""
    ours = {'joint_states_topic': 'joint_states', 'trajectory_topic': 'joint_trajectory', 'speed_scaling_topic': 'speed_scaling'}
    pairs = {topic: launching.topic(name, values[name]) for name, topic in ours.items() if name in values}
    for camera, theirs in images(values):    # compressed pictures lie below it, as image_transport has them
        pairs |= {f'{camera}/image': theirs, f'{camera}/image/compressed': f'{theirs}/compressed'}
    return [(topic, theirs) for topic, theirs in pairs.items() if topic != theirs]


def images(values):
    """Pair the model's cameras with the topics that are given for them: -> list of (camera, topic). Raises BadArgument."""
    cameras, topics = ([launching.topic(name, part) for part in values[name].split(',')] if name in values else [] for name in ('camera', 'image_topic'))
    if topics and len(topics) != len(cameras):
        raise BadArgument('image_topic', values['image_topic'], f'as many topics as there are cameras, {len(cameras)}')
    return list(zip(cameras, topics))


def log_level(level, space):
    """Set the level of the node's own logger, not of the middleware: -> ROS arguments. Raises BadArgument."""
    if level not in launching.LEVELS:
        raise BadArgument('log_level', level, f'one of {", ".join(launching.LEVELS)}')
    return ['--log-level', f'{".".join(filter(None, [*space.split("/"), "planner"]))}:={level}']


def rviz(values, config, shared):
    """Show RViz where asked to: -> list of actions"""
    if not values.get('rviz'):
        return []
    launching.installed('rviz', 'true', 'rviz2', get_package_share_directory)
    return [Node(package='rviz2', executable='rviz2', output='screen', arguments=['-d', str(config / 'planner.rviz')],
                 parameters=[{'use_sim_time': values['use_sim_time']}], **shared)]


def generate_launch_description():
    return LaunchDescription([*launching.declared(ARGUMENTS), OpaqueFunction(function=nodes)])
