"""The messages of a bag on their way to episodes: dated, sorted by their stamps, and counted."""
from bisect import bisect_left, insort
from collections import Counter, deque
from statistics import median

import numpy as np

from diffusion_planner.data.bags import stamp_ns
from diffusion_planner.messages import MessageError

SECOND_NS = 1_000_000_000
AGREEING = 3             # so many joint states in a row must agree that the clock was set back
UNSTAMPED = 20           # joint states without a stamp, and none with one: this driver sets none
BATCH_NS = SECOND_NS // 4
AT_ONCE_NS = SECOND_NS // 100     # log times of one instant
GAPS_KEPT = 1000
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


class Feed:
    """Reads a bag once and hands over what it says by the order of stamps. `joints` is the stream that the others are dated by."""

    def __init__(self, bag, joints, streams, lag_s):
        self.bag, self.joints, self.streams, self.lag_ns = bag, joints, (joints, *streams), round(lag_s * SECOND_NS)
        self.clock, self.restarts, self.begin_ns, self.by_log = Clock(), 0, None, False
        self._waiting, self._unstamped, self._late = deque(), [], []
        self._by_topic, self._headed = {}, {}
        for stream in self.streams:
            self._by_topic.setdefault(stream.topic, []).append(stream)

    def batches(self, progress=lambda log_ns: None):
        """Yield (until_ns, events, over): events are (stamp, rank, stream, payload) up to until_ns, in order; over: time begins anew, or the bag ends."""
        self._headed = {stream.topic: stream.dated != 'call' and self.bag.has_header(stream.topic) for stream in self.streams}
        released_ns = None
        for topic, log_ns, data in self.bag.messages(self._by_topic):
            for stream in self._by_topic[topic]:
                self._take(stream, log_ns, data)
            self._date_waiting(log_ns)
            if len(self._late) == AGREEING:
                yield *self._drain(), True
                self._restart()
                released_ns = None
            until_ns = self._watermark(log_ns)
            if until_ns is not None and (released_ns is None or until_ns - released_ns >= BATCH_NS):
                released_ns = until_ns
                progress(log_ns)
                yield until_ns, self._release(until_ns), False
        self._end()
        yield *self._drain(), True

    def _take(self, stream, log_ns, data):
        stream.count += 1
        stamped = self._headed[stream.topic] and stream.dated != 'log' and not (self.by_log and stream is self.joints)
        stamp = peek(data) if stamped else None
        try:
            payload = stream.read(data)
        except (MessageError, ValueError) as fault:
            reject(stream, fault)
            return
        if stamp is None or stream is not self.joints:
            self._waiting.append((stream, log_ns, stamp, payload))
            if stream is self.joints and not self.clock:
                self._unstamped.append(log_ns)
                if len(self._unstamped) == UNSTAMPED:
                    self._date_by_log()
        else:
            self._take_joints(stream, log_ns, stamp, payload)

    def _take_joints(self, stream, log_ns, stamp, payload):
        """Queue a joint state, and learn from it which stamp belongs to its log time."""
        if stream.newest_ns is not None and stamp < stream.newest_ns - stream.reorder_ns:
            if self._late and not 0 < stamp - self._late[-1][1] < SECOND_NS:
                self._late.clear()
            self._late.append((log_ns, stamp, payload))
        else:
            self._late.clear()
        stream.offset_ns.add(log_ns - stamp)
        self.clock.note(log_ns, stamp)
        self.clock.forget(self._waiting[0][1] if self._waiting else log_ns)
        stream.add(stamp, payload)

    def _date_by_log(self):
        """No joint state has a stamp: from now on log times are the time."""
        for log_ns in self._unstamped:
            self.clock.note(log_ns, log_ns)
        self.by_log, self._unstamped = True, []

    def _date_waiting(self, now_ns):
        """Queue what can be dated: a joint state came since, or none came for too long."""
        while self._waiting:
            stream, log_ns, stamp, payload = self._waiting[0]
            if not self.clock and not self._unstamped and now_ns - log_ns > 2 * self.lag_ns:
                reject(stream, 'no joint state near it')
                self._waiting.popleft()
                continue
            if not self.clock or not (self.by_log or self.clock.covers(log_ns) or now_ns - log_ns > self.lag_ns):
                return
            self._waiting.popleft()
            self._queue(stream, log_ns, stamp, payload, self._dated(stream, log_ns))

    def _dated(self, stream, log_ns):
        """Say which stamp a log time means for a stream: -> ns"""
        if self.by_log:
            return log_ns
        if stream.dated not in ('nearest', 'call'):
            return self.clock.date(log_ns)
        first, second, share = self.clock.around(log_ns)
        return second if stream.belongs_to_next(share, self.joints.count) else first

    def _queue(self, stream, log_ns, stamp, payload, dated):
        if stamp is None:
            stream.zero += self._headed[stream.topic] and stream.dated != 'log'
            stamp = dated
        elif abs(stamp - dated) > self.lag_ns:
            behind = 'behind' if stamp < dated else 'ahead of'
            stream.rejected[f'header.stamp: more than {self.lag_ns / SECOND_NS:g} s {behind} the joint states, see "stamps: log"'] += 1
            stream.offset_ns.add(log_ns - stamp)
            return
        if stream is self.joints and self.by_log:
            self.clock.note(log_ns, log_ns)
        stream.offset_ns.add(log_ns - stamp)
        stream.add(stamp, payload)

    def _watermark(self, log_ns):
        """Return up to which stamp everything has come, as far as one can tell: -> ns or None"""
        joints_ns = self.joints.newest_ns
        if joints_ns is None:
            return None
        if self.begin_ns is None:       # the stamp at which the bag's log begins
            self.begin_ns = self.clock.date(self.bag.begin_ns or log_ns)
        slowest_ns = min([joints_ns, *(stream.newest_ns or 0 for stream in self.streams if stream.steady)])
        silent_ns = self.clock.date(log_ns) - 2 * self.lag_ns      # the joint states may have ended, the pictures not
        return max(slowest_ns, joints_ns - self.lag_ns, silent_ns) - self.joints.reorder_ns

    def _release(self, until_ns):
        return sorted(((stamp, rank, stream, payload) for rank, stream in enumerate(self.streams) for stamp, payload in stream.release(until_ns)),
                      key=lambda event: event[:2])

    def _end(self):
        """Date what is left at the end of the bag."""
        if not self.clock and self._unstamped:
            self._date_by_log()
        self._date_waiting(float('inf'))

    def _drain(self):
        newest_ns = max((stream.queue[-1][0] for stream in self.streams if stream.queue), default=0)
        return newest_ns, self._release(newest_ns)

    def _restart(self):
        """The clock was set back: begin anew with the joint states that said so."""
        late, self._late, self.clock = self._late, [], Clock()
        self.restarts += 1
        for stream in self.streams:
            stream.restart()
        self.joints.late -= len(late)
        for log_ns, stamp, payload in late:
            self.clock.note(log_ns, stamp)
            self.joints.add(stamp, payload)


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
