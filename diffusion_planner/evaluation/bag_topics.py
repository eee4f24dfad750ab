"""The topics of a bag that the walk needs, by what they are for, and what their messages say."""
from typing import NamedTuple

import numpy as np

from diffusion_planner.data import bags
from diffusion_planner.data import ingest_inputs as inputs
from diffusion_planner.data.mapping import service_topic
from diffusion_planner.messages import MessageError, read_image, read_joint_state


class EvaluationError(ValueError):
    """A bag that cannot be evaluated with this model; the message says what was found and what was expected."""


class Message(NamedTuple):
    """One message on its way: `kind` is joints, camera, sensor, reward, episodes or calls, `name` the camera's or sensor's; data: CDR."""

    kind: str
    name: str
    topic: str
    log_s: float
    header_s: float | None      # None: there is no header
    data: bytes


class Topics:
    """What a bag holds for a mapping and a model with these cameras and sensors. Raises EvaluationError and BagError."""

    def __init__(self, bag, mapping, robot, cameras, sensors, intervals=None):
        """intervals [N, 3]: begin, end, value of what is rewarded, where the mapping names a file of them"""
        self.bag, self.mapping, self.robot, self.intervals = bag, mapping, robot, intervals
        _check_names('cameras', mapping.cameras, cameras)
        if missing := [name for name in sensors if name not in mapping.sensors]:
            raise EvaluationError(f'sensors: the mapping has {sorted(mapping.sensors) or "none"}, expected {missing[0]!r}, which the model was trained with')
        self.roles = self._roles(cameras, sensors)
        self.headed = {topic: bag.has_header(topic) for topic in self.roles}
        self._readers = {topic: self._reader(topic, kind) for topic, (kind, _) in self.roles.items()}
        self._sizes, self._target = {}, None

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
            raise EvaluationError(f'{self.bag.path}: topic {missing[0]} is not there, expected one of {", ".join(sorted(self.bag.topics)) or "none"}')
        return wanted

    def _reader(self, topic, kind):
        """Make what reads a topic's raw messages, as ingest does: -> function of data, which raises MessageError"""
        bag, mapping = self.bag, self.mapping
        if kind == 'reward':
            return inputs.number_reader(bag, topic, (mapping.reward.topic.field,)) if mapping.reward.topic else inputs.ball_reader(bag, topic)
        if kind == 'episodes':
            return inputs.field_reader(bag, mapping.episodes.topic)
        return inputs.read_call if kind == 'calls' else lambda data: bag.decode(topic, data)

    def messages(self, kinds=None):
        """Read the messages of some kinds, or of all, in the order in which they were received: yields Message"""
        names = [topic for topic, (kind, _) in self.roles.items() if kinds is None or kind in kinds]
        for topic, log_ns, data in self.bag.messages(names):
            yield Message(*self.roles[topic], topic, 1e-9 * log_ns, 1e-9 * bags.stamp_ns(data) if self.headed[topic] else None, data)

    def read(self, message):
        """Read what a message says, by what it is for. Raises MessageError."""
        try:
            return self._readers[message.topic](message.data)
        except MessageError:
            raise
        except ValueError as fault:
            raise MessageError(f'data: {fault}') from None

    def joint_stamps(self):
        """Read when joint states were received and what their stamps say: -> log_s [N], stamp_s [N]. Raises EvaluationError."""
        rows, fault = [], ''
        for message in self.messages(('joints',)):
            if not rows:      # until one can be used, each is looked into
                try:
                    read_joint_state(self.read(message), self.robot.joint_names)
                except MessageError as error:
                    fault = fault or f': {error}'
                    continue
            rows.append((message.log_s, message.header_s))
        if not rows:
            raise EvaluationError(f'{self.bag.path}: no message of {self.mapping.joint_states} can be used{fault}; '
                                  f'expected joint states of {", ".join(self.robot.joint_names)}')
        return np.array(rows).T

    def picture(self, message, now_s):
        """Read a picture's message; one whose camera has a clock of its own is dated on receipt."""
        image = self.read(message)
        if self.mapping.cameras[message.name].stamps == 'log':
            image.header.stamp.sec, image.header.stamp.nanosec = int(now_s), int(1e9 * (now_s % 1))
        return image

    def size(self, camera, image):
        """Return [Y, X] of a camera's first picture, which all its others must have; None before there is one."""
        if camera not in self._sizes:
            try:
                self._sizes[camera] = read_image(image, camera).pixels.shape[:2]
            except MessageError:
                return None
        return self._sizes[camera]

    @property
    def hold_s(self):
        """For how long a reward holds, None: until the next one."""
        return self.mapping.reward.topic.hold_s if self.mapping.reward.topic else None

    def reward(self, message):
        """Read what a message says about reward: -> 0.0 or 1.0, None where joints will tell, see reward_at"""
        said, source = self.read(message), self.mapping.reward
        if source.topic:
            return float(said[0] > source.topic.above)
        self._target = said
        return None

    def reward_at(self, reading, since_s):
        """Say whether a posture is rewarded by a marker or an interval: -> 0.0 to 1.0, None where a topic says so, or nobody"""
        if self.mapping.reward.marker:
            return None if self._target is None else self._within(reading.position_rad)
        if self.intervals is None:
            return None
        at_s = reading.stamp_s if self.mapping.reward.intervals.absolute else since_s
        return float(max((value for begin_s, end_s, value in self.intervals if begin_s <= at_s <= end_s), default=0.0))

    def _within(self, position_rad):
        centre_m, radius_m = self._target
        return float(np.linalg.norm(self.robot.tip_m(position_rad) - centre_m) <= radius_m + self.mapping.reward.marker.within_m)


def _check_names(what, mapped, trained):
    """Raise EvaluationError unless the mapping has just what the model was trained with."""
    if set(mapped) != set(trained):
        raise EvaluationError(f'{what}: the mapping has {", ".join(sorted(mapped))}, expected {", ".join(sorted(trained)) or "none"}, '
                              'which the model was trained with')
