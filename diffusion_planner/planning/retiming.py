"""Retiming: the same path, slower where somebody is near."""
import numpy as np

from diffusion_planner.splines import cubic

POINTS = 16        # postures that are looked at in each stretch
HEADROOM = 0.85    # of the speed limit: what follows the plan may be faster for an instant than the plan is on average
ROUNDS = 4         # slower tokens change the cubics beside them


def slow_down(observation, offset_s, position_rad, velocity_rad_s, people, robot):
    """Stretch paths in time until the fingertip keeps to the speed limits near people, as far as the present speed allows.

    slow_down(observation, offset_s [P, T], position_rad [P, T, J], velocity_rad_s [P, T, J], people: each with centre_m,
    radius_m and speed_m_s, robot) -> offset_s [P, T], velocity_rad_s [P, T, J]

    A way that was clear stays clear: nothing but time changes.
    """
    gap_s, rate = np.diff(offset_s, axis=1, prepend=0.0), np.array(velocity_rad_s)
    here_rad, here_rad_s = (np.repeat(values[None, -1:], len(rate), 0) for values in (observation.position_rad, observation.velocity_rad_s))
    path_rad = np.concatenate([here_rad, position_rad], 1)
    # The present speed stays: in more than three times what the first stretch takes at it, the cubic would swing out and come back.
    longest_s = 3 * np.linalg.norm(position_rad[:, 0] - here_rad[:, 0], axis=-1) / np.linalg.norm(here_rad_s[:, 0], axis=-1).clip(1e-9)
    longest_s = np.maximum(longest_s, gap_s[:, 0])
    for _ in range(ROUNDS):
        factor = _too_fast(path_rad, np.concatenate([here_rad_s, rate], 1), gap_s, people, robot)
        factor[:, 0] = np.minimum(factor[:, 0], longest_s / gap_s[:, 0])
        if (factor <= 1.0).all():
            break
        gap_s = gap_s * factor
        beside = np.maximum(factor, np.concatenate([factor[:, 1:], factor[:, -1:]], 1))
        rate = rate / beside[..., None]
    return np.cumsum(gap_s, 1), rate


def _too_fast(path_rad, rate, gap_s, people, robot):
    """By how much each stretch is too fast for whoever is near: path, rate [P, T + 1, J], gap_s [P, T] -> factor [P, T], at least 1"""
    share = np.linspace(0, 1, POINTS)[:, None, None]
    dense, _, _ = cubic(share * gap_s, gap_s, (path_rad[:, :-1], rate[:, :-1]), (path_rad[:, 1:], rate[:, 1:]))
    tip_m = robot.tip_m(dense)                                                                   # [POINTS, P, T, 3]
    speed = np.linalg.norm(np.diff(tip_m, axis=0), axis=-1) * (POINTS - 1) / gap_s               # [POINTS - 1, P, T]
    factor = np.ones_like(gap_s)
    for person in people:
        near = np.linalg.norm(tip_m - np.array(person.centre_m), axis=-1) <= person.radius_m
        excess = np.where(near[1:] | near[:-1], speed / (HEADROOM * person.speed_m_s), 1.0).max(0)
        factor = np.maximum(factor, excess)
    return factor
