"""What was rewarded: by a topic, by a ball that a marker shows, or by a file of intervals."""
import csv
from bisect import bisect_right
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.data.ingest_streams import SECOND_NS

HAIR_NS = 1_000_000     # a message of this very instant counts, whatever the rounding


class Held:
    """Values that hold from their stamp until the next one: what a topic said last."""

    def __init__(self):
        self._stamps, self._values = [], []

    def add(self, stamp, value):
        self._stamps.append(stamp)
        self._values.append(value)

    def clear(self):
        self._stamps, self._values = [], []

    def forget(self, before_ns):
        """Forget what no instant from before_ns on needs."""
        spare = bisect_right(self._stamps, before_ns) - 1
        if spare > 0:
            del self._stamps[:spare], self._values[:spare]

    def at(self, instants):
        """Find what held at instants [N] in ns: -> [(age in ns, value) or None]"""
        rows = np.searchsorted(self._stamps, instants + HAIR_NS, 'right') - 1
        return [None if row < 0 else (int(instant) - self._stamps[row], self._values[row]) for row, instant in zip(rows, instants)]


class NoReward:
    """Nothing is rewarded."""

    def add(self, stamp, value):
        pass

    def clear(self):
        pass

    def forget(self, before_ns):
        pass

    def sample(self, instants, _position_rad):
        return np.zeros(len(instants), np.float32)


class TopicReward(Held):
    """Rewarded while the last value is above a threshold, for hold_s at most."""

    def __init__(self, setting):
        super().__init__()
        self.above, self.hold_ns = setting.above, float('inf') if setting.hold_s is None else setting.hold_s * SECOND_NS

    def sample(self, instants, _position_rad):
        """sample(instants [N] in ns, position_rad [N, J]) -> reward [N], 0 or 1"""
        return np.array([found is not None and found[0] <= self.hold_ns and found[1][0] > self.above for found in self.at(instants)], np.float32)


class MarkerReward(Held):
    """Rewarded while the fingertip is in the ball, or within_m outside it."""

    def __init__(self, setting, robot):
        super().__init__()
        self.robot, self.within_m = robot, setting.within_m

    def sample(self, instants, position_rad):
        """sample(instants [N] in ns, position_rad [N, J]) -> reward [N], 0 or 1"""
        balls = [found[1] if found is not None else None for found in self.at(instants)]
        tip_m = self.robot.tip_m(position_rad)
        return np.array([ball is not None and np.linalg.norm(tip - ball[0]) <= ball[1] + self.within_m for tip, ball in zip(tip_m, balls)], np.float32)


class IntervalReward(NoReward):
    """Rewarded within intervals [N, 3] of begin, end, value; their times are seconds from origin_ns."""

    def __init__(self, intervals, origin_ns):
        self.intervals, self.origin_ns = intervals, origin_ns

    def sample(self, instants, _position_rad):
        """sample(instants [N] in ns, position_rad [N, J]) -> reward [N], 0 to 1"""
        reward, seconds = np.zeros(len(instants), np.float32), (instants - self.origin_ns()) / SECOND_NS
        for begin_s, end_s, value in self.intervals:
            reward[(seconds >= begin_s) & (seconds <= end_s)] = value
        return reward


def read_intervals(path):
    """Read a file of intervals: CSV lines start,end[,value] with or without a heading, or a YAML list of such rows or of mappings.

    read_intervals(path) -> [N, 3] of begin, end, value. Raises ConfigError, which names the line.
    """
    path = Path(path)
    try:
        rows = _yaml_rows(path) if path.suffix in ('.yaml', '.yml') else _csv_rows(path)
    except UnicodeDecodeError:
        raise ConfigError(f'{path}: no text, expected lines of start,end or start,end,value') from None
    found = [_interval(path, number, row) for number, row in rows]
    if not found:
        raise ConfigError(f'{path}: got no interval, expected lines of start,end or start,end,value')
    return np.array(found)


def _csv_rows(path):
    with path.open(newline='') as file:
        rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(file), 1)
                if row and any(row) and not row[0].lstrip().startswith('#')]
    return rows[1:] if rows and rows[0][1][0].lower().startswith(('start', 'begin')) else rows


def _yaml_rows(path):
    import yaml
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f'{path}: not valid YAML: {" ".join(str(error).split())}') from None
    if not isinstance(found, list):
        raise ConfigError(f'{path}: got {type(found).__name__}, expected a list of intervals')
    return [(number, [row[key] for key in ('start', 'end', 'value') if key in row] if isinstance(row, dict) else row)
            for number, row in enumerate(found, 1)]


def _interval(path, number, row):
    try:
        begin_s, end_s, *value = (float(cell) for cell in row)
        value = value[0] if value else 1.0
    except (TypeError, ValueError):
        raise ConfigError(f'{path}: row {number}: got {row}, expected start,end or start,end,value') from None
    if not (begin_s < end_s and 0 <= value <= 1):
        raise ConfigError(f'{path}: row {number}: got {row}, expected start below end and a value from 0 to 1')
    return begin_s, end_s, value
