"""What controllers make of one chunk after another: no seam in position, velocity or acceleration, on any distribution.

`--hypothesis-profile=thorough` tries 10,000 runs, new ones every time.
"""
import numpy as np
from contract_cases import CASES, chunk_of, moving_start, tries
from hypothesis import given
from hypothesis import strategies as some

from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import JERK_RATIO
from diffusion_planner.records import MotionState
from diffusion_planner.ros.conversions import to_joint_trajectory
from diffusion_planner.sim.acceptance import DISTRIBUTIONS
from diffusion_planner.sim.controller import TrajectoryController

ROUNDING_S = 2e-9     # messages and controllers have whole nanoseconds


class Arm:
    """A controller that is sent the chunks of a case, each taking over at a random instant from the one before.

    `jerk` and `acceleration` [J] bound what it may command. A chunk has JERK_RATIO times its jerk limit at most. From where it is to
    a chunk's first point the controller goes in a quintic of its own: that may have JERK_RATIO times the jerk of the motion that it
    stands for, and swing out from it by 0.051 jerk time in acceleration. On humble that quintic begins with the command of one
    period ago, so it has that way to catch up: way w in time T takes 5.78 w / T^2 of acceleration and 60 w / T^3 of jerk.
    """

    def __init__(self, case, distribution, period_s):
        self.case, self.period_s, self.cycle, self.random = case, period_s, 0, np.random.default_rng(case.seed)
        still = moving_start(self.random, case.robot, case.limits(0), 0.0).position_rad
        self.chunk, self.rest = None, MotionState(0.0, still, np.zeros_like(still), np.zeros_like(still))
        self.controller = TrajectoryController(case.robot.joint_names, period_s, distribution)
        self.controller.reset(still)
        self.late_s = ROUNDING_S + period_s * (distribution == 'humble')
        self.jerk = self.acceleration = self.lead_jerk = self.lead_acceleration = np.zeros_like(still)
        self.last = self.controller.reference(0.0)

    def take_over(self, index):
        """Publish the next chunk, to take over from what runs a random while from now."""
        now_s = self.cycle * self.period_s
        lead_s = max(2.5 * self.period_s, self.random.uniform(0.02, 0.3))
        if self.chunk is None:
            state = MotionState(now_s + lead_s, *(getattr(self.rest, name) for name in ('position_rad', 'velocity_rad_s', 'acceleration_rad_s2')))
        else:
            state = sample(self.chunk, max(now_s + lead_s, self.chunk.origin_s))
        self.chunk, limits = chunk_of(self.case, index, self.random, state)
        assert self.controller.accept(to_joint_trajectory(self.chunk, self.case.robot.joint_names, now_s), now_s) == []
        self._bound(limits, state.stamp_s - now_s)

    def _bound(self, limits, lead_s):
        """Bound the way to the first point, by what it stands for, and what follows."""
        speed, drive = np.array(self.case.robot.velocity_max_rad_s), np.maximum(self.acceleration, self.lead_acceleration)
        jerk = np.maximum(self.jerk, self.lead_jerk)
        behind = speed * self.late_s, drive * self.late_s, jerk * self.late_s
        self.lead_acceleration = drive + 0.0511 * jerk * lead_s + 5.78 * behind[0] / lead_s**2 + 6 * behind[1] / lead_s + behind[2]
        self.lead_jerk = JERK_RATIO * jerk + 60 * behind[0] / lead_s**3 + 36 * behind[1] / lead_s**2 + 9 * behind[2] / lead_s
        self.acceleration, self.jerk = limits.acceleration_rad_s2, JERK_RATIO * limits.jerk_rad_s3

    def run(self, seconds):
        """Execute for a while and look at every step from one command to the next."""
        first = True
        for _ in range(1 + int(seconds / self.period_s)):
            self.cycle += 1
            now_s = self.cycle * self.period_s
            self._check(self.controller.reference(now_s), first)
            first = False
            if now_s > self.chunk.origin_s + 2 * self.period_s:
                self.lead_jerk = self.lead_acceleration = np.zeros_like(self.jerk)

    def _check(self, command, first):
        (position, velocity, acceleration), before, period_s = command, self.last, self.period_s
        jerk, drive = np.maximum(self.jerk, self.lead_jerk) + 1e-3, np.maximum(self.acceleration, self.lead_acceleration) + 1e-4
        assert np.all(np.abs(velocity - before[1]) <= drive * period_s)
        assert np.all(np.abs(acceleration - before[2]) <= jerk * period_s)
        halting = np.abs(velocity) * self.late_s if first else 0.0     # humble commands the same position twice
        assert np.all(np.abs(position - before[0] - (velocity + before[1]) / 2 * period_s) <= halting * 1.1 + jerk * period_s**3 + 1e-9)
        self.last = command

    def finish(self):
        """Read what is commanded when the last chunk is over."""
        position, velocity, acceleration = self.controller.reference(self.cycle * self.period_s + self.chunk.end_s + 1.0)
        np.testing.assert_array_equal(position, self.chunk.position_rad[-1])
        assert not velocity.any() and not acceleration.any()


@tries(60)
@given(case=CASES, distribution=some.sampled_from(DISTRIBUTIONS), period_s=some.sampled_from([0.002, 1 / 240, 0.01]))
def test_commands_have_no_seams(case, distribution, period_s):
    arm = Arm(case, distribution, period_s)
    for index in range(len(case.kinds)):
        arm.take_over(index)
        arm.run(arm.random.uniform(0.0, 0.8))
    arm.finish()
