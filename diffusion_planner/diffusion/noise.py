"""The noise schedule: how much of a token is signal and how much is noise at a level in [0, 1]."""
import math

import torch


def signal(level):
    """Return the factor on the clean token: cos(pi/2 level), 1 at level 0 and 0 at level 1.

    level [...] -> signal [...]

    The cosine schedule (Nichol and Dhariwal, 2021) keeps signal^2 + sigma^2 = 1, so tokens of unit variance stay so.
    """
    return torch.cos(level * (math.pi / 2)).clamp(min=0)  # float32 cos(pi/2) is slightly negative


def sigma(level):
    """Return the standard deviation of the noise in a token: sin(pi/2 level), 0 at level 0 and 1 at level 1.

    level [...] -> sigma [...]
    """
    return torch.sin(level * (math.pi / 2))


def add_noise(clean, noise, level):
    """Bring clean tokens to their levels: signal * clean + sigma * noise.

    clean [B, T, D], noise [B, T, D], level [B, T] -> noisy [B, T, D]

    Tokens at level 0 come back unchanged, tokens at level 1 are the noise alone (to 1e-7).
    """
    level = level.unsqueeze(-1)
    return signal(level) * clean + sigma(level) * noise


def infer_noise(noisy, clean, level):
    """Return the noise that leads from the clean estimate to the noisy token, the inverse of add_noise.

    noisy [B, T, D], clean [B, T, D], level [B, T] -> noise [B, T, D]

    Finite everywhere; at level 0, where no noise can be inferred, its value means nothing.
    """
    level = level.unsqueeze(-1)
    return (noisy - signal(level) * clean) / sigma(level).clamp(min=1e-6)
