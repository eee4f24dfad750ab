"""The model's own rollouts: what it imagines from contexts of play, guided and not, and what came of it.

A head that guides is asked about postures that no episode ever held. Here are such postures, with the reward that they
would have where the reward of their episode is (see places.py); those that were pulled to where there is none are the hard negatives.
"""
from dataclasses import dataclass

import numpy as np
import torch

from diffusion_planner.diffusion.guidance import guide
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.samplers import MultistepStep, sample

STEPS = 4
SCALES = (0.03, 0.1, 0.3, 1.0, 3.0)    # times Cov gradient; 0.1 is what the planner calls scale 1
SHORTEST_S = 0.3


@dataclass
class Rollouts:
    """Imagined far tokens and where they came from: episode [N], far [N, D], reward [N]; paths [M, F + 2, D] at offset_s [M, F + 2]."""

    episode: torch.Tensor
    far: torch.Tensor
    reward: torch.Tensor
    paths: torch.Tensor
    offset_s: torch.Tensor


def imagine(job, head, candidates, rounds, batch=256, fill=11, path_share=0.25, seed=0, progress=lambda: None):
    """Imagine from random instants of episodes, each round with another strength of guidance, bounded or not: -> Rollouts

    Episodes whose rewarded place nobody knows are left out.
    """
    candidates = candidates[job.places.known[candidates]]
    random, generator = np.random.default_rng((seed, 11)), torch.Generator().manual_seed(seed)
    episodes, fars, paths, seconds = [], [], [], []
    for index in range(rounds):
        scale, bounded = SCALES[index % len(SCALES)], index // len(SCALES) % 2 == 0
        episode, context, level, offset_s, place = _context(job, head, candidates, batch, random)
        far = _far(job, head, context, level, offset_s, place, scale, bounded, generator)
        episodes.append(torch.from_numpy(episode))
        fars.append(far)
        some = slice(0, int(batch * path_share))
        path, path_s = _fill(job, context[some], level[some], offset_s[some], far[some], fill, generator)
        paths.append(path)
        seconds.append(path_s)
        progress()
    episode, far = torch.cat(episodes), torch.cat(fars)
    finite = far.isfinite().all(-1)
    return Rollouts(episode[finite], far[finite], _reward(job, episode[finite], far[finite]), torch.cat(paths), torch.cat(seconds))


def _context(job, head, candidates, batch, random):
    """Draw contexts of play: -> episode [B], tokens [B, C, D], level [B, C], offset_s [B, C + 1], (place, width)"""
    count = len(job.settings.model.context_offset_s)
    joint, frame, sensor, offset_s, present = job.windows.draw(candidates, batch, 0, random)
    offset_s[:, -1] = random.uniform(SHORTEST_S, job.settings.model.horizon_s, batch)
    latent = job.latent[torch.from_numpy(frame)]
    tokens = job.model.normalizer(job.window_tokens.tokens(joint, frame, sensor))[:, :count]
    level = (~torch.from_numpy(present[:, :count])).float()
    tokens = torch.where(level[..., None] > 0, torch.zeros_like(tokens), tokens)
    episode = np.searchsorted(job.episodes.joint_start, joint[:, count - 1], side='right') - 1
    return episode, tokens, level, torch.from_numpy(offset_s), head.places(latent[:, :count], level)


@torch.no_grad()
def _far(job, head, context, level, offset_s, read, scale, bounded, generator):
    """Denoise far tokens, pulled by a head: -> [B, D]"""
    place, width = read
    sharpness, own = head.sharpness(torch.zeros(1), width), job.model.layout.position

    def objective(tokens, _level):
        return head.shortfall(tokens[:, -1, own], place, sharpness)
    mask = torch.zeros(job.model.layout.width, dtype=torch.bool)
    mask[own] = True
    guided = guide(job.model.denoise, objective, scale, 'clean', mask, 0.8 if bounded else 1e9, proximal=bounded)
    noise = torch.randn(len(context), 1, context.shape[-1], generator=generator)
    return _sampled(guided, torch.cat([context, noise], 1), level, torch.ones(len(context), 1), offset_s)[:, -1]


@torch.no_grad()
def _fill(job, context, level, offset_s, far, fill, generator):
    """Denoise the ways to far tokens: -> path from the origin on [B, F + 2, D], offset_s [B, F + 2]"""
    count = context.shape[1]
    noise = torch.randn(len(far), fill, far.shape[-1], generator=generator)
    share = torch.arange(1, fill + 2) / (fill + 1)
    seconds = torch.cat([offset_s[:, :count], offset_s[:, -1:] * share], 1)
    imagined = torch.cat([torch.ones(len(far), fill), torch.zeros(len(far), 1)], 1)
    tokens = _sampled(job.model.denoise, torch.cat([context, noise, far[:, None]], 1), level, imagined, seconds)
    return tokens[:, count - 1:], seconds[:, count - 1:]


def _sampled(denoise, noisy, level, imagined, offset_s):
    known = level.shape[1]

    def held(tokens, levels, seconds):
        return torch.cat([tokens[:, :known], denoise(tokens, levels, seconds)[:, known:]], 1)
    share = scheduling_matrix(torch.ones(1), STEPS)[:, :, None]
    matrix = torch.cat([level.expand(STEPS + 1, *level.shape), share * imagined], 2)
    return sample(held, noisy, matrix, offset_s, MultistepStep())


def _reward(job, episode, far):
    """Reward of postures in the scenes of their episodes: -> [N]"""
    position_rad = job.model.normalizer.inverse(far)[:, job.model.layout.position].double().numpy()
    tip_m = np.concatenate([job.robot.tip_m(part) for part in np.array_split(position_rad, 16)])
    return torch.from_numpy(job.places.reward(tip_m, episode.numpy()))
