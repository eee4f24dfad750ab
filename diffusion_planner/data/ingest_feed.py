"""The messages of a bag on their way to episodes: read once, dated, and handed over in the order of their stamps."""
from collections import deque

from diffusion_planner.data.ingest_streams import SECOND_NS, Clock, peek, reject
from diffusion_planner.messages import MessageError

AGREEING = 3             # so many joint states in a row must agree that the clock was set back
UNSTAMPED = 20           # joint states without a stamp, and none with one: this driver sets none
BATCH_NS = SECOND_NS // 4


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
