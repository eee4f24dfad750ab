"""Diffusion forcing: tokens that each carry their own noise level in training (Chen et al. 2024)."""
import torch

from .noise import add_noise


def draw_levels(batch, context, fill, generator, clean_context=0.8, missing_context=0.05, clean_far=0.4, shared_fill=0.5):
    """Draw the training levels of `context` tokens, `fill` tokens and the far token, in this order.

    -> level [B, T] in [0, 1], T = context + fill + 1, on the device of the generator

    Levels are independent and uniform in (0, 1], mixed with what planning will ask for. With a probability per sequence:
    a clean context, a clean far token (fill-in with both ends known), fill-in tokens at one level. With a probability
    per token: a context token at level 1, as when nothing was recorded at that instant.
    A far token without fill-in is never clean: the sequence would have nothing left to learn.
    """
    def happens(probability, count=1):
        return torch.rand(batch, count, generator=generator, device=generator.device) < probability

    level = 1 - torch.rand(batch, context + fill + 1, generator=generator, device=generator.device)
    known, between, far = level.split([context, fill, 1], dim=1)
    known = known.masked_fill(happens(clean_context), 0).masked_fill(happens(missing_context, context), 1)
    far = far.masked_fill(happens(clean_far if fill else 0), 0)
    between = torch.where(happens(shared_fill), between[:, :1], between)
    return torch.cat([known, between, far], dim=1)


def forcing_loss(denoise, clean, offset_s, level, noise, weight=None):
    """Return how far the clean estimates are from the truth, over the tokens above level 0.

    clean [B, T, D], offset_s [B, T], level [B, T], noise [B, T, D] -> loss [], residual [B, T]

    The residual is the mean squared error of a token in network space, weighted by `weight` (broadcast to [B, T, D]; 0 takes
    out what was not recorded), and 0 for tokens at level 0. It is detached: for logs, and for the spread that typicality needs.
    """
    error = (denoise(add_noise(clean, noise, level), level, offset_s) - clean).square()
    noisy = level > 0
    residual = torch.where(noisy, (error if weight is None else error * weight).mean(-1), 0)
    return residual.sum() / noisy.sum().clamp(min=1), residual.detach()
