"""Continuous quantities as vectors: seconds and noise levels."""
import math

import torch
from torch import nn


class Fourier(nn.Module):
    """Embed a scalar by sines and cosines of geometrically spaced frequencies, then a small network."""

    def __init__(self, width, lowest, highest, count=16):
        super().__init__()
        self.register_buffer('frequency', torch.logspace(math.log10(lowest), math.log10(highest), count), persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * count + 1, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value):
        """forward(value [...]) -> [..., E]"""
        angle = value[..., None] * self.frequency * (2 * math.pi)
        return self.net(torch.cat([angle.sin(), angle.cos(), value[..., None]], -1))
