"""Closed-loop episodes in one process, in lock-step: the same cycle as the node, without the middleware.

The planner's delay is simulated: a plan is handed to the controller `latency_s` after its observation was taken.
"""
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from diffusion_planner.evaluation.assembly import load_objective, load_planner
from diffusion_planner.evaluation.executed import Score
from diffusion_planner.evaluation.follow_up import follow_up
from diffusion_planner.objectives.written import Zone, read_spec
from diffusion_planner.planning.cycle import CycleSettings, NotFollowing, PlanningCycle
from diffusion_planner.planning.forecast import Forecast
from diffusion_planner.planning.history import BLIND_S, History, NotReady
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.records import Goal
from diffusion_planner.runtime.checkpoint import FLAW_FILE
from diffusion_planner.sim.env import ArmEnv

SETTLE_S = 1.0       # a plan that is followed alone is watched for so long after its end
ATTEMPTS = 10        # at a plan that is followed alone


@dataclass(frozen=True)
class LoopSettings:
    """How episodes are run: replan_s between plans, latency_s from observation to controller.

    guard: off lets guidance run free, see planning.settings. flaw: a reward head with a planted flaw guides, from the model's
    folder, with torch only. objective: path of an objective. watched: (centre_m, radius_m) of a ball, or path of an objective that
    is only watched. alone: the first plan is followed to its end, nothing is planned after it. oddity: see sim.oddities.
    """

    model: str
    guidance_scale: float | None = None
    replan_s: float = 0.5
    latency_s: float = 0.1
    threads: int = 1
    guard: bool = True
    flaw: bool = False
    objective: str | None = None
    watched: str | tuple | None = None
    alone: bool = False
    oddity: str | None = None
    neutral: bool = False      # every judgement is made, but no combined judge of the checkpoint is asked
    changes: tuple = ()        # (name, value) of planner settings, for trying them out
    dropout: float = 0.0       # share of the pictures that never arrive; without one for BLIND_S the arm is stopped, as by the node
    typicality: bool = False   # measure that of the plans that are chosen, whether or not anything is decided by it
    trust: bool = True         # False: pictures count alike, however old they are
    backend: str = 'torch'
    device: str = 'cpu'
    deadline_ms: float | None = None     # of the wall clock; the delay to the controller is latency_s all the same


def goal_of(method, guidance_scale, objective=None):
    """Return what a method asks of the planner: -> Goal"""
    if method == 'best_of_n':
        return Goal(guidance_scale=0.0, candidates_only=True, objective=objective)
    return Goal(guidance_scale=0.0 if method == 'unguided' else guidance_scale, objective=objective)


def planner_settings(settings):
    """What LoopSettings ask of the planner: -> PlannerSettings"""
    # Until every planner knows the setting it is given only to those that do.
    known = {'measure_typicality'} & {field.name for field in fields(PlannerSettings)}
    return PlannerSettings(guard=settings.guard, **dict.fromkeys(known, settings.typicality), **dict(settings.changes))


class Camera:
    """The camera of an episode, some of whose pictures never arrive; the first one does. `ages_s`: of the newest when plans began."""

    def __init__(self, history, env, dropout, seed):
        self.history, self.env, self.dropout = history, env, dropout
        self.random, self.seen_s, self.ages_s, self.stops = np.random.default_rng((seed, 0xCA)), None, [], 0

    def look(self):
        if self.seen_s is None or not self.dropout or self.random.random() >= self.dropout:
            self.history.append(self.env.render())
            self.seen_s = self.env.now_s

    def age_s(self):
        self.ages_s.append(self.env.now_s - self.seen_s)
        return self.ages_s[-1]


class Loop:
    """One planner and one simulated arm."""

    def __init__(self, settings, env=None, planner=None):
        self.env = env or ArmEnv()
        self.robot = self.env.robot
        self.planner = planner or load_planner(settings.model, self.robot, planner_settings(settings), settings.backend, settings.threads,
                                               settings.device)
        if settings.flaw:
            self.planner.backend.plant(Path(settings.model) / FLAW_FILE)
        if settings.neutral:
            self.planner.forecast = Forecast.neutral()
        scale = settings.guidance_scale
        self.scale = self.planner.backend.planning.get('recommended_scale', 1.0) if scale is None else scale
        self.objective = load_objective(settings.objective, self.robot, settings.backend, settings.model) if settings.objective else None
        self.settings, self.zones, self.score = settings, self._zones(settings), self._score(settings)

    def _zones(self, settings):
        if isinstance(settings.watched, tuple):
            return (Zone('watched', *settings.watched[:1], radius_m=settings.watched[1]),)
        if settings.watched:
            return read_spec(settings.watched)[0].keep_out
        return self.objective.zones if self.objective else ()

    def _score(self, settings):
        """Of the motion that is executed, by an objective that is in force or only watched: -> Score or None; with torch only"""
        asked = settings.objective or settings.watched
        if settings.backend != 'torch' or not isinstance(asked, str):
            return None
        return Score(self.objective or load_objective(asked, self.robot))

    @property
    def deadline_s(self):
        return self.settings.deadline_ms / 1000 if self.settings.deadline_ms else None

    def cycle(self, history):
        """Make a planning cycle on a history: -> PlanningCycle"""
        settings = CycleSettings(chunk_s=self.planner.horizon_s + 0.5) if self.settings.alone else CycleSettings()
        return PlanningCycle(self.planner, self.robot, settings, history)

    def goal(self, method='guided'):
        """What a method asks of the planner: -> Goal"""
        return goal_of(method, self.scale, self.objective)

    def run(self, seed, method='guided', watch=None):
        """Run one episode: -> row of figures. `watch(env, plan)` is called at every picture."""
        env, settings = self.env, self.settings
        env.zones, env.trace = self.zones, []
        env.steps = 0        # rounded instants would let an episode depend on those before it, and so on which process runs which
        env.reset(seed, settings.oddity)
        if method == 'line':
            return self._line(seed)
        self.planner.reset()
        history = History(len(self.robot.joint_names), self.planner.cameras, self.planner.context_offset_s,
                          **({} if settings.trust else {'fresh_s': 1e9, 'blind_s': 2e9}))
        camera = Camera(history, env, settings.dropout, seed)
        cycle = self.cycle(history)
        goal, plans, attempts, self.refusals, self.took_ms = self.goal(method), [], 0, [], []
        waiting, next_plan_s, plan, end_s = None, env.now_s, None, float('inf')
        while not (env.episode()['done'] or env.now_s >= end_s):
            if (env.steps - env.begun) % env.settings.joint_every == 0:
                history.append(env.joints())
            if (env.steps - env.begun) % env.settings.frame_every == 0:
                camera.look()
                if watch:
                    watch(env, plan)
            if waiting and env.now_s >= waiting[0]:
                if not self._deliver(cycle, *waiting):
                    next_plan_s = env.now_s
                elif settings.alone:
                    next_plan_s, end_s = float('inf'), waiting[1].origin_s + waiting[1].offset_s[-1] + SETTLE_S
                waiting = None
            if waiting is None and env.now_s >= next_plan_s - 1e-9:
                if camera.age_s() > BLIND_S:
                    self._send(cycle.brake(self.env.now_s))
                    camera.stops, next_plan_s = camera.stops + 1, env.now_s + settings.latency_s
                    env.step()
                    continue
                plan, handover = self._think(cycle, goal, seed * 1000 + attempts)
                attempts += 1
                # Refused: the next attempt draws other noise, as soon as a plan takes.
                next_plan_s = env.now_s + (settings.replan_s if plan else settings.latency_s)
                if plan:
                    plans.append(plan)
                    waiting = env.now_s + settings.latency_s, plan, handover
                elif settings.alone and attempts >= ATTEMPTS:
                    end_s = env.now_s
            env.step()
        return {**env.episode(), 'method': method, 'plan_ms': [plan.timing_ms['total'] for plan in plans],
                'predicted_reward': [plan.breakdown['reward'] for plan in plans], 'steps': [plan.steps for plan in plans],
                'noise_left': [float(plan.level.max()) for plan in plans], **cycle.counters(),
                'judged': [follow_up(plan, env, self.robot, settings.alone) for plan in plans],
                'executed': self.score and self.score.least(env.trace, plans), 'refusals': self.refusals, 'attempts': attempts, 'took_ms': self.took_ms,
                'picture_age_s': camera.ages_s, 'blind': camera.stops}

    def _think(self, cycle, goal, seed):
        try:
            observation, handover = cycle.begin(self.env.now_s)
        except NotReady as missing:   # held back by what it touches: stop, and plan anew from there
            if isinstance(missing, NotFollowing):
                self._send(cycle.give_way(self.env.now_s))
            return None, None
        begun_s = time.perf_counter()
        try:
            return self.planner.plan(observation, goal, seed, self.deadline_s), handover
        except NoSafeCandidate as refused:
            cycle.refuse(refused)
            self.refusals.append(str(refused))
            return None, handover
        finally:
            self.took_ms.append(1000 * (time.perf_counter() - begun_s))     # a refusal takes its time as well

    def _send(self, stop):
        if stop is not None:
            self.env.controller.accept(trajectory(stop, self.robot.joint_names, self.env.now_s), self.env.now_s)

    def _deliver(self, cycle, _ready_s, plan, handover):
        """Hand a plan to the controller: -> whether it took it"""
        chunk = cycle.finish(plan, handover, self.env.now_s, self.objective)
        if chunk is None:
            return False
        refused = self.env.controller.accept(trajectory(chunk, self.robot.joint_names, self.env.now_s), self.env.now_s)
        cycle.rejections(refused)
        return not refused

    def _line(self, seed):
        """Follow a straight joint-space line to a goal posture, timed by the limits of the play data."""
        from diffusion_planner.sim import motion, rollout, scene
        env = self.env
        goal_rad = scene.goal_posture(env.world, self.robot, env.scene)
        env.world.set_joints(env.scene.start_rad)
        if goal_rad is None:   # inverse kinematics found no clear posture at the target: nowhere to go
            return {**env.episode(), 'method': 'line', 'plan_ms': [], 'predicted_reward': []}
        timed = motion.straight(np.array(env.scene.start_rad), goal_rad, rollout.play_limits(self.robot))
        position_rad, velocity_rad_s = timed.samples(0.02)
        chunk = SimpleNamespace(origin_s=env.now_s + 0.02, offset_s=0.02 * np.arange(len(position_rad)), position_rad=position_rad,
                                velocity_rad_s=velocity_rad_s, acceleration_rad_s2=np.gradient(velocity_rad_s, 0.02, axis=0))
        velocity_rad_s[-1] = 0.0
        env.controller.accept(trajectory(chunk, self.robot.joint_names, env.now_s), env.now_s)
        while not env.episode()['done']:
            env.step()
        return {**env.episode(), 'method': 'line', 'plan_ms': [], 'predicted_reward': []}


def trajectory(chunk, joint_names, now_s):
    """Dress a chunk as a trajectory_msgs/JointTrajectory, stamp zero, for a controller without middleware."""
    points = [SimpleNamespace(positions=list(position), velocities=list(velocity), accelerations=list(acceleration), effort=[],
                              time_from_start=_duration(chunk.origin_s + offset - now_s))
              for offset, position, velocity, acceleration in zip(chunk.offset_s, chunk.position_rad, chunk.velocity_rad_s,
                                                                  chunk.acceleration_rad_s2)]
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0)), joint_names=list(joint_names), points=points)


def _duration(seconds):
    nanoseconds = int(round(seconds * 1e9))
    return SimpleNamespace(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
