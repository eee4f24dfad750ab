"""Episodes in the maze: a method plans, a plain tracking controller follows, the environment pays."""
import time
from dataclasses import asdict, dataclass, field

import numpy as np

from diffusion_planner.benchmarks.maze import promises
from diffusion_planner.benchmarks.maze.play import ACCELERATION
from diffusion_planner.benchmarks.maze.world import PERIOD_S

STIFFNESS, DAMPING = 400.0, 40.0     # critically damped, 1/s^2 and 1/s
WALL_SAMPLES_S = 0.005               # how densely a plan is looked at when its walls are counted
RETRY_STEPS = 5                      # until the next attempt, where there is no plan to follow


@dataclass
class Result:
    """What one episode brought."""

    seed: int
    reward: float = 0.0              # number of rewarded steps
    latched: float = 0.0             # steps from the first rewarded one on
    first_reach: int | None = None
    plans: int = 0
    crossing: int = 0                # plans that enter a wall anywhere
    refused: int = 0
    plan_ms: list = field(default_factory=list)
    promised: list = field(default_factory=list)     # per plan: predicted reward on arrival
    made: list = field(default_factory=list)         # per plan: the step at which it was made
    due: list = field(default_factory=list)          # per plan: the step of the promised arrival
    kept: list = field(default_factory=list)         # per plan made before the first reward: whether that came by then, see promises
    late_s: list = field(default_factory=list)       # per plan made before the first reward: by how much it came late
    judged: list = field(default_factory=list)       # per plan: how it was judged, and 'wall': whether it enters one
    apart_m: list = field(default_factory=list)      # per plan: mean distance of the ball from it while it was followed

    def mapping(self):
        return asdict(self)


class Episode:
    """One episode under way."""

    def __init__(self, world, seed, fixed_goal):
        self.world, self.result = world, Result(seed)
        self.state, self.goal_m = world.reset(seed, fixed_goal)
        self.path, self.path_steps, self.steps, self.trace = None, 0, 0, [self.state]

    @property
    def over(self):
        return self.steps >= self.world.maze.steps

    def accept(self, path):
        """Follow a path from now on; None keeps to the last one."""
        if path is None:
            self.result.refused += 1
            return
        self.result.plans += 1
        crosses = crosses_wall(path, self.world.grid)
        self.result.crossing += crosses
        self.result.judged.append({'wall': crosses, **{name: round(float(value), 4) for name, value in path.judged.items()}})
        self._leave()
        self.result.promised.append(round(path.promised, 4))
        self.result.made.append(self.steps)
        self.result.due.append(self.steps + round(path.offset_s[-1] / PERIOD_S))
        self.path, self.path_steps = path, 0

    def _leave(self):
        """Write down how far the ball was from the path that it followed until now."""
        if self.path is not None and self.path_steps:
            planned_m, _ = self.path.at(PERIOD_S * np.arange(1, self.path_steps + 1))
            really_m = np.array(self.trace[-self.path_steps:])[:, :2]
            self.result.apart_m.append(round(float(np.linalg.norm(planned_m - really_m, axis=1).mean()), 4))

    def step(self):
        self.state, reward = self.world.step(self._force())
        self.trace.append(self.state)
        self.steps, self.path_steps = self.steps + 1, self.path_steps + 1
        self.result.reward += reward
        if reward > 0 and self.result.first_reach is None:
            self.result.first_reach = self.steps
            self.result.latched = self.world.maze.steps - self.steps + 1
        if self.over:
            self._settle()

    def _settle(self):
        result = self.result
        result.kept, result.late_s = promises.settle(result.made, result.due, result.first_reach, self.steps, PERIOD_S)

    def _force(self):
        """Track the path: acceleration of the path, corrected by position and velocity errors, in units of full force."""
        if self.path is None:
            return np.clip(-self.state[2:] * 0.5, -1, 1)     # brake until there is a plan
        now_s = self.path_steps * PERIOD_S
        position_m, velocity_m_s = self.path.at(np.array([now_s, now_s + PERIOD_S]))
        ahead = (velocity_m_s[1] - velocity_m_s[0]) / PERIOD_S
        pull = ahead + STIFFNESS * (position_m[0] - self.state[:2]) + DAMPING * (velocity_m_s[0] - self.state[2:])
        return np.clip(pull / ACCELERATION, -1, 1)


def crosses_wall(path, grid):
    """Tell whether a path enters a wall anywhere, the cubic between its tokens included."""
    instants = np.arange(0, path.offset_s[-1] + WALL_SAMPLES_S, WALL_SAMPLES_S)
    return bool(grid.in_wall(path.at(np.minimum(instants, path.offset_s[-1]))[0]).any())


def run_episodes(worlds, method, seeds, fixed_goal, replan_steps):
    """Run episodes side by side, so that a method may plan for all at once: -> [Episode]

    replan_steps: a plan is followed for so many steps; None: one plan, then its end is held.
    """
    episodes = [Episode(world, seed, fixed_goal) for world, seed in zip(worlds, seeds)]
    for step in range(episodes[0].world.maze.steps):
        due = [episode for episode in episodes if (episode.path is None and step % RETRY_STEPS == 0)
               or (replan_steps and step % replan_steps == 0)]
        if due:
            begun = time.perf_counter()
            paths = method.plan([episode.state for episode in due], [episode.goal_m for episode in due],
                                [1000 * episode.result.seed + step for episode in due], [episode.result.seed for episode in due])
            plan_ms = round(1000 * (time.perf_counter() - begun) / len(due), 2)
            for episode, path in zip(due, paths):
                episode.accept(path)
                episode.result.plan_ms.append(plan_ms)
        for episode in episodes:
            episode.step()
            method.elapsed(episode.result.seed, PERIOD_S)
    return episodes
