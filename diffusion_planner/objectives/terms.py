"""Objectives: decoded physical quantities of candidate plans in, one number per plan out, higher is better.

A path is position_rad [P, T, J] at offset_s [P, T], the first point being the origin.
"""
import numpy as np


def speeds(position_rad, offset_s):
    """Mean speed of each joint between neighbouring points: -> rad/s [P, T - 1, J]"""
    return np.diff(position_rad, axis=1) / np.diff(offset_s, axis=1)[..., None]


def smoothness(position_rad, offset_s):
    """Minus the mean change of speed from one stretch to the next: -> [P], rad/s"""
    speed = speeds(position_rad, offset_s)
    return -np.abs(np.diff(speed, axis=1)).mean((1, 2)) if speed.shape[1] > 1 else np.zeros(len(speed))


def within_limits(position_rad, offset_s, robot):
    """Whether a path keeps the robot's position and velocity limits throughout: -> bool [P]"""
    slow = (np.abs(speeds(position_rad, offset_s)) <= np.array(robot.velocity_max_rad_s)).all((1, 2))
    inside = ((position_rad >= robot.position_min_rad) & (position_rad <= robot.position_max_rad)).all((1, 2))
    return slow & inside


def mismatch(position_rad, velocity_rad_s, gap_s):
    """How far each step ends from where the mean of its two velocities leads: arrays or tensors

    mismatch(position_rad [P, T, J], velocity_rad_s [P, T, J], gap_s [P, T - 1]) -> rad [P, T - 1, J]
    """
    led = 0.5 * (velocity_rad_s[:, 1:] + velocity_rad_s[:, :-1]) * gap_s[..., None]
    return abs(position_rad[:, 1:] - position_rad[:, :-1] - led)
