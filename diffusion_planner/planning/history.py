"""What the planner remembers: joints, pictures and further sensors of the last seconds, sampled at the context's instants."""
import threading
from bisect import bisect_right
from collections import deque

import numpy as np

from diffusion_planner.records import Frame, JointReading, Observation, SensorReading

JUMP_RAD, FASTEST_RAD_S = 0.2, 5.0
JUMP_READINGS = 3       # so many readings must agree that the arm is elsewhere: one alone is a fault of an encoder or of a driver
FRESH_S, BLIND_S = 0.5, 3.0
SENSOR_FRESH_S, SENSOR_BLIND_S = 0.25, 1.5


class NotReady(RuntimeError):
    """There is not enough data for an observation; the text names what is missing."""


class History:
    """A ring buffer of one arm's joints, V cameras and S sensors. Safe to fill from one thread and to read from another.

    A picture younger than fresh_s at the instant it stands for is trusted; its noise level rises from there, and at blind_s it
    counts for nothing. `any_camera`: one camera is enough, those of which nothing has come count for nothing. sensors: (name, how many
    numbers) of each, whose readings age in the same way by sensor_fresh_s and sensor_blind_s. `any_sensor`: none is needed.
    """

    def __init__(self, joint_count, cameras, context_offset_s=(-1.2, -0.4, 0.0), memory_s=5.0, fresh_s=FRESH_S, blind_s=BLIND_S,
                 any_camera=False, sensors=(), sensor_fresh_s=SENSOR_FRESH_S, sensor_blind_s=SENSOR_BLIND_S, any_sensor=False):
        self.joint_count, self.cameras, self.memory_s = joint_count, tuple(cameras), memory_s
        self.fresh_s, self.blind_s, self.any_camera = fresh_s, blind_s, any_camera
        self.offset_s = np.array(context_offset_s, np.float64)
        self.jumps, self._suspects, self._doubted_s = 0, [], None      # since when readings have been held back
        self._lock = threading.Lock()
        self.sensors, self.sensor_fresh_s, self.sensor_blind_s, self.any_sensor = dict(sensors), sensor_fresh_s, sensor_blind_s, any_sensor
        self._readings, self._frames, self._felt = deque(), {camera: deque() for camera in self.cameras}, {name: deque() for name in self.sensors}

    def append(self, record):
        """Store a JointReading, a Frame or a SensorReading.

        Returns False for one that is not newer than the last of its kind, and for joints that jump as no arm can: those are held
        back until JUMP_READINGS of them agree. Then the arm was put there: what was seen before belongs to another episode and is
        forgotten. Raises KeyError for an unknown camera or sensor.
        """
        is_reading = isinstance(record, JointReading)
        kept = self._readings if is_reading else self._felt[record.sensor] if isinstance(record, SensorReading) else self._frames[record.camera]
        with self._lock:
            if kept and record.stamp_s < kept[-1].stamp_s:
                return False
            # What is held back must not become believable by the time that passes meanwhile.
            if is_reading and kept and _jumps(kept[-1], record, self._doubted_s):
                if not self._believes(record):
                    return False
                self._clear()
                self.jumps += 1
            elif kept and record.stamp_s == kept[-1].stamp_s:
                return False
            elif is_reading:
                self._suspects.clear()
                self._doubted_s = None
            kept.append(record)
            while len(kept) > 1 and kept[1].stamp_s <= record.stamp_s - self.memory_s:
                kept.popleft()
        return True

    def _believes(self, reading):
        """Hold a reading that jumped against those that jumped before it: -> whether enough of them agree"""
        if self._suspects and _jumps(self._suspects[-1], reading):
            self._suspects.clear()
        self._suspects.append(reading)
        self._doubted_s = reading.stamp_s if self._doubted_s is None else self._doubted_s
        return len(self._suspects) >= JUMP_READINGS

    def clear(self):
        """Forget everything, as at the start of an episode."""
        with self._lock:
            self._clear()

    def _clear(self):
        self._readings.clear()
        self._suspects.clear()
        self._doubted_s = None
        for records in (*self._frames.values(), *self._felt.values()):
            records.clear()

    def newest_reading(self):
        """Return the newest JointReading, or None."""
        with self._lock:
            return self._readings[-1] if self._readings else None

    def readings_since(self, instant_s):
        """List the readings from an instant on: -> list of JointReading"""
        with self._lock:
            return [reading for reading in self._readings if reading.stamp_s >= instant_s]

    def missing(self):
        """Name the inputs of which nothing has come yet, and without which no plan can be made: -> list of str"""
        with self._lock:
            return self._missing()

    def _missing(self):
        cameras = [f'pictures of {camera}' for camera, frames in self._frames.items() if not frames]
        if self.any_camera and len(cameras) < len(self.cameras):
            cameras = []
        sensors = [] if self.any_sensor else [f'readings of {name}' for name, felt in self._felt.items() if not felt]
        return [*([] if self._readings else ['joint states']), *cameras, *sensors]

    def observe(self, origin, now_s, committed=None):
        """Sample the context of a plan that takes over at the state `origin`.

        observe(origin: MotionState, now_s, committed: function of an instant -> MotionState, or None) -> Observation with C rows at
        origin.stamp_s + context_offset_s.

        Nothing stamped after now_s is used. Joints and sensors are interpolated; instants still to come are what the arm is committed to, the
        last row being the origin state itself. Each picture is the newest at or before its row, in the last row the newest of all;
        its noise level rises with its age then, and so does that of a sensor's newest reading. Rows before the first data repeat the
        earliest at level 1; what comes before a sensor's first reading counts for nothing. Raises NotReady.
        """
        with self._lock:
            if missing := self._missing():
                raise NotReady('waiting for ' + ' and '.join(missing))
            readings = _until(self._readings, now_s)
            frames = [_until(self._frames[camera], now_s) for camera in self.cameras]
            felt = [_until(self._felt[name], now_s) for name in self.sensors]
        row_s = origin.stamp_s + self.offset_s
        position_rad, velocity_rad_s = _interpolate(readings, row_s)
        for row in np.flatnonzero(row_s[:-1] > now_s) if committed else ():
            state = committed(row_s[row])
            position_rad[row], velocity_rad_s[row] = state.position_rad, state.velocity_rad_s
        position_rad[-1], velocity_rad_s[-1] = origin.position_rad, origin.velocity_rad_s
        instants = np.minimum([*row_s[:-1], now_s], now_s)
        first_s = max(records[0].stamp_s for records in (readings, *frames) if records)
        level = (row_s < first_s).astype(np.float64)
        level[-1] = 0.0   # the origin is known: we chose it
        pictures, stamp_s, doubt = self._pictures(frames, instants)
        return Observation(origin.stamp_s, self.offset_s.copy(), position_rad, velocity_rad_s, pictures, stamp_s, level, doubt,
                           *self._sensed(felt, instants))

    def _pictures(self, frames, instants_s):
        """Choose the picture of every camera for each instant [C]: -> pictures, picture_stamp_s, picture_level"""
        there = next(seen for seen in frames if seen) if frames else ()
        blank = Frame(-np.inf, '', np.zeros_like(there[0].pixels)) if frames else None
        chosen = [[_newest(seen, instant) if seen else blank for seen in frames] for instant in instants_s]
        stamp_s = np.array([[frame.stamp_s for frame in row] for row in chosen])
        doubt = _doubt(np.reshape(instants_s, (-1, 1)) - stamp_s, self.fresh_s, self.blind_s)
        return np.stack([np.stack([frame.pixels for frame in row]) for row in chosen]), stamp_s, doubt

    def _sensed(self, felt, instants_s):
        """Interpolate every sensor at each instant [C]: -> sensors [C, K], sensor_level [C, S]; None, None where there are none"""
        if not self.sensors:
            return None, None
        columns = [_felt(readings, size, instants_s) for readings, size in zip(felt, self.sensors.values())]
        values, ages_s = (np.concatenate(parts, 1) for parts in zip(*columns))
        return values, _doubt(ages_s, self.sensor_fresh_s, self.sensor_blind_s)


def _doubt(age_s, fresh_s, blind_s):
    return np.clip((age_s - fresh_s) / (blind_s - fresh_s), 0.0, 1.0)


def _felt(readings, size, instants_s):
    """Interpolate one sensor, by the two readings about each instant alone, as there may be thousands: -> values [C, K], age_s [C, 1]

    The age is that of the newest reading by then, infinite where there was none yet.
    """
    values, ages_s = np.zeros((len(instants_s), size)), np.full((len(instants_s), 1), np.inf)
    for row, instant in enumerate(instants_s if readings else ()):
        after = bisect_right(readings, instant, key=lambda reading: reading.stamp_s)
        one, other = readings[max(after - 1, 0)], readings[min(after, len(readings) - 1)]
        share = (instant - one.stamp_s) / max(other.stamp_s - one.stamp_s, 1e-9)
        values[row] = one.values + np.clip(share, 0.0, 1.0) * (other.values - one.values)
        ages_s[row] = instant - one.stamp_s if after else np.inf
    return values, ages_s


def _jumps(before, after, until_s=None):
    """Return whether an arm cannot have moved so far, by after.stamp_s or until_s: more than JUMP_RAD beyond what FASTEST_RAD_S explains."""
    far_rad = np.abs(np.subtract(after.position_rad, before.position_rad)).max()
    return far_rad > JUMP_RAD + FASTEST_RAD_S * ((after.stamp_s if until_s is None else until_s) - before.stamp_s)


def _until(records, now_s):
    """List the records up to now, at least the earliest one, which a clock that lags may put just ahead."""
    kept = [record for record in records if record.stamp_s <= now_s]
    return kept or list(records)[:1]


def _interpolate(readings, row_s):
    """Interpolate joints at instants; outside the data the nearest reading: -> position_rad, velocity_rad_s [C, J]"""
    stamps = np.array([reading.stamp_s for reading in readings])
    tables = (np.stack([reading.position_rad for reading in readings]), np.stack([reading.velocity_rad_s for reading in readings]))
    return tuple(np.stack([np.interp(row_s, stamps, column) for column in table.T], axis=1) for table in tables)


def _newest(frames, instant_s):
    """Pick the newest frame at or before an instant, else the earliest."""
    return frames[max(bisect_right(frames, instant_s, key=lambda frame: frame.stamp_s) - 1, 0)]
