"""From one even grid to another: where its instants lie among the frames of a recording, and what holds there."""
import numpy as np

EXACT = 1e-3       # of a frame: nearer than this to a frame, an instant is that frame's
EVEN_S = 1e-3      # stamps so near to an even grid are on it


def count(last_s, rate_hz):
    """Count the instants of a grid from 0 to last_s."""
    return int(np.floor(last_s * rate_hz + EXACT)) + 1


def places(stamp_s, rate_hz, fps):
    """Say where the instants of a grid lie among frames, in frames: places(stamp_s [N] from 0, rate_hz, fps) -> [G]

    Stamps that are even but for rounding count as even, so that grids with a common measure meet exactly.
    """
    instants = np.arange(count(stamp_s[-1], rate_hz)) / rate_hz
    frames = np.arange(len(stamp_s))
    place = instants * fps if is_even(stamp_s, fps) else np.interp(instants, stamp_s, frames)
    near = np.rint(place)
    return np.clip(np.where(np.abs(place - near) < EXACT, near, place), 0, len(stamp_s) - 1)


def is_even(stamp_s, fps):
    return bool(np.abs(stamp_s - np.arange(len(stamp_s)) / fps).max() < EVEN_S)


def between(values, place):
    """Interpolate linearly; values at whole places are handed on as they are: between(values [N, K], place [G]) -> [G, K]"""
    low = place.astype(int)
    weight = (place - low)[:, None].astype(np.float32)
    return np.where(weight > 0, values[low] + weight * (values[np.minimum(low + 1, len(values) - 1)] - values[low]), values[low])


def newest(place):
    """Find the newest frame at each place: newest(place [G]) -> [G] int"""
    return place.astype(int)
