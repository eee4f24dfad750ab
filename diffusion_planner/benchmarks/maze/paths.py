"""A way through the maze, as every method plans it."""
from dataclasses import dataclass, field

import numpy as np

TOKENS = 24                 # imagined by every method


@dataclass(frozen=True)
class Path:
    """A planned path from now on: offset_s [T + 1] from 0, position_m velocity_m_s [T + 1, 2], and the reward it promises."""

    offset_s: np.ndarray
    position_m: np.ndarray
    velocity_m_s: np.ndarray
    promised: float = float('nan')
    judged: dict = field(default_factory=dict)

    def at(self, offset_s):
        """Read off the cubic between the tokens: offset_s [N] -> position_m, velocity_m_s [N, 2]; at rest after its end"""
        offset_s = np.asarray(offset_s, float)
        ends = np.clip(np.searchsorted(self.offset_s, offset_s, side='right'), 1, len(self.offset_s) - 1)
        start_s, gap_s = self.offset_s[ends - 1], (self.offset_s[ends] - self.offset_s[ends - 1])
        share = np.clip((offset_s - start_s) / gap_s, 0, 1)[:, None]
        gap_s = gap_s[:, None]
        a, b = self.position_m[ends - 1], self.position_m[ends]
        u, v = self.velocity_m_s[ends - 1] * gap_s, self.velocity_m_s[ends] * gap_s
        position = (a + share ** 2 * (3 - 2 * share) * (b - a) + share * (1 - share) ** 2 * u - share ** 2 * (1 - share) * v)
        rate = (6 * share * (1 - share) * (b - a) + (1 - share) * (1 - 3 * share) * u + share * (3 * share - 2) * v) / gap_s
        return position, np.where((offset_s > self.offset_s[-1])[:, None], 0.0, rate)
