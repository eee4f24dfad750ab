"""What really happened: joints, pictures, sensors and rewards of one episode of a bag, kept for as long as plans look ahead."""
from bisect import bisect_left, bisect_right
from collections import deque

import numpy as np

GAP_S = 0.25          # nothing is interpolated between joint states farther apart
UNSEEN_S = 0.5        # a picture older than this does not show an instant
REWARD_GRACE_S = 0.5  # by which a promised reward may be late
HAIR_S = 1e-6         # stamps that differ by less are one


class Recording:
    """Records in the order of their stamps; what is older than `keep_s` is forgotten."""

    def __init__(self, cameras, sensors, keep_s, hold_s=None):
        """hold_s: for how long a reward holds, None: until the next one"""
        self.keep_s, self.hold_s = keep_s, np.inf if hold_s is None else hold_s
        self.readings, self.rewards = deque(), deque()      # JointReading; (stamp_s, value)
        self.seen = {name: deque() for name in (*cameras, *sensors)}

    def add(self, record):
        """Keep a JointReading, a Frame or a SensorReading."""
        name = getattr(record, 'camera', getattr(record, 'sensor', None))
        kept = self.readings if name is None else self.seen[name]
        kept.append(record)
        _drop(kept, record.stamp_s - self.keep_s, lambda old: old.stamp_s)

    def add_reward(self, stamp_s, value):
        if not self.rewards or stamp_s >= self.rewards[-1][0]:
            self.rewards.append((stamp_s, value))
            _drop(self.rewards, stamp_s - self.keep_s, lambda kept: kept[0])

    @property
    def end_s(self):
        return self.readings[-1].stamp_s if self.readings else -np.inf

    def motion(self, at_s):
        """Interpolate the joints: at_s [N] -> position_rad, velocity_rad_s [N, J]; nan before the first, after the last and within gaps"""
        stamps = np.array([reading.stamp_s for reading in self.readings])
        tables = [np.stack([getattr(reading, name) for reading in self.readings]) for name in ('position_rad', 'velocity_rad_s')]
        after = np.clip(np.searchsorted(stamps, at_s), 1, max(len(stamps) - 1, 1))
        before = np.minimum(after - 1, len(stamps) - 1)
        after = np.minimum(after, len(stamps) - 1)
        known = (at_s >= stamps[0] - HAIR_S) & (at_s <= stamps[-1] + HAIR_S) & (stamps[after] - stamps[before] <= GAP_S)
        return tuple(np.where(known[:, None], np.stack([np.interp(at_s, stamps, column) for column in table.T], 1), np.nan) for table in tables)

    def newest(self, name, at_s):
        """Return the newest record of a camera or sensor at or before an instant, None where there is none or it is too old."""
        records = self.seen[name]
        index = bisect_right(records, at_s + HAIR_S, key=lambda record: record.stamp_s) - 1
        return records[index] if index >= 0 and at_s - records[index].stamp_s <= UNSEEN_S else None

    def reward(self, at_s):
        """Return the newest reward at or before an instant, 0 where it holds no longer, None where nobody said or nothing was recorded."""
        index = bisect_right(self.rewards, at_s + HAIR_S, key=lambda said: said[0]) - 1
        if index < 0 or at_s > self.end_s + HAIR_S:
            return None
        stamp_s, value = self.rewards[index]
        return value if at_s - stamp_s <= self.hold_s + HAIR_S else 0.0

    def rewarded_within(self, begin_s, end_s):
        """Whether there was reward between two instants: -> bool, None where the recording ends before it came or nobody said"""
        first = bisect_left(self.rewards, begin_s - HAIR_S, key=lambda said: said[0])
        last = bisect_right(self.rewards, end_s + HAIR_S, key=lambda said: said[0])
        before = self.reward(begin_s)
        said = [*([] if before is None else [before]), *(self.rewards[index][1] for index in range(first, last))]
        if any(value > 0 for value in said):
            return True
        return None if not said or self.end_s < end_s - HAIR_S else False


def _drop(kept, before_s, stamp_of):
    """Forget what is older, but not the newest of that."""
    while len(kept) > 1 and stamp_of(kept[1]) <= before_s:
        kept.popleft()


class Extremes:
    """How near to the robot's limits all readings came. Memory does not grow with them."""

    def __init__(self, robot):
        self.robot, self.count, joints = robot, 0, len(robot.joint_names)
        self.beyond = {'position': np.zeros(joints, int), 'velocity': np.zeros(joints, int)}
        self.largest = {'position': np.full(joints, -np.inf), 'velocity': np.zeros(joints)}

    def note(self, reading):
        outside_rad = np.maximum(reading.position_rad - self.robot.position_max_rad, self.robot.position_min_rad - reading.position_rad)
        used = np.abs(reading.velocity_rad_s) / np.array(self.robot.velocity_max_rad_s)
        self.count += 1
        for name, values, limit in (('position', outside_rad, 0.0), ('velocity', used, 1.0)):
            self.beyond[name] += values > limit
            self.largest[name] = np.maximum(self.largest[name], values)

    def figures(self):
        """-> {'readings', 'position' and 'velocity': {'beyond', 'share', 'joints': {name: count}, 'largest'}}"""
        found = {'readings': self.count}
        for name, beyond in self.beyond.items():
            found[name] = {'beyond': int(beyond.sum()), 'share': float(beyond.max() / self.count) if self.count else None,
                           'joints': {joint: int(count) for joint, count in zip(self.robot.joint_names, beyond) if count},
                           'largest': float(self.largest[name].max()) if self.count else None,
                           'largest_joint': self.robot.joint_names[int(self.largest[name].argmax())]}
        return found
