"""Stage two: the denoiser, by diffusion forcing, on frozen latents."""
import numpy as np
import torch

from diffusion_planner.diffusion.forcing import draw_levels
from diffusion_planner.diffusion.noise import add_noise

POSITION_WEIGHT, VELOCITY_WEIGHT, PICTURE_WEIGHT = 1.0, 0.5, 0.1   # the path matters most; 32 picture numbers share one vote
SENSOR_WEIGHT = 0.1


def token_weight(layout):
    """Return the loss weight of each number of a token [D], mean 1."""
    weight = torch.ones(layout.width)
    weight[layout.position], weight[layout.velocity] = POSITION_WEIGHT, VELOCITY_WEIGHT
    # All cameras together have the vote of one: the path is not to count for less where more of them look on.
    weight[layout.picture], weight[layout.sensor] = PICTURE_WEIGHT / max(layout.cameras, 1), SENSOR_WEIGHT
    return weight / weight.mean()


class WindowTokens:
    """Draws windows of tokens in network space from episodes and their latents."""

    def __init__(self, windows, model, latent, device):
        self.windows, self.model, self.device = windows, model, device
        episodes = windows.episodes
        self.motion = torch.tensor(np.concatenate([episodes.position_rad, episodes.velocity_rad_s], 1))
        self.latent = latent
        readings = [torch.as_tensor(episodes.sensors[name], dtype=torch.float32) for name, _ in model.layout.sensors]
        self.sensors = torch.cat(readings, 1) if readings else torch.zeros(len(self.motion), 0)

    def tokens(self, joint, frame, sensor):
        """Put tokens together from rows, see Windows.rows: each [...] -> [..., D], not normalised"""
        parts = (self.motion, joint), (self.latent, frame), (self.sensors, sensor)
        return torch.cat([values[torch.from_numpy(rows)] for values, rows in parts], -1)

    def draw(self, candidates, count, fill, random):
        """draw(...) -> clean [B, T, D], offset_s [B, T], present [B, T]"""
        joint, frame, sensor, offset_s, present = self.windows.draw(candidates, count, fill, random)
        tokens = self.tokens(joint, frame, sensor)
        return (self.model.normalizer(tokens.to(self.device)), torch.from_numpy(offset_s).to(self.device),
                torch.from_numpy(present).to(self.device))


def denoising_loss(denoiser, clean, offset_s, present, context, weight, generator, own=slice(None)):
    """Compute the loss of one batch: v-prediction, every token whose level is above 0, absent ones not at all.

    Of the rows `own` alone where other processes compute the rest: the mean over processes is the loss of the whole batch.

    denoising_loss(denoiser, clean [B, T, D], offset_s [B, T], present [B, T], context C, weight [D], generator) -> loss []
    """
    batch, count, _ = clean.shape
    level = draw_levels(batch, context, count - context - 1, generator).to(clean.device)
    level = torch.where(present, level, torch.ones_like(level))
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    noisy = add_noise(clean, noise, level)
    estimate = denoiser(noisy[own], level[own], offset_s[own])
    # |clean error|^2 / sigma^2 is the error of the velocity; the floor keeps nearly clean tokens from taking over.
    variance = torch.sin(level[own] * torch.pi / 2).square().clamp_min(0.02)
    error = ((estimate - clean[own]).square() * weight).mean(-1) / variance
    counted = (present & (level > 0)).float()
    return (error * counted[own]).sum() / counted.sum().clamp_min(1) * (batch / len(error))


