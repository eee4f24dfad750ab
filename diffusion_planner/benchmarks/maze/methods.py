"""How to plan in the maze: this project's planner, and its peers' ways on the same data with the same network.

Every method is a class with plan(starts [N, 4], goals_m [N, 2], seeds [N], episodes [N]) -> one Path or None per start, in SI
units. `episodes` tells a method that remembers its last plan which episode is whose.
"""
import math
import time

import numpy as np

from diffusion_planner.benchmarks.maze.paths import TOKENS, Path
from diffusion_planner.benchmarks.maze.peers import BestOfN, FullSequence, Pyramid
from diffusion_planner.benchmarks.maze.world import BALL
from diffusion_planner.planning.planner import NoSafeCandidate, Planner, PlannerSettings, Weights
from diffusion_planner.records import Goal, Observation

WEIGHTS = Weights(reward=4.0, earliness=0.5, smoothness=0.0, consistency=0.0, typicality=0.25, warm=0.1)
# Typicality by denoising residual is off: the transition head tells impossible arrivals apart, and the residual added nothing to it
# (bench ablate). Chosen on seeds 2000 to 2019, the number of arrivals on 2000 to 2029: 10, 12, 16 and 20 did as well.
SETTINGS = PlannerSettings(arrivals=12, samples=1, far_steps=3, fill_steps=3, bend=2.0, sampler='ddim', fill_in=TOKENS - 1, plans=2,
                           spread=0.12, slack_s=0.15, shortest_s=0.12, reward_margin=0.15, guidance_max_shift=1.0, warm_samples=1,
                           typicality_limit=math.inf, reach_limit=1.0, cubic=True, ease_odds=0.0, patience_s=0.0,
                           plans_max=2)
JUDGED = ('reward', 'judge', 'reach', 'familiarity', 'in_force')     # what is kept of how a plan was judged
NEGLIGIBLE = 0.1           # network space; a smaller pull on a far token is not worth a gradient through the network
PEERS = {'full sequence': FullSequence, 'few steps': FullSequence, 'pyramid': Pyramid, 'best of N': BestOfN}
# `bench tune --maze large --goal fixed --seeds 10` names the best by the mean of the latched and the normalised score, on seeds that
# our settings were chosen on, too (2000 to 2009). 'every': plan anew after so many steps; None: plan once, as published.
TUNED = {'full sequence': {'steps': 256, 'horizon': 1.0, 'every': None}, 'few steps': {'steps': 20, 'horizon': 1.0, 'every': None},
         'pyramid': {'scale': 300.0, 'horizon': 1.4, 'every': 30}, 'best of N': {'horizon': 1.0, 'every': 30}}
NAMES = ('ours', *PEERS, 'unguided')
REPLAN_STEPS = {'ours': 30, 'unguided': 30, **{name: tuned['every'] for name, tuned in TUNED.items()}}


class Ours:
    """A far token pulled towards reward, then the way there. One plan after the other, as on a robot."""

    def __init__(self, backend, settings=SETTINGS, scale=1.0, candidates_only=False, weights=WEIGHTS):
        self.backend, self.settings, self.weights = backend, settings, weights
        self.goal = {'guidance_scale': scale, 'candidates_only': candidates_only}
        self.planners = {}

    def plan(self, starts, goals_m, seeds, episodes):
        return [self._one(*job) for job in zip(starts, goals_m, seeds, episodes)]

    def _one(self, start, goal_m, seed, episode):
        planner, now_s = self.planners.get(episode, (None, 0.0))
        planner = planner or Planner(self.backend, BALL, self.settings, self.weights)
        self.planners[episode] = planner, now_s
        try:
            plan = planner.plan(observe(start, now_s), Goal(position_rad=goal_m, **self.goal), int(seed))
        except NoSafeCandidate:
            return None
        return Path(np.concatenate([[0.0], plan.offset_s]), np.concatenate([start[None, :2], plan.position_rad]),
                    np.concatenate([start[None, 2:], plan.velocity_rad_s]),
                    min(plan.breakdown['reward'], plan.breakdown['judge']),
                    {name: plan.breakdown[name] for name in JUDGED if name in plan.breakdown})

    def elapsed(self, episode, seconds):
        """Say that the ball moved on for so long since the last plan."""
        planner, now_s = self.planners.get(episode, (None, 0.0))
        self.planners[episode] = planner, now_s + seconds


def observe(state, now_s=0.0):
    """Make the observation of a state [4]."""
    state = np.asarray(state, np.float32)
    return Observation(now_s, np.zeros(1), state[None, :2], state[None, 2:], np.zeros((1, 0, 96, 96, 3), np.uint8), np.zeros((1, 0)),
                       np.zeros(1))


def methods(backend, maze):
    """Make every method, by name."""
    return {name: make(name, backend, maze) for name in NAMES}


def make(name, backend, maze, tuned=None):
    """Make a method by name, a peer with its own entry of TUNED or another: make(name, backend, maze, tuned) -> method"""
    if name not in PEERS:
        return Ours(backend, scale=0.0 if name == 'unguided' else 1.0)
    tuned = TUNED[name] if tuned is None else tuned
    return PEERS[name](backend, maze, **{key: value for key, value in tuned.items() if key != 'every'})


def describe(name, tuned=None):
    """Say what the results of a method depend on besides the weights and the source: every number of a peer, or our settings."""
    if name not in PEERS:
        return repr((SETTINGS, WEIGHTS, name, REPLAN_STEPS[name], TOKENS))
    return repr((PEERS[name].numbers(), sorted((TUNED[name] if tuned is None else tuned).items()), TOKENS))


def time_plans(method, world, count, seed):
    """Time single plans from reset states: -> seconds [count]"""
    seconds = []
    for index in range(count):
        state, goal_m = world.reset(seed + index, fixed_goal=False)
        begun = time.perf_counter()
        method.plan([state], [goal_m], [seed + index], [f'timing {index}'])
        seconds.append(time.perf_counter() - begun)
    return seconds
