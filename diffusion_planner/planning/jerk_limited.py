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
        self.velocity_rad_s, self.acceleration_rad_s2, self.jerk_rad_s3 = velocity_rad_s, acceleration_rad_s2, jerk_rad_s3
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
        self._move.target_position, self._move.target_velocity = position_rad.tolist(), velocity_rad_s.tolist()
        self._move.minimum_duration = at_least_s
        return self._solve(self._move, state, self._moving)

    def stop(self, state):
        """Brake every joint to rest as fast as the limits allow: -> Trajectory | None if ruckig finds none."""
        return self._solve(self._stop, state, self._stopping)

    def _solve(self, request, state, trajectory):
        # Lists: the binding takes an array number by number, in Python.
        request.current_position, request.current_velocity, request.current_acceleration = (values.tolist() for values in state)
        try:
            outcome = self._ruckig.calculate(request, trajectory)
        except (RuckigError, ValueError):    # ValueError: an outcome that ruckig has no name for in Python, such as a way of hours
            return None
        return trajectory if outcome in (Result.Working, Result.Finished) else None


def state_at(trajectory, elapsed_s):
    """Read a ruckig trajectory: -> State"""
    return State(*map(np.array, trajectory.at_time(elapsed_s)))


def extent(trajectory):
    """Return how far a trajectory reaches: -> lowest position [J], highest position [J]

    Not ruckig's position_extrema: that overlooks turns at constant acceleration, and takes 0 for where a stop ends.
    """
    phase_s, position, velocity, acceleration, jerk = (np.stack(rows) for rows in zip(*map(_phases, trajectory.profiles[0])))
    with np.errstate(divide='ignore', invalid='ignore'):     # an instant that is none is left out below
        half = -acceleration - np.copysign(np.sqrt(acceleration**2 - 2 * jerk * velocity), acceleration)
        turns_s = np.stack([half / jerk, 2 * velocity / half])
    at_s = np.concatenate([np.where((turns_s > 0) & (turns_s < phase_s), turns_s, 0.0), phase_s[None]])
    begin = np.array(trajectory.at_time(0.0)[0])
    reached = position + at_s * (velocity + at_s * (acceleration / 2 + at_s * jerk / 6))
    reached = np.where(phase_s > 0, reached, begin[:, None])                             # [3, J, 9]
    return np.minimum(reached.min(axis=(0, 2)), begin), np.maximum(reached.max(axis=(0, 2)), begin)


def _phases(profile):
    """Lay out the phases of constant jerk of one joint: -> duration, position, velocity, acceleration, jerk, each [9]"""
    brake = profile.brake
    return [np.array([*before, *rest[:7]]) for before, rest in (
        (brake.t, profile.t), (brake.p, profile.p), (brake.v, profile.v), (brake.a, profile.a), (brake.j, profile.j))]
