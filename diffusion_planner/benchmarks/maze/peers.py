"""The peers' ways of planning, on the same data with the same network."""
import numpy as np
import torch

from diffusion_planner.benchmarks.maze.paths import TOKENS, Path
from diffusion_planner.diffusion.guidance import guide
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.samplers import ddim_step, ddpm_step, sample

HORIZON_S = {'umaze': 1.28, 'medium': 2.56, 'large': 3.84}   # Diffuser's horizons of 128, 256 and 384 steps


class Peer:
    """What the peers share: one sequence of evenly spaced tokens over a fixed horizon, sampled as a whole.

    horizon: in units of Diffuser's, as far as the model looks; other numbers of the class may be given by name.
    """

    def __init__(self, backend, maze, horizon=1.0, **numbers):
        self.backend, self.network = backend, backend.network
        self.offset_s = np.linspace(0, min(horizon * HORIZON_S[maze.name], maze.horizon_s), TOKENS + 1)
        vars(self).update(numbers)

    @classmethod
    def numbers(cls):
        """List every number that the class plans by: -> {name: value}"""
        return {'horizons_s': HORIZON_S, **{name: value for name, value in vars(cls).items() if isinstance(value, (int, float, str))
                                            and not name.startswith('_')}}

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
    """Diffuser's way (Janner et al. 2022): all tokens fall together over DDPM steps, start and goal clamped, planned once."""

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

    129 guided calls as published: 106 levels, each token one step after the one before it.
    """

    steps, scale, max_shift = 106, 300.0, 0.5

    def _tokens(self, starts, goals, seeds):
        wanted = self._normal_goals(goals) * self.network.normalizer.spread[:2]

        def nearness(tokens, _level):
            gap_m = tokens[:, 1:, :2] * self.network.normalizer.spread[:2] - wanted[:len(tokens), None]
            return -gap_m.square().sum(-1).mean(1)
        noise = self._noise(seeds, TOKENS + 1, 4)
        noise[:, 0] = starts
        level = torch.ones(TOKENS + 1)
        level[0] = 0
        guided = guide(self.backend.denoise, nearness, self.scale / TOKENS, form='through', max_shift=self.max_shift)
        tokens = sample(guided, noise, scheduling_matrix(level, self.steps, lag=1), self._seconds(len(goals)), ddim_step)
        return tokens, self._reward(tokens, goals).amax(1)


class BestOfN(Peer):
    """Diffusion Veteran's way (Lu et al. 2025): 50 whole sequences without any guidance, the most rewarding one is taken.

    Five sampling steps, which its authors' library found enough, smaller towards the end as in this planner. Without its value
    critic: rewards are summed over the sequence, so a goal beyond the horizon is invisible to it.
    """

    steps, count, bend = 5, 50, 2.0

    def _tokens(self, starts, goals, seeds):
        chosen, promised = [], []
        level = torch.ones(TOKENS + 1)
        level[0] = 0
        matrix = scheduling_matrix(level, self.steps, bend=self.bend)
        for start, goal, seed in zip(starts, goals, seeds):
            noise = self._noise([seed], self.count, TOKENS + 1, 4)[0]
            noise[:, 0] = start
            tokens = sample(self.backend.denoise, noise, matrix, self._seconds(self.count), ddim_step)
            reward = self._reward(tokens, goal[None].expand(self.count, -1))
            best = int(reward.sum(1).argmax())
            chosen.append(tokens[best])
            promised.append(reward[best].max())
        return torch.stack(chosen), torch.stack(promised)
