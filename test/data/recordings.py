"""Recordings for tests: an arm that swings before cameras, without a simulator, with whatever is wrong with them."""
import functools
from pathlib import Path

import numpy as np
from bags import RECEIVED_NS, TOPICS, header, image, joint_state, typestore, write_bag

from diffusion_planner import config
from diffusion_planner.data import store
from diffusion_planner.records import Episode
from diffusion_planner.robot import Robot

ROOT = Path(__file__).resolve().parent.parent.parent
PANDA = config.load(Robot, ROOT / 'config' / 'panda.yaml')
MAPPING = ROOT / 'config' / 'mapping.yaml'


@functools.cache
def swings(seeds=(7, 8), seconds=3.0):
    """Make episodes of a swinging arm: a ball of 4 cm around where its tip was in the middle is rewarded: -> tuple of Episode"""
    return tuple(_swing(seed, seconds) for seed in seeds)


def _swing(seed, seconds):
    random = np.random.default_rng(seed)
    stamp_s = np.arange(round(20 * seconds)) / 20
    position_rad = (np.array(PANDA.home_rad) + 0.3 * np.sin(0.8 * stamp_s[:, None] + random.uniform(0, 6, 7))).astype(np.float32)
    velocity_rad_s = np.gradient(position_rad, 0.05, axis=0).astype(np.float32)
    tip_m = PANDA.tip_m(position_rad)
    target_m = tip_m[len(tip_m) // 2]
    frames = len(stamp_s[::4])
    pixels = random.integers(0, 255, (frames, 1, 96, 96, 3), np.uint8)
    return Episode(seed, stamp_s.astype(np.float32), position_rad, velocity_rad_s, np.concatenate([position_rad[1:], position_rad[-1:]]),
                   (np.linalg.norm(tip_m - target_m, axis=1) <= 0.04).astype(np.float32), np.arange(len(stamp_s)) == len(stamp_s) - 1,
                   stamp_s[::4].astype(np.float32), pixels, {'target_m': target_m.astype(np.float32)})


def swing_bag(path, storage='mcap', **more):
    return write_bag(path, storage, **{'episodes': swings(), **more})


def write_messages(path, kinds, rows, storage='mcap'):
    """Write a bag of rows (log_s, topic, message); kinds: topic -> type, or (type, .msg text) of one that nobody knows: -> path"""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    types = get_typestore(Stores.ROS2_JAZZY)
    for topic, kind in kinds.items():
        if isinstance(kind, tuple):
            types.register(get_types_from_msg(kind[1], kind[0]))
    names = {topic: kind if isinstance(kind, str) else kind[0] for topic, kind in kinds.items()}
    with Writer(path, version=8, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=types) for topic, kind in names.items()}
        for log_s, topic, message in rows:
            data = message if isinstance(message, bytes) else types.serialize_cdr(message(types) if callable(message) else message, names[topic])
            writer.write(connections[topic], RECEIVED_NS + round(log_s * 1e9), data)
    return path


def joints(stamp_s, position_rad=None, names=PANDA.joint_names, velocity_rad_s=()):
    position_rad = np.array(PANDA.home_rad) + 0.1 * np.sin(stamp_s) if position_rad is None else position_rad
    return joint_state(names, position_rad, velocity_rad_s, stamp_s)


def picture(stamp_s, rows=24, columns=32, seed=0):
    return image(np.random.default_rng((round(seed * 1000), round(stamp_s * 1000))).integers(0, 255, (rows, columns, 3), np.uint8), stamp_s)


def number(value, kind='std_msgs/msg/Float32'):
    return typestore().types[kind](data=value)


def mapping_file(folder, text, name='mapping.yaml'):
    """Write a mapping for bags of write_messages: the robot and joint states are there, the rest is text: -> path"""
    path = Path(folder) / name
    path.write_text(f'robot: {ROOT / "config" / "panda.yaml"}\njoint_states: /joint_states\n{text}')
    return path


def same(folder, other):
    """Tell whether two data folders hold the same, bit for bit."""
    first, second = store.read(folder), store.read(other)
    columns = ('stamp_s', 'position_rad', 'velocity_rad_s', 'reward', 'frame_stamp_s', 'joint_start', 'frame_start', 'seed')
    pictures = [np.concatenate([store.read_pictures(path) for path in found.paths]) for found in (first, second)]
    return (all(np.array_equal(getattr(first, name), getattr(second, name)) for name in columns) and np.array_equal(*pictures)
            and first.sensors.keys() == second.sensors.keys() and all(np.array_equal(first.sensors[name], second.sensors[name]) for name in first.sensors))


__all__ = ['MAPPING', 'PANDA', 'RECEIVED_NS', 'TOPICS', 'header', 'joints', 'mapping_file', 'number', 'picture', 'same', 'swing_bag', 'swings',
           'write_messages']
