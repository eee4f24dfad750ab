"""How to plan in the maze: this project's planner, and its peers' ways on the same data with the same network.

Every method is a class with plan(starts [N, 4], goals_m [N, 2], seeds [N], episodes [N]) -> one Path or None per start, in SI
units. `episodes` tells a method that remembers its last plan which episode is whose.
"""
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from diffusion_planner.benchmarks.maze.world import BALL
from diffusion_planner.diffusion.guidance import guide
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.samplers import ddim_step, ddpm_step, sample
from diffusion_planner.planning.planner import NoSafeCandidate, Planner, PlannerSettings, Weights
from diffusion_planner.records import Goal, Observation

TOKENS = 24                 # imagined by every method
WEIGHTS = Weights(reward=4.0, earliness=0.5, smoothness=0.0, consistency=0.0, typicality=0.25, warm=0.1)
# Typicality by denoising residual is off: the transition head tells impossible arrivals apart, and the residual added nothing to it
# (bench ablate). Chosen on seeds 2000 to 2019.
SETTINGS = PlannerSettings(arrivals=20, samples=1, far_steps=3, fill_steps=3, bend=2.0, sampler='ddim', fill_in=TOKENS - 1, plans=2,
                           spread=0.12, slack_s=0.15, shortest_s=0.12, reward_margin=0.15, guidance_max_shift=1.0, warm_samples=1,
                           typicality_limit=math.inf, reach_limit=1.0, cubic=True, ease_odds=0.0, patience_s=0.0,
                           plans_max=2)
JUDGED = ('reward', 'judge', 'reach', 'familiarity', 'in_force')     # what is kept of how a plan was judged
NEGLIGIBLE = 0.1           # network space; a smaller pull on a far token is not worth a gradient through the network
PEER_HORIZON_S = {'umaze': 1.28, 'medium': 2.56, 'large': 3.84}   # Diffuser's horizons of 128, 256 and 384 steps


@dataclass(frozen=True)
class Path:
    """A planned path from now on: offset_s [T + 1] from 0, position_m velocity_m_s [T + 1, 2], and the reward it promises."""

    offset_s: np.ndarray
    position_m: np.ndarray
    velocity_m_s: np.ndarray
    promised: float = float('nan')
    judged: dict = field(default_factory=dict)

    def at(self, offset_s):
        """Read off the cubic between the tokens: offset_s [N] -> position_m, velocity_m_s [N, 2]; at rest after its end"""
        offset_s = np.asarray(offset_s, float)
        ends = np.clip(np.searchsorted(self.offset_s, offset_s, side='right'), 1, len(self.offset_s) - 1)
        start_s, gap_s = self.offset_s[ends - 1], (self.offset_s[ends] - self.offset_s[ends - 1])
        share = np.clip((offset_s - start_s) / gap_s, 0, 1)[:, None]
        gap_s = gap_s[:, None]
        a, b = self.position_m[ends - 1], self.position_m[ends]
        u, v = self.velocity_m_s[ends - 1] * gap_s, self.velocity_m_s[ends] * gap_s
        position = (a + share ** 2 * (3 - 2 * share) * (b - a) + share * (1 - share) ** 2 * u - share ** 2 * (1 - share) * v)
        rate = (6 * share * (1 - share) * (b - a) + (1 - share) * (1 - 3 * share) * u + share * (3 * share - 2) * v) / gap_s
        return position, np.where((offset_s > self.offset_s[-1])[:, None], 0.0, rate)


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


class Peer:
    """What the peers share: one sequence of evenly spaced tokens over a fixed horizon, sampled as a whole."""

    def __init__(self, backend, maze):
        self.backend, self.network = backend, backend.network
        self.offset_s = np.linspace(0, PEER_HORIZON_S[maze.name], TOKENS + 1)

    def elapsed(self, episode, seconds):
        pass

    @torch.no_grad()
    def plan(self, starts, goals_m, seeds, episodes):
        starts, goals = torch.tensor(np.array(starts), dtype=torch.float32), torch.tensor(np.array(goals_m), dtype=torch.float32)
        tokens, promised = self._tokens(self.network.normalizer(starts), goals, [int(seed) for seed in seeds])
        values = self.network.normalizer.inverse(tokens).numpy().astype(float)
        return [Path(self.offset_s, value[:, :2], value[:, 2:], float(reward)) for value, reward in zip(values, promised)]

    def _normal_goals(self, goals):
        """Bring goals [N, 2] to network space."""
        return (goals - self.network.normalizer.mean[:2]) / self.network.normalizer.spread[:2]

    def _seconds(self, count):
        return torch.tensor(self.offset_s, dtype=torch.float32).expand(count, -1)

    @staticmethod
    def _noise(seeds, *shape):
        return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def _reward(self, tokens, goals):
        """Predicted reward of every token by the guiding head: tokens [N, T, 4], goals [N, 2] -> [N, T]"""
        head = self.network.guide_head
        place, width = head.places(self._normal_goals(goals)[:, None])
        return torch.sigmoid(head.logit(tokens[..., :2], torch.zeros(tokens.shape[:2]), place[:, None], width[:, None]))


class FullSequence(Peer):
    """Diffuser's way (Janner et al. 2022): all tokens fall together over 256 DDPM steps, start and goal clamped, planned once."""

    steps = 256

    def _tokens(self, starts, goals, seeds):
        rest = torch.zeros(len(goals), 2) - self.network.normalizer.mean[2:]
        end = torch.cat([self._normal_goals(goals), rest / self.network.normalizer.spread[2:]], 1)
        noise = self._noise(seeds, TOKENS + 1, 4)
        noise[:, 0], noise[:, -1] = starts, end
        level = torch.ones(TOKENS + 1)
        level[0] = level[-1] = 0
        generators = [torch.Generator().manual_seed(seed + 1) for seed in seeds]

        def step(noisy, clean, level, next_level, _noise):
            # Each episode has noise of its own, so that no result depends on which others are planned beside it.
            fresh = torch.stack([torch.randn(noisy.shape[1:], generator=generator) for generator in generators])
            return ddpm_step(noisy, clean, level, next_level, fresh)
        tokens = sample(self.backend.denoise, noise, scheduling_matrix(level, self.steps), self._seconds(len(goals)), step)
        return tokens, self._reward(tokens, goals)[:, -1]


class Pyramid(Peer):
    """Diffusion Forcing's way (Chen et al. 2024): near tokens first, all pulled towards the goal through the network.

    129 guided calls as published: 106 levels, each token one step after the one before it. Scale chosen on seeds 900 to 911,
    out of 3 to 1000, by the mean of both scores.
    """

    steps, scale = 106, 300.0

    def _tokens(self, starts, goals, seeds):
        wanted = self._normal_goals(goals) * self.network.normalizer.spread[:2]

        def nearness(tokens, _level):
            gap_m = tokens[:, 1:, :2] * self.network.normalizer.spread[:2] - wanted[:len(tokens), None]
            return -gap_m.square().sum(-1).mean(1)
        noise = self._noise(seeds, TOKENS + 1, 4)
        noise[:, 0] = starts
        level = torch.ones(TOKENS + 1)
        level[0] = 0
        guided = guide(self.backend.denoise, nearness, self.scale / TOKENS, form='through', max_shift=0.5)
        tokens = sample(guided, noise, scheduling_matrix(level, self.steps, lag=1), self._seconds(len(goals)), ddim_step)
        return tokens, self._reward(tokens, goals).amax(1)


class BestOfN(Peer):
    """Diffusion Veteran's way (Lu et al. 2025): 50 whole sequences without any guidance, the most rewarding one is taken.

    Five sampling steps, which its authors' library found enough, of the sizes that the planner itself uses.
    """

    steps, count = 5, 50

    def _tokens(self, starts, goals, seeds):
        chosen, promised = [], []
        level = torch.ones(TOKENS + 1)
        level[0] = 0
        matrix = scheduling_matrix(level, self.steps, bend=SETTINGS.bend)
        for start, goal, seed in zip(starts, goals, seeds):
            noise = self._noise([seed], self.count, TOKENS + 1, 4)[0]
            noise[:, 0] = start
            tokens = sample(self.backend.denoise, noise, matrix, self._seconds(self.count), ddim_step)
            reward = self._reward(tokens, goal[None].expand(self.count, -1))
            best = int(reward.sum(1).argmax())
            chosen.append(tokens[best])
            promised.append(reward[best].max())
        return torch.stack(chosen), torch.stack(promised)


def methods(backend, maze):
    """Make every method, by name."""
    return {'ours': Ours(backend), 'full sequence': FullSequence(backend, maze), 'pyramid': Pyramid(backend, maze),
            'best of N': BestOfN(backend, maze), 'unguided': Ours(backend, scale=0.0)}


NAMES = ('ours', 'full sequence', 'pyramid', 'best of N', 'unguided')
REPLAN_STEPS = {'ours': 30, 'full sequence': None, 'pyramid': 80, 'best of N': 80, 'unguided': 30}   # None: plans once


def describe(name):
    """Say what the results of a method depend on besides the weights."""
    kinds = {'full sequence': FullSequence, 'pyramid': Pyramid, 'best of N': BestOfN}
    own = {key: value for key, value in vars(kinds[name]).items() if isinstance(value, (int, float))} if name in kinds else (SETTINGS, WEIGHTS)
    return repr((own, TOKENS, REPLAN_STEPS[name], PEER_HORIZON_S if name in kinds else None))


def time_plans(method, world, count, seed):
    """Time single plans from reset states: -> seconds [count]"""
    seconds = []
    for index in range(count):
        state, goal_m = world.reset(seed + index, fixed_goal=False)
        begun = time.perf_counter()
        method.plan([state], [goal_m], [seed + index], [f'timing {index}'])
        seconds.append(time.perf_counter() - begun)
    return seconds
