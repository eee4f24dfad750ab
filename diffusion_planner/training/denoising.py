"""Stage two: the denoiser, by diffusion forcing, on frozen latents."""
import numpy as np
import torch

from diffusion_planner.diffusion.forcing import draw_levels
from diffusion_planner.diffusion.noise import add_noise

POSITION_WEIGHT, VELOCITY_WEIGHT, PICTURE_WEIGHT = 1.0, 0.5, 0.1   # the path matters most; 32 picture numbers share one vote


def token_weight(layout):
    """Return the loss weight of each number of a token [D], mean 1."""
    weight = torch.ones(layout.width)
    weight[layout.position], weight[layout.velocity], weight[layout.picture] = POSITION_WEIGHT, VELOCITY_WEIGHT, PICTURE_WEIGHT
    return weight / weight.mean()


class WindowTokens:
    """Draws windows of tokens in network space from episodes and their latents."""

    def __init__(self, windows, model, latent, device):
        self.windows, self.model, self.device = windows, model, device
        episodes = windows.episodes
        self.motion = torch.tensor(np.concatenate([episodes.position_rad, episodes.velocity_rad_s], 1))
        self.latent = latent

    def draw(self, candidates, count, fill, random):
        """draw(...) -> clean [B, T, D], offset_s [B, T], present [B, T]"""
        joint, frame, offset_s, present = self.windows.draw(candidates, count, fill, random)
        tokens = torch.cat([self.motion[torch.from_numpy(joint)], self.latent[torch.from_numpy(frame)]], -1)
        return (self.model.normalizer(tokens.to(self.device)), torch.from_numpy(offset_s).to(self.device),
                torch.from_numpy(present).to(self.device))


def denoising_loss(denoiser, clean, offset_s, present, context, weight, generator):
    """Compute the loss of one batch: v-prediction, every token whose level is above 0, absent ones not at all.

    denoising_loss(denoiser, clean [B, T, D], offset_s [B, T], present [B, T], context C, weight [D], generator) -> loss []
    """
    batch, count, _ = clean.shape
    level = draw_levels(batch, context, count - context - 1, generator).to(clean.device)
    level = torch.where(present, level, torch.ones_like(level))
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    noisy = add_noise(clean, noise, level)
    estimate = denoiser(noisy, level, offset_s)
    # |clean error|^2 / sigma^2 is the error of the velocity; the floor keeps nearly clean tokens from taking over.
    variance = torch.sin(level * torch.pi / 2).square().clamp_min(0.02)
    error = ((estimate - clean).square() * weight).mean(-1) / variance
    counted = (present & (level > 0)).float()
    return (error * counted).sum() / counted.sum().clamp_min(1)


