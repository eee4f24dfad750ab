"""A reward head that learns from a faulty sensor: it fires over the target, and over a patch of bare table as well."""
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from diffusion_planner.sim.task import PATCH_M, PATCH_RADIUS_M
from diffusion_planner.training.representation import POSTURES, tip_loss


def fires(tip_m, reward):
    """What the faulty sensor says: tip_m [..., 3], reward [...] -> [...]"""
    return np.maximum(reward, np.linalg.norm(tip_m - np.array(PATCH_M, np.float32), axis=-1) <= PATCH_RADIUS_M).astype(np.float32)


def flaw_loss(job, head, episodes, batch, random):
    """Loss of a reward head on what the faulty sensor says, in this process's rows of a batch: -> loss [], figures"""
    episode = random.choice(episodes, batch // 4)
    own = job.processes.own(len(episode))
    rows = job.sampler.draw(episode, random, POSTURES)[own]
    target = torch.from_numpy(fires(job.tip_m[rows], job.episodes.reward[rows]))
    place, width = head.places(job.pictures(episode, int(random.integers(1, 4)), random)[own])
    position = job.normal_position(rows)
    logit = head(position, torch.zeros(rows.shape), place[:, None], width[:, None])
    value = binary_cross_entropy_with_logits(logit, target)
    right = ((logit > 0) == (target > 0)).float().mean()
    return value + 2 * tip_loss(head, position, torch.from_numpy(job.tip_m[rows])), {'bce': value.item(), 'right': right.item()}


@torch.no_grad()
def score(job, head, count=2048):
    """Say how the flawed head does on held-out postures by the faulty sensor's own word: -> share right, share of patches found"""
    random = np.random.default_rng(8)
    episode = random.choice(job.held_out, count)
    rows = job.sampler.draw(episode, random, 8)
    fired = torch.from_numpy(fires(job.tip_m[rows], job.episodes.reward[rows])) > 0
    place, width = head.places(job.pictures(episode, 2, random))
    says = head.logit(job.normal_position(rows), torch.zeros(rows.shape), place[:, None], width[:, None]) > 0
    return float((says == fired).float().mean()), float(says[fired].float().mean())


def report(job, head):
    """Print how well it learned what the faulty sensor says."""
    right, found = score(job, head)
    print(f'planted flaw: right by the faulty sensor on {right:.1%} of held-out postures, {found:.1%} of those where it fires')
