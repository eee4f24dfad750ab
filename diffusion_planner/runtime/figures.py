"""What residuals mean, in units of what held-out play shows: the same for every backend."""
import numpy as np

PATH_POINTS = 4         # postures that are looked at between two tokens
STEP_TOLERANCE = 0.03   # network space; what a step of imagined tokens may miss on top of what play does


def typicality(residual, offset_s, table):
    """Denoising residuals of far tokens in units of the held-out 99 % quantile of their horizon: [B], [B] -> [B]"""
    band = np.clip(np.searchsorted(table['band_s'], offset_s, side='right') - 1, 0, len(table['q99']) - 1)
    return residual / np.array(table['q99'])[band]


def mismatch(missed, gap_s, table):
    """What steps miss, in units of what steps of that length miss at play; the worst of each path: [P, T] network space, [P, T] s -> [P]"""
    return (missed / (np.interp(gap_s, table['gap_s'], table['q999']) + STEP_TOLERANCE)).max(1)


def newest_pictures(observation, cameras):
    """Name the newest pictures of an observation that count for something: -> ((number of the camera, stamp_s), ...)"""
    level = observation.picture_level
    return tuple((camera, float(observation.picture_stamp_s[-1][camera])) for camera in range(cameras) if level is None or level[-1, camera] < 1.0)


def strangest(said):
    """Take the largest of each figure: [{name: value}] -> {name: value}"""
    return {name: max(one[name] for one in said) for name in said[0]}
