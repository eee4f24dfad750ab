"""One planning cycle without any middleware: when to take over, from which state, and whether the result may go out."""
import threading
from collections import Counter
from dataclasses import dataclass

import numpy as np

from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import ShapingLimits, brake, shape
from diffusion_planner.records import MotionState
from diffusion_planner.safety import check_chunk


@dataclass(frozen=True)
class CycleSettings:
    """What an operator may change about the cycle; scales are shares of the robot's own limits."""

    replan_period_s: float = 0.5
    lead_s: float = 0.3              # from the beginning of a plan to the instant it takes over
    min_lead_s: float = 0.06         # what must be left of that when the chunk goes out
    chunk_s: float = 1.5
    velocity_scale: float = 0.6
    acceleration_scale: float = 0.3
    jerk_rad_s3: float = 60.0
    following_tolerance_rad: float = 0.25   # farther from its chunk than this, the arm is not executing it

    def __post_init__(self):
        if not 0 < self.min_lead_s < self.lead_s:
            raise ValueError(f'min_lead_s: got {self.min_lead_s}, expected between 0 and lead_s {self.lead_s}')
        if self.chunk_s < self.lead_s + self.replan_period_s:
            raise ValueError(f'chunk_s: got {self.chunk_s}, expected at least lead_s + replan_period_s '
                             f'= {self.lead_s + self.replan_period_s:g}, or the arm brakes between plans')


class PlanningCycle:
    """The running chunk and the rules for replacing it. Safe for a planning thread and a watchdog beside it.

    A cycle is begin -> planner.plan -> finish. What is running at `begin` must still be running at `finish`: a stop or a
    reset in between makes the plan void.
    """

    def __init__(self, planner, robot, settings, history):
        self.planner, self.robot, self.settings, self.history = planner, robot, settings, history
        self.limits = ShapingLimits.of(robot, settings.velocity_scale, settings.acceleration_scale, settings.jerk_rad_s3)
        self.misses, self.plans, self.chunks = 0, 0, 0
        self.rejected = Counter()
        self._lock = threading.RLock()
        self._running, self._before = None, None   # what the controller executes; what it did before that
        self._epoch = 0                            # counts whatever makes a plan under way void

    @property
    def running(self):
        with self._lock:
            return self._running

    def begin(self, now_s):
        """Choose where the next plan takes over.

        begin(now_s) -> observation: Observation, handover: MotionState. Raises NotReady.
        """
        with self._lock:
            if not self.is_following():
                self.restart()
                raise NotReady('the arm is not where its chunk says; planning anew from the measured joints')
            self._begun = self._epoch
            handover = self._reference(now_s + self.settings.lead_s)
        return self.history.observe(handover, now_s), handover

    def finish(self, plan, handover, ready_now_s):
        """Shape a plan into a chunk from exactly the handover state; the chunk counts as running from here on.

        finish(plan, handover, ready_now_s) -> ActionChunk, or None with a counter raised. The caller hands the chunk to the
        controller at once, or withdraws it.
        """
        self.plans += 1
        try:
            chunk = shape(plan.offset_s, plan.position_rad, plan.velocity_rad_s, handover, self.limits, self.settings.chunk_s)
        except ValueError:   # a plan that is not finite, or no way to come to rest
            self.rejected['cannot be shaped'] += 1
            return None
        with self._lock:
            if self._begun != self._epoch:
                self.rejected['superseded'] += 1
                return None
            if handover.stamp_s - ready_now_s < self.settings.min_lead_s:
                self.misses += 1
                return None
            reasons = check_chunk(chunk, self.robot, handover)
            if reasons:
                self.rejected.update(reasons)
                return None
            self._take(chunk)
        return chunk

    def withdraw(self, reasons, deadline=False):
        """Take back the chunk that `finish` returned last: it did not reach the controller, the one before goes on."""
        with self._lock:
            self._running = self._before
            self.chunks -= 1
            self.misses += deadline
            self.rejected.update(reasons)

    def rejections(self, reasons):
        """Note what the controller said to the last chunk: an empty list is acceptance."""
        if reasons:
            self.withdraw([f'controller: {reason}' for reason in reasons])

    def refuse(self, refused):
        """Note a NoSafeCandidate: the running chunk goes on and ends in its brake tail."""
        self.plans += 1
        self.rejected['no safe candidate'] += 1

    def brake(self, now_s):
        """Replace what is running by a stop, as soon as the controller can be met: -> ActionChunk, or None at rest."""
        with self._lock:
            self._epoch += 1
            if self._running is None or now_s >= self._running.end_s:
                return None
            # Before its first point the controller is on its own way there, which only that point describes exactly.
            start = sample(self._running, max(now_s + self.settings.min_lead_s, self._running.origin_s))
            chunk = brake(start, self.limits)
            self._take(chunk)
            return chunk

    def forget(self):
        """Drop the running chunk: the next plan starts from the measured joints."""
        with self._lock:
            self._epoch += 1
            self._running = self._before = None

    def restart(self):
        """Begin a new episode: forget the chunk and everything seen. The planner's own reset is its thread's business."""
        self.forget()
        self.history.clear()

    def is_following(self):
        """Return whether the newest measured joints are near the running chunk."""
        with self._lock:
            reading, chunk = self.history.newest_reading(), self._running
            if chunk is None or reading is None or reading.stamp_s < chunk.origin_s:
                return True
            gap_rad = np.abs(reading.position_rad - sample(chunk, reading.stamp_s).position_rad).max()
            return bool(gap_rad <= self.settings.following_tolerance_rad)

    def counters(self):
        """Report the counts so far, by reason."""
        return {'plans': self.plans, 'chunks': self.chunks, 'deadline_misses': self.misses, 'rejected': dict(self.rejected)}

    def _take(self, chunk):
        self._before, self._running = self._running, chunk
        self._epoch += 1
        self.chunks += 1

    def _reference(self, instant_s):
        """Return the state that the arm is commanded to have at an instant, at rest where it stands if nothing runs."""
        if self._running is not None:
            return sample(self._running, instant_s)
        reading = self.history.newest_reading()
        if reading is None:
            raise NotReady('waiting for joint states')
        rest = np.zeros_like(reading.position_rad)
        return MotionState(instant_s, reading.position_rad.copy(), rest, rest.copy())
