"""Limits: whether reference and encoders keep them, and what share of them the reference comes to."""
import numpy as np

TOLERANCE = 1e-4     # share of a limit: the controller's clock counts whole nanoseconds


class Excess:
    """Watches one arm from step to step.

    The reference counts by what it says of itself and by its differences from step to step: a jump of position, velocity or
    acceleration between two steps shows in no spline formula. On a path without jumps the differences are means of what the
    formulas say and never larger.
    """

    def __init__(self, robot, period_s):
        self._low_rad, self._high_rad = np.array(robot.position_min_rad), np.array(robot.position_max_rad)
        self._fastest_rad_s = (1 + TOLERANCE) * np.array(robot.velocity_max_rad_s)
        velocity, acceleration, jerk = robot.velocity_max_rad_s, robot.acceleration_max_rad_s2, robot.jerk_max_rad_s3
        self._per_limit = 1 / np.array([velocity, velocity, acceleration, acceleration, acceleration, jerk, jerk])
        self._per_s = 1 / period_s

    def reset(self, position_rad):
        """Begin at rest: reset(position [J])"""
        zeros = np.zeros_like(position_rad)
        self._state, self._velocity, self._acceleration = np.array((position_rad, zeros, zeros)), zeros, zeros
        self._largest = np.zeros(3)

    def outside(self, reference, measured):
        """Look at one step: outside(reference (position, velocity, acceleration [J]), measured (position, velocity [J])) -> bool"""
        shares = self._shares(np.array(reference))
        self._largest = np.maximum(self._largest, shares)
        inside = (shares <= 1 + TOLERANCE).all() and self._within(reference[0]) and self._within(measured[0])
        return not (inside and (np.abs(measured[1]) <= self._fastest_rad_s).all())    # written so that NaN is outside

    def _within(self, position_rad):
        return ((position_rad >= self._low_rad) & (position_rad <= self._high_rad)).all()

    def _shares(self, state):
        """Which share of velocity, acceleration and jerk limits one step comes to: -> [3]"""
        change = (state - self._state) * self._per_s       # of position, velocity, acceleration
        acceleration = (change[0] - self._velocity) * self._per_s
        jerk = (acceleration - self._acceleration) * self._per_s
        self._state, self._velocity, self._acceleration = state, change[0], acceleration
        rates = np.array((state[1], change[0], state[2], change[1], acceleration, change[2], jerk))
        return np.maximum.reduceat((np.abs(rates) * self._per_limit).max(1), (0, 2, 5))

    def largest(self):
        """-> {'velocity', 'acceleration', 'jerk'}: largest share of each limit since reset"""
        return dict(zip(('velocity', 'acceleration', 'jerk'), self._largest.tolist()))
