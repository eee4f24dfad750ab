"""Closed-loop episodes in one process, in lock-step: the same cycle as the node, without the middleware.

The planner's delay is simulated: a plan is handed to the controller `latency_s` after its observation was taken.
"""
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from diffusion_planner.evaluation.assembly import load_objective, load_planner
from diffusion_planner.evaluation.episode import Episode
from diffusion_planner.evaluation.executed import Score
from diffusion_planner.objectives.written import Zone, read_spec
from diffusion_planner.planning.cycle import CycleSettings, NotFollowing, PlanningCycle
from diffusion_planner.planning.forecast import Forecast
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.records import Goal
from diffusion_planner.runtime.checkpoint import FLAW_FILE
from diffusion_planner.sim.env import ArmEnv


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
    trust: bool = True         # False: pictures count alike, however old they are
    backend: str = 'torch'
    device: str = 'cpu'
    deadline_ms: float | None = None     # of the wall clock; the delay to the controller is latency_s all the same


def goal_of(method, guidance_scale, objective=None):
    """Return what a method asks of the planner: -> Goal"""
    if method == 'best_of_n':
        return Goal(guidance_scale=0.0, candidates_only=True, objective=objective)
    return Goal(guidance_scale=0.0 if method == 'unguided' else guidance_scale, objective=objective)


class Loop:
    """One planner and one simulated arm."""

    def __init__(self, settings, env=None, planner=None):
        self.env = env or ArmEnv()
        self.robot = self.env.robot
        self.planner = planner or load_planner(settings.model, self.robot, PlannerSettings(guard=settings.guard, **dict(settings.changes)),
                                               settings.backend, settings.threads, settings.device)
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
        self.refusals, self.took_ms = [], []
        return Episode(self, seed, method, watch).run()

    def think(self, cycle, goal, seed):
        """Plan from what a cycle has seen: -> (plan, handover), (None, ...) where there is none"""
        try:
            observation, handover = cycle.begin(self.env.now_s)
        except NotReady as missing:   # held back by what it touches: stop, and plan anew from there
            if isinstance(missing, NotFollowing):
                self.send(cycle.give_way(self.env.now_s))
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

    def send(self, stop):
        """Hand a chunk that stops the arm to the controller, if there is one."""
        if stop is not None:
            self.env.controller.accept(trajectory(stop, self.robot.joint_names, self.env.now_s), self.env.now_s)

    def deliver(self, cycle, plan, handover):
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
