"""The node's own time: what the system's clock does while it runs, a step of an hour included, moves no arm."""
import time


class WallTime:
    """Seconds that begin at the system's time and go on with the steady clock; stamps in system time are brought to it."""

    fine = True      # whether milliseconds mean anything

    def __init__(self, system=time.time, steady=time.monotonic):
        self._system, self._steady = system, steady
        self._ahead_s = system() - steady()

    def now_s(self):
        return self._steady() + self._ahead_s

    def of_stamp(self, stamp_s):
        """Bring a stamp of now's system time to this one: -> seconds"""
        return stamp_s - (self._system() - self.now_s())


class SimulatedTime:
    """Whatever /clock says, tick by tick."""

    fine = False

    def __init__(self, clock):
        self._clock = clock

    def now_s(self):
        return self._clock.now().nanoseconds * 1e-9

    def of_stamp(self, stamp_s):
        return stamp_s
