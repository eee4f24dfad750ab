"""A jointly Gaussian sequence: the one case in which the ideal denoiser is known exactly."""
import pytest
import torch

from diffusion_planner.diffusion.noise import sigma, signal

torch.set_num_threads(1)


class GaussianSequence:
    """Tokens with mean [T, D] and covariance [T, T] between tokens, the same for every dimension, float64."""

    def __init__(self, mean, covariance):
        self.mean, self.covariance = mean, covariance

    def denoise(self, noisy, level, offset_s):
        """Return E[clean | noisy] = mean + covariance A (A covariance A + S^2)^-1 (noisy - A mean), the exact denoiser."""
        return self.mean + self._gain(level) @ (noisy - signal(level).unsqueeze(-1) * self.mean)

    def posterior_covariance(self, level):
        """Return Cov[clean | noisy]: level [B, T] -> [B, T, T]"""
        return self.covariance - self._gain(level) @ (signal(level).unsqueeze(-1) * self.covariance)

    def condition(self, known, value):
        """Return mean and covariance of the other tokens, given tokens `known` (indices) at value [len(known), D]."""
        other = [index for index in range(len(self.mean)) if index not in known]
        gain = torch.linalg.solve(self.covariance[known][:, known], self.covariance[known][:, other]).T
        return (self.mean[other] + gain @ (value - self.mean[known]),
                self.covariance[other][:, other] - gain @ self.covariance[known][:, other])

    def observe(self, observed, value, variance):
        """Return mean and covariance after one token was seen at value [D] through noise of this variance (product rule)."""
        gain = self.covariance[:, observed] / (self.covariance[observed, observed] + variance)
        return (self.mean + gain.unsqueeze(-1) * (value - self.mean[observed]),
                self.covariance - torch.outer(gain, self.covariance[observed]))

    def _gain(self, level):
        scaled = signal(level).unsqueeze(-1) * self.covariance                     # A covariance
        noisy = scaled * signal(level).unsqueeze(-2) + torch.diag_embed(sigma(level) ** 2)
        return torch.linalg.solve(noisy, scaled).mT


@pytest.fixture
def gaussian():
    """Five tokens of width two that hang together as exp(-distance), one of them with a larger variance."""
    index = torch.arange(5, dtype=torch.float64)
    spread = torch.tensor([1.0, 0.8, 1.2, 1.0, 0.9], dtype=torch.float64)
    covariance = torch.outer(spread, spread) * torch.exp(-(index[:, None] - index).abs() / 2)
    mean = torch.stack([index / 4, torch.sin(index)], dim=1)
    return GaussianSequence(mean, covariance)


@pytest.fixture
def make_gaussian():
    """The class, for tests that need another sequence."""
    return GaussianSequence
