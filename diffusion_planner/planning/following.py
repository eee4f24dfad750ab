"""Whether an arm does what its chunk says, and where it is commanded to be."""
from dataclasses import replace

import numpy as np

from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import positions, sample
from diffusion_planner.records import MotionState

REST_RAD_S = 0.03     # slower than this an arm stands still, up to the noise of its encoders
RECENT_S = 0.5        # a reference of the controller older than this is not known any more
HAND_OVER_RAD = 0.02  # an arm farther than this from its chunk is not where the next one would begin
GENTLY = 0.4          # share of the acceleration limits for ways back
WATCHED_S = 0.1       # a chunk must have run for so long before it is told whether the controller has it
LOST_RAD, CLEARLY = 0.008, 0.4      # what the running chunk must miss by, and what an earlier one may miss of that
AHEAD_RAD, SET_OUT_RAD = 0.01, 0.003    # where the chunk must be for an arm to be expected to have moved, and by how much
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
        self._counted = False      # whether it is among the strays
        self.still = False         # whether it has not set out on its chunk yet
        self._from_rad = None      # where it stood when it was last set in motion
        self.busy_until_s = -np.inf    # when the newest chunk ends: the controller may execute it although it was forgotten here
        self.commanded = None      # (seconds, position [J]) of the controller's own reference, where it tells it

    def renew(self):
        """Judge a new chunk by itself."""
        self._strayed = self.still = self._counted = False

    def reference(self, recent, chunks, stopping, now_s, instant_s):
        """Return the state that the arm is commanded to have at an instant.

        reference(recent: newest readings, chunks: the running ActionChunk and the one before, or None, stopping: the newest stop, now_s,
        instant_s) -> MotionState. Raises NotReady, and NotFollowing where the arm must be given way to first: see way_back.
        """
        reading, (running, before) = recent[-1], chunks
        if running is None:
            if np.abs(reading.velocity_rad_s).max() > REST_RAD_S or now_s < self.busy_until_s:
                raise NotReady('waiting for the arm to come to rest')
            return self._set_out(reading, instant_s)
        gap_rad = self._gap_rad(reading, running)
        if self.still and now_s < running.end_s:
            raise NotReady('waiting for the arm to set out on its chunk')
        off = self._off_rad(recent, running, before) > HAND_OVER_RAD
        self._strayed |= self.still or bool(gap_rad.max() > self.tolerance_rad) or off and now_s >= running.end_s
        if not self._strayed:
            if off:     # the controller may be anywhere between: a chunk that begins where the arm is not would be a jump
                raise NotReady('waiting for the arm to follow its chunk')
            if reading.stamp_s >= running.end_s:
                self.unmoved = 0
            return sample(running, instant_s)
        if now_s < running.end_s:
            kind = NotReady if running is stopping else NotFollowing
            raise kind('the arm does not follow its chunk')
        if not self._counted:     # once a chunk, however often a plan is tried for
            self.strays, self.unmoved, self._counted = self.strays + 1, self.unmoved + self.still, True
        return self._set_out(reading, max(instant_s, now_s + self._return_s(gap_rad, 0.0)))

    def way_back(self, reading, running, now_s):
        """Lay out the end of a chunk that the arm does not follow: back to where the arm is.

        way_back(reading, running: ActionChunk, now_s) -> MotionState at rest, so late that the controller gets there gently, whether it
        is where its chunk says, and something holds the arm, or where the arm is, and never had the chunk.
        """
        state = sample(running, now_s)
        return standing(reading, now_s + self._return_s(np.abs(reading.position_rad - state.position_rad), np.abs(state.velocity_rad_s)))

    def _off_rad(self, recent, running, before):
        """Return how far the newest readings are from where the controller should have the arm, at the lag that suits them best."""
        at_s, taken_rad = np.array([reading.stamp_s for reading in recent]), np.stack([reading.position_rad for reading in recent])
        return _missed_rad(running, before, at_s, taken_rad)

    def lost_since(self, readings, running, earlier):
        """Tell which earlier chunk the arm still executes, by which of them explains its way since best.

        lost_since(readings since the running chunk began: list of JointReading, running: ActionChunk, earlier: list of ActionChunk, the
        newest first) -> number of earlier chunks up to the one that is executed, 0 if the running one is
        How far the arm lags behind its commands is not known; each chunk is given the lag that suits it best. An arm that stands still
        instead of setting out tells nothing: either nobody commands it, or something holds it while its controller is elsewhere, or
        its encoders say the same for ever. Then nothing is sent before it moves, or should have come to rest.
        """
        if not readings or readings[-1].stamp_s < running.origin_s + WATCHED_S:
            return 0
        at_s = np.array([reading.stamp_s for reading in readings])
        taken_rad = np.stack([reading.position_rad for reading in readings])

        def missed_rad(chunk, before=None):
            return _missed_rad(chunk, before, at_s, taken_rad)
        # A chunk that has come to rest explains every arm that stands there, whatever stopped it.
        moving = [chunk for chunk in earlier if np.abs(sample(chunk, at_s[-1]).velocity_rad_s).max() > REST_RAD_S]
        here_rad, found = missed_rad(running, earlier[0] if earlier else None), 0
        if not moving:
            ahead_rad = np.abs(positions(running, None, at_s[-1:]) - running.position_rad[0]).max()
            self.still = bool(ahead_rad > AHEAD_RAD and np.ptp(taken_rad, axis=0).max() < SET_OUT_RAD)
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

    def _return_s(self, gap_rad, velocity_rad_s):
        """Return how long the controller needs to come to rest over a gap, at a share of the acceleration limits.

        A quintic from rest to rest over a gap in time T peaks at 5.78 gap / T^2, one that takes a velocity away at 3.94 velocity / T.
        """
        limit = GENTLY * np.array(self.robot.acceleration_max_rad_s2)
        return float(np.maximum(np.sqrt(5.78 * gap_rad / limit), 4 * velocity_rad_s / limit).max())


def _missed_rad(chunk, before, at_s, taken_rad):
    """Return by how much at most readings at_s [N], taken_rad [N, J] miss a chunk after the one before, at the lag that suits them best."""
    meant_rad = positions(chunk, before, (at_s - LAGS_S[:, None]).ravel()).reshape(len(LAGS_S), *taken_rad.shape)
    return np.abs(meant_rad - taken_rad).max(axis=(1, 2)).min()


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
