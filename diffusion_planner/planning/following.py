"""Whether an arm does what its chunk says, and where it is commanded to be."""
from dataclasses import replace

import numpy as np

from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import positions, sample
from diffusion_planner.records import MotionState

REST_RAD_S = 0.03     # slower than this an arm stands still, up to the noise of its encoders
RECENT_S = 0.5        # a reference of the controller older than this is not known any more
WATCHED_S = 0.1       # a chunk must have run for so long before it is told whether the controller has it
LOST_RAD, CLEARLY = 0.008, 0.4      # what the running chunk must miss by, and what an earlier one may miss of that
STILL_RAD = 0.03      # by which the running chunk must be away from an arm that stands still
LAGS_S = np.linspace(0.0, 0.1, 11)
UNMOVED_RAD = 0.02    # less than this since its chunk began, and the arm did not move at all


class NotFollowing(NotReady):
    """The arm is not where its chunk says: the chunk must be stopped before the next plan."""


class Following:
    """Compares readings with the running chunk. `strays` counts chunks that were left, `unmoved` those in a row that moved nothing."""

    def __init__(self, robot, tolerance_rad):
        self.robot, self.tolerance_rad = robot, tolerance_rad
        self.strays, self.unmoved, self.lost = 0, 0, 0      # lost: chunks in a row that never reached the controller
        self._strayed = False      # whether the arm has left its chunk since the last plan
        self._still = False        # whether it never set out on its chunk
        self._from_rad = None      # where it stood when it was last set in motion
        self.commanded = None      # (seconds, position [J]) of the controller's own reference, where it tells it

    def renew(self):
        """Judge a new chunk by itself."""
        self._strayed = self._still = False

    def reference(self, reading, running, stopping, now_s, instant_s):
        """Return the state that the arm is commanded to have at an instant.

        reference(reading: JointReading, running: ActionChunk | None, stopping: the newest brake, now_s, instant_s) -> MotionState
        Raises NotReady, and NotFollowing where the chunk must be stopped first.
        """
        if running is None:
            if np.abs(reading.velocity_rad_s).max() > REST_RAD_S:
                raise NotReady('waiting for the arm to come to rest')
            return self._set_out(reading, instant_s)
        gap_rad = self._gap_rad(reading, running)
        self._strayed |= self._still or bool(gap_rad.max() > self.tolerance_rad)
        if not self._strayed:
            if reading.stamp_s >= running.end_s:
                self.unmoved = 0
            return sample(running, instant_s)
        # Something is in the way: the controller must stop where it has got to, and is called back from there. If nobody executes the
        # chunk, that stop itself would be a jump; so it is left to end.
        if now_s < running.end_s:
            kind = NotReady if running is stopping or self._still else NotFollowing
            raise kind('the arm does not follow its chunk')
        self.strays, self.unmoved = self.strays + 1, self.unmoved + self._still
        return self._set_out(reading, max(instant_s, now_s + self._return_s(gap_rad)))

    def lost_since(self, readings, running, earlier):
        """Tell which earlier chunk the arm still executes, by which of them explains its way since best.

        lost_since(readings since the running chunk began: list of JointReading, running: ActionChunk, earlier: list of ActionChunk, the
        newest first) -> number of earlier chunks up to the one that is executed, 0 if the running one is
        How far the arm lags behind its commands is not known; each chunk is given the lag that suits it best. An arm that stands still
        instead of setting out tells nothing: either nobody commands it, or something holds it while its controller is elsewhere.
        """
        if not readings or readings[-1].stamp_s < running.origin_s + WATCHED_S:
            return 0
        at_s = np.array([reading.stamp_s for reading in readings])
        taken_rad = np.stack([reading.position_rad for reading in readings])

        def missed_rad(chunk, before=None):
            return min(np.abs(positions(chunk, before, at_s - lag_s) - taken_rad).max() for lag_s in LAGS_S)
        moving = [chunk for chunk in earlier if chunk.end_s > running.origin_s]
        here_rad, found = missed_rad(running, earlier[0] if earlier else None), 0
        if not moving:
            self._still |= bool(here_rad > STILL_RAD and np.ptp(taken_rad, axis=0).max() < 0.1 * here_rad)
        elif here_rad > LOST_RAD and not _are_one(readings[-3:]):
            missed = [missed_rad(chunk) for chunk in moving]
            found = 1 + int(np.argmin(missed)) if min(missed) < CLEARLY * here_rad else 0
        self.lost = self.lost + 1 if found else 0
        return found

    def note_stop(self, reading):
        """Note that a chunk has to be stopped: did the arm move at all?"""
        moved = self._from_rad is None or np.abs(reading.position_rad - self._from_rad).max() > UNMOVED_RAD
        self.unmoved = 0 if moved or not self._strayed else self.unmoved + 1

    def _set_out(self, reading, instant_s):
        """Start from rest: where the controller holds the arm, if it tells, else where it is measured, a little below that."""
        self._from_rad, state = reading.position_rad, standing(reading, instant_s)
        at_s, position_rad = self.commanded or (-np.inf, None)
        if abs(reading.stamp_s - at_s) > RECENT_S or np.abs(position_rad - reading.position_rad).max() > self.tolerance_rad:
            return state
        return replace(state, position_rad=np.array(position_rad))

    def _gap_rad(self, reading, running):
        """Return how far each joint is from the running chunk: -> [J], zeros before that has begun"""
        if reading.stamp_s < running.origin_s:
            return np.zeros_like(reading.position_rad)
        return np.abs(reading.position_rad - sample(running, reading.stamp_s).position_rad)

    def _return_s(self, gap_rad):
        """Return how long the controller needs back over a gap at half the acceleration limits.

        A quintic from rest to rest over a gap in time T peaks at 5.78 gap / T^2.
        """
        return float(np.sqrt(5.78 * (gap_rad / (0.5 * np.array(self.robot.acceleration_max_rad_s2))).max()))


def _are_one(readings):
    """Tell whether readings repeat each other bit for bit, as no encoder of a moving arm does."""
    return len(readings) > 2 and all(np.array_equal(reading.position_rad, readings[0].position_rad) for reading in readings[1:])


def standing(reading, instant_s):
    """Take the measured joints, at rest, for the state at an instant: -> MotionState"""
    rest = np.zeros_like(reading.position_rad)
    return MotionState(instant_s, reading.position_rad.copy(), rest, rest.copy())


def coasting(reading, instant_s):
    """Take the measured motion to go on until an instant, whoever causes it: -> MotionState"""
    ahead_s = instant_s - reading.stamp_s
    return MotionState(instant_s, reading.position_rad + ahead_s * reading.velocity_rad_s, reading.velocity_rad_s.copy(),
                       np.zeros_like(reading.position_rad))
