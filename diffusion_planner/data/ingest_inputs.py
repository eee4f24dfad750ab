"""What each mapped topic says: readers that make payloads of raw messages, one stream for each topic."""
import struct

import numpy as np

from diffusion_planner.data.bags import BagError
from diffusion_planner.data.ingest_streams import Stream, reject
from diffusion_planner.data.mapping import service_topic
from diffusion_planner.messages import MessageError, fit, is_blank, read_field, read_image, read_joint_state, read_vector

BEYOND_RAD = 1.0       # joints farther beyond their ranges than this are no measurement; the node says the same
SPHERE, DELETE, DELETE_ALL = 2, 2, 3
CALL_BEGINS = 0, 1     # service_msgs/ServiceEventInfo: REQUEST_SENT, REQUEST_RECEIVED


class Cameras:
    """Decodes pictures as the planner does. Raises CameraError for pictures whose size changes; counts those that cannot be used."""

    def __init__(self, bag, mapping, sizes):
        self.bag, self.shape, self.sizes = bag, (*mapping.picture_size, 3), sizes

    def decode(self, stream, stamp, data):
        """Return the picture [Y, X, 3] as the planner sees it, or None for one that the planner would refuse."""
        name = stream.name.removeprefix('cameras.')
        try:
            pixels = read_image(self.bag.decode(stream.topic, data), name).pixels
            if blank := is_blank(pixels):
                raise MessageError(f'data: the picture is {blank}')
        except (MessageError, ValueError) as fault:
            reject(stream, fault)
            return None
        size = self.sizes.setdefault(name, pixels.shape[:2])
        if size != pixels.shape[:2]:
            raise CameraError(f'camera {name}: got {pixels.shape[1]}x{pixels.shape[0]} at {stamp / 1e9:.3f} s in {self.bag.path}, '
                              f'expected {size[1]}x{size[0]} as before')
        return fit(pixels, self.shape)


class CameraError(ValueError):
    """Pictures that do not go together."""


def make_streams(bag, mapping, robot):
    """Make a stream for each mapped topic: -> joints, [the others]. Raises BagError for a topic that is not there."""
    check_topics(bag, mapping)
    joints = Stream('joint_states', mapping.joint_states, joint_reader(bag, mapping.joint_states, robot), 'header', False, mapping.joint_gap_s,
                    mapping.reorder_s)
    others = [Stream(f'cameras.{name}', camera.topic, lambda data: data, camera.stamps, True, mapping.picture_gap_s, mapping.reorder_s)
              for name, camera in mapping.cameras.items()]
    others += [Stream(f'sensors.{name}', sensor.topic, number_reader(bag, sensor.topic, sensor.fields), sensor.stamps, True, sensor.gap_s,
                      mapping.reorder_s) for name, sensor in mapping.sensors.items()]
    if mapping.command:
        others.append(Stream('command', mapping.command, command_reader(bag, mapping.command, robot), reorder_s=mapping.reorder_s))
    return joints, others + _events(bag, mapping)


def _events(bag, mapping):
    """Make the streams of what does not come all the time: reward, and what divides episodes."""
    reward, split, found = mapping.reward, mapping.episodes, []
    if reward.topic:
        found.append(Stream('reward', reward.topic.topic, number_reader(bag, reward.topic.topic, (reward.topic.field,)), 'nearest',
                            reorder_s=mapping.reorder_s))
    if reward.marker:
        found.append(Stream('reward', reward.marker.topic, ball_reader(bag, reward.marker.topic), 'nearest', reorder_s=mapping.reorder_s))
    if split.topic:
        found.append(Stream('episodes', split.topic.topic, field_reader(bag, split.topic), 'nearest', reorder_s=mapping.reorder_s))
    if split.service:
        found.append(Stream('calls', service_topic(split.service), read_call, 'call', reorder_s=mapping.reorder_s))
    return found


def check_topics(bag, mapping):
    """Raise BagError naming the first mapped topic that a bag has not, and all that it has."""
    for use, topic in mapping.needed().items():
        if topic not in bag.topics:
            hint = '; is service introspection on?' if use == 'episodes.service' else ''
            raise BagError(f'{bag.path}: {use}: topic {topic} is not there, expected one of {", ".join(sorted(bag.topics)) or "none"}{hint}')
        if bag.topics[topic].encoding != 'cdr':
            raise BagError(f'{bag.path}: {use}: topic {topic} is encoded as {bag.topics[topic].encoding!r}, expected cdr')


def joint_reader(bag, topic, robot):
    """Read joint states: data -> position_rad [J], velocity_rad_s [J] with NaN where it is not told"""
    low, high = np.array(robot.position_min_rad) - BEYOND_RAD, np.array(robot.position_max_rad) + BEYOND_RAD

    def read(data):
        reading = read_joint_state(bag.decode(topic, data), robot.joint_names)
        beyond = (reading.position_rad < low) | (reading.position_rad > high)
        if beyond.any():
            raise MessageError(f'position: {robot.joint_names[int(beyond.argmax())]} is more than {BEYOND_RAD:g} rad beyond its range')
        return reading.position_rad, reading.velocity_rad_s
    return read


def number_reader(bag, topic, fields):
    """Read numbers at field paths: data -> [K] float64, finite"""
    return lambda data: read_vector(bag.decode(topic, data), fields)


def field_reader(bag, split):
    """Read what tells episodes apart: data -> value of the field, or a new number every time where there is none."""
    def read(data):
        value = read_field(bag.decode(split.topic, data), split.field) if split.field else object()
        return tuple(value.tolist()) if isinstance(value, np.ndarray) else value
    return read


def ball_reader(bag, topic):
    """Read a visualization_msgs/Marker: data -> (centre_m [3], radius_m), None where it is taken away"""
    def read(data):
        marker = bag.decode(topic, data)
        if marker.action in (DELETE, DELETE_ALL):
            return None
        if marker.type != SPHERE or not marker.scale.x > 0:
            raise MessageError(f'type: got {marker.type} of size {marker.scale.x}, expected a ball (2)')
        place = marker.pose.position
        return np.array([place.x, place.y, place.z]), marker.scale.x / 2
    return read


def command_reader(bag, topic, robot):
    """Read what the arm was told: data -> (offset_s [P], position_rad [P, J]) of a trajectory, (None, position_rad [J]) of a controller's state"""
    is_trajectory = bag.topics[topic].type.endswith('/JointTrajectory')

    def read(data):
        message = bag.decode(topic, data)
        names = list(message.joint_names)
        if missing := [name for name in robot.joint_names if name not in names]:
            raise MessageError(f'joint_names: {missing[0]!r} is missing; got {names}')
        order = [names.index(name) for name in robot.joint_names]
        if is_trajectory:
            offset_s = [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in message.points]
            return np.array(offset_s), np.array([np.asarray(point.positions, float)[order] for point in message.points]).reshape(-1, len(order))
        reference = getattr(message, 'reference', None) or getattr(message, 'desired', None) or message.output     # their name on humble
        if len(reference.positions) != len(names):
            raise MessageError(f'reference.positions: got {len(reference.positions)} values, expected {len(names)}')
        return None, np.asarray(reference.positions, float)[order]
    return read


def read_call(data):
    """Read the kind of a service's event, which comes first in it, so that nobody needs to know the service: -> whether a call begins"""
    try:
        return struct.unpack_from('B', data, 4)[0] in CALL_BEGINS
    except struct.error:
        raise MessageError(f'data: got {len(data)} bytes, expected a service event') from None
