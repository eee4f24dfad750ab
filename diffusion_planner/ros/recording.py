"""A bag as it is played: which of its topics go where, and the ROS time at which each message is due."""
import struct
from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from diffusion_planner.data.bags import open_bag, stamp_ns

BACK_S = 0.5          # stamps that go back farther than this are those of another clock
STAMPS = {0: struct.Struct('>iI'), 1: struct.Struct('<iI')}     # of a header in CDR, by the bit that tells its byte order


class ReplayError(ValueError):
    """A bag that cannot be played into the node, or a way to play it that is not there; the message says what was expected."""


class Track(NamedTuple):
    """One topic of a bag and where the node listens for it. role: joints, camera, sensor or other; name: that of the camera or sensor.

    restamp: its header has a clock of its own, and is written anew with the time of arrival.
    """

    topic: str
    to: str
    role: str
    name: str = ''
    restamp: bool = False


def tracks_of(mapping, model, topics):
    """Choose what is played of a bag for a model: tracks_of(Mapping, ModelConfig, its topics name -> Topic) -> list of Track

    Cameras and sensors that the model does not have are left out. Raises ReplayError for those that the mapping does not have.
    """
    sensors = [name for name, *_ in getattr(model, 'sensors', ())]
    for kind, wanted, there in (('cameras', model.cameras, mapping.cameras), ('sensors', sensors, mapping.sensors)):
        if missing := [name for name in wanted if name not in there]:
            raise ReplayError(f'--map: {kind}: got {", ".join(there) or "none"}, expected {", ".join(missing)} too, which the model was trained with')
    tracks = [Track(mapping.joint_states, '/joint_states', 'joints')]
    for name in model.cameras:
        camera = mapping.cameras[name]
        compressed = camera.topic in topics and topics[camera.topic].type.endswith('CompressedImage')
        tracks.append(Track(camera.topic, f'/{name}/image{"/compressed" * compressed}', 'camera', name, camera.stamps == 'log'))
    tracks += [Track(mapping.sensors[name].topic, mapping.sensors[name].topic, 'sensor', name, mapping.sensors[name].stamps == 'log') for name in sensors]
    played = {track.topic for track in tracks}
    others = [topic for role, topic in mapping.needed().items() if role.startswith(('reward', 'episodes.topic')) and topic not in played]
    return tracks + [Track(topic, topic, 'other') for topic in dict.fromkeys(others)]


class Due(NamedTuple):
    """One message: due_s is the ROS time at which it arrived when it was recorded, stamp_s its header's, None without one."""

    due_s: float
    stamp_s: float | None
    track: Track
    data: bytes


class Recording:
    """A bag and its timeline. Use as a context manager. Raises BagError and ReplayError.

    ROS time is that of the joint states' headers: log times say only what came between which of them, at whatever pace they were
    recorded. Joints without stamps are dated by their log times. start_s, duration_s: the part that is played, from the bag's beginning.
    """

    def __init__(self, path, tracks, start_s=0.0, duration_s=None):
        self.bag, self.tracks = open_bag(path), list(tracks)
        self._whole_s = None      # after which the stamps go back, if they do
        try:
            self._check_topics()
            self._log_s, self._ros_s = self._timeline()
            begin_s = float(self._ros_s[0])
            self.begin_s, self.end_s = begin_s + start_s, float(self._ros_s[-1])
            if duration_s is not None:
                self.end_s = min(self.end_s, self.begin_s + duration_s)
            self._check_window(start_s, duration_s)
            self._headed = {track.topic for track in self.present if self.bag.has_header(track.topic)}
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.bag.close()

    @property
    def path(self):
        return self.bag.path

    @property
    def joints(self):
        """The topic of the joint states."""
        return next(track.topic for track in self.tracks if track.role == 'joints')

    def messages(self):
        """Read what is played, in the order in which it arrived: yields Due, one for each track of a topic"""
        tracks = {}
        for track in self.present:
            tracks.setdefault(track.topic, []).append(track)
        for topic, log_ns, data in self.bag.messages(tracks):
            due_s = self.due_s(1e-9 * log_ns)
            if due_s > self.end_s:
                return
            for track in tracks[topic] if due_s >= self.begin_s else ():
                headed = topic in self._headed
                given = restamped(data, due_s) if track.restamp and headed else data
                yield Due(due_s, 1e-9 * stamp_ns(given) if headed else None, track, given)

    @property
    def present(self):
        """The tracks of what is there: -> list of Track"""
        return [track for track in self.tracks if track.topic in self.bag.topics]

    def first(self, topic):
        """Read the first message of a topic: -> message as `Bag.decode` makes it. Raises ReplayError where there is none."""
        for name, _, data in self.bag.messages([topic]):
            return self.bag.decode(name, data)
        raise ReplayError(f'{self.path}: nothing on {topic}, expected messages')

    def due_s(self, log_s):
        """Turn a log time into ROS time: between joint states in proportion, before the first and after the last at real pace."""
        log, ros = self._log_s, self._ros_s
        if log_s <= log[0]:
            return float(ros[0] + (log_s - log[0]))     # the difference first: sums of seconds since 1970 cost digits
        if log_s >= log[-1]:
            return float(ros[-1] + (log_s - log[-1]))
        after = bisect_left(log, log_s)
        share = (log_s - log[after - 1]) / (log[after] - log[after - 1])
        return float(ros[after - 1] + share * (ros[after] - ros[after - 1]))

    def clock_ahead_s(self):
        """Return by how much at most log times are ahead of the header stamps."""
        return float(np.abs(self._log_s - self._ros_s).max())

    def _check_topics(self):
        missing = [track.topic for track in self.tracks if track.topic not in self.bag.topics and track.role != 'other']
        if missing:
            there = ', '.join(sorted(self.bag.topics)) or 'nothing'
            raise ReplayError(f'{self.path}: topic {", ".join(missing)} is not in the bag, expected it as in --map; there are {there}')

    def _timeline(self):
        """Read when joint states arrived and how they were stamped: -> log_s [N], ros_s [N], both increasing"""
        rows = np.array([(log_ns, stamp_ns(data)) for _, log_ns, data in self.bag.messages([self.joints])], np.int64).reshape(-1, 2)
        if len(rows) < 2:
            raise ReplayError(f'{self.path}: {len(rows)} messages on {self.joints}, expected at least 2')
        log_s, stamp_s = 1e-9 * rows[:, 0], 1e-9 * rows[:, 1]
        if (rows[:, 1] == 0).mean() > 0.5:
            return log_s, log_s
        back = np.flatnonzero(np.maximum.accumulate(stamp_s) - stamp_s > BACK_S)
        if len(back):
            self._whole_s = float(stamp_s[:back[0]].max() - stamp_s[0])
            log_s, stamp_s = log_s[:back[0]], stamp_s[:back[0]]
        log_s, first = np.unique(log_s, return_index=True)
        return log_s, np.maximum.accumulate(stamp_s)[first]

    def _check_window(self, start_s, duration_s):
        if self.begin_s >= self.end_s:
            raise ReplayError(f'{self.path}: begins at {start_s:g} s and ends before, '
                              f'expected a start within the {self._ros_s[-1] - self._ros_s[0]:.1f} s of the bag')
        if self._whole_s is not None and (duration_s is None or start_s + duration_s > self._whole_s + 0.1):
            raise ReplayError(f'{self.path}: header stamps of {self.joints} go back {self._whole_s:.1f} s after the beginning, expected one clock; '
                              f'play what comes before with a duration of {self._whole_s - start_s:.1f}')


def restamped(data, stamp_s):
    """Write another stamp into a CDR message that begins with a std_msgs/Header: -> bytes"""
    data, nanoseconds = bytearray(data), round(1e9 * stamp_s)
    STAMPS[data[1] & 1].pack_into(data, 4, *divmod(nanoseconds, 10**9))
    return bytes(data)
