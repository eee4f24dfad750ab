"""The topics of a bag that the walk needs, by what they are for, and what their messages say."""
import re
from typing import Callable, NamedTuple

import numpy as np

from diffusion_planner.data import bags
from diffusion_planner.data.mapping import service_topic
from diffusion_planner.messages import MessageError, read_image, read_joint_state
from diffusion_planner.records import SensorReading

REQUEST_RECEIVED = 1      # of service_msgs/ServiceEventInfo
INDEX = re.compile(r'(\w+)(?:\[(\d+)(?::(\d+))?\])?')


class EvaluationError(ValueError):
    """A bag that cannot be evaluated with this model; the message says what was found and what was expected."""


class Message(NamedTuple):
    """One message on its way: `kind` is joints, camera, sensor, reward or episodes, `name` the camera's or sensor's."""

    kind: str
    name: str
    topic: str
    log_s: float
    header_s: float | None      # None: there is no header
    decode: Callable


class Topics:
    """What a bag holds for a mapping and a model with these cameras and sensors. Raises EvaluationError and BagError."""

    def __init__(self, bag, mapping, robot, cameras, sensors, intervals=None):
        """intervals: (begin_s, end_s) of what is rewarded, where the mapping names a file of them"""
        self.bag, self.mapping, self.robot = bag, mapping, robot
        _check_names('cameras', mapping.cameras, cameras)
        missing = [name for name in sensors if name not in mapping.sensors]
        if missing:
            raise EvaluationError(f'sensors: the mapping has {sorted(mapping.sensors) or "none"}, expected {missing[0]!r}, which the model was trained with')
        self.roles = self._roles(cameras, sensors)
        self.headed = {topic: bag.has_header(topic) for topic in self.roles}
        self._sizes, self._target, self.intervals = {}, None, intervals

    def _roles(self, cameras, sensors):
        """Give every topic its part: -> {topic: (kind, name)}. Raises EvaluationError for topics that are not there."""
        mapping, reward = self.mapping, self.mapping.reward.topic or self.mapping.reward.marker
        wanted = {mapping.joint_states: ('joints', 'joint_states')}
        wanted |= {mapping.cameras[name].topic: ('camera', name) for name in cameras}
        wanted |= {mapping.sensors[name].topic: ('sensor', name) for name in sensors}
        wanted |= {reward.topic: ('reward', 'reward')} if reward else {}
        wanted |= {mapping.episodes.topic.topic: ('episodes', 'episodes')} if mapping.episodes.topic else {}
        wanted |= {service_topic(mapping.episodes.service): ('calls', 'calls')} if mapping.episodes.service else {}
        if missing := [topic for topic in wanted if topic not in self.bag.topics]:
            raise EvaluationError(f'{self.bag.path}: has no topic {missing[0]}; there are {", ".join(sorted(self.bag.topics)) or "none"}')
        return wanted

    def messages(self, kinds=None):
        """Read the messages of some kinds, or of all, in the order in which they were received: yields Message"""
        names = [topic for topic, (kind, _) in self.roles.items() if kinds is None or kind in kinds]
        for topic, log_ns, data in self.bag.messages(names):
            header_s = 1e-9 * bags.stamp_ns(data) if self.headed[topic] else None
            yield Message(*self.roles[topic], topic, 1e-9 * log_ns, header_s, _decoder(self.bag, topic, data))

    def joint_stamps(self):
        """Read when joint states were received and what their stamps say: -> log_s [N], stamp_s [N]. Raises EvaluationError."""
        rows, fault = [], None
        for message in self.messages(('joints',)):
            if not rows:      # until one can be used, each is looked into
                try:
                    read_joint_state(message.decode(), self.robot.joint_names)
                except (MessageError, ValueError) as error:
                    fault = fault or str(error)
                    continue
            rows.append((message.log_s, message.header_s))
        if not rows:
            said = f'no message of {self.mapping.joint_states} can be used: {fault}' if fault else f'{self.mapping.joint_states} has no messages'
            raise EvaluationError(f'{self.bag.path}: {said}; expected joint states of {self.robot.name}')
        return np.array(rows).T

    @property
    def hold_s(self):
        """For how long a reward holds, None: until the next one."""
        return self.mapping.reward.topic.hold_s if self.mapping.reward.topic else None

    def picture(self, message, now_s):
        """Decode a picture's message; one whose camera has a clock of its own is dated on receipt."""
        decoded = message.decode()
        if self.mapping.cameras[message.name].stamps == 'log':
            decoded.header.stamp.sec, decoded.header.stamp.nanosec = int(now_s), round(1e9 * (now_s % 1))
        return decoded

    def sensed(self, message, now_s):
        """Decode a sensor's message: -> SensorReading, dated on receipt where it has no stamp"""
        source = self.mapping.sensors[message.name]
        stamp_s = message.header_s if message.header_s and source.stamps == 'header' else now_s
        return SensorReading(stamp_s, message.name, np.concatenate([_numbers(message.decode(), path) for path in source.fields]))

    def size(self, camera, message):
        """Return [Y, X] of a camera's first picture, which all its others must have."""
        if camera not in self._sizes:
            try:
                self._sizes[camera] = read_image(message, camera).pixels.shape[:2]
            except MessageError:
                return None
        return self._sizes[camera]

    def mark(self, message):
        """Read what tells one episode from the next: a value, the message itself, or a request that a service received: -> tuple, None"""
        if message.kind == 'calls':
            return ('call', message.log_s) if message.decode().info.event_type == REQUEST_RECEIVED else None
        path = self.mapping.episodes.topic.field
        return ('value', *_numbers(message.decode(), path)) if path else ('message', message.log_s)

    def reward(self, message):
        """Read what a message says about reward: -> 0.0 or 1.0, None where only joints will tell, see reward_at"""
        source = self.mapping.reward
        if source.topic:
            return float(_numbers(message.decode(), source.topic.field).max() > source.topic.above)
        marker = message.decode()
        self._target = np.array([getattr(marker.pose.position, axis) for axis in 'xyz']), 0.5 * marker.scale.x + source.marker.within_m
        return None

    def reward_at(self, reading, since_s):
        """Say whether a posture is rewarded by a marker or an interval: -> 0.0 or 1.0, None where a topic says so, or nobody"""
        if self._target is not None:
            centre_m, radius_m = self._target
            return float(np.linalg.norm(self.robot.tip_m(reading.position_rad) - centre_m) <= radius_m)
        if self.intervals is None:
            return None
        at_s = reading.stamp_s if self.mapping.reward.intervals.absolute else since_s
        return float(any(begin_s <= at_s <= end_s for begin_s, end_s in self.intervals))


def _check_names(what, mapped, trained):
    """Raise EvaluationError unless the mapping has just what the model was trained with."""
    extra, missing = sorted(set(mapped) - set(trained)), sorted(set(trained) - set(mapped))
    if extra or missing:
        raise EvaluationError(f'{what}: the mapping has {sorted(mapped)}, the model was trained with {sorted(trained)}; expected the same names')


def _decoder(bag, topic, data):
    """Deserialise once, when it is asked for."""
    found = []

    def decode():
        if not found:
            found.append(bag.decode(topic, data))
        return found[0]
    return decode


def _numbers(message, path):
    """Read the numbers at a path such as wrench.force.x or data[0:3]: -> [K]"""
    for part in path.split('.'):
        name, first, last = INDEX.fullmatch(part).groups()
        message = getattr(message, name)
        if first is not None:
            message = message[int(first):int(last)] if last else message[int(first)]
    return np.atleast_1d(np.asarray(message, float))
