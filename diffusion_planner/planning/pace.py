"""Deadlines and stages: whether there is time for one more sampling step, and where the time went."""
import time


class Pace:
    """Counts the sampling steps of one plan and ends a stage when its time is up.

    A plan takes at least one step of every stage; beyond that it is late by no more than one step. `steps` says afterwards
    how many each stage took, `seconds` how long. Given as `stop_after` to another plan with the same seed they replay it bit for bit,
    whatever the clock says then.
    """

    def __init__(self, deadline_s=None, stop_after=None, tail_s=0.0, clock=time.perf_counter):
        self.begun_s, self.deadline_s, self.stop_after, self.tail_s, self.clock = clock(), deadline_s, stop_after, tail_s, clock
        self.steps, self.seconds = {}, {}

    def stage(self, name, reserve=0):
        """Begin a stage that must leave time for `reserve` further network calls: -> stop() -> bool, to call after each step"""
        self.steps[name], self.seconds[name], last_s = 0, 0.0, self.clock()

        def stop():
            nonlocal last_s
            now_s = self.clock()
            step_s, last_s = now_s - last_s, now_s
            self.steps[name] += 1
            self.seconds[name] += step_s
            if self.stop_after is not None:
                return self.steps[name] >= self.stop_after[name]
            return self.deadline_s is not None and now_s + (1 + reserve) * step_s + self.tail_s > self.begun_s + self.deadline_s
        return stop


class Stopwatch:
    """Milliseconds per stage."""

    def __init__(self, clock=time.perf_counter):
        self.clock = clock
        self.begun = self.last = clock()
        self.laps = {}

    def lap(self, name):
        """End a stage, or a part of it: -> seconds it took"""
        now = self.clock()
        took_s, self.last = now - self.last, now
        self.laps[name] = self.laps.get(name, 0.0) + 1000 * took_s
        return took_s

    def laps_ms(self):
        return {**self.laps, 'total': 1000 * (self.last - self.begun)}
