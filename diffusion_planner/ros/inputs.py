"""What arrives: decoded, checked, stored in the history, and timed on the steady clock."""
import time
from collections import Counter, deque
from dataclasses import replace

import numpy as np

from diffusion_planner.messages import MessageError, fit, is_blank, read_image, read_joint_state, read_stamp, read_vector
from diffusion_planner.records import SensorReading

BEYOND_RAD = 1.0       # joints farther beyond their ranges than this are no measurement
AHEAD_S = 0.05         # stamps farther ahead of now than this are worth a word
STUCK_RAD = 0.02       # a velocity that amounts to so much moves an encoder
FROZEN_RAD = 0.2       # an arm that has moved so far looks different
FOLLOWED_S = 0.15      # joint states older than this do not say where the arm is
LOST_SHARE = 0.2       # of the messages; from here on diagnostics give a hint
LOST_HINT = 'messages get lost on their way: is the Fast DDS profile in use (config/fastdds.xml), the network fast enough?'


class Source:
    """Receipts of one input: when the newest came and at which rate, all on the steady clock; `fault` is why the last was dropped."""

    def __init__(self, steady):
        self._steady, self._receipts, self._stamps_s = steady, deque(maxlen=20), deque(maxlen=40)
        self.rejected, self.fault, self.warned = Counter(), None, set()
        self.transport_ms, self.read_ms = 0.0, 0.0      # of the newest message

    @property
    def stamp_s(self):
        return self._stamps_s[-1] if self._stamps_s else None

    def note(self, stamp_s):
        self._stamps_s.append(stamp_s)
        self._receipts.append(self._steady())
        self.fault = None

    def age_s(self):
        return self._steady() - self._receipts[-1] if self._receipts else float('inf')

    def rate_hz(self):
        if len(self._receipts) < 2:
            return 0.0
        return (len(self._receipts) - 1) / max(self._receipts[-1] - self._receipts[0], 1e-9)

    def lost_share(self):
        """Estimate the share of messages that never came, by the gaps between stamps: -> 0 to 1, 0 where too few have come"""
        gaps_s = np.diff(self._stamps_s)
        if len(gaps_s) < 10:
            return 0.0
        shortest_s = np.percentile(gaps_s, 10)
        period_s = max(np.median(gaps_s[gaps_s <= 1.5 * shortest_s]), 1e-9)      # the shortest alone are short by what stamps jitter
        return float(1.0 - len(gaps_s) / np.maximum(np.rint(gaps_s / period_s), 1.0).sum())

    def restart(self):
        """Forget stamps of another time; what came, came."""
        self._stamps_s.clear()


class Inputs:
    """Callbacks that only store. A bad message is dropped, counted by reason, and named to `warn` the first time.

    size: [Y, X] that pictures have on arrival where that is not the model's; they are cropped and resampled then. sensors: name to
    sensing.SensorSource of those that the history has.
    """

    JOINTS = 'joint_states'

    def __init__(self, history, robot, picture_shape, skew_limit_s, warn, timebase, size=None, steady=time.monotonic, sensors=None):
        self.history, self.robot, self.picture_shape, self.size = history, robot, tuple(picture_shape), tuple(size or picture_shape[:2])
        self.skew_limit_s, self.warn, self.timebase = skew_limit_s, warn, timebase
        self.sensors = sensors or {}
        self.sources = {name: Source(steady) for name in (self.JOINTS, *history.cameras, *history.sensors)}
        self._jumps, self.clock_lag_s = history.jumps, 0.0     # by which the newest joint state was ahead of the node's time
        self._stood = None  # the first reading of those with the newest positions
        self._seen = {}     # camera -> its last picture, where the arm was when it first came

    def take_joints(self, message):
        self._take(self.JOINTS, lambda: self._read_joints(message))

    def take_controller(self, following, message):
        """Note where the controller holds the arm: control_msgs/JointTrajectoryControllerState, whose fields had other names on humble."""
        reference = getattr(message, 'reference', None) or message.desired
        names = list(message.joint_names)
        if set(self.robot.joint_names) <= set(names) and len(reference.positions) == len(names):
            position_rad = np.array([reference.positions[names.index(name)] for name in self.robot.joint_names])
            if np.isfinite(position_rad).all():
                following.commanded = self.timebase.now_s(), position_rad

    def take_image(self, camera, message):
        begun_s, source = time.perf_counter(), self.sources[camera]
        self._take(camera, lambda: self._read_image(message, camera))
        source.read_ms = 1000 * (time.perf_counter() - begun_s)

    def take_sensor(self, name, message):
        self._take(name, lambda: self._read_sensor(name, message))

    def newest(self):
        """Say what became of the newest picture until now: -> milliseconds from its stamp, to be read, and waiting since; {} if none

        In simulated time the first is not known: 0.
        """
        cameras = [self.sources[name] for name in self.history.cameras if self.sources[name].stamp_s is not None]
        if not cameras:
            return {}
        newest = min(cameras, key=Source.age_s)
        return {'transport': newest.transport_ms if self.timebase.fine else 0.0, 'read': newest.read_ms, 'wait': 1000 * newest.age_s()}

    def restart(self):
        """Forget what belongs to another time."""
        self._seen.clear()
        self.clock_lag_s = 0.0
        for source in self.sources.values():
            source.restart()

    def _read_joints(self, message):
        reading = read_joint_state(message, self.robot.joint_names)
        beyond = np.maximum(reading.position_rad - self.robot.position_max_rad, self.robot.position_min_rad - reading.position_rad)
        if beyond.max() > BEYOND_RAD:
            name, value = self.robot.joint_names[beyond.argmax()], reading.position_rad[beyond.argmax()]
            raise MessageError(f'position: {name} is at {value:.2f} rad, expected within {BEYOND_RAD:g} rad of its range')
        return reading

    def _read_image(self, message, camera):
        frame = read_image(message, camera)
        found, expected = frame.pixels.shape[:2], self.size
        if found != expected:
            hint = 'see camera_size' if expected != self.picture_shape[:2] else 'as the model was trained; see camera_size'
            raise MessageError(f'size: got {found[1]}x{found[0]}, expected {expected[1]}x{expected[0]} {hint}')
        if blank := is_blank(frame.pixels):
            raise MessageError(f'data: the picture is {blank}, expected one that shows something')
        return replace(frame, pixels=fit(frame.pixels, self.picture_shape))

    def _read_sensor(self, name, message):
        source, size = self.sensors[name], self.history.sensors[name]
        values = read_vector(message, source.fields)
        if len(values) != size:
            raise MessageError(f'fields: got {len(values)} numbers ({", ".join(source.fields)}), expected {size} as the model was trained')
        stamped = source.stamps == 'header' and hasattr(message, 'header')
        return SensorReading(read_stamp(message.header.stamp) if stamped else None, name, values)

    def _check_stuck(self, reading):
        """Raise MessageError for the same positions again at a speed that must have changed them: the driver repeats itself."""
        if self._stood is None or reading.stamp_s < self._stood.stamp_s or not np.array_equal(reading.position_rad, self._stood.position_rad):
            self._stood = reading
        fastest = float(np.abs(reading.velocity_rad_s).max())
        stood_s = reading.stamp_s - self._stood.stamp_s
        if fastest * stood_s > STUCK_RAD:      # False for velocities that are not told
            raise MessageError(f'position: unchanged for {stood_s:.2f} s at {fastest:.2f} rad/s, expected motion')

    def _check_frozen(self, frame):
        """Raise MessageError for the same picture again although the arm has moved: the driver repeats itself."""
        # While joint states are missing nobody knows where a picture was taken; held against an old posture it would be refused for good.
        reading = self.history.newest_reading() if self.sources[self.JOINTS].age_s() < FOLLOWED_S else None
        if self._jumps != self.history.jumps:     # the arm was put elsewhere: what it looked like there says nothing
            self._jumps = self.history.jumps
            self._seen.clear()
        pixels, there_rad = self._seen.get(frame.camera, (None, None))
        if reading is None or there_rad is None or not np.array_equal(pixels, frame.pixels):
            self._seen[frame.camera] = frame.pixels, None if reading is None else reading.position_rad
        elif np.abs(reading.position_rad - there_rad).max() > FROZEN_RAD:
            raise MessageError('data: the same picture again although the arm has moved, expected a new one')

    def _take(self, name, read):
        source = self.sources[name]
        try:
            record = self._dated(read(), name, source)
            if name not in self.history.sensors:     # of which nobody can say whether it should have changed
                (self._check_stuck if name == self.JOINTS else self._check_frozen)(record)
        except MessageError as fault:
            field, source.fault = str(fault).split(':')[0], str(fault)
            self._say(source, field, f'{name} dropped: {fault}')
            source.rejected[field] += 1
            return
        if name == self.JOINTS and not np.isfinite(record.velocity_rad_s).all():
            record = self._with_velocity(record)
        if self.history.append(record):   # a repeated stamp is no news: a frozen sensor grows old
            source.note(record.stamp_s)

    def _dated(self, record, name, source):
        """Bring a record's stamp to the node's time: without one, or from a little ahead, it is dated on receipt."""
        now_s = self.timebase.now_s()
        if record.stamp_s is None:      # of a kind that has none
            return replace(record, stamp_s=now_s)
        ahead_s = self.timebase.of_stamp(record.stamp_s) - now_s
        source.transport_ms = max(-1000 * ahead_s, 0.0)
        if name == self.JOINTS:
            self.clock_lag_s = ahead_s
        if record.stamp_s == 0.0 and abs(ahead_s) > self.skew_limit_s:
            self._say(source, 'unstamped', f'{name}: header.stamp is zero; messages are dated on receipt')
            return replace(record, stamp_s=now_s)
        if abs(ahead_s) > self.skew_limit_s:
            raise MessageError(f'header.stamp: {ahead_s:+.1f} s from now, expected within {self.skew_limit_s:g} s')
        if ahead_s > AHEAD_S:
            self._say(source, 'ahead', f'{name}: header.stamp is {ahead_s:.2f} s ahead of now; such messages are dated on receipt')
            return replace(record, stamp_s=now_s)
        return replace(record, stamp_s=self.timebase.of_stamp(record.stamp_s))

    def _with_velocity(self, reading):
        """Work out the velocities that a driver leaves empty, from the reading before: -> JointReading"""
        before = self.history.newest_reading()
        if before is None or reading.stamp_s <= before.stamp_s:
            return replace(reading, velocity_rad_s=np.zeros_like(reading.position_rad))
        return replace(reading, velocity_rad_s=(reading.position_rad - before.position_rad) / (reading.stamp_s - before.stamp_s))

    def _say(self, source, what, text):
        if what not in source.warned:
            source.warned.add(what)
            self.warn(text)

    def age_s(self, name, now_s, simulated):
        """Return how old an input is: by receipt, and in simulated time no older than that clock says, which may be paused."""
        source = self.sources[name]
        age_s = source.age_s()
        return age_s if not simulated or source.stamp_s is None else min(age_s, max(now_s - source.stamp_s, 0.0))

    def hints(self):
        """Say which inputs arrive with gaps: -> texts"""
        return [f'{name}: {lost:.0%} of the {LOST_HINT}' for name, source in self.sources.items() if (lost := source.lost_share()) > LOST_SHARE]
