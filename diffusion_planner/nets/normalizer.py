"""Between SI units and the network's unit-variance space."""
import torch
from torch import nn


class Normalizer(nn.Module):
    """Per-number mean and spread of the training data."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer('mean', torch.zeros(width))
        self.register_buffer('spread', torch.ones(width))

    def fit(self, values):
        """fit(values [N, D])"""
        self.mean.copy_(values.mean(0))
        self.spread.copy_(values.std(0).clamp_min(1e-3))

    def fit_part(self, own, values):
        """Fit one slice, of numbers in units of any size, to values [N, K]; one that never changed keeps a spread of 1."""
        mean, spread = values.mean(0), values.std(0, correction=0)
        self.mean[own] = mean.to(self.mean)
        self.spread[own] = torch.where(spread > 1e-5 * mean.abs(), spread, torch.ones_like(spread)).to(self.spread)

    def forward(self, values):
        return (values - self.mean) / self.spread

    def inverse(self, values):
        return values * self.spread + self.mean
