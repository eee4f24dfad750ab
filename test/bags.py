"""Small bags of simulated motion for tests: the simulator's topics, stamped in simulated time, received at any pace."""
import functools
from pathlib import Path

import numpy as np

from diffusion_planner.records import Episode
from diffusion_planner.sim import motion, rollout
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.camera import Camera
from diffusion_planner.sim.task import REWARD_RADIUS_M, reward
from diffusion_planner.sim.world import World

PERIOD_S, JOINT_EVERY, FRAME_EVERY = 1 / 240, 12, 48
RECEIVED_NS = 1_700_000_000 * 10**9
FIRST_S, PAUSE_S = 1.0, 1.0


@functools.cache
def line_episodes(seeds=(11, 12), seconds=3.0):
    """Move the arm on a straight line to each scene's target and hold it there: -> tuple of Episode, about half a second of work each"""
    world, robot, camera = World(), scenes.default_robot(), Camera()
    made = tuple(_line(world, robot, camera, seed, seconds) for seed in seeds)
    world.close()
    return made


def _line(world, robot, camera, seed, seconds):
    scene = scenes.draw_scene(world, robot, seed)
    goal_rad, start_rad = scenes.goal_posture(world, robot, scene), np.array(scene.start_rad)
    world.set_target(scene.target_m)
    world.set_joints(start_rad)
    timed = motion.straight(start_rad, start_rad if goal_rad is None else goal_rad, rollout.play_limits(robot))
    position_rad, velocity_rad_s = timed.samples(PERIOD_S)
    rows, frames = [], []
    for step in range(int(seconds / PERIOD_S)):
        index = min(step, len(position_rad) - 1)
        target_rad, rate_rad_s = position_rad[index], velocity_rad_s[index] * (index == step)
        if step % JOINT_EVERY == 0:
            rows.append((step * PERIOD_S, *world.joint_state(), target_rad, world.tip_m()))
        if step % FRAME_EVERY == 0:
            frames.append((step * PERIOD_S, world.render(camera)))
        world.drive(target_rad, rate_rad_s)
        world.step()
    stamp_s, measured_rad, measured_rad_s, command_rad, tip_m = (np.array(column, np.float32) for column in zip(*rows))
    return Episode(seed, stamp_s, measured_rad, measured_rad_s, command_rad, reward(tip_m, scene.target_m), np.arange(len(rows)) == len(rows) - 1,
                   np.array([stamp for stamp, _ in frames], np.float32), np.stack([pixels for _, pixels in frames])[:, None],
                   {'target_m': np.array(scene.target_m, np.float32)})


def write_bag(path, storage='mcap', episodes=None, speed=1.0, joint_names=None, leave_out=(), change=lambda topic, stamp_s, message: message,
              compression=None, more=None):
    """Write episodes as the simulator's play publishes them: -> path of the bag

    storage: mcap or sqlite3. speed: simulated seconds per second of the log. leave_out: topics that are not there. change: what becomes
    of a message before it is written: a message, or None for one that got lost. compression: None, or 'file', 'message' or 'storage'.
    more: further topics, name to (type, function of the stamp_s -> message), written with every joint state.
    """
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
    store, path = typestore(), Path(path)
    names = scenes.default_robot().joint_names if joint_names is None else joint_names
    writer = Writer(path, version=8, storage_plugin=StoragePlugin[storage.upper()])
    if compression:
        writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        kinds = {topic: kind for topic, kind in TOPICS.items() if topic not in leave_out} | {topic: kind for topic, (kind, _) in (more or {}).items()}
        connections = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in kinds.items()}
        for stamp_s, topic, message in _with(more or {}, messages(line_episodes() if episodes is None else episodes, names)):
            message = change(topic, stamp_s, message) if topic in connections else None
            if message is not None:
                received_ns = RECEIVED_NS + round((stamp_s - FIRST_S) / speed * 1e9)
                writer.write(connections[topic], received_ns, store.serialize_cdr(message, kinds[topic]))
    return path


def _with(more, rows):
    """Add the messages of further topics to those of play."""
    for stamp_s, topic, message in rows:
        if topic == '/joint_states':
            yield from ((stamp_s, name, make(stamp_s)) for name, (_, make) in more.items())
        yield stamp_s, topic, message


TOPICS = {'/clock': 'rosgraph_msgs/msg/Clock', '/episode': 'std_msgs/msg/UInt32', '/camera/image': 'sensor_msgs/msg/Image',
          '/target': 'visualization_msgs/msg/Marker', '/joint_states': 'sensor_msgs/msg/JointState', '/reward': 'std_msgs/msg/Float32'}


@functools.cache
def typestore():
    from rosbags.typesys import Stores, get_typestore
    return get_typestore(Stores.ROS2_JAZZY)


def messages(episodes, joint_names):
    """List what play publishes: yields (stamp_s, topic, message) in order of time"""
    begin_s = FIRST_S
    for episode in episodes:
        frames = {round(float(stamp_s), 4): pixels[0] for stamp_s, pixels in zip(episode.frame_stamp_s, episode.pixels)}
        for row, since_s in enumerate(episode.stamp_s.tolist()):
            stamp_s = begin_s + since_s
            yield stamp_s, '/clock', _make('rosgraph_msgs/msg/Clock', clock=time(stamp_s))
            if (pixels := frames.get(round(since_s, 4))) is not None:
                yield stamp_s, '/episode', _make('std_msgs/msg/UInt32', data=episode.seed)
                yield stamp_s, '/camera/image', image(pixels, stamp_s)
                yield stamp_s, '/target', _target(episode.privileged['target_m'], stamp_s)
            yield stamp_s, '/joint_states', joint_state(joint_names, episode.position_rad[row], episode.velocity_rad_s[row], stamp_s)
            yield stamp_s, '/reward', _make('std_msgs/msg/Float32', data=float(episode.reward[row]))
        begin_s = stamp_s + PAUSE_S


def image(pixels, stamp_s):
    """Make a sensor_msgs/Image of rgb8: image(pixels [Y, X, 3] uint8, stamp_s)"""
    return _make('sensor_msgs/msg/Image', header=header(stamp_s, 'camera'), height=pixels.shape[0], width=pixels.shape[1], encoding='rgb8',
                 is_bigendian=0, step=3 * pixels.shape[1], data=np.ascontiguousarray(pixels).reshape(-1))


def joint_state(names, position_rad, velocity_rad_s, stamp_s):
    """Make a sensor_msgs/JointState; velocity_rad_s may be empty."""
    return _make('sensor_msgs/msg/JointState', header=header(stamp_s), name=list(names), position=np.asarray(position_rad, np.float64),
                 velocity=np.asarray(velocity_rad_s, np.float64), effort=np.zeros(0))


def header(stamp_s, frame=''):
    return _make('std_msgs/msg/Header', stamp=time(stamp_s), frame_id=frame)


def time(stamp_s):
    nanoseconds = round(stamp_s * 1e9)
    return _make('builtin_interfaces/msg/Time', sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def _target(target_m, stamp_s):
    """Make the marker of the ball in which the fingertip is rewarded."""
    vector, point = typestore().types['geometry_msgs/msg/Vector3'], typestore().types['geometry_msgs/msg/Point']
    rotation = _make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
    colour = _make('std_msgs/msg/ColorRGBA', r=1.0, g=0.0, b=0.0, a=0.4)
    file = _make('visualization_msgs/msg/MeshFile', filename='', data=np.zeros(0, np.uint8))
    nothing = _make('sensor_msgs/msg/CompressedImage', header=header(0.0), format='', data=np.zeros(0, np.uint8))
    diameter = 2 * REWARD_RADIUS_M
    return _make('visualization_msgs/msg/Marker', header=header(stamp_s, 'panda_link0'), ns='target', id=0, type=2, action=0,
                 pose=_make('geometry_msgs/msg/Pose', position=point(*map(float, target_m)), orientation=rotation),
                 scale=vector(diameter, diameter, diameter), color=colour, lifetime=_make('builtin_interfaces/msg/Duration', sec=0, nanosec=0),
                 frame_locked=False, points=[], colors=[], texture_resource='', texture=nothing, uv_coordinates=[], text='',
                 mesh_resource='', mesh_file=file, mesh_use_embedded_materials=False)


def wrench(stamp_s, force, torque):
    """Make a geometry_msgs/WrenchStamped: force, torque [3]"""
    vector = typestore().types['geometry_msgs/msg/Vector3']
    return _make('geometry_msgs/msg/WrenchStamped', header=header(stamp_s, 'tool'),
                 wrench=_make('geometry_msgs/msg/Wrench', force=vector(*map(float, force)), torque=vector(*map(float, torque))))


def _make(kind, **fields):
    return typestore().types[kind](**fields)
