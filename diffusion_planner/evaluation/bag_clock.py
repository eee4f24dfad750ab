"""The bag's own time: the header stamps of joint states over the instants at which they were received."""
import numpy as np

BACK_S = 1.0      # joint states stamped so much earlier than those before begin another time: a simulator restarted, a bag looped


class BagClock:
    """Says what time it was when a message was received, a wall clock's log notwithstanding.

    log_s [N], stamp_s [N]: when joint states were received and what their headers say. Where no header says anything, the log does.
    """

    def __init__(self, log_s, stamp_s):
        log_s, stamp_s = np.asarray(log_s, float), np.asarray(stamp_s, float)
        told = stamp_s != 0
        if told.any():
            log_s, stamp_s = log_s[told], stamp_s[told]
        else:
            stamp_s = log_s
        begins = np.flatnonzero(np.diff(stamp_s, prepend=stamp_s[:1]) < -BACK_S)
        # Late ones among the others do not turn time back: it is as late as the latest of its part.
        self.parts = [(log, np.maximum.accumulate(stamps)) for log, stamps in zip(np.split(log_s, begins), np.split(stamp_s, begins)) if len(log)]
        self.begin_log_s = np.array([log[0] for log, _ in self.parts])

    @property
    def begin_s(self):
        return float(self.parts[0][1][0])

    @property
    def duration_s(self):
        """How long the bag is by its own time, all parts together."""
        return float(sum(stamps[-1] - stamps[0] for _, stamps in self.parts))

    def zero_s(self, part):
        """Say what time it would have been in a part when the bag began, had only time never gone back."""
        return float(self.parts[part][1][0] - sum(stamps[-1] - stamps[0] for _, stamps in self.parts[:part]))

    def part(self, log_s):
        """Number the part of the log in which an instant lies."""
        return max(int(np.searchsorted(self.begin_log_s, log_s, side='right')) - 1, 0)

    def now_s(self, log_s):
        """Interpolate, or go on as in the whole part: -> seconds"""
        logs, stamps = self.parts[self.part(log_s)]
        pace = (stamps[-1] - stamps[0]) / (logs[-1] - logs[0]) if logs[-1] > logs[0] else 1.0
        if log_s < logs[0]:
            return float(stamps[0] - pace * (logs[0] - log_s))
        return float(np.interp(log_s, logs, stamps) if log_s <= logs[-1] else stamps[-1] + pace * (log_s - logs[-1]))
