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

    def forward(self, values):
        return (values - self.mean) / self.spread

    def inverse(self, values):
        return values * self.spread + self.mean
