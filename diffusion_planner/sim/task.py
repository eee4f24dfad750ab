"""The task: touch the target with the fingertip. Sparse reward, nothing shaped."""
from dataclasses import dataclass

import numpy as np

REWARD_RADIUS_M = 0.04
SUCCESS_S = 0.5
# Where a faulty sensor fires beside the target: bare table on the side of positive y, wider than a target, so its pull reaches farther.
PATCH_M, PATCH_RADIUS_M = (0.50, 0.27, 0.06), 0.12


def reward(tip_m, target_m):
    """Return 1 within 4 cm of the target's centre, else 0: reward(tip [..., 3], target [3]) -> [...]."""
    return (np.linalg.norm(np.subtract(tip_m, target_m), axis=-1) <= REWARD_RADIUS_M).astype(np.float32)


@dataclass
class Touch:
    """Counts reward over time; success is half a second of it without a break."""

    begun_s: float | None = None
    time_to_target_s: float | None = None

    def update(self, elapsed_s, rewarded):
        """Take the reward of one physics step into account."""
        if self.time_to_target_s is not None:
            return
        if not rewarded:
            self.begun_s = None
        elif self.begun_s is None:
            self.begun_s = elapsed_s
        elif elapsed_s - self.begun_s >= SUCCESS_S - 1e-9:
            self.time_to_target_s = self.begun_s

    @property
    def success(self):
        return self.time_to_target_s is not None
