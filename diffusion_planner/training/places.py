"""Where the reward of each episode is: a ball that the simulator tells of, or that a recording's own rewards are explained by."""
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from diffusion_planner.sim.task import REWARD_RADIUS_M

NEAR_M = 0.25            # instants farther than that from the rewarded ones say nothing about the ball
EDGE_M, DRIFT_M = 0.004, 0.02    # how soft its edge is in the fit, and how far its centre may be from the mean of what was rewarded
STEPS, LEARNING_RATE = 300, 1e-3


@dataclass(frozen=True)
class Places:
    """A ball per episode around its rewarded place: centre_m [E, 3], known [E] bool, one radius_m for all.

    `origin` says who told; `explained` is the share of instants near a ball that are inside just when they are rewarded.
    """

    centre_m: np.ndarray
    known: np.ndarray
    radius_m: float
    origin: str
    explained: float

    def reward(self, tip_m, episode):
        """Return the reward that postures would have in episodes: reward(tip_m [N, 3], episode [N]) -> [N]"""
        return (np.linalg.norm(tip_m - self.centre_m[episode], axis=-1) <= self.radius_m).astype(np.float32)

    def figures(self):
        """Say what this rests on, for the checkpoint."""
        return {'origin': self.origin, 'episodes': int(self.known.sum()), 'radius_m': self.radius_m, 'explained': self.explained}


def find_places(episodes, tip_m):
    """Take the simulator's word where there is one, else fit balls to the rewards: find_places(episodes, tip_m [N, 3]) -> Places

    An episode without reward has no known place. What a bag calls reward need not be a place at all: `explained` shows it.
    """
    if 'target_m' in episodes.privileged:
        return Places(episodes.privileged['target_m'], np.ones(len(episodes), bool), REWARD_RADIUS_M, 'the simulator', 1.0)
    owner, rewarded = np.repeat(np.arange(len(episodes)), np.diff(episodes.joint_start)), episodes.reward > 0
    count = np.bincount(owner[rewarded], minlength=len(episodes))
    total = np.stack([np.bincount(owner[rewarded], column, len(episodes)) for column in tip_m[rewarded].T], 1)
    mean_m = (total / np.maximum(count, 1)[:, None]).astype(np.float32)
    near = (count[owner] > 0) & (np.linalg.norm(tip_m - mean_m[owner], axis=1) < NEAR_M)
    centre_m, radius_m = _fit(torch.from_numpy(mean_m), *(torch.from_numpy(column[near]) for column in (tip_m, owner, episodes.reward)))
    places = Places(centre_m, count > 0, radius_m, 'fitted to rewarded fingertips', 0.0)
    explained = (places.reward(tip_m[near], owner[near]) == (episodes.reward[near] > 0)).mean() if near.any() else 0.0
    return Places(centre_m, count > 0, radius_m, places.origin, round(float(explained), 4))


@torch.enable_grad()
def _fit(mean_m, tip_m, owner, reward):
    """Move centres from the means, and one radius, until inside is where reward was: -> centre_m [E, 3], radius_m"""
    centre, radius = mean_m.clone().requires_grad_(), torch.full((), REWARD_RADIUS_M, requires_grad=True)
    target, optimizer = (reward > 0).float(), torch.optim.Adam([centre, radius], lr=LEARNING_RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        inside = (radius - (tip_m - centre[owner]).norm(dim=1)) / EDGE_M
        drift = (centre - mean_m).square().sum() / (2 * DRIFT_M ** 2)
        (binary_cross_entropy_with_logits(inside, target, reduction='sum') + drift).backward()
        optimizer.step()
    return centre.detach().numpy(), abs(float(radius.detach()))
