"""A plan beyond the limits: slower where it is too fast, and by how far it leaves the positions that are allowed."""
import numpy as np

from diffusion_planner.planning.shaping import SMOOTH_S

ROUNDS = 30    # a stretch that has become longer counts more by itself and less with what is beside it


def stretch(offset_s, position_rad, velocity_rad_s, start, limits):
    """Stretch the time between tokens where the plan is faster than the velocity limits, just enough that it no longer is.

    stretch(offset_s [T], position_rad [T, J], velocity_rad_s [T, J], start: MotionState, limits: ShapingLimits)
    -> offset_s [T], velocity_rad_s [T, J], factor: new duration over old, exactly 1.0 where nothing needed it (the same arrays)

    Tokens jitter, and shape() averages them, so what counts between two tokens is the mean speed over at least SMOOTH_S to either
    side of their middle, as far as the plan goes; and only within the position limits, as no arm goes farther. Expects finite
    numbers.
    """
    path_rad = np.clip(np.concatenate([start.position_rad[None], position_rad]), limits.position_min_rad, limits.position_max_rad)
    gap_s = np.diff(offset_s, prepend=0.0)
    slower_s = gap_s
    for _ in range(ROUNDS):
        excess = _excess_speed(path_rad, slower_s, limits)
        if np.all(excess <= 1.0 + 1e-9):
            break
        slower_s = slower_s * np.maximum(excess, 1.0)
    if slower_s is gap_s:
        return offset_s, velocity_rad_s, 1.0
    factor = slower_s / gap_s
    beside = np.maximum(factor, np.append(factor[1:], 1.0))      # a token's velocity belongs to the way before it and after it
    slower_s = np.cumsum(slower_s)
    return slower_s, velocity_rad_s / beside[:, None], float(slower_s[-1] / offset_s[-1])


def clamped(position_rad, limits):
    """Return how far positions are outside the limits that shape() clamps them to, at most: [..., J] -> rad >= 0"""
    beyond = np.maximum(position_rad - limits.position_max_rad, limits.position_min_rad - position_rad)
    return max(float(beyond.max()), 0.0)


def _excess_speed(path_rad, gap_s, limits):
    """Return the speed of the fastest joint between tokens, in units of its limit: path [T + 1, J], gap_s [T] -> [T]"""
    at_s = np.concatenate([[0.0], np.cumsum(gap_s)])
    middle_s, reach_s = at_s[:-1] + gap_s / 2, np.maximum(SMOOTH_S, gap_s / 2)
    from_s, to_s = np.maximum(middle_s - reach_s, 0.0), np.minimum(middle_s + reach_s, at_s[-1])
    way_rad = np.stack([np.interp(to_s, at_s, joint) - np.interp(from_s, at_s, joint) for joint in path_rad.T], axis=1)
    return (np.abs(way_rad) / ((to_s - from_s)[:, None] * limits.velocity_rad_s)).max(axis=1)
