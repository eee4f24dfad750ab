"""Which feature of a LeRobot dataset is what, and which of its numbers belong to which joint."""
import re
from dataclasses import dataclass, field

import numpy as np

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.data.lerobot import IMAGES, LeRobotError, names_of

UNITS = {'rad': 1.0, 'deg': np.pi / 180}
STATE, VELOCITY, ACTION, REWARD, DONE = 'observation.state', 'observation.velocity', 'action', 'next.reward', 'next.done'
NUMBERS = 'float', 'int', 'bool'
NONE = 'none'      # in place of a feature: do without, even where the usual one is there


@dataclass(frozen=True)
class Mapping:
    """What `diffusion-planner from-lerobot` does with a dataset; a feature that is left out is found by its usual name,
    `none` instead of one leaves it unused.

    joints: the robot's joint -> its name in the dataset. cameras, sensors: name of ours -> feature; none: all there are.
    Without velocity positions are differentiated; without an action the next measured position is the command.
    reward_above: rewarded while the reward exceeds this; without it rewards must be 0 to 1.
    """

    joints: dict[str, str] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)
    sensors: dict[str, str] | None = None
    state: str = STATE
    velocity: str | None = None
    action: str | None = None
    reward: str | None = None
    done: str | None = None
    reward_above: float | None = None
    units: str = 'rad'
    picture_size: tuple[int, int] | None = None      # rows, columns; 96 x 96, or what the dataset was made from
    joint_hz: float | None = None                    # 20 Hz, or likewise
    camera_hz: float | None = None                   # 5 Hz, or likewise

    def __post_init__(self):
        if self.units not in UNITS:
            raise ValueError(f'units: got {self.units!r}, expected one of {", ".join(UNITS)}')
        for name in ('joint_hz', 'camera_hz'):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < 10_000:
                raise ValueError(f'{name}: got {getattr(self, name)}, expected a number above 0')
        if self.picture_size is not None and min(self.picture_size) < 8:
            raise ValueError(f'picture_size: got {list(self.picture_size)}, expected rows and columns of at least 8')
        for name in (*self.cameras, *(self.sensors or ())):
            if not re.fullmatch(r'\w+', name):
                raise ValueError(f'name: got {name!r}, expected letters, digits and underscores')


def chosen(path, robot, joints=None, cameras=(), **others):
    """Read a mapping, if there is a file, and change it as the options say: -> Mapping. Raises ConfigError.

    joints: names in the dataset with commas between them, in the robot's order. cameras: each NAME=FEATURE. others: None changes nothing.
    """
    changes = {name: value for name, value in others.items() if value is not None}
    if joints is not None:
        names = joints.split(',')
        if len(names) != len(robot.joint_names):
            raise ConfigError(f'--joints: got {len(names)} names, expected {len(robot.joint_names)}, one per joint of {robot.name}')
        changes['joints'] = dict(zip(robot.joint_names, names))
    if cameras:
        if wrong := [camera for camera in cameras if '=' not in camera]:
            raise ConfigError(f'--camera: got {wrong[0]!r}, expected NAME=FEATURE')
        changes['cameras'] = dict(camera.split('=', 1) for camera in cameras)
    mapping = config.load(Mapping, path) if path else Mapping()
    return config.from_mapping(Mapping, config.to_mapping(mapping) | changes, str(path or 'options'))


@dataclass(frozen=True)
class Columns:
    """What to read: features, and for those with joints which of their numbers [J] are the robot's."""

    state: str
    state_index: list
    velocity: str | None
    velocity_index: list
    action: str | None
    action_index: list
    cameras: dict
    sensors: dict
    reward: str | None
    done: str | None
    notes: tuple

    def numbers(self):
        """List the features to read as numbers."""
        return list(dict.fromkeys(['timestamp', 'episode_index', self.state, *filter(None, (self.velocity, self.action, self.reward, self.done)),
                                   *self.sensors.values()]))


def resolve(dataset, mapping, robot):
    """Find what the mapping speaks of in a dataset: -> Columns. Raises LeRobotError, which lists what is there."""
    notes = []
    state_index = _joints(dataset, mapping.state, mapping, robot, notes)
    velocity = _find(dataset, mapping.velocity, VELOCITY, notes, 'velocities are differences of positions')
    action = _find(dataset, mapping.action, ACTION, notes, 'the next measured position is the command')
    reward = _find(dataset, mapping.reward, REWARD, notes, 'NOTHING IS REWARDED: all rewards are 0')
    done = _find(dataset, mapping.done, DONE, notes, 'every episode ends with its last frame')
    velocity_index = _joints(dataset, velocity, mapping, robot, notes) if velocity else []
    action_index = _joints(dataset, action, mapping, robot, notes) if action else []
    cameras = _cameras(dataset, mapping, notes)
    used = {mapping.state, velocity, action, reward, done}
    return Columns(mapping.state, state_index, velocity, velocity_index, action, action_index, cameras,
                   _sensors(dataset, mapping, used), reward, done, tuple(notes))


def _find(dataset, wanted, usual, notes, otherwise):
    """Return the feature that is wanted, or the usual one where it is there; or None, with a note of what is done instead."""
    if wanted != NONE and (wanted is not None or usual in dataset.features):
        return _feature(dataset, wanted or usual)
    notes.append(f'no {usual}: {otherwise}')
    return None


def _feature(dataset, name):
    if name not in dataset.features:
        raise LeRobotError(f'{dataset.folder}: has no feature {name!r}; there are {", ".join(dataset.features)}')
    return name


def _joints(dataset, name, mapping, robot, notes):
    """Find the robot's joints among the numbers of a feature: -> their indices [J]"""
    feature = dataset.features[_feature(dataset, name)]
    names, size = names_of(feature), int(np.prod(feature['shape']))
    unknown = [joint for joint in mapping.joints if joint not in robot.joint_names]
    if unknown:
        raise LeRobotError(f'joints: got {unknown[0]!r}, expected one of {", ".join(robot.joint_names)}, the joints of {robot.name}')
    if names is None or len(names) != size:
        if size != len(robot.joint_names) or mapping.joints:
            raise LeRobotError(f'{dataset.folder}: {name}: got {size} numbers without names, '
                               f'expected {len(robot.joint_names)}, one per joint of {robot.name}')
        notes.append(f'{name} has no names: its numbers are taken for the joints of {robot.name} in their order')
        return list(range(size))
    wanted = {joint: mapping.joints.get(joint, joint) for joint in robot.joint_names}
    index = {joint: _position(names, theirs) for joint, theirs in wanted.items()}
    missing = [theirs for joint, theirs in wanted.items() if index[joint] is None]
    if missing:
        raise LeRobotError(f'{dataset.folder}: {name} has no joint {missing[0]!r}; there are {", ".join(names)}; if these are joints of '
                           f'{robot.name}, say which is which with --joints' + ('; "action: none" in --map does without' if name == ACTION else ''))
    left = [theirs for position, theirs in enumerate(names) if position not in index.values()]
    if left and name == mapping.state:
        notes.append(f'left out of {name}, not joints of {robot.name}: {", ".join(left)}')
    return list(index.values())


def _position(names, wanted):
    """Find a joint by its name, or by the name that LeRobot's own drivers give it; None where it is not there."""
    return next((names.index(name) for name in (wanted, f'{wanted}.pos') if name in names), None)


def _cameras(dataset, mapping, notes):
    """Choose cameras: -> name of ours -> feature"""
    there = {name: feature for name, feature in dataset.features.items() if feature.get('dtype') in ('image', 'video')}
    depth = [name for name, feature in there.items() if _is_depth(feature)]
    for name in mapping.cameras.values():
        if name not in there:
            raise LeRobotError(f'{dataset.folder}: has no camera {name!r}; there are {", ".join(there) or "none"}')
        if name in depth:
            raise LeRobotError(f'{dataset.folder}: {name}: got a depth camera, expected one with colours')
    if not mapping.cameras and depth:
        notes.append(f'depth cameras are left out: {", ".join(depth)}')
    chosen = mapping.cameras or {_short(name, IMAGES, 'observation.'): name for name in there if name not in depth}
    if not chosen:
        raise LeRobotError(f'{dataset.folder}: has no camera; expected a feature {IMAGES}NAME with images or video')
    return dict(chosen)


def _is_depth(feature):
    info = {**(feature.get('video_info') or {}), **(feature.get('info') or {})}
    return bool(info.get('is_depth_map') or info.get('video.is_depth_map'))


def _sensors(dataset, mapping, used):
    """Choose further sensors: -> name of ours -> feature"""
    vectors = [name for name, feature in dataset.features.items()
               if len(feature.get('shape', ())) == 1 and str(feature.get('dtype')).startswith(NUMBERS)]
    if mapping.sensors is None:
        return {_short(name, 'observation.'): name for name in vectors if name.startswith('observation.') and name not in used | {VELOCITY}}
    for name in mapping.sensors.values():
        if name not in vectors:
            raise LeRobotError(f'{dataset.folder}: has no sensor {name!r}; there are {", ".join(vectors)}')
    return dict(mapping.sensors)


def _short(name, *prefixes):
    """Make a name of ours of a feature's: observation.images.wrist.left -> wrist_left"""
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    return re.sub(r'\W', '_', name)
