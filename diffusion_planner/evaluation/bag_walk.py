"""The walk through a bag: what the node would have seen and planned in shadow mode, at the bag's own stamps and never by a wall clock."""
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from diffusion_planner.evaluation.bag_clock import BagClock
from diffusion_planner.evaluation.bag_health import Health
from diffusion_planner.evaluation.bag_measures import Measures
from diffusion_planner.evaluation.bag_moments import moment_of
from diffusion_planner.evaluation.bag_recording import REWARD_GRACE_S, Extremes, Recording
from diffusion_planner.evaluation.bag_step import Step
from diffusion_planner.evaluation.bag_twin import Twin
from diffusion_planner.messages import MessageError
from diffusion_planner.planning.cycle import CycleSettings, PlanningCycle
from diffusion_planner.planning.history import History, NotReady
from diffusion_planner.records import JointReading
from diffusion_planner.safety import check_inputs

SKEW_S = 1.0                           # messages stamped farther from the bag's time are refused, as by the node
JOINTS_STALE_S, CAMERA_STALE_S = 0.3, 3.0      # inputs older than this make the node brake instead of planning
MARGIN_S = 2.0                         # what is kept of the past beyond the longest plan


@dataclass(frozen=True)
class WalkSettings:
    """How a bag is walked: every_s between plans, at most `limit` of them (None: all), seed of the first, one more for each."""

    every_s: float = 0.5
    limit: int | None = None
    seed: int = 0


class KeepingHistory(History):
    """The node's history, which also hands on what it accepted: keep(record, whether the arm was put elsewhere)."""

    def __init__(self, *arguments, keep, **settings):
        super().__init__(*arguments, **settings)
        self._keep = keep

    def append(self, record):
        jumps, kept = self.jumps, super().append(record)
        if kept:
            self._keep(record, self.jumps != jumps)
        return kept


class BagTime:
    """What the inputs take for the node's own time: the bag's."""

    fine = False

    def __init__(self, begin_s):
        self.seconds = begin_s

    def now_s(self):
        return self.seconds

    def of_stamp(self, stamp_s):
        return stamp_s


class Walk:
    """One pass over a bag. `steps()` yields a Step for every instant at which a plan was due, once its future is known."""

    def __init__(self, topics, planner, robot, goal, settings, make_inputs):
        """topics: bag_topics.Topics; make_inputs: the node's own class of inputs, ros.inputs.Inputs"""
        self.topics, self.planner, self.robot, self.settings = topics, planner, robot, settings
        self.clock = BagClock(*topics.joint_stamps())
        self.time, self.warnings, self.health, self.extremes = BagTime(self.clock.begin_s), [], Health(topics), Extremes(robot)
        self._zero_s = self.clock.begin_s
        self.sensors = planner.model.sensors
        cycle = CycleSettings(shadow=True)
        self.history = KeepingHistory(len(robot.joint_names), planner.cameras, planner.context_offset_s, keep=self._keep, sensors=self.sensors)
        self.inputs = make_inputs(self.history, robot, planner.picture_shape, SKEW_S, self.warnings.append, self.time, steady=self.time.now_s,
                                  sensors=topics.mapping.sensors)
        self.cycle = PlanningCycle(planner, robot, cycle, self.history)
        self.twin = Twin(planner, robot, goal)
        self.measures = Measures(planner, robot, self.twin.quiet_goal)
        self.ahead_s = planner.horizon_s + REWARD_GRACE_S
        self.keep_s = self.ahead_s + cycle.lead_s + MARGIN_S
        self.episode, self.count, self.episodes = -1, 0, []
        self._mark, self._pending, self._over, self.waited_s, self._waiting = None, [], [], defaultdict(float), None
        self._begin_episode()

    def steps(self):
        """Walk: yields Step in order of time"""
        part = 0
        for message in self.topics.messages():
            now_s = self.clock.now_s(message.log_s)
            if self.clock.part(message.log_s) != part:      # time went back, which resets the node
                part = self.clock.part(message.log_s)
                self._restart()
                self._zero_s = self.clock.zero_s(part)
            else:
                now_s = max(now_s, self.time.seconds)
            while self._due_s is not None and now_s > self._due_s and not self._is_full():
                self._plan(self._due_s)
            self.time.seconds = now_s
            self._take(message)
            yield from self._settled(now_s)
            if self._is_full() and not self._pending:
                break
        if self._due_s is not None and self._due_s <= self.time.seconds and not self._is_full():
            self._plan(self._due_s)
        self._end_episode()
        yield from self._settled(np.inf)

    @property
    def elapsed_s(self):
        """How far into the bag the walk is."""
        return self.since_s(self.time.seconds)

    def since_s(self, now_s):
        return now_s - self._zero_s

    def missing(self):
        """List what plans waited for: -> texts"""
        return [*self.waited_s, *([self._waiting[1]] if self._waiting else [])]

    def _is_full(self):
        return self.settings.limit is not None and self.count >= self.settings.limit

    # -- messages

    def _take(self, message):
        """Hand a message to what the node hands it to; one that cannot be read is dropped and counted."""
        self.health.note(message)
        try:
            {'joints': self._take_joints, 'camera': self._take_picture, 'sensor': self._take_sensor, 'reward': self._take_reward}.get(
                message.kind, self._take_mark)(message)
        except MessageError as fault:
            self.health.reject(message, fault)

    def _take_joints(self, message):
        self.inputs.take_joints(self.topics.read(message))

    def _take_picture(self, message):
        image = self.topics.picture(message, self.time.seconds)
        self.inputs.size = self.topics.size(message.name, image) or self.inputs.picture_shape[:2]
        self.inputs.take_image(message.name, image)

    def _take_sensor(self, message):
        self.inputs.take_sensor(message.name, self.topics.read(message))

    def _take_reward(self, message):
        self._reward(message.header_s or self.time.seconds, self.topics.reward(message))

    def _take_mark(self, message):
        """Begin an episode where the value that names it changes, or where a service was called."""
        mark, before = self.topics.read(message), self._mark
        if message.kind == 'calls':
            if mark:
                self._restart()
            return
        self._mark = mark
        if before is not None and mark != before:
            self._restart()

    def _reward(self, stamp_s, value):
        if value is not None:
            self.recording.add_reward(stamp_s, value)

    def _keep(self, record, jumped):
        """Keep what the history took, as what really happened; an arm that was put elsewhere begins another episode."""
        if jumped:
            self._end_episode()
            self._begin_episode()
        self.recording.add(record)
        if isinstance(record, JointReading):
            self.extremes.note(record)
            since_s = self.since_s(record.stamp_s)
            self.episodes[-1] |= {'begin_s': self.episodes[-1].get('begin_s', since_s), 'end_s': since_s}
            self._due_s = record.stamp_s if self._due_s is None else self._due_s
            self._reward(record.stamp_s, self.topics.reward_at(record, since_s))

    # -- episodes

    def _restart(self):
        """Begin a new episode as the node's reset does."""
        if self.recording.readings:
            self._end_episode()
            self._begin_episode()
        self.cycle.restart()
        self.inputs.restart()
        self.twin.reset()

    def _begin_episode(self):
        self.episode += 1
        self.episodes.append({'episode': self.episode})
        self.recording = Recording(self.planner.cameras, [name for name, _ in self.sensors], self.keep_s, self.topics.hold_s)
        self._due_s = None

    def _end_episode(self):
        """Measure what is left with what is known: of what these plans foretold nothing more will come."""
        for step in self._pending:
            self._measure(step)
        self._pending = []

    def _settled(self, now_s):
        """Measure the steps whose future is known by now, and hand on what is measured."""
        while self._pending and self._pending[0].end_s < now_s:
            self._measure(self._pending.pop(0))
        over, self._over = self._over, []
        return over

    def _measure(self, step):
        self.measures.measure(step)
        step.moment = moment_of(step, self.planner, self.robot)
        step.forget()
        self._over.append(step)

    # -- plans

    def _plan(self, due_s):
        """Plan at an instant and set the next; where inputs are missing, the next is tried with the next joint state."""
        self.time.seconds = due_s
        step = Step(self.count, due_s, self.since_s(due_s), self.episode, self.settings.seed + self.count, self.recording)
        try:
            if stale := check_inputs(*self._ages()):
                raise NotReady(', '.join(stale))
            step.observation, step.handover = self.cycle.begin(due_s)
        except NotReady as missing:
            self._waiting, self._due_s = self._waiting or (due_s, str(missing)), None
            return
        self._end_waiting(due_s)
        step.reading = self.history.newest_reading()
        step.figures['picture_age_s'] = {camera: due_s - float(stamp_s) for camera, stamp_s in zip(self.planner.cameras, step.observation.picture_stamp_s[-1])}
        self.twin.plan(step, self.cycle)
        step.end_s = step.handover.stamp_s + self.ahead_s
        self._pending.append(step)
        self.count, self._due_s = self.count + 1, due_s + self.settings.every_s

    def _ages(self):
        """-> age in s of each input of which anything has come, and its limit"""
        limits_s = {name: JOINTS_STALE_S if name == self.inputs.JOINTS else CAMERA_STALE_S for name in (self.inputs.JOINTS, *self.planner.cameras)}
        ages_s = {name: self.inputs.sources[name].age_s() for name in limits_s}
        come = [name for name, age_s in ages_s.items() if np.isfinite(age_s)]
        return {name: ages_s[name] for name in come}, {name: limits_s[name] for name in come}

    def _end_waiting(self, now_s):
        if self._waiting:
            since_s, reason = self._waiting
            self.waited_s[reason] += max(now_s - since_s, 0.0)
            self._waiting = None
