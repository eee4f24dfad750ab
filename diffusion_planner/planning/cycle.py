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

REST_RAD_S = 0.03     # slower than this an arm stands still, up to the noise of its encoders


class NotFollowing(NotReady):
    """The arm is not where its chunk says: the chunk must be stopped before the next plan."""


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
        self.misses, self.plans, self.chunks, self.strays = 0, 0, 0, 0
        self.rejected, self.last_refusal = Counter(), ''     # by reason; the newest one in words
        self._lock = threading.RLock()
        self._running, self._before = None, None   # what the controller executes; what it did before that
        self._stopping = None                      # the newest brake
        self._strayed = False                      # whether the arm has left its chunk since the last plan
        self._jumps = history.jumps
        self._epoch = 0                            # counts whatever makes a plan under way void

    @property
    def running(self):
        with self._lock:
            return self._running

    def begin(self, now_s):
        """Choose where the next plan takes over.

        begin(now_s) -> observation: Observation, handover: MotionState. Raises NotReady, or NotFollowing, to which `brake`
        is the answer.
        """
        with self._lock:
            self._notice_jump()
            self._begun = self._epoch
            handover = self._reference(now_s, now_s + self.settings.lead_s)
        return self.history.observe(handover, now_s), handover

    def finish(self, plan, handover, ready_now_s, objective=None):
        """Shape a plan into a chunk from exactly the handover state; the chunk counts as running from here on.

        finish(plan, handover, ready_now_s, objective) -> ActionChunk, or None with a counter raised. The caller hands the chunk to
        the controller at once, or withdraws it. A chunk that enters a zone of the objective, its brake tail included, is none: so
        what runs stays out even if nothing ever replaces it. A brake in between is not checked: stopping at once comes first.
        """
        self.plans += 1
        try:
            chunk = shape(plan.offset_s, plan.position_rad, plan.velocity_rad_s, handover, self.limits, self.settings.chunk_s)
        except ValueError:   # a plan that is not finite, or no way to come to rest
            self._reject(['cannot be shaped'])
            return None
        if objective is not None and (zones := objective.breaches(chunk.position_rad, chunk.velocity_rad_s, chunk.offset_s)):
            self.last_refusal = f'the chunk would enter {", ".join(zones)}'
            self.rejected['zone entered by the chunk'] += 1
            self.planner.disown()
            return None
        with self._lock:
            self._notice_jump()
            if self._begun != self._epoch:
                self.rejected['superseded'] += 1
                return None
            if handover.stamp_s - ready_now_s < self.settings.min_lead_s:
                self.misses += 1
                return None
            reasons = check_chunk(chunk, self.robot, handover)
            if reasons:
                self._reject(reasons)
                return None
            self._take(chunk)
            self._strayed = False
        return chunk

    def withdraw(self, reasons, deadline=False):
        """Take back the chunk that `finish` returned last: it did not reach the controller, the one before goes on."""
        with self._lock:
            self._running = self._before
            self.chunks -= 1
            self.misses += deadline
            self._reject(reasons)

    def rejections(self, reasons):
        """Note what the controller said to the last chunk: an empty list is acceptance."""
        if reasons:
            self.withdraw([f'controller: {reason}' for reason in reasons])

    def refuse(self, refused):
        """Note a NoSafeCandidate: the running chunk goes on and ends in its brake tail."""
        self.plans += 1
        self.rejected['no safe candidate'] += 1
        self.last_refusal = str(refused)

    def brake(self, now_s):
        """Replace what is running by a stop, as soon as the controller can be met: -> ActionChunk, or None at rest."""
        with self._lock:
            self._notice_jump()
            self._epoch += 1
            if self._running is None or now_s >= self._running.end_s:
                return None
            # Before its first point the controller is on its own way there, which only that point describes exactly.
            start = sample(self._running, max(now_s + self.settings.min_lead_s, self._running.origin_s))
            self._stopping = brake(start, self.limits)
            self._take(self._stopping)
            return self._stopping

    def forget(self):
        """Drop the running chunk: the next plan starts from the measured joints."""
        with self._lock:
            self._epoch += 1
            self._running, self._before, self._strayed = None, None, False

    def restart(self):
        """Begin a new episode: forget the chunk and everything seen. The planner's own reset is its thread's business."""
        self.forget()
        self.history.clear()

    def counters(self):
        """Report the counts so far, by reason."""
        return {'plans': self.plans, 'chunks': self.chunks, 'deadline_misses': self.misses, 'strays': self.strays,
                'rejected': dict(self.rejected)}

    def _reject(self, reasons):
        if reasons:
            self.rejected.update(reasons)
            self.last_refusal = ', '.join(reasons)

    def _take(self, chunk):
        self._before, self._running = self._running, chunk
        self._epoch += 1
        self.chunks += 1

    def _notice_jump(self):
        """Forget the chunk of an arm that was put elsewhere, as at the beginning of a simulated episode."""
        if self._jumps != self.history.jumps:
            self._jumps = self.history.jumps
            self.forget()

    def _reference(self, now_s, instant_s):
        """Return the state that the arm is commanded to have at an instant. Raises NotReady."""
        reading = self.history.newest_reading()
        if reading is None:
            raise NotReady('waiting for joint states')
        if self._running is None:
            if np.abs(reading.velocity_rad_s).max() > REST_RAD_S:
                raise NotReady('waiting for the arm to come to rest')
            return _standing(reading, instant_s)
        gap_rad = self._gap_rad(reading)
        self._strayed |= bool(gap_rad.max() > self.settings.following_tolerance_rad)
        if not self._strayed:
            return sample(self._running, instant_s)
        # Something is in the way: the controller must stop where it has got to, and is called back from there.
        if now_s < self._running.end_s:
            kind = NotReady if self._running is self._stopping else NotFollowing
            raise kind('the arm does not follow its chunk')
        self.strays += 1
        return _standing(reading, max(instant_s, now_s + self._return_s(gap_rad)))

    def _gap_rad(self, reading):
        """Return how far each joint is from the running chunk: -> [J], zeros before that has begun"""
        if reading.stamp_s < self._running.origin_s:
            return np.zeros_like(reading.position_rad)
        return np.abs(reading.position_rad - sample(self._running, reading.stamp_s).position_rad)

    def _return_s(self, gap_rad):
        """Return how long the controller needs back over a gap at half the acceleration limits.

        A quintic from rest to rest over a gap in time T peaks at 5.78 gap / T^2.
        """
        return float(np.sqrt(5.78 * (gap_rad / (0.5 * np.array(self.robot.acceleration_max_rad_s2))).max()))


def _standing(reading, instant_s):
    """Take the measured joints, at rest, for the state at an instant: -> MotionState"""
    rest = np.zeros_like(reading.position_rad)
    return MotionState(instant_s, reading.position_rad.copy(), rest, rest.copy())
