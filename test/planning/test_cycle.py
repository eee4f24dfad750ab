"""The planning cycle around a planner that swings one joint; a fake arm executes the chunks exactly."""
from dataclasses import replace

import numpy as np
import pytest
from arms import ROBOT, Arm, swing

from diffusion_planner.planning.cycle import CycleSettings, NotFollowing, PlanningCycle
from diffusion_planner.planning.history import JUMP_READINGS, NotReady
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.planning.playback import sample
from diffusion_planner.records import Frame, JointReading
from diffusion_planner.safety import check_chunk


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
    assert arm.cycle.counters() == {'plans': 11, 'chunks': 11, 'deadline_misses': 0, 'strays': 0, 'rejected': {}, 'changed': {}}


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
    assert arm.cycle.counters()['rejected'] == {'not finite': 1}


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


def test_an_arm_that_is_held_back_is_given_way_to_gently():
    arm = Arm()
    chunk = arm.plan(sweep_rad_s=0.5, joint=1)
    arm.wait(0.8)
    held_rad, arm.see = arm.position_rad.copy(), lambda: arm.history.append(JointReading(arm.now_s, held_rad, np.zeros(7)))
    arm.wait(0.7)
    with pytest.raises(NotFollowing):
        arm.cycle.begin(arm.now_s)
    way, state = arm.cycle.give_way(arm.now_s), sample(chunk, arm.now_s)
    np.testing.assert_array_equal(way.position_rad, [held_rad])
    assert not way.velocity_rad_s.any() and not way.acceleration_rad_s2.any() and arm.cycle.running is way
    # the way back at 0.4 of joint 2's 7.5 rad/s^2
    took_s = max(np.sqrt(5.78 * (state.position_rad[1] - held_rad[1]) / 3.0), 4 * state.velocity_rad_s[1] / 3.0)
    assert took_s > 0.5 and way.end_s - arm.now_s == pytest.approx(took_s)
    with pytest.raises(NotReady) as waiting:      # once is enough
        arm.cycle.begin(arm.now_s)
    assert not isinstance(waiting.value, NotFollowing)
    arm.wait(1.0)
    _, handover = arm.cycle.begin(arm.now_s)
    np.testing.assert_array_equal(handover.position_rad, held_rad)
    assert handover.stamp_s - arm.now_s == pytest.approx(arm.cycle.settings.lead_s) and not handover.velocity_rad_s.any()
    assert arm.cycle.counters()['strays'] == 1


def test_there_is_nothing_to_give_way_with_at_rest():
    arm = Arm()
    assert arm.cycle.give_way(arm.now_s) is None
    chunk = arm.plan()
    assert arm.cycle.give_way(chunk.end_s) is None and arm.cycle.running is chunk
    arm.history.clear()
    assert arm.cycle.give_way(arm.now_s) is None


def put_elsewhere(arm):
    """Move an arm in mid-chunk as no arm can move, as a simulator does: -> the chunk"""
    chunk = arm.plan()
    arm.wait(0.5)
    arm.position_rad = arm.position_rad + 1.0
    for _ in range(JUMP_READINGS):                        # one reading alone is no arm that was put elsewhere
        assert arm.history.newest_reading().position_rad[0] != arm.position_rad[0]
        arm.history.append(JointReading(arm.now_s + 0.02, arm.position_rad, np.zeros(7)))
    arm.history.append(Frame(arm.now_s + 0.02, 'camera', np.zeros((2, 2, 3), np.uint8)))
    return chunk


def test_an_arm_that_was_put_elsewhere_is_planned_for_from_there_once_its_chunk_is_over():
    arm = Arm()
    chunk = put_elsewhere(arm)
    assert arm.cycle.brake(arm.now_s + 0.02) is None      # that chunk is none of this arm's
    for instant_s in (arm.now_s + 0.02, chunk.end_s - 0.01):      # but its controller may still execute it
        with pytest.raises(NotReady, match='come to rest'):
            arm.cycle.begin(instant_s)
    _, handover = arm.cycle.begin(chunk.end_s)
    np.testing.assert_array_equal(handover.position_rad, arm.position_rad)


def test_after_a_restart_no_chunk_of_before_is_waited_for():
    arm = Arm()
    chunk = put_elsewhere(arm)
    arm.cycle.restart()
    arm.wait(0.02)
    _, handover = arm.cycle.begin(arm.now_s)
    assert arm.now_s < chunk.end_s - 0.5
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


def begun(arm):
    return arm.cycle.begin(arm.now_s)


def test_a_late_plan_at_rest_is_put_off_and_counted():
    arm = Arm()
    observation, handover = begun(arm)
    chunk = arm.cycle.finish(swing(observation), handover, handover.stamp_s + 1.0)
    assert chunk.origin_s - (handover.stamp_s + 1.0) > arm.cycle.settings.min_lead_s
    moved = replace(handover, stamp_s=chunk.origin_s)
    assert check_chunk(chunk, ROBOT, moved) == [] and arm.cycle.running is chunk
    assert arm.cycle.counters()['deadline_misses'] == 1


def test_a_late_plan_is_put_off_where_the_last_chunk_has_run_out_before_it():
    arm = Arm()
    first = arm.plan()
    arm.wait(3.0)
    observation, handover = begun(arm)
    chunk = arm.cycle.finish(swing(observation), handover, handover.stamp_s)
    np.testing.assert_array_equal(chunk.position_rad[0], first.position_rad[-1])
    assert chunk.origin_s == pytest.approx(handover.stamp_s + 2 * arm.cycle.settings.min_lead_s)


def test_a_late_plan_that_a_stop_made_void_is_not_put_off():
    arm = Arm()
    observation, handover = begun(arm)
    arm.cycle.brake(arm.now_s)
    assert arm.cycle.finish(swing(observation), handover, handover.stamp_s) is None
    assert arm.cycle.counters()['deadline_misses'] == 0


def time_to_go(chunk, way_rad):
    """Return when the first joint has gone so far."""
    return float(np.interp(way_rad, chunk.position_rad[:, 0] - chunk.position_rad[0, 0], chunk.offset_s))


def test_a_fifth_of_the_speed_takes_five_times_as_long():
    settings, chunks = CycleSettings(chunk_s=10.0), {}
    for scale in (1.0, 0.2):
        arm = Arm(settings)
        arm.cycle.speed_scale = scale
        chunk = chunks[scale] = arm.plan(sweep_rad_s=0.5)
        midway = (chunk.offset_s > 0.6 / scale) & (chunk.offset_s < 1.5 / scale)
        assert np.quantile(np.abs(chunk.velocity_rad_s[midway, 0] / (0.5 * scale) - 1.0), 0.9) < 0.05
    # from 0.2 rad to 0.8 rad, where neither still speeds up nor slows down already
    took_s = {scale: time_to_go(chunk, 0.8) - time_to_go(chunk, 0.2) for scale, chunk in chunks.items()}
    assert took_s[0.2] / took_s[1.0] == pytest.approx(5.0, rel=0.05)
    np.testing.assert_allclose(chunks[0.2].position_rad[-1], chunks[1.0].position_rad[-1], atol=2e-3)


@pytest.mark.parametrize('scale', [1.0, 0.5, 0.2])
def test_a_plan_that_is_too_fast_keeps_the_share_of_the_limits(scale):
    arm = Arm()
    arm.cycle.speed_scale = scale
    chunk = arm.plan(sweep_rad_s=3.0)
    assert check_chunk(chunk, ROBOT) == []
    speed_rad_s, most_rad_s = np.abs(chunk.velocity_rad_s).max(), scale * 0.6 * ROBOT.velocity_max_rad_s[0]
    assert 0.6 * most_rad_s < speed_rad_s <= most_rad_s


@pytest.mark.parametrize('scales', [(1.0, 0.2), (0.2, 1.0), (1.0, 0.01)])
def test_another_speed_in_mid_motion_joins_on(scales):
    arm = Arm()
    arm.cycle.speed_scale = scales[0]
    before = arm.plan(sweep_rad_s=1.0)
    arm.wait(0.6)
    arm.cycle.speed_scale = scales[1]
    chunk = arm.plan(sweep_rad_s=1.0)
    left, right = sample(before, chunk.origin_s), sample(chunk, chunk.origin_s)
    assert np.abs(left.velocity_rad_s).max() > 0.1
    for field in ('position_rad', 'velocity_rad_s', 'acceleration_rad_s2'):
        np.testing.assert_allclose(getattr(left, field), getattr(right, field), atol=1e-9)
    assert check_chunk(chunk, ROBOT, left) == []
    assert check_chunk(arm.cycle.brake(arm.now_s), ROBOT) == []


def test_in_shadow_nothing_runs_and_the_measured_motion_goes_on():
    arm = Arm(CycleSettings(shadow=True))
    moving = JointReading(10.02, arm.position_rad, np.full(7, 0.2))
    arm.history.append(moving)
    arm.now_s = 10.02
    for count in (1, 2):
        observation, handover = begun(arm)
        np.testing.assert_array_equal(handover.velocity_rad_s, moving.velocity_rad_s)
        np.testing.assert_allclose(handover.position_rad, moving.position_rad + 0.2 * (handover.stamp_s - moving.stamp_s))
        assert arm.cycle.finish(swing(observation), handover, 10.1) is not None
        assert arm.cycle.running is None and arm.cycle.brake(10.2) is None and arm.cycle.chunks == count
    assert arm.cycle.finish(swing(observation), handover, handover.stamp_s) is None      # superseded; nothing is put off either


def test_a_plan_that_begins_elsewhere_is_refused_whole():
    arm = Arm()
    observation, handover = begun(arm)
    plan = swing(observation)
    # 0.2 s at the 2.175 rad/s of the first joint and the tolerance explain 0.685 rad
    for far_rad, accepted in ((0.70, False), (0.67, True)):
        moved = replace(plan, position_rad=plan.position_rad + far_rad * np.eye(7)[0] - 0.1 * np.eye(7)[0])
        assert (arm.cycle.finish(moved, handover, 10.1) is not None) is accepted
    assert arm.cycle.counters()['rejected'] == {'does not begin where the arm will be': 1}


def test_unusable_plans_in_a_row_are_counted_until_a_good_one():
    arm = Arm()
    for index in range(3):
        observation, handover = begun(arm)
        broken = swing(observation)
        [broken.position_rad, broken.velocity_rad_s, broken.position_rad][index][-1, -1] = (np.nan, np.inf, 1e9)[index]
        if index == 2:
            broken.position_rad[0] += 1.0
        assert arm.cycle.finish(broken, handover, 10.1) is None
    assert arm.cycle.unusable == 3 and arm.cycle.running is None
    assert arm.cycle.counters()['rejected'] == {'not finite': 2, 'does not begin where the arm will be': 1}
    assert arm.plan() is not None and arm.cycle.unusable == 0


def test_plans_that_had_to_be_stretched_or_clamped_are_counted():
    arm = Arm()
    for sweeping, expected in (({'sweep_rad_s': 0.5}, {}), ({'sweep_rad_s': 1.4}, {'stretched in time': 1}),
                               ({'sweep_rad_s': 1.0, 'joint': 5}, {'stretched in time': 1, "clamped to the joints' ranges": 1})):
        observation, handover = begun(arm)
        arm.cycle._shaped(swing(observation, **sweeping), handover)
        assert arm.cycle.counters()['changed'] == expected


def sending(cycle, chunk):
    """Deliver a chunk: -> what was sent"""
    sent = []
    cycle.deliver(chunk, sent.append)
    return sent


def test_a_chunk_that_a_stop_has_replaced_is_not_sent_after_it():
    arm = Arm()
    arm.plan()
    arm.wait(0.4)
    chunk = arm.plan()
    stop = arm.cycle.brake(arm.now_s)
    assert sending(arm.cycle, stop) == [stop]
    with pytest.raises(ValueError, match='superseded'):
        sending(arm.cycle, chunk)
    arm.cycle.withdraw([], deadline=True, chunk=chunk)
    assert arm.cycle.running is stop                      # and not what ran before the chunk
    assert (arm.cycle.chunks, arm.cycle.misses, arm.cycle.rejected) == (2, 0, {'superseded': 1})


@pytest.mark.parametrize('interrupt', ['forget', 'restart'])
def test_a_chunk_is_not_sent_after_a_reset(interrupt):
    arm = Arm()
    chunk = arm.plan()
    getattr(arm.cycle, interrupt)()
    with pytest.raises(ValueError, match='superseded'):
        sending(arm.cycle, chunk)


def test_an_arm_that_cannot_be_put_elsewhere_is_braked_when_its_joints_jump():
    arm = Arm()
    arm.cycle = PlanningCycle(None, ROBOT, CycleSettings(), arm.history, teleports=False)
    chunk = arm.plan()
    arm.wait(0.5)
    for _ in range(JUMP_READINGS):
        arm.history.append(JointReading(arm.now_s + 0.02, arm.position_rad + 1.0, np.zeros(7)))
    assert arm.history.jumps == 1
    stop = arm.cycle.brake(arm.now_s + 0.02)
    np.testing.assert_allclose(stop.position_rad[0], sample(chunk, stop.origin_s).position_rad)


@pytest.mark.parametrize('first', ['brake', 'give_way'])
def test_stopping_twice_counts_an_unmoved_arm_once(first):
    arm = Arm()
    arm.cycle.following.lost_since = lambda *_: 0          # the controller has the chunk, and something else holds the arm
    arm.plan(sweep_rad_s=0.5)
    held_rad, arm.see = arm.position_rad.copy(), lambda: arm.history.append(JointReading(arm.now_s, held_rad, np.zeros(7)))
    arm.wait(1.2)
    with pytest.raises(NotFollowing):
        begun(arm)
    getattr(arm.cycle, first)(arm.now_s)
    arm.cycle.brake(arm.now_s)
    assert arm.cycle.following.unmoved == 1
