"""A trajectory controller that takes, refuses and interpolates as joint_trajectory_controller (JTC) does."""
from dataclasses import dataclass, replace

import numpy as np
from ruckig import ControlInterface, InputParameter, Ruckig, RuckigError, Synchronization, Trajectory

from diffusion_planner.sim.acceptance import AcceptanceOptions, acceptance_errors, nanoseconds
from diffusion_planner.splines import cubic, linear, quintic

__all__ = ['AcceptanceOptions', 'TrajectoryController', 'acceptance_errors']


@dataclass(frozen=True)
class Knot:
    """A point of a trajectory on the controller's clock; velocity and acceleration are None where the message has none."""

    at_ns: int
    position: np.ndarray
    velocity: np.ndarray | None
    acceleration: np.ndarray | None


class TrajectoryController:
    """Follows one trajectory at a time; a new one replaces it outright at the next cycle.

    Without `interpolate_from_desired_state` (humble: open_loop_control) a new trajectory begins at the measured state, as by
    JTC's default; `reference` must be given it then. JTC on jazzy and later commands one period ahead; this one does not.
    Blending on master is the lead-in from the desired state; for stamps in the future it differs.
    """

    def __init__(self, joint_names, period_s, distribution='jazzy', interpolate_from_desired_state=True):
        self.joint_names, self.period_s, self.distribution = tuple(joint_names), period_s, distribution
        self.from_desired = interpolate_from_desired_state
        self._buffer, self._held = np.zeros(len(self.joint_names)), False
        self.reset(np.zeros(len(self.joint_names)))

    def reset(self, position_rad):
        """Forget everything and hold a posture at rest: reset(position [J]). What hold() began goes on."""
        position_rad = np.array(position_rad, dtype=np.float64)
        self._desired = (position_rad, np.zeros_like(position_rad), np.zeros_like(position_rad))
        self._desired_ns = None
        self._pending = self._stopping = None
        self._knots, self._blendable = [], False

    def accept(self, trajectory, now_s):
        """Take a trajectory for the next cycle, or list why not; after a refusal the running one goes on.

        While hold() is in force it is taken and never followed.
        """
        errors = acceptance_errors(trajectory, self.joint_names, now_s, self.distribution)
        if not errors and not self._held:
            self._pending = nanoseconds(trajectory.header.stamp), self._read(trajectory)
        return errors

    def hold(self, acceleration_rad_s2, jerk_rad_s3):
        """Leave the running trajectory, come to rest within limits [J] and stay there: deactivated, or stopped by the driver."""
        self._held, self._pending, self._knots = True, None, []
        self._stopping = self._desired_ns or 0, _stop(self._desired, acceleration_rad_s2, jerk_rad_s3)

    def release(self):
        """Follow trajectories again, from the next one on."""
        self._held = False

    def reference(self, now_s, measured=None):
        """Advance to `now_s` and return what the arm must do: -> position, velocity, acceleration [J]

        `measured` (records.JointReading) is where a new trajectory begins unless it begins at the desired state.
        """
        now_ns = round(now_s * 1e9)
        if self._pending is not None:
            self._begin(now_ns, measured)
        if self._knots:
            self._desired = self._interpolate(now_ns)
        elif self._stopping is not None:
            self._desired = self._stopping[1]((now_ns - self._stopping[0]) / 1e9)
        self._desired_ns = now_ns
        return tuple(values.copy() for values in self._desired)

    def _begin(self, now_ns, measured):
        """Put the lead-in before the pending trajectory; stamp zero means from this cycle on."""
        if self.from_desired or (self.distribution == 'master' and self._blendable):
            # humble dates the last command now, the others when it was given.
            undated = self._desired_ns is None or self.distribution == 'humble'
            lead = Knot(now_ns if undated else self._desired_ns, *self._desired)
        elif measured is None:
            raise ValueError('measured: got None, expected a reading, as interpolate_from_desired_state is off')
        else:
            position = np.array(measured.position_rad)
            lead = Knot(now_ns, position, np.array(measured.velocity_rad_s), np.zeros_like(position))
        start_ns, knots = self._pending
        start_ns = start_ns or now_ns
        self._knots = [lead] + [replace(knot, at_ns=start_ns + knot.at_ns) for knot in knots]
        self._pending, self._blendable = None, len(knots) > 1

    def _interpolate(self, now_ns):
        """Evaluate the running trajectory; past its last point it stays there, with whatever velocity that point has."""
        while len(self._knots) > 1 and now_ns >= self._knots[1].at_ns:
            del self._knots[0]
        if len(self._knots) > 1:
            return _between(*self._knots[:2], now_ns)
        last = self._knots[0]
        zeros = np.zeros_like(last.position)
        return (last.position, zeros if last.velocity is None else last.velocity,
                zeros if last.acceleration is None else last.acceleration)

    def _read(self, trajectory):
        """Sort a message's fields into the controller's joint order, through one buffer that is never cleared.

        JTC does the same, so with a duplicate name another joint gets 0.0 or what the buffer last held.
        """
        slots, buffer = [self.joint_names.index(name) for name in trajectory.joint_names], self._buffer

        def sort(values):
            if len(values) == 0:
                return None
            buffer[slots] = values
            return buffer.copy()
        return [Knot(nanoseconds(point.time_from_start), sort(point.positions), sort(point.velocities),
                     sort(point.accelerations)) for point in trajectory.points]


def _stop(state, acceleration_rad_s2, jerk_rad_s3):
    """Brake from a state (position, velocity, acceleration [J]) to rest: -> function of elapsed_s that gives such states"""
    request, trajectory, zeros = InputParameter(len(state[0])), Trajectory(len(state[0])), np.zeros_like(state[0])
    request.current_position, request.current_velocity, request.current_acceleration = state
    request.max_velocity, request.max_acceleration, request.max_jerk = zeros + np.inf, acceleration_rad_s2, jerk_rad_s3
    request.control_interface, request.synchronization = ControlInterface.Velocity, Synchronization.No
    try:
        Ruckig(len(zeros)).calculate(request, trajectory)
    except RuckigError:      # a reference that is not finite
        return lambda elapsed_s: (state[0], zeros, zeros)

    def at(elapsed_s):
        if elapsed_s >= trajectory.duration:
            return np.array(trajectory.at_time(trajectory.duration)[0]), zeros, zeros
        return tuple(np.array(values) for values in trajectory.at_time(elapsed_s))
    return at


def _between(before, after, now_ns):
    """Interpolate by what both ends carry: positions linear, with velocities cubic, with accelerations quintic."""
    elapsed_s, duration_s = (now_ns - before.at_ns) / 1e9, (after.at_ns - before.at_ns) / 1e9
    begin, end = (before.position, before.velocity), (after.position, after.velocity)
    has_velocity = before.velocity is not None and after.velocity is not None
    has_acceleration = before.acceleration is not None and after.acceleration is not None
    if has_velocity and has_acceleration:
        return quintic(elapsed_s, duration_s, (*begin, before.acceleration), (*end, after.acceleration))
    if has_velocity:
        return cubic(elapsed_s, duration_s, begin, end)
    if has_acceleration:      # JTC has no formula for this pair and commands zeros
        return tuple(np.zeros_like(before.position) for _ in range(3))
    return linear(elapsed_s, duration_s, before.position, after.position)
