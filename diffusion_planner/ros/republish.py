"""Messages of a bag as messages of the ROS that runs: bytes as they are where the definitions agree, field by field where not."""
import re
from array import array
from importlib import import_module

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

from diffusion_planner.ros.recording import ReplayError

SEQUENCE = re.compile(r'sequence<(.+?)(?:, *(\d+))?>')
ARRAY = re.compile(r'(.+)\[(\d+)\]')
SAME = {'double': 'float64', 'float': 'float32', 'boolean': 'bool', 'octet': 'byte', 'wstring': 'string'}
BEST_EFFORT = 'best_effort', 2        # as rosbag2 writes policies: by name, or by number before jazzy
TRANSIENT_LOCAL = 'transient_local', 1
DEPTH = 10                            # of those who did not say; and at least, for several may be due at once


def find_class(msgtype):
    """Find the class of a type such as sensor_msgs/msg/Image. Raises ReplayError."""
    package, *_, name = msgtype.split('/')
    try:
        return getattr(import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError):
        raise ReplayError(f'type {msgtype}: package {package} is not installed, expected it where such messages are played') from None


def offered(text):
    """Read the quality of service that the recorded publishers offered; reliable where they disagree or nothing is known: -> QoSProfile"""
    import yaml
    profiles = yaml.safe_load(text) if text else None
    profiles = [profile for profile in profiles or () if isinstance(profile, dict)]
    kinds = {(profile.get('reliability') in BEST_EFFORT, profile.get('durability') in TRANSIENT_LOCAL) for profile in profiles}
    best_effort, latched = kinds.pop() if len(kinds) == 1 else (False, False)
    depth = max([int(profile.get('depth', 0)) for profile in profiles], default=0)
    return QoSProfile(depth=max(min(depth, 1000), 1 if latched else DEPTH),
                      reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


class Converter:
    """Turns the raw messages of one topic into bytes that this ROS reads."""

    def __init__(self, bag, topic):
        self.bag, self.topic, self.kind = bag, topic, find_class(bag.topics[topic].type)
        self.as_is = layout(self.kind) == bag_layout(*bag.fields(topic))

    def __call__(self, data):
        """Convert one message: bytes -> bytes. Raises ValueError for bytes that are none."""
        return bytes(data) if self.as_is else serialize_message(filled(self.kind, self.bag.decode(self.topic, data)))


def layout(kind):
    """Describe a message class of this ROS by names and types, down to the last: -> nested tuples"""
    return tuple((name, _layout(text)) for name, text in kind.get_fields_and_field_types().items())


def _layout(text):
    if found := SEQUENCE.fullmatch(text) or ARRAY.fullmatch(text):
        inner, count = found.groups()
        return ('array' if text.endswith(']') else 'sequence', int(count or 0), _layout(inner))
    if '/' in text:
        return layout(find_class(text.replace('/', '/msg/', 1)))
    name = text.split('<')[0]          # of a string with a bound
    return SAME.get(name, name)


def bag_layout(fielddefs, kind):
    """Describe a message type of a bag likewise: bag_layout(fields of all types as rosbags has them, type) -> nested tuples"""
    return tuple((name, _bag_layout(fielddefs, *node)) for name, node in fielddefs[kind][1])


def _bag_layout(fielddefs, node, detail):
    if node.name in ('ARRAY', 'SEQUENCE'):
        inner, count = detail
        return (node.name.lower(), int(count or 0), _bag_layout(fielddefs, *inner))
    if node.name == 'NAME':
        return bag_layout(fielddefs, detail)
    name = detail[0] if isinstance(detail, tuple) else detail
    return SAME.get(name, name)


def filled(kind, source):
    """Make a message of this ROS and fill in, by name, what a message of the bag has in common with it: -> message of `kind`"""
    message = kind()
    for name, text in kind.get_fields_and_field_types().items():
        if hasattr(source, name):
            setattr(message, name, _converted(getattr(message, name), text, getattr(source, name)))
    return message


def _converted(default, text, value):
    """Bring a field's value to the type of its default."""
    if isinstance(default, array):
        return array(default.typecode, np.ascontiguousarray(value, default.typecode).tobytes())
    if isinstance(default, np.ndarray):
        return np.asarray(value, default.dtype)
    if hasattr(default, 'get_fields_and_field_types'):
        return filled(type(default), value)
    if isinstance(default, list):
        inner = (SEQUENCE.fullmatch(text) or ARRAY.fullmatch(text)).group(1)
        kind = find_class(inner.replace('/', '/msg/', 1)) if '/' in inner else None
        return [filled(kind, item) if kind else item for item in value]
    return type(default)(value)
