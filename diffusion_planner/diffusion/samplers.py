"""Sampling: steps from one level to the next, and the one loop that applies them.

A step is a pure function (noisy, clean, level, next_level, noise) -> noisy. It sees no model: `clean` is the estimate
that the denoiser made of `noisy`. Every token moves from its own level to its own next level, which is never higher.
"""
import torch

from .noise import add_noise, infer_noise, sigma, signal


def ddim_step(noisy, clean, level, next_level, noise=None):
    """Follow the deterministic path through the clean estimate (DDIM, Song et al. 2021, eq. 12 with eta 0).

    noisy [B, T, D], clean [B, T, D], level [B, T], next_level [B, T] -> noisy [B, T, D]

    `noise` is accepted, so that every step is called alike, and not used.
    """
    moved = add_noise(clean, infer_noise(noisy, clean, level), next_level)
    return _hold(noisy, moved, level, next_level)


def ddpm_step(noisy, clean, level, next_level, noise):
    """Draw from the posterior of the next noisy tokens given these and the clean estimate (DDPM, Ho et al. 2020, eq. 6).

    noisy [B, T, D], clean [B, T, D], level [B, T], next_level [B, T], noise [B, T, D] -> noisy [B, T, D]
    """
    ratio = signal(level) / signal(next_level).clamp(min=1e-6)
    added = (sigma(level) ** 2 - (ratio * sigma(next_level)) ** 2).clamp(min=0)  # variance from next_level up to level
    fresh = sigma(next_level) * added.sqrt() / sigma(level).clamp(min=1e-6)
    inferred = (sigma(next_level) ** 2 - fresh ** 2).clamp(min=0).sqrt()
    moved = (signal(next_level).unsqueeze(-1) * clean + fresh.unsqueeze(-1) * noise
             + inferred.unsqueeze(-1) * infer_noise(noisy, clean, level))
    return _hold(noisy, moved, level, next_level)


class MultistepStep:
    """A second-order step that remembers the last clean estimate (DPM-Solver++ 2M, Lu et al. 2022, algorithm 2).

    Make a new one for every call of `sample`. With few steps it keeps far more of the spread of the samples than DDIM;
    it extrapolates from the last clean estimate, so a guided token may move further than the guidance's own limit.
    Called as every step:
    noisy [B, T, D], clean [B, T, D], level [B, T], next_level [B, T] -> noisy [B, T, D]
    """

    def __init__(self):
        self._last = None   # clean [B, T, D] and level [B, T] of the step before

    def __call__(self, noisy, clean, level, next_level, noise=None):
        aim = clean
        if self._last is not None:
            last_clean, last_level = self._last
            ratio = (_log_snr(next_level) - _log_snr(level)) / (_log_snr(level) - _log_snr(last_level))
            # Infinite at level 0, undefined for a token that did not move: there the step is of first order.
            aim = clean + torch.where(ratio.isfinite(), ratio / 2, 0).unsqueeze(-1) * (clean - last_clean)
        self._last = clean, level
        return ddim_step(noisy, aim, level, next_level)


def _log_snr(level):
    return signal(level).log() - sigma(level).log()


def _hold(noisy, moved, level, next_level):
    """Keep tokens whose level does not fall, bit for bit."""
    return torch.where((next_level < level).unsqueeze(-1), moved, noisy)


@torch.no_grad()
def sample(denoise, noisy, matrix, offset_s, step=ddim_step, generator=None, callback=None):
    """Bring tokens down the rows of a scheduling matrix.

    noisy [B, T, D], matrix [S + 1, T] or [S + 1, B, T], offset_s [B, T] -> tokens [B, T, D]

    `noisy` holds every token at its level of row 0: known tokens clean (they come back bit-identical), unknown ones pure
    noise or a warm start. `generator` feeds the steps that draw noise and must live on the device of `noisy`; or a function of `noisy` that draws it.
    `callback(index, noisy, clean, level)` sees the tokens before a step and the clean estimate made of them; if it returns
    something true the loop ends there and the clean estimate is the result, so a deadline always finds a plan.
    """
    matrix = matrix.to(noisy)
    for index, (row, next_row) in enumerate(zip(matrix[:-1], matrix[1:])):
        level, next_level = row.expand(noisy.shape[:2]), next_row.expand(noisy.shape[:2])
        clean = denoise(noisy, level, offset_s)
        if callback is not None and callback(index, noisy, clean, level):
            return torch.where((level > 0).unsqueeze(-1), clean, noisy)
        noise = None if generator is None else _draw_noise(noisy, generator)
        noisy = step(noisy, clean, level, next_level, noise)
    return noisy


def _draw_noise(like, generator):
    if callable(generator):
        return generator(like)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
