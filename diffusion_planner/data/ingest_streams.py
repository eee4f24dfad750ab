"""What stands between a topic's messages and episodes: what is known of the time, a place to wait in order, and figures."""
from bisect import bisect_left, insort
from collections import Counter, deque
from statistics import median

import numpy as np

from diffusion_planner.data.bags import stamp_ns

SECOND_NS = 1_000_000_000
AT_ONCE_NS = SECOND_NS // 100     # log times of one instant
GAPS_KEPT = 5000
REASONS, LONGEST_REASON = 20, 300


class Sample:
    """A bounded sample of a long series, evenly spread over it: every second value is thrown away whenever it is full."""

    def __init__(self, most=2048):
        self.values, self._most, self._every, self._count = [], most, 1, 0

    def add(self, value):
        if self._count % self._every == 0:
            self.values.append(value)
            if len(self.values) == self._most:
                self.values, self._every = self.values[::2], 2 * self._every
        self._count += 1

    def quantile(self, share):
        return float(np.quantile(self.values, share)) if self.values else None


class Clock:
    """Stamps over log times, as the joint states tell: dates what has no stamp of its own."""

    def __init__(self):
        self._log_ns, self._stamp_ns = deque(), deque()

    def __bool__(self):
        return bool(self._log_ns)

    def note(self, log_ns, stamp):
        """Take a pair in; one that is not newer than the last says nothing new."""
        if not self._log_ns or log_ns >= self._log_ns[-1] and stamp > self._stamp_ns[-1]:
            self._log_ns.append(log_ns)
            self._stamp_ns.append(stamp)

    def covers(self, log_ns):
        return bool(self._log_ns) and self._log_ns[-1] >= log_ns

    def forget(self, log_ns):
        """Forget pairs that date nothing after log_ns."""
        while len(self._log_ns) > 2 and self._log_ns[1] <= log_ns:
            self._log_ns.popleft()
            self._stamp_ns.popleft()

    def around(self, log_ns):
        """Find the stamps before and after a log time, and where between them it is: -> ns, ns, 0 to 1; twice the same beyond the ends"""
        at = bisect_left(self._log_ns, log_ns)
        if at in (0, len(self._log_ns)):
            end = min(at, len(self._log_ns) - 1)
            beyond_ns = log_ns - self._log_ns[end]
            return 2 * (self._stamp_ns[end] + (beyond_ns if abs(beyond_ns) > AT_ONCE_NS else 0),) + (0.0,)
        before, after = self._log_ns[at - 1], self._log_ns[at]
        return self._stamp_ns[at - 1], self._stamp_ns[at], (log_ns - before) / max(after - before, 1)

    def date(self, log_ns):
        """Say which stamp belongs to a log time: -> ns"""
        first, second, share = self.around(log_ns)
        return first + round(share * (second - first))


class Stream:
    """One topic. `read` makes a payload of a message's bytes, or raises MessageError.

    dated: 'header', by its stamp if it has one; 'nearest', the same, else by the joint state that came nearest to it; 'log', never by a stamp;
    'call', a service's events. steady: comes all the time, so that the others wait for it.
    """

    def __init__(self, name, topic, read, dated='header', steady=False, gap_s=float('inf'), reorder_s=1.0):
        self.name, self.topic, self.read, self.dated, self.steady = name, topic, read, dated, steady
        self.gap_ns, self.reorder_ns = gap_s * SECOND_NS, round(reorder_s * SECOND_NS)
        self.queue, self.newest_ns, self._last_ns, self._number, self._shares = [], None, None, 0, deque(maxlen=63)
        self.count, self.zero, self.reordered, self.repeated, self.late, self.gap_count = 0, 0, 0, 0, 0, 0
        self.rejected, self.gaps, self.largest_gap_ns = Counter(), [], 0
        self.first_ns, self.offset_ns, self.period_ns = None, Sample(), Sample()

    def add(self, stamp, payload):
        """Put a message in its place among those that wait: -> whether it is in time and new"""
        if self.newest_ns is not None and stamp < self.newest_ns:
            if stamp < self.newest_ns - self.reorder_ns or self._last_ns is not None and stamp <= self._last_ns:
                self.late += 1
                return False
            self.reordered += 1
        at = bisect_left(self.queue, (stamp,))
        if stamp == self._last_ns or at < len(self.queue) and self.queue[at][0] == stamp:
            self.repeated += 1
            return False
        self._number += 1
        insort(self.queue, (stamp, self._number, payload))
        self.newest_ns = stamp if self.newest_ns is None else max(stamp, self.newest_ns)
        return True

    def belongs_to_next(self, share, joint_count):
        """Tell whether a message between two joint states belongs to the second, from where between them it and those before it came.

        What is published with every joint state comes always before it or always after it, however the log times may jitter.
        """
        self._shares.append(share)
        with_each = len(self._shares) >= 8 and 0.8 < self.count / max(joint_count, 1) < 1.25
        return (median(self._shares) if with_each else share) >= 0.5

    def release(self, until_ns):
        """Let go of what is not newer than until_ns: -> [(stamp, payload)] in order"""
        count = bisect_left(self.queue, (until_ns + 1,))
        released, self.queue = self.queue[:count], self.queue[count:]
        for stamp, _, _ in released:
            self._measure(stamp)
        return [(stamp, payload) for stamp, _, payload in released]

    def restart(self):
        self.newest_ns = self._last_ns = None

    def _measure(self, stamp):
        if self._last_ns is not None:
            gap_ns = stamp - self._last_ns
            self.period_ns.add(gap_ns)
            self.largest_gap_ns = max(self.largest_gap_ns, gap_ns)
            if gap_ns > self.gap_ns:
                self.gap_count += 1
                if len(self.gaps) < GAPS_KEPT:
                    self.gaps.append((self._last_ns, stamp))
        self.first_ns = stamp if self.first_ns is None else self.first_ns
        self._last_ns = stamp

    @property
    def last_ns(self):
        return self._last_ns


def peek(data):
    """Peek at the stamp of a header: -> ns, None where it was never set"""
    try:
        return stamp_ns(data) or None
    except Exception:      # too short for a stamp: read() will say so
        return None


def reject(stream, fault):
    """Count a message that cannot be used, by the reason; there are only so many, since some carry numbers."""
    text = ' '.join(str(fault).split())
    text = text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + '...'
    stream.rejected[text if text in stream.rejected or len(stream.rejected) < REASONS else 'further reasons'] += 1
