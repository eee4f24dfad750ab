"""Keep-out zones: whether a fingertip is inside one."""
import numpy as np


def inside(tip_m, zone):
    """Return whether points lie inside a zone or on its surface: inside(tip_m [..., 3], zone) -> bool [...].

    `zone` has centre_m [3], half_m [3] (a box) and radius_m (a sphere), the one of the two that does not apply None.
    """
    offset_m = np.subtract(tip_m, zone.centre_m)
    if zone.radius_m is not None:
        return (offset_m * offset_m).sum(-1) <= zone.radius_m ** 2
    return (np.abs(offset_m) <= zone.half_m).all(-1)
