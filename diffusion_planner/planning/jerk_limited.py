"""Jerk-limited motion of all joints from one state to another, by ruckig."""
from typing import NamedTuple

import numpy as np
from ruckig import ControlInterface, InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory


class State(NamedTuple):
    """position [J] in rad, velocity [J], acceleration [J]."""

    position: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray


class JerkLimited:
    """Ruckig for J joints with fixed limits. The trajectory returned by a method is valid until that method's next call."""

    def __init__(self, velocity_rad_s, acceleration_rad_s2, jerk_rad_s3):
        joints = len(velocity_rad_s)
        self.acceleration_rad_s2, self.jerk_rad_s3 = acceleration_rad_s2, jerk_rad_s3
        self._ruckig = Ruckig(joints)
        self._move, self._stop = InputParameter(joints), InputParameter(joints)
        self._moving, self._stopping = Trajectory(joints), Trajectory(joints)
        for request in (self._move, self._stop):
            request.max_velocity, request.max_acceleration = velocity_rad_s, acceleration_rad_s2
            request.max_jerk = jerk_rad_s3
        # Each joint brakes on its own as soon as it can; what one joint needs never lengthens another's way to rest.
        self._stop.control_interface = ControlInterface.Velocity
        self._stop.synchronization = Synchronization.No

    def move(self, state, position_rad, velocity_rad_s, at_least_s=None):
        """Go to a position with a velocity, all joints arriving together: -> Trajectory | None if ruckig finds none."""
        self._move.target_position, self._move.target_velocity = position_rad, velocity_rad_s
        self._move.minimum_duration = at_least_s
        return self._solve(self._move, state, self._moving)

    def stop(self, state):
        """Brake every joint to rest as fast as the limits allow: -> Trajectory | None if ruckig finds none."""
        return self._solve(self._stop, state, self._stopping)

    def _solve(self, request, state, trajectory):
        request.current_position, request.current_velocity, request.current_acceleration = state
        try:
            outcome = self._ruckig.calculate(request, trajectory)
        except RuckigError:
            return None
        return trajectory if outcome in (Result.Working, Result.Finished) else None


def state_at(trajectory, elapsed_s):
    """Read a ruckig trajectory: -> State"""
    return State(*map(np.array, trajectory.at_time(elapsed_s)))


def extent(trajectory):
    """Return how far a trajectory reaches: -> lowest position [J], highest position [J]"""
    bounds = trajectory.position_extrema
    return np.array([bound.min for bound in bounds]), np.array([bound.max for bound in bounds])
