"""The planning cycle around a planner that swings one joint; a fake arm executes the chunks exactly."""
import numpy as np
import pytest

from diffusion_planner import config
from diffusion_planner.files import find
from diffusion_planner.planning.cycle import CycleSettings, NotFollowing, PlanningCycle
from diffusion_planner.planning.history import History, NotReady
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.planning.playback import sample
from diffusion_planner.records import Frame, ImaginedPlan, JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.safety import check_chunk

ROBOT = config.load(Robot, find('config/panda.yaml'))
OFFSET_S = np.linspace(0.2, 2.0, 10)


def swing(observation, sweep_rad_s=0.5, joint=0):
    position_rad = np.tile(observation.position_rad[-1], (len(OFFSET_S), 1))
    position_rad[:, joint] += sweep_rad_s * OFFSET_S
    velocity_rad_s = np.zeros_like(position_rad)
    velocity_rad_s[:, joint] = sweep_rad_s
    return ImaginedPlan(observation.origin_s, OFFSET_S, position_rad, velocity_rad_s, np.zeros((10, 2)))


class Arm:
    """Executes the running chunk exactly, and reports it."""

    def __init__(self, settings=CycleSettings()):
        self.history = History(7, ('camera',))
        self.cycle = PlanningCycle(None, ROBOT, settings, self.history)
        self.now_s = 10.0
        self.position_rad = np.array(ROBOT.home_rad)
        self.see()

    def see(self):
        running = self.cycle.running
        if running is not None and self.now_s >= running.origin_s:
            self.position_rad = sample(running, self.now_s).position_rad
        self.history.append(JointReading(self.now_s, self.position_rad, np.zeros(7)))
        self.history.append(Frame(self.now_s, 'camera', np.zeros((2, 2, 3), np.uint8)))

    def wait(self, seconds):
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.see()

    def plan(self, takes_s=0.1, **swinging):
        observation, handover = self.cycle.begin(self.now_s)
        self.wait(takes_s)
        return self.cycle.finish(swing(observation, **swinging), handover, self.now_s)


def test_the_first_plan_starts_at_rest_at_the_measured_joints():
    arm = Arm()
    observation, handover = arm.cycle.begin(10.0)
    assert handover.stamp_s == pytest.approx(10.3)
    np.testing.assert_array_equal(handover.position_rad, ROBOT.home_rad)
    np.testing.assert_array_equal(handover.velocity_rad_s, np.zeros(7))
    np.testing.assert_array_equal(observation.position_rad[-1], ROBOT.home_rad)
    chunk = arm.cycle.finish(swing(observation), handover, 10.1)
    assert chunk.origin_s == pytest.approx(10.3)
    assert check_chunk(chunk, ROBOT, handover) == []


def test_ten_chunks_join_in_position_velocity_and_acceleration():
    arm = Arm()
    before = arm.plan()
    for index in range(10):
        arm.wait(0.4)
        chunk = arm.plan(sweep_rad_s=0.5 if index % 4 < 2 else -0.5)
        left, right = sample(before, chunk.origin_s), sample(chunk, chunk.origin_s)
        for field in ('position_rad', 'velocity_rad_s', 'acceleration_rad_s2'):
            np.testing.assert_allclose(getattr(left, field), getattr(right, field), atol=1e-9)
        before = chunk
    assert arm.cycle.counters() == {'plans': 11, 'chunks': 11, 'deadline_misses': 0, 'strays': 0, 'rejected': {}}


def test_a_late_plan_is_dropped_and_counted():
    arm = Arm()
    first = arm.plan()
    arm.wait(0.4)
    assert arm.plan(takes_s=0.26) is None      # 0.04 s are left, 0.06 s are needed
    assert arm.cycle.running is first
    assert arm.cycle.counters()['deadline_misses'] == 1


def test_a_chunk_beyond_the_limits_is_rejected_with_the_reason():
    arm = Arm()
    observation, handover = arm.cycle.begin(10.0)
    outside = handover.position_rad.copy()
    outside[3] = 0.5                            # the elbow cannot stretch beyond -0.07
    beyond = type(handover)(handover.stamp_s, outside, np.full(7, 3.0), handover.acceleration_rad_s2)
    assert arm.cycle.finish(swing(observation), beyond, 10.1) is None
    assert sum(arm.cycle.rejected.values()) >= 1
    assert arm.cycle.running is None


def test_a_plan_that_is_not_finite_is_rejected():
    arm = Arm()
    observation, handover = arm.cycle.begin(10.0)
    plan = swing(observation)
    plan.position_rad[4, 2] = np.nan
    assert arm.cycle.finish(plan, handover, 10.1) is None
    assert arm.cycle.counters()['rejected'] == {'cannot be shaped': 1}


def test_what_the_controller_refuses_does_not_count_as_running():
    arm = Arm()
    first = arm.plan()
    arm.cycle.rejections([])
    arm.wait(0.4)
    arm.plan()
    arm.cycle.rejections(['no points'])
    assert arm.cycle.running is first
    assert arm.cycle.counters()['rejected'] == {'controller: no points': 1}


def test_a_refused_plan_lets_the_chunk_run_out_into_its_brake_tail():
    arm = Arm()
    chunk = arm.plan()
    arm.cycle.refuse(NoSafeCandidate({'joint limits': 6}))
    arm.wait(3.0)
    assert arm.now_s > chunk.end_s
    _, handover = arm.cycle.begin(arm.now_s)
    np.testing.assert_array_equal(handover.velocity_rad_s, np.zeros(7))
    np.testing.assert_allclose(handover.position_rad, chunk.position_rad[-1])


@pytest.mark.parametrize('after_s', [0.06, 0.3, 0.8, 1.6])
def test_the_brake_continues_the_motion_and_ends_at_rest(after_s):
    arm = Arm()
    chunk = arm.plan()
    arm.wait(after_s)
    stop = arm.cycle.brake(arm.now_s)
    left, right = sample(chunk, stop.origin_s), sample(stop, stop.origin_s)
    np.testing.assert_allclose(left.velocity_rad_s, right.velocity_rad_s, atol=1e-9)
    np.testing.assert_allclose(left.position_rad, right.position_rad, atol=1e-9)
    assert stop.origin_s > arm.now_s
    assert check_chunk(stop, ROBOT, right) == []
    assert stop.end_s - stop.origin_s < 1.0


def test_nothing_to_brake_at_rest():
    arm = Arm()
    assert arm.cycle.brake(10.0) is None
    chunk = arm.plan()
    assert arm.cycle.brake(chunk.end_s + 0.1) is None


@pytest.mark.parametrize('interrupt', ['brake', 'forget', 'restart'])
def test_a_plan_is_void_after_a_stop_or_reset(interrupt):
    arm = Arm()
    arm.plan()
    arm.wait(0.4)
    observation, handover = arm.cycle.begin(arm.now_s)
    if interrupt == 'brake':
        arm.cycle.brake(arm.now_s)
    else:
        getattr(arm.cycle, interrupt)()
    assert arm.cycle.finish(swing(observation), handover, arm.now_s) is None
    assert arm.cycle.counters()['rejected'] == {'superseded': 1}


def test_an_arm_that_is_held_back_is_stopped_and_called_back_gently():
    arm = Arm()
    chunk = arm.plan(sweep_rad_s=0.3, joint=1)
    held_rad, arm.see = arm.position_rad.copy(), lambda: arm.history.append(JointReading(arm.now_s, held_rad, np.zeros(7)))
    arm.wait(1.4)
    with pytest.raises(NotFollowing):
        arm.cycle.begin(arm.now_s)
    stop = arm.cycle.brake(arm.now_s)
    assert stop.end_s < chunk.end_s
    with pytest.raises(NotReady) as waiting:      # once is enough
        arm.cycle.begin(arm.now_s)
    assert not isinstance(waiting.value, NotFollowing)
    arm.wait(0.5)
    gap_rad = stop.position_rad[-1, 1] - held_rad[1]
    _, handover = arm.cycle.begin(arm.now_s)
    np.testing.assert_array_equal(handover.position_rad, held_rad)
    # the way back at half of joint 2's 7.5 rad/s^2
    assert handover.stamp_s - arm.now_s == pytest.approx(np.sqrt(5.78 * gap_rad / 3.75))
    assert arm.cycle.counters()['strays'] == 1


def test_an_arm_that_was_put_elsewhere_is_planned_for_from_there():
    arm = Arm()
    arm.plan()
    arm.wait(0.5)
    arm.position_rad = arm.position_rad + 1.0
    arm.history.append(JointReading(arm.now_s + 0.02, arm.position_rad, np.zeros(7)))
    arm.history.append(Frame(arm.now_s + 0.02, 'camera', np.zeros((2, 2, 3), np.uint8)))
    assert arm.cycle.brake(arm.now_s + 0.02) is None      # that chunk is none of this arm's
    _, handover = arm.cycle.begin(arm.now_s + 0.02)
    np.testing.assert_array_equal(handover.position_rad, arm.position_rad)


def test_without_a_chunk_plans_wait_for_rest():
    arm = Arm()
    arm.history.append(JointReading(10.02, arm.position_rad, np.full(7, 0.1)))
    with pytest.raises(NotReady, match='come to rest'):
        arm.cycle.begin(10.02)


@pytest.mark.parametrize('settings', [{'min_lead_s': 0.4}, {'min_lead_s': 0.0}, {'chunk_s': 0.7}])
def test_settings_that_do_not_fit_each_other_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        CycleSettings(**settings)
