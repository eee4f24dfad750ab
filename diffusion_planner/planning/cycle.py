"""One planning cycle without any middleware: when to take over, from which state, and whether the result may go out."""
import threading
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from diffusion_planner.planning.following import Following, NotFollowing, coasting
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import ShapingLimits, brake, shape
from diffusion_planner.planning.stretching import clamped, stretch
from diffusion_planner.records import ActionChunk
from diffusion_planner.safety import check_chunk

__all__ = ['CycleSettings', 'NotFollowing', 'PlanningCycle']

STRETCHED = 1.01      # a plan that takes so many times as long as it was meant to was stretched
OLDER = 2             # chunks before the one before, any of which the controller may still execute if all after it were lost
RECENT_S = 0.06       # readings of the last so many seconds say where the arm is
JUDGED_S = 0.4        # a chunk that has run for so long has arrived, or never will be missed
CLAMPED_RAD = 0.02    # and one that reaches so far beyond the joints' ranges was clamped


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
    shadow: bool = False             # nobody executes chunks: every plan starts from the measured motion

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

    def __init__(self, planner, robot, settings, history, teleports=True):
        self.planner, self.robot, self.settings, self.history = planner, robot, settings, history
        self._teleports = teleports     # whether joints that jump are an arm that was put elsewhere, as simulators do
        self.following = Following(robot, settings.following_tolerance_rad)
        self.speed_scale = 1.0          # set by the planning thread, between plans
        self.misses, self.plans, self.chunks, self.unusable = 0, 0, 0, 0     # unusable: plans in a row
        self.changed = Counter()        # plans that were stretched in time or clamped
        self.rejected, self.last_refusal = Counter(), ''     # by reason; the newest one in words
        self._lock, self._delivery = threading.RLock(), threading.Lock()
        self._running, self._before = None, None   # what the controller executes; what it did before that
        self._older = []                           # what it did before that, the newest first, for as long as it matters
        self._judged = None                        # the newest chunk that is known to have arrived
        self._stopping, self._newest = None, None  # the newest brake; the newest chunk, which alone may still be sent
        self._jumps = history.jumps
        self._epoch = 0                            # counts whatever makes a plan under way void

    @property
    def limits(self):
        """What chunks may use at the speed scale of the moment."""
        settings = self.settings
        return ShapingLimits.of(self.robot, self.speed_scale * settings.velocity_scale, settings.acceleration_scale, settings.jerk_rad_s3)

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
            self._notice_loss()
            self._begun = self._epoch
            handover, running = self._reference(now_s, now_s + self.settings.lead_s), self._running
        committed = None if running is None else lambda instant_s: sample(running, instant_s)
        return self.history.observe(handover, now_s, committed), handover

    def finish(self, plan, handover, ready_now_s, objective=None):
        """Shape a plan into a chunk from exactly the handover state; the chunk counts as running from here on.

        finish(plan, handover, ready_now_s, objective) -> ActionChunk, or None with a counter raised. The caller hands the chunk to
        the controller at once, or withdraws it. A chunk that enters a zone of the objective, its brake tail included, is none: so
        what runs stays out even if nothing ever replaces it. A brake in between is not checked: stopping at once comes first.
        """
        self.plans += 1
        with self._lock:
            handover = self._postponed(handover, ready_now_s)
        chunk = self._shaped(plan, handover)
        if chunk is None:
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
            self.following.renew()
        return chunk

    def _postponed(self, handover, ready_now_s):
        """Move the handover of a plan that comes too late to where it can be met, if the arm rests there anyway: -> MotionState"""
        resting = self._running is None or self._running.end_s <= handover.stamp_s
        if self._begun != self._epoch or not resting or handover.stamp_s - ready_now_s >= self.settings.min_lead_s or self.settings.shadow:
            return handover
        self.misses += 1
        return replace(handover, stamp_s=ready_now_s + 2 * self.settings.min_lead_s)

    def _shaped(self, plan, handover):
        """Turn a plan into a chunk within all limits, stretched in time and clamped where it must be: -> ActionChunk, or None"""
        position_rad, limits = plan.position_rad, self.limits
        if not (np.isfinite(position_rad).all() and np.isfinite(plan.velocity_rad_s).all() and np.isfinite(plan.offset_s).all()):
            return self._drop('not finite')
        gap_rad = np.abs(position_rad[0] - handover.position_rad) - plan.offset_s[0] * np.array(self.robot.velocity_max_rad_s)
        if gap_rad.max() > self.settings.following_tolerance_rad:
            return self._drop('does not begin where the arm will be')
        slow = self.speed_scale
        offset_s, velocity_rad_s, factor = stretch(plan.offset_s / slow, position_rad, slow * plan.velocity_rad_s, handover, limits)
        self.changed.update(['stretched in time'] * (factor > STRETCHED)
                            + ["clamped to the joints' ranges"] * (clamped(position_rad, limits) > CLAMPED_RAD))
        try:
            chunk = shape(offset_s, position_rad, velocity_rad_s, handover, limits, self.settings.chunk_s)
        except ValueError:   # no way to come to rest
            return self._drop('cannot be shaped')
        self.unusable = 0
        return chunk

    def _drop(self, reason):
        """Drop a whole plan, never a part of it: -> None"""
        self.unusable += 1
        self._reject([reason])

    def deliver(self, chunk, send):
        """Send a chunk. Raises ValueError where the other thread has put another in its place, a stop perhaps, which must be the last."""
        with self._delivery:
            if chunk is not self._newest:
                raise ValueError('superseded')
            send(chunk)

    def withdraw(self, reasons, deadline=False, chunk=None):
        """Take back a chunk, that of `finish` if none is named: it did not reach the controller, the one before goes on."""
        with self._lock:
            self.chunks -= 1
            if chunk is not None and chunk is not self._newest:
                self.rejected['superseded'] += 1
                return
            self._running = self._before
            self.following.busy_until_s = -np.inf if self._running is None else self._running.end_s
            self._before, *self._older = self._older or [None]
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
            self._notice_loss()
            self._epoch += 1
            if self._running is None or now_s >= self._running.end_s:
                return None
            if self._running is not self._stopping and (reading := self.history.newest_reading()) is not None:
                self.following.note_stop(reading)
            # What the message takes on its way is a jump of position that the controller makes up for until the first point: by
            # 5.8 speed delay / lead^2, so twice the lead is a quarter of the acceleration. Before the running chunk's first point the
            # controller is on its own way there, which only that point describes exactly.
            start = sample(self._running, max(now_s + 2 * self.settings.min_lead_s, self._running.origin_s))
            self._stopping = brake(start, self.limits)
            self._take(self._stopping)
            return self._stopping

    def give_way(self, now_s):
        """Replace a chunk that the arm does not follow by a way back to where it is: -> ActionChunk of one point, or None"""
        with self._lock:
            reading = self.history.newest_reading()
            if reading is None or self._running is None or now_s >= self._running.end_s:
                return None
            self.following.note_stop(reading)
            state = self.following.way_back(reading, self._running, now_s)
            at_s = max(state.stamp_s, now_s + 2 * self.settings.min_lead_s)
            self._stopping = ActionChunk(at_s, np.zeros(1), *(values[None] for values in (state.position_rad, state.velocity_rad_s, state.acceleration_rad_s2)))
            self._take(self._stopping)
            return self._stopping

    def forget(self):
        """Drop the running chunk: the next plan starts from the measured joints."""
        with self._lock:
            self._epoch += 1
            self._running, self._before, self._newest, self._older = None, None, None, []
            self.following.renew()
            self.unusable = self.following.unmoved = self.following.lost = 0

    def restart(self):
        """Begin a new episode: forget the chunk and everything seen. The planner's own reset is its thread's business."""
        self.forget()
        self.following.busy_until_s = -np.inf
        self.history.clear()

    def counters(self):
        """Report the counts so far, by reason."""
        return {'plans': self.plans, 'chunks': self.chunks, 'deadline_misses': self.misses, 'strays': self.following.strays,
                'rejected': dict(self.rejected), 'changed': dict(self.changed)}

    def _reject(self, reasons):
        if reasons:
            self.rejected.update(reasons)
            self.last_refusal = ', '.join(reasons)

    def _take(self, chunk):
        self._older = [self._before, *self._older][:OLDER] if self._before is not None else []
        self._before, self._running = self._running, None if self.settings.shadow else chunk
        self._newest, self.following.busy_until_s = chunk, -np.inf if self.settings.shadow else chunk.end_s
        self._epoch += 1
        self.chunks += 1

    def _notice_jump(self):
        """Forget the chunk of an arm that was put elsewhere, as at the beginning of a simulated episode."""
        if self._teleports and self._jumps != self.history.jumps:
            self._jumps = self.history.jumps
            self.forget()

    def _notice_loss(self):
        """Go back to the chunk before where the arm shows that the newest one never reached the controller."""
        running = self._running
        if running is None or running is self._judged:
            return
        readings, earlier = self.history.readings_since(running.origin_s), [self._before, *self._older] if self._before else []
        if count := self.following.lost_since(readings, running, earlier):
            self._running, *rest = earlier[count - 1:]
            self._before, *self._older = rest or [None]
            self._reject(['lost on its way to the controller'] * count)
        elif readings and readings[-1].stamp_s > running.origin_s + JUDGED_S and not self.following.still:
            self._judged = running      # it has arrived; what keeps the arm from it later is something else

    def _reference(self, now_s, instant_s):
        """Return the state that the arm is commanded to have at an instant. Raises NotReady."""
        reading = self.history.newest_reading()
        if reading is None:
            raise NotReady('waiting for joint states')
        if self.settings.shadow:
            return coasting(reading, instant_s)
        recent = self.history.readings_since(reading.stamp_s - RECENT_S)
        return self.following.reference(recent, (self._running, self._before), self._stopping, now_s, instant_s)
