"""The planner node without ROS: what is built at configure, and what the watchdog and the operator do with it."""
import importlib
from dataclasses import replace

from diffusion_planner import config
from diffusion_planner.evaluation.assembly import load_planner, warm_up
from diffusion_planner.planning.cycle import CycleSettings, PlanningCycle
from diffusion_planner.records import Goal
from diffusion_planner.robot import Robot
from diffusion_planner.ros import parameters
from diffusion_planner.ros.circumstances import Circumstances
from diffusion_planner.ros.diagnostics import Deadlines, StageTimes, State, cycle_facts, input_facts, plan_facts
from diffusion_planner.ros.health import Health
from diffusion_planner.ros.inputs import Inputs
from diffusion_planner.ros.sensing import read_sources, remember
from diffusion_planner.ros.timebase import WallTime
from diffusion_planner.ros.wishes import Wishes, locate
from diffusion_planner.ros.worker import Worker
from diffusion_planner.urdf import narrowed

BRAKES = 3     # a brake that comes too late for its first point is made anew, so many times in all


def load_shipped(values, robot):
    """Load the planner that the parameters name: -> Planner. Raises ModelError or ConfigError."""
    return load_planner(locate(values['model']), robot, backend=values['backend'], threads=values['threads'], device=values['device'])


class Engine:
    """Planner, memory, running chunk and planning thread of one arm. Methods are called from the executor's thread."""

    def __init__(self, values, hooks, simulated, load=load_shipped, timebase=None):
        self.values, self.hooks, self.simulated, self._load = values, hooks, simulated, load
        self.robot = config.load(Robot, locate(values['robot']))
        if values['robot_description']:
            self.robot = narrowed(self.robot, values['robot_description'])
        settings, size = parameters.settings(CycleSettings, values), parameters.picture_size(values['camera_size'])
        parameters.check_deadline(values)
        self.wishes = Wishes.of(values, self.robot)
        self.planner = load(values, self.robot)
        sensors = read_sources(values['sensors'], getattr(self.planner, 'sensors', ()))
        self.history = remember(self.planner, self.robot, values)
        self.inputs = Inputs(self.history, self.robot, self.planner.picture_shape, values['skew_limit_s'], hooks.log, timebase or WallTime(), size,
                             sensors=sensors)
        self.cycle = PlanningCycle(self.planner, self.robot, settings, self.history, teleports=simulated)
        self.times, self.deadlines, self.newest_plan, self.worker = StageTimes(), Deadlines(), None, None
        self.guided, self.stopped, self.fault, self._blocked = True, False, '', False
        self.loading, self.fell_back, self.circumstances = False, '', None     # the last are those of the newest plan
        self.health = Health(self)
        self._warn_of_guard()
        importlib.import_module('cv2')     # takes a tenth of a second, which the first picture's callback must not wait for
        self.warm_up_ms = warm_up(self.planner, self.robot, self.goal())

    def wish(self, changes):
        """Take changed parameters, name to value, from the next plan on. Raises ConfigError, and changes nothing, see Wishes."""
        parameters.check_deadline({**self.values, 'deadline_ms': self.wishes.deadline_ms, **changes})
        before, self.wishes = self.wishes, self.wishes.changed(changes, self.robot, self.position_rad())
        if before.guard:
            self._warn_of_guard()

    def _warn_of_guard(self):
        if not self.wishes.guard:
            self.hooks.log('guard is off: guidance is not bounded and no plan is refused as doubtful; for measurement only')

    def position_rad(self):
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
        self.cycle.speed_scale = self.wishes.speed_scale
        self.deadlines.wanted_ms = self.wishes.deadline_ms
        return self.goal()

    def start(self):
        """Begin to plan in a thread of its own.

        Raises ConfigError where the objective cannot be met from where the arm is, or where only useless joint states have come.
        """
        joints = self.inputs.sources[Inputs.JOINTS]
        if joints.fault and joints.stamp_s is None:
            raise config.ConfigError(f'joint_states: {joints.fault}')
        self.wishes.check_start(self.position_rad())
        self.stopped, self.fault, self._blocked = False, '', False
        self.cycle.forget()
        self.health.begin_again()
        hooks = replace(self.hooks, goal=self._next_goal, deadline_s=self.deadlines.wanted_s, report=self._report, failed=self._fall_back,
                        seen=self.inputs.newest, lag_s=self._lag_s, begun=self._begun, judged=self._judged)
        self.worker = Worker(self.planner, self.cycle, hooks, self.values['seed'])
        self.worker.allowed = True
        self.worker.start()

    def end(self):
        """Brake, and end the thread: -> whether it ended."""
        if self.worker is None:
            return True
        worker, self.worker = self.worker, None
        worker.halt()
        self._brake()
        return worker.end(self.values['hang_timeout_s'])

    def stop(self):
        self.stopped = True
        self._block()

    def plan_once(self):
        """Make one plan from the measured joints, even while the operator has stopped planning: -> why not, or ''"""
        if reason := self.fault or self.health.reason_to_brake():
            return reason
        if not self.worker.allowed:
            self.cycle.forget()
            self._blocked = False     # so that whatever comes up brakes again
        self.worker.plan_once()
        return ''

    def hold(self, name, reason):
        """Hold planning for as long as there is a reason; '' lets it go on, from the measured joints."""
        if reason:
            self.health.held[name] = reason
        else:
            self.health.held.pop(name, None)

    def resume(self):
        """Plan again, from the measured joints, once the brake is over."""
        self.stopped = False

    def reset(self, stop_first=True):
        """Begin a new episode. An arm in motion is stopped first, and plans begin when it rests."""
        if stop_first and not self._blocked:
            self._brake()
        self.cycle.restart()
        self.inputs.restart()
        self.health.begin_again()
        self.fault, self.newest_plan = '', None
        if self.worker is not None:
            self.worker.begin_again()
            self.worker.allowed = not (self._blocked or self.stopped)

    def watch(self):
        """Look after freshness, the planning thread and the operator's wish: -> State, reason. Brakes where it must."""
        if self.worker is None:
            return State.INACTIVE, ''
        if not self.fault and (fault := self.health.fault()):
            self.fail(fault)
        if self.fault:
            self._block()
            return State.FAULT, self.fault
        if reason := self.health.clock_behind():
            self._suspend()
            return State.BRAKING, reason
        if reason := self.health.reason_to_brake():
            self._block()
        if reason or self.stopped:
            return State.BRAKING, 'stopped by the operator' if self.stopped else reason
        self._unblock()
        if reason := self.health.unusable():
            return State.BRAKING, reason
        reason = self.health.reason_to_worry()
        return (State.DEGRADED, reason) if reason else (State.NOMINAL, '')

    def facts(self):
        """Report everything that diagnostics show: -> name to value"""
        backend = getattr(self.planner, 'backend', None)
        return {'model version': getattr(backend, 'identity', ''), 'device': str(getattr(backend, 'device', 'cpu')),
                'speed scale': f'{self.wishes.speed_scale:g}', 'shadow': self.values['shadow'],
                'warm-up ms': '/'.join(f'{took:.0f}' for took in self.warm_up_ms),
                **cycle_facts(self.cycle), **input_facts(self.inputs), **plan_facts(self.newest_plan, self.goal()),
                **self.deadlines.facts(), **self.times.facts()}

    def _block(self):
        """Brake once and stop planning."""
        if not self._blocked and self.worker is not None:
            self._blocked = True
            self.worker.halt()
            self.worker.not_before_s = max(self._brake(), self.worker.not_before_s)

    def _suspend(self):
        """Plan no more and send nothing, not even a stop, which would begin where the arm is not: what runs ends in its brake tail."""
        if self.worker.allowed:
            self._blocked = True
            self.worker.halt()
            self.cycle.forget()

    def _lag_s(self):
        """Say how far simulated time is behind the joint states; the system's clock is nobody's but ours: -> seconds"""
        return self.inputs.clock_lag_s if self.simulated else 0.0

    def _unblock(self):
        """Plan again, from the measured joints and never from the last command."""
        if not (self.worker.allowed or self.fault) and self.hooks.now_s() >= self.worker.not_before_s:
            self._blocked = False
            self.cycle.forget()
            self.worker.allowed = True

    def _brake(self):
        """Send a stop if something is running: -> when the arm is at rest, 0 if it is already."""
        for _ in range(BRAKES):
            if (chunk := self.cycle.brake(self.hooks.now_s())) is None:
                return 0.0
            try:
                self.cycle.deliver(chunk, self.hooks.send)
                return chunk.end_s
            except ValueError:   # time ran past its beginning
                self.cycle.withdraw(['brake too late'], chunk=chunk)
        return getattr(self.cycle.running, 'end_s', 0.0)     # which ends in its own brake tail

    def _fall_back(self, reason):
        """Answer a backend that failed twice, from the planning thread: load the model anew on the CPU, once, or stop for good."""
        if not self.values['cpu_fallback'] or self.values['device'] == 'cpu' or self.fell_back:
            return self.fail(reason)
        self.loading = True
        try:
            self.planner = self.cycle.planner = self.worker.planner = self._load({**self.values, 'device': 'cpu'}, self.robot)
            self.fell_back = reason
        except Exception as error:   # whatever it is, the arm must be stopped
            self.fail(f'{reason}; and on the CPU: {error}')
        finally:
            self.loading = False

    def fail(self, reason):
        """Stop for good, until a reset."""
        if not self.fault:
            self.fault = reason
            self._block()

    def _begun(self, now_s, observation):
        self.circumstances = Circumstances.of(now_s, observation, self.history, self.planner)

    def _judged(self, plan, goal):
        """Take note of a plan before it goes out, so that what is doubtful about it is said before anything moves."""
        self.newest_plan = plan, goal
        if worries := self.health.strange():
            self.hooks.warn('; '.join(worries))

    def _report(self, plan, goal, seed):
        self.newest_plan = plan, goal
        self.times.note(plan.timing_ms)
        self.deadlines.note(plan)
        self.hooks.report(plan, goal, seed)
