"""Stage one: the encoder, the decoder and the reward heads.

The encoder learns from two things: pictures must come back, rare colours first (an encoder trained on plain pixel
error loses a small target), and the latent of some instants with the joints of *another* instant of the same episode
must predict that other instant's reward (so that the latent says where the reward is).
"""
import numpy as np
import torch
import torch.nn.functional as F

from diffusion_planner.data import store

POSTURES = 24          # joint samples per episode in a batch
TWO_PICTURES = 0.25    # share of batches with two pictures per episode, for the heads' memory; the rest have one, of more episodes
TIP_SCALE_M = 0.2      # metres per unit of the posture embedding's first three numbers


class Pictures:
    """The pictures of some episodes in memory, every `stride`-th: pixels [M, V, Y, X, 3] uint8."""

    def __init__(self, episodes, wanted, stride):
        kept, starts, shard_start = [], [0], 0
        wanted = np.asarray(wanted)
        for path in episodes.paths:
            pixels = store.read_pictures(path)
            stop = shard_start + len(pixels)
            for episode in np.flatnonzero((episodes.frame_start[:-1] >= shard_start) & (episodes.frame_start[:-1] < stop)):
                if wanted[episode]:
                    own = pixels[episodes.frame_start[episode] - shard_start:episodes.frame_start[episode + 1] - shard_start]
                    kept.append(own[episode % stride::stride])
                starts.append(starts[-1] + (len(kept[-1]) if wanted[episode] else 0))
            shard_start = stop
        self.pixels, self.start = np.concatenate(kept), np.array(starts)

    def draw(self, episode, random, count):
        """Draw pictures of episodes: draw(episode [B]) -> pixels [B, count, V, Y, X, 3]."""
        first, length = self.start[episode], self.start[episode + 1] - self.start[episode]
        rows = first[:, None] + (random.random((len(episode), count)) * length[:, None]).astype(int)
        return self.pixels[rows]


def colour_weights(pixels):
    """Weigh each colour by how rare it is: colour_weights(pixels [M, V, Y, X, 3]) -> weight [4096], mean 1 over pixels."""
    sample = pixels[:: max(1, len(pixels) // 500)]
    count = np.bincount(_colour(sample).ravel(), minlength=4096) + 1.0
    weight = (count / count.sum()) ** -0.5
    return torch.tensor(np.clip(weight / (weight * count / count.sum()).sum(), 0.2, 30.0), dtype=torch.float32)


def _colour(pixels):
    high = pixels >> 4
    if isinstance(pixels, torch.Tensor):
        high = high.int()
        return (high[..., 0] << 8) | (high[..., 1] << 4) | high[..., 2]
    high = high.astype(np.int32)
    return (high[..., 0] << 8) | (high[..., 1] << 4) | high[..., 2]


class PostureSampler:
    """Draws joint samples of episodes, rewarded ones and their neighbours more often than they occur."""

    def __init__(self, episodes):
        self.episodes = episodes
        rewarded = episodes.reward > 0
        rows = np.arange(len(rewarded))
        before = np.maximum.accumulate(np.where(rewarded, rows, -10**9))
        after = np.minimum.accumulate(np.where(rewarded, rows, 10**9)[::-1])[::-1]
        self.near = np.minimum(rows - before, after - rows) <= 8     # within 0.4 s of reward
        owner = np.repeat(np.arange(len(episodes)), np.diff(episodes.joint_start))
        near_rows = np.flatnonzero(self.near)
        self.near_rows = near_rows
        self.near_start = np.searchsorted(owner[near_rows], np.arange(len(episodes) + 1))

    def draw(self, episode, random, count):
        """draw(episode [B]) -> rows [B, count] of the episodes' joint samples"""
        start, length = self.episodes.joint_start[episode], np.diff(self.episodes.joint_start)[episode]
        rows = start[:, None] + (random.random((len(episode), count)) * length[:, None]).astype(int)
        near_length = np.diff(self.near_start)[episode]
        pick = (self.near_start[episode][:, None] + (random.random((len(episode), count)) * near_length[:, None]).astype(int))
        pick = self.near_rows[np.minimum(pick, len(self.near_rows) - 1)]
        use_near = (random.random(rows.shape) < 0.5) & (near_length > 0)[:, None]
        return np.where(use_near, pick, rows)


def draw_episodes(sampler, candidates, random, count):
    """Draw episodes, those with reward in them half of the time."""
    rewarded = candidates[np.diff(sampler.near_start)[candidates] > 0]
    pool = np.where(random.random(count) < 0.5, random.choice(rewarded, count), random.choice(candidates, count))
    return pool


def reward_loss(head, position, level, target, latent):
    """Binary cross-entropy of a head: position [B, P, J], level [B, P], target [B, P], latent [B, C, V Z]."""
    place, width = head.places(latent)
    logit = head(position, level, place[:, None], width[:, None])
    return F.binary_cross_entropy_with_logits(logit, target), logit


def tip_loss(head, position, tip_m):
    """Ask that the first numbers of the posture embedding be the fingertip: the robot knows its own kinematics.

    Nothing about the task enters here; it spares the head from learning forward kinematics from rewards alone.
    """
    return F.mse_loss(head.posture(position)[..., :3], tip_m / TIP_SCALE_M)


def picture_loss(decoder, latent, pixels, weights, camera=0):
    """Weighted absolute error of one camera's decoded pictures: latent [N, Z], pixels [N, Y, X, 3] uint8."""
    decoded = decoder(latent, camera).permute(0, 2, 3, 1)
    weight = weights[_colour(pixels).long()]
    return ((decoded - pixels.float() / 255).abs().mean(-1) * weight).mean()
