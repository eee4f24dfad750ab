"""What the planner remembers: joint readings and pictures of the last seconds, sampled at the context's instants."""
import threading
from bisect import bisect_right
from collections import deque

import numpy as np

from diffusion_planner.records import JointReading, Observation

JUMP_RAD, FASTEST_RAD_S = 0.2, 5.0


class NotReady(RuntimeError):
    """There is not enough data for an observation; the text names what is missing."""


class History:
    """A ring buffer of one arm's joints and V cameras. Safe to fill from one thread and to read from another."""

    def __init__(self, joint_count, cameras, context_offset_s=(-1.2, -0.4, 0.0), memory_s=5.0):
        self.joint_count, self.cameras, self.memory_s = joint_count, tuple(cameras), memory_s
        self.offset_s = np.array(context_offset_s, np.float64)
        self.jumps = 0
        self._lock = threading.Lock()
        self._readings, self._frames = deque(), {camera: deque() for camera in self.cameras}

    def append(self, record):
        """Store a JointReading or a Frame.

        Returns False for one that is not newer than the last of its kind. Raises KeyError for an unknown camera.
        Joints that jump as no arm can were put there: what was seen before belongs to another episode and is forgotten.
        """
        is_reading = isinstance(record, JointReading)
        kept = self._readings if is_reading else self._frames[record.camera]
        with self._lock:
            if kept and record.stamp_s <= kept[-1].stamp_s:
                return False
            if is_reading and kept and _jumps(kept[-1], record):
                self._clear()
                self.jumps += 1
            kept.append(record)
            while len(kept) > 1 and kept[1].stamp_s <= record.stamp_s - self.memory_s:
                kept.popleft()
        return True

    def clear(self):
        """Forget everything, as at the start of an episode."""
        with self._lock:
            self._clear()

    def _clear(self):
        self._readings.clear()
        for frames in self._frames.values():
            frames.clear()

    def newest_reading(self):
        """Return the newest JointReading, or None."""
        with self._lock:
            return self._readings[-1] if self._readings else None

    def missing(self):
        """Name the inputs of which nothing has come yet: -> list of str"""
        with self._lock:
            cameras = [f'pictures of {camera}' for camera, frames in self._frames.items() if not frames]
            return cameras if self._readings else ['joint states', *cameras]

    def observe(self, origin, now_s):
        """Sample the context of a plan that takes over at the state `origin`.

        observe(origin: MotionState, now_s) -> Observation with C rows at origin.stamp_s + context_offset_s.

        Nothing stamped after now_s is used. Joints are interpolated, the last row being the origin state itself. Each
        picture is the newest at or before its row, in the last row the newest of all. Rows before the first data repeat
        the earliest at level 1. Raises NotReady.
        """
        if missing := self.missing():
            raise NotReady('waiting for ' + ' and '.join(missing))
        with self._lock:
            readings = _until(self._readings, now_s)
            frames = [_until(self._frames[camera], now_s) for camera in self.cameras]
        row_s = origin.stamp_s + self.offset_s
        position_rad, velocity_rad_s = _interpolate(readings, row_s)
        position_rad[-1], velocity_rad_s[-1] = origin.position_rad, origin.velocity_rad_s
        chosen = [[_newest(seen, instant) for seen in frames] for instant in (*row_s[:-1], now_s)]
        first_s = max(records[0].stamp_s for records in (readings, *frames))
        level = (row_s < first_s).astype(np.float64)
        level[-1] = 0.0   # the origin is known: we chose it
        return Observation(origin.stamp_s, self.offset_s.copy(), position_rad, velocity_rad_s,
                           np.stack([np.stack([frame.pixels for frame in row]) for row in chosen]),
                           np.array([[frame.stamp_s for frame in row] for row in chosen]), level)


def _jumps(before, after):
    """Return whether an arm cannot have moved so far: more than JUMP_RAD beyond what FASTEST_RAD_S explains."""
    far_rad = np.abs(np.subtract(after.position_rad, before.position_rad)).max()
    return far_rad > JUMP_RAD + FASTEST_RAD_S * (after.stamp_s - before.stamp_s)


def _until(records, now_s):
    """List the records up to now, at least the earliest one, which a clock that lags may put just ahead."""
    kept = [record for record in records if record.stamp_s <= now_s]
    return kept or [records[0]]


def _interpolate(readings, row_s):
    """Interpolate joints at instants; outside the data the nearest reading: -> position_rad, velocity_rad_s [C, J]"""
    stamps = np.array([reading.stamp_s for reading in readings])
    tables = (np.stack([reading.position_rad for reading in readings]), np.stack([reading.velocity_rad_s for reading in readings]))
    return tuple(np.stack([np.interp(row_s, stamps, column) for column in table.T], axis=1) for table in tables)


def _newest(frames, instant_s):
    """Pick the newest frame at or before an instant, else the earliest."""
    return frames[max(bisect_right(frames, instant_s, key=lambda frame: frame.stamp_s) - 1, 0)]
