"""What a walk through a bag saw and planned at one instant, for those who draw it."""
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Moment:
    """One plan of a walk: what was measured at `stamp_s` (bag time), what was planned from there and what was executed.

    position_rad [J]; pixels [V, Y, X, 3] uint8, the pictures known by then; reward: the realised one. offset_s [T] > 0 from the stamp,
    planned_rad unguided_rad executed_rad [T, J], nan where the recording ends; tip_m [3] and the *_tip_m [T, 3] are the fingertip in
    the base frame; imagined [V, Y, X, 3] uint8 is the decoded far picture. What is not known is None: a refused plan has a `refusal`,
    the reason, and no plan. figures: name -> number, such as predicted_reward, judge, typicality, strangeness.
    """

    stamp_s: float
    position_rad: np.ndarray
    episode: int = 0
    tip_m: np.ndarray | None = None
    pixels: np.ndarray | None = None
    reward: float | None = None
    offset_s: np.ndarray | None = None
    planned_rad: np.ndarray | None = None
    unguided_rad: np.ndarray | None = None
    executed_rad: np.ndarray | None = None
    planned_tip_m: np.ndarray | None = None
    executed_tip_m: np.ndarray | None = None
    imagined: np.ndarray | None = None
    refusal: str = ''
    figures: dict = field(default_factory=dict)
