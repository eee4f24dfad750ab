"""The planner node without ROS: what is built at configure, and what the watchdog and the operator do with it."""
import math
from dataclasses import replace

import numpy as np

from diffusion_planner import config
from diffusion_planner.planning.cycle import CycleSettings, PlanningCycle
from diffusion_planner.planning.history import History
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.records import Goal, Observation
from diffusion_planner.robot import Robot
from diffusion_planner.ros import parameters
from diffusion_planner.ros.diagnostics import StageTimes, State, cycle_facts, input_facts, plan_facts
from diffusion_planner.ros.inputs import Inputs
from diffusion_planner.ros.wishes import Recent, Wishes, locate
from diffusion_planner.ros.worker import Worker
from diffusion_planner.safety import check_inputs

CAMERA_BRAKE = 3.0     # times camera_timeout_s: without pictures for so long the arm stops
RECENT_S = 3.0         # a miss or a refusal counts as DEGRADED for so long


def load_shipped(values, robot):
    """Load the planner that the parameters name: -> Planner. Raises ModelError or ConfigError."""
    from diffusion_planner.evaluation.assembly import load_planner
    return load_planner(locate(values['model']), robot, backend=values['backend'], threads=values['threads'])


class Engine:
    """Planner, memory, running chunk and planning thread of one arm. Methods are called from the executor's thread."""

    def __init__(self, values, hooks, simulated, load=load_shipped):
        self.values, self.hooks, self.simulated = values, hooks, simulated
        self.robot = config.load(Robot, locate(values['robot']))
        settings = parameters.settings(CycleSettings, values)
        self.wishes = Wishes.of(values, self.robot)
        self.planner = load(values, self.robot)
        self.history = History(len(self.robot.joint_names), self.planner.cameras, self.planner.context_offset_s)
        self.inputs = Inputs(self.history, self.robot.joint_names, self.planner.picture_shape, values['skew_limit_s'], hooks.log)
        self.cycle = PlanningCycle(self.planner, self.robot, settings, self.history)
        self.times, self.newest_plan, self.worker = StageTimes(), None, None
        self.guided, self.stopped, self.fault, self._blocked = True, False, '', False
        self._missed, self._refused = Recent(RECENT_S), Recent(RECENT_S)
        self._warn_of_guard()
        self._warm_up()

    def _warm_up(self):
        """Plan twice on nothing, so that the first real plan is as quick as the rest."""
        count, joints, cameras = len(self.planner.context_offset_s), len(self.robot.joint_names), len(self.planner.cameras)
        posture = np.tile(self.robot.home_rad, (count, 1))
        observation = Observation(0.0, np.array(self.planner.context_offset_s), posture, np.zeros((count, joints)),
                                  np.zeros((count, cameras, *self.planner.picture_shape), np.uint8), np.zeros((count, cameras)),
                                  np.zeros(count))
        settings = self.planner.settings
        for guard in (False, True):   # without the guard nothing is refused, so every stage has run once
            self.planner.settings = replace(settings, guard=guard, strange_limit=math.inf)
            try:
                self.planner.plan(observation, self.goal(), 0)
            except NoSafeCandidate:
                pass   # black pictures
        self.planner.settings = settings
        self.planner.reset()

    def wish(self, changes):
        """Take changed parameters, name to value, from the next plan on. Raises ConfigError, and changes nothing, see Wishes."""
        before, self.wishes = self.wishes, self.wishes.changed(changes, self.robot, self._position_rad())
        if before.guard:
            self._warn_of_guard()

    def _warn_of_guard(self):
        if not self.wishes.guard:
            self.hooks.log('guard is off: guidance is not bounded and no plan is refused as doubtful; for measurement only')

    def _position_rad(self):
        """Return the newest measured joints: -> [J], or None"""
        reading = self.history.newest_reading()
        return None if reading is None else reading.position_rad

    def goal(self):
        """Say what is wanted: -> Goal. Its scale is 0 with guidance off, and the model's own recommendation for -1."""
        wishes = self.wishes
        scale = wishes.guidance_scale
        if scale == parameters.OWN_SCALE:
            scale = getattr(getattr(self.planner, 'backend', None), 'planning', {}).get('recommended_scale', 1.0)
        return Goal(guidance_scale=scale if self.guided else 0.0, objective=wishes.objective)

    def _next_goal(self):
        """Say what is wanted of the next plan, from the planning thread, which alone touches the planner's settings."""
        self.planner.settings = replace(self.planner.settings, guard=self.wishes.guard)
        return self.goal()

    def start(self):
        """Begin to plan in a thread of its own. Raises ConfigError where the objective cannot be met from where the arm is."""
        self.wishes.check_start(self._position_rad())
        self.stopped, self.fault, self._blocked = False, '', False
        self.cycle.forget()
        hooks = replace(self.hooks, goal=self._next_goal, report=self._report, failed=self._fail)
        self.worker = Worker(self.planner, self.cycle, hooks, self.values['seed'])
        self.worker.allowed = True
        self.worker.start()

    def end(self):
        """Brake, and end the thread: -> whether it ended."""
        if self.worker is None:
            return True
        worker, self.worker = self.worker, None
        worker.allowed = False
        self._brake()
        return worker.end(self.values['hang_timeout_s'])

    def stop(self):
        self.stopped = True
        self._block()

    def resume(self):
        """Plan again, from the measured joints, once the brake is over."""
        self.stopped = False

    def reset(self, stop_first=True):
        """Begin a new episode. An arm in motion is stopped first, and plans begin when it rests."""
        if stop_first and not self._blocked:
            self._brake()
        self.cycle.restart()
        self.fault, self.newest_plan = '', None
        if self.worker is not None:
            self.worker.begin_again()
            self.worker.allowed = not self._blocked

    def watch(self):
        """Look after freshness, the planning thread and the operator's wish: -> State, reason. Brakes where it must."""
        if self.worker is None:
            return State.INACTIVE, ''
        if self.worker.busy_s() > self.values['hang_timeout_s']:
            self._fail(f'a plan takes longer than {self.values["hang_timeout_s"]:g} s')
        if self.fault:
            return State.FAULT, self.fault
        if reason := self._reason_to_brake():
            self._block()
            return State.BRAKING, reason
        self._unblock()
        reason = self._reason_to_worry()
        return (State.DEGRADED, reason) if reason else (State.NOMINAL, '')

    def facts(self):
        """Report everything that diagnostics show: -> name to value"""
        return {**cycle_facts(self.cycle), **input_facts(self.inputs), **plan_facts(self.newest_plan, self.goal()),
                **self.times.facts()}

    def _stale(self, joint_limit_s, camera_limit_s):
        """Name the inputs that have come but are too old now; what never came, the planning thread waits for."""
        now_s = self.hooks.now_s()
        ages_s = {name: self.inputs.age_s(name, now_s, self.simulated) for name in self.inputs.sources}
        limits_s = {name: joint_limit_s if name == Inputs.JOINTS else camera_limit_s
                    for name, age_s in ages_s.items() if age_s < float('inf')}
        return '; '.join(check_inputs(ages_s, limits_s))

    def _reason_to_brake(self):
        if self.stopped:
            return 'stopped by the operator'
        return self._stale(self.values['joint_timeout_s'], CAMERA_BRAKE * self.values['camera_timeout_s'])

    def _reason_to_worry(self):
        if self.worker.waiting_for:
            return self.worker.waiting_for
        if stale := self._stale(self.values['joint_timeout_s'], self.values['camera_timeout_s']):
            return stale
        counters, now_s = self.cycle.counters(), self.hooks.now_s()
        refused = {reason: count for reason, count in counters['rejected'].items() if reason != 'superseded'}   # that was us
        missed, doubtful = self._missed(counters['deadline_misses'], now_s), self._refused(sum(refused.values()), now_s)
        return '; '.join([f'plan refused: {self._why()}'] * doubtful + self._worries() + [f'{counters["deadline_misses"]} deadline misses so far'] * missed)

    def _worries(self):
        """Say what the newest plan was made in spite of: -> texts"""
        said = {} if self.newest_plan is None else self.newest_plan[0].breakdown
        return [f'scene unlike the play data: {name.removeprefix("strange_")} {value:.2g} times what play shows'
                for name, value in said.items() if name.startswith('strange_') and value > 1.0]

    def _why(self):
        """Say why the last plan was refused; where the objective cannot be met from here at all, in its words."""
        told = self.cycle.last_refusal
        try:
            if 'objective: ' in told:
                self.wishes.check_start(self._position_rad())
        except config.ConfigError as error:
            return str(error)
        return told

    def _block(self):
        """Brake once and stop planning."""
        if not self._blocked and self.worker is not None:
            self._blocked, self.worker.allowed = True, False
            self.worker.not_before_s = max(self._brake(), self.worker.not_before_s)

    def _unblock(self):
        """Plan again, from the measured joints and never from the last command."""
        if self._blocked and self.hooks.now_s() >= self.worker.not_before_s:
            self._blocked = False
            self.cycle.forget()
            self.worker.allowed = True

    def _brake(self):
        """Send a stop if something is running: -> when the arm is at rest, 0 if it is already."""
        chunk = self.cycle.brake(self.hooks.now_s())
        if chunk is None:
            return 0.0
        try:
            self.hooks.send(chunk)
        except ValueError as late:   # time ran past its beginning: what is running ends in its own brake tail
            self.cycle.withdraw([f'brake: {late}'])
            return self.cycle.running.end_s
        return chunk.end_s

    def _fail(self, reason):
        """Stop for good, until a reset."""
        if not self.fault:
            self.fault = reason
            self._block()

    def _report(self, plan, goal, seed):
        self.newest_plan = plan, goal
        self.times.note(plan.timing_ms)
        self.hooks.report(plan, goal, seed)
