"""Whether an arm does what its chunk says, from readings by hand."""
from dataclasses import replace

import numpy as np
import pytest

from diffusion_planner.planning.following import AHEAD_RAD, HAND_OVER_RAD, REST_RAD_S, UNMOVED_RAD, WATCHED_S, Following, NotFollowing, coasting
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import positions, sample
from diffusion_planner.planning.shaping import ShapingLimits, brake, shape
from diffusion_planner.records import JointReading, MotionState

TOLERANCE_RAD = 0.25


@pytest.fixture
def following(robot):
    return Following(robot, TOLERANCE_RAD)


@pytest.fixture(scope='module')
def limits(robot):
    return ShapingLimits.of(robot, 0.6, 0.3, 60.0)


def swung(state, limits, sweep_rad_s=1.0):
    """Turn the first joint for a second from a state on: -> ActionChunk"""
    offset_s, position_rad = np.linspace(0.25, 2.0, 8), np.tile(state.position_rad, (8, 1))
    position_rad[:, 0] += sweep_rad_s * offset_s
    velocity_rad_s = np.zeros_like(position_rad)
    velocity_rad_s[:, 0] = sweep_rad_s
    return shape(offset_s, position_rad, velocity_rad_s, state, limits, 1.0)


@pytest.fixture(scope='module')
def chunk(home, limits):
    """One second at 1 rad/s of the first joint, from 10.0 s on."""
    return swung(home, limits)


def reading(stamp_s, position_rad, speed_rad_s=0.0):
    return JointReading(stamp_s, np.array(position_rad), np.full(7, speed_rad_s))


def on(chunk, stamp_s, off_rad=0.0, joint=6):
    """Read a joint so far off its chunk."""
    return reading(stamp_s, sample(chunk, stamp_s).position_rad + off_rad * np.eye(7)[joint])


def ask(following, seen, running=None, stopping=None, now_s=None, before=None, lead_s=0.3):
    """Ask for the state 0.3 s from now, which is the reading's stamp: -> MotionState"""
    now_s = seen.stamp_s if now_s is None else now_s
    return following.reference([seen], (running, before), stopping, now_s, now_s + lead_s)


def assert_waits(text, following, *given, **options):
    """Check that the plan waits, and that nothing has to be stopped for it."""
    with pytest.raises(NotReady, match=text) as waiting:
        ask(following, *given, **options)
    assert not isinstance(waiting.value, NotFollowing)


def assert_goes_on(following, seen, chunk, **options):
    state, expected = ask(following, seen, chunk, **options), sample(chunk, seen.stamp_s + 0.3)
    for field in ('stamp_s', 'position_rad', 'velocity_rad_s', 'acceleration_rad_s2'):
        np.testing.assert_array_equal(getattr(state, field), getattr(expected, field))


def stray(following, chunk, held_rad, at_s=10.8):
    """Let the arm be held where it is, until its chunk is given way to."""
    with pytest.raises(NotFollowing):
        ask(following, reading(at_s, held_rad), chunk)
    following.note_stop(reading(at_s, held_rad))


def stand(following, chunk, at_rad, seconds=0.25):
    """Let the arm stand instead of setting out: -> how many chunks count as lost"""
    readings = [reading(chunk.origin_s + stamp_s, at_rad) for stamp_s in np.arange(0.0, seconds, 0.02)]
    return following.lost_since(readings, chunk, [])


def test_an_arm_at_rest_sets_out_from_where_it_is_measured(following, home):
    assert_waits('come to rest', following, reading(10.0, home.position_rad, 1.1 * REST_RAD_S))
    state = ask(following, reading(10.0, home.position_rad, 0.9 * REST_RAD_S))
    assert state.stamp_s == 10.3 and not state.velocity_rad_s.any() and not state.acceleration_rad_s2.any()
    np.testing.assert_array_equal(state.position_rad, home.position_rad)


def test_an_arm_that_may_still_be_commanded_is_not_at_rest(following, home):
    following.busy_until_s = 10.5
    assert_waits('come to rest', following, reading(10.49, home.position_rad))
    np.testing.assert_array_equal(ask(following, reading(10.5, home.position_rad)).position_rad, home.position_rad)


@pytest.mark.parametrize('lag_s', [0.0, 0.05, 0.1])
def test_an_arm_that_lags_goes_on_from_its_chunk(following, chunk, lag_s):
    assert_goes_on(following, reading(10.6, sample(chunk, 10.6 - lag_s).position_rad), chunk)
    assert following.strays == 0


def test_an_arm_a_little_off_its_chunk_goes_on_and_one_farther_off_is_waited_for(following, chunk):
    assert_goes_on(following, on(chunk, 10.6, 0.9 * HAND_OVER_RAD), chunk)
    assert_waits('follow its chunk', following, on(chunk, 10.62, 1.1 * HAND_OVER_RAD), chunk)
    assert_goes_on(following, on(chunk, 10.64), chunk)                # it has not left it for good
    assert following.strays == 0


def test_all_that_was_read_last_must_be_on_the_chunk(following, chunk):
    recent = [on(chunk, 10.56, 1.1 * HAND_OVER_RAD), on(chunk, 10.58), on(chunk, 10.6)]
    with pytest.raises(NotReady, match='follow its chunk'):
        following.reference(recent, (chunk, None), None, 10.6, 10.9)
    following.reference(recent[1:], (chunk, None), None, 10.6, 10.9)


def test_an_arm_off_its_chunk_at_the_end_sets_out_from_where_it_is(following, chunk):
    aside = on(chunk, chunk.end_s, 1.1 * HAND_OVER_RAD)
    np.testing.assert_array_equal(ask(following, aside, chunk).position_rad, aside.position_rad)
    assert following.strays == 1 and following.unmoved == 0


def test_once_left_a_chunk_stays_left_until_the_next(following, home, chunk):
    stray(following, chunk, home.position_rad)
    with pytest.raises(NotFollowing):
        ask(following, on(chunk, 10.9), chunk)
    following.renew()
    assert_goes_on(following, on(chunk, 10.9), chunk)


def test_a_chunk_that_has_not_begun_cannot_be_left(following, home, chunk):
    assert_waits('follow its chunk', following, reading(9.9, home.position_rad + 1.0), chunk)
    assert_goes_on(following, reading(9.9, home.position_rad), chunk)


def test_until_a_chunk_begins_the_arm_is_to_follow_the_one_before(following, chunk, limits):
    after = swung(sample(chunk, 10.6), limits, sweep_rad_s=-1.0)
    early = on(chunk, 10.5)
    assert np.abs(early.position_rad - after.position_rad[0]).max() > HAND_OVER_RAD
    assert_goes_on(following, early, after, before=chunk)
    assert_waits('follow its chunk', following, early, after)


def test_an_arm_that_does_not_set_out_is_left_alone_until_its_chunk_is_over_and_counted(following, home, chunk):
    ask(following, reading(9.7, home.position_rad))
    for count in (1, 2, 3):
        assert stand(following, chunk, home.position_rad) == 0 and following.still
        for stamp_s in (10.3, 10.8, chunk.end_s - 0.01):
            assert_waits('set out on its chunk', following, reading(stamp_s, home.position_rad), chunk)
        state = ask(following, reading(chunk.end_s, home.position_rad), chunk)
        np.testing.assert_array_equal(state.position_rad, home.position_rad)
        assert (following.unmoved, following.strays) == (count, count)
        following.renew()
        assert not following.still


def test_an_arm_that_does_not_set_out_on_a_small_motion_is_not_taken_to_have_made_it(following, home, chunk):
    share = 0.5 * (AHEAD_RAD + HAND_OVER_RAD) / np.ptp(chunk.position_rad[:, 0])
    small = replace(chunk, position_rad=home.position_rad + share * (chunk.position_rad - home.position_rad),
                    velocity_rad_s=share * chunk.velocity_rad_s, acceleration_rad_s2=share * chunk.acceleration_rad_s2)
    stand(following, small, home.position_rad, 1.2)
    assert following.still
    np.testing.assert_array_equal(ask(following, reading(small.end_s, home.position_rad), small).position_rad, home.position_rad)
    assert following.unmoved == 1


def test_an_arm_that_sets_out_after_all_goes_on(following, home, chunk):
    stand(following, chunk, home.position_rad)
    assert following.still
    assert following.lost_since([on(chunk, stamp_s) for stamp_s in np.arange(10.0, 10.4, 0.02)], chunk, []) == 0
    assert_goes_on(following, on(chunk, 10.4), chunk)


def test_nobody_expects_an_arm_to_set_out_on_a_chunk_that_stands_or_has_hardly_begun(following, home, chunk, limits):
    short_s = WATCHED_S - 0.01
    stand(following, chunk, home.position_rad, short_s)
    assert not following.still
    standing = swung(home, limits, sweep_rad_s=0.0)
    assert np.ptp(standing.position_rad, axis=0).max() < AHEAD_RAD
    stand(following, standing, home.position_rad)
    assert not following.still


def test_an_arm_that_moved_and_was_then_held_back_is_not_counted(following, home, chunk):
    ask(following, reading(10.0, home.position_rad))
    stray(following, chunk, home.position_rad + 0.9 * UNMOVED_RAD)
    assert following.unmoved == 1
    following.renew()
    stray(following, chunk, home.position_rad + 1.1 * UNMOVED_RAD)
    assert following.unmoved == 0


def test_a_chunk_that_was_executed_to_its_end_clears_the_count(following, home, chunk):
    ask(following, reading(10.0, home.position_rad))
    stray(following, chunk, home.position_rad)
    following.renew()
    ask(following, on(chunk, chunk.end_s), chunk)
    assert following.unmoved == 0


def test_a_stop_of_an_arm_that_follows_counts_nothing(following, home):
    ask(following, reading(10.0, home.position_rad))
    following.note_stop(reading(10.1, home.position_rad))
    assert following.unmoved == 0


def test_the_way_back_takes_as_long_as_two_fifths_of_the_acceleration_need(following, chunk):
    # 0.4 x 15 rad/s^2 of the first joint: from 1.2 rad/s in 4 x 1.2 / 6 = 0.8 s, over 0.8 rad in sqrt(5.78 x 0.8 / 6) = 0.88 s
    state = sample(chunk, 10.6)
    assert state.velocity_rad_s[0] == pytest.approx(1.2, abs=0.02)
    for gap_rad, expected_s in ((0.0, 4 * state.velocity_rad_s[0] / 6.0), (0.8, np.sqrt(5.78 * 0.8 / 6.0))):
        here = on(chunk, 10.6, -gap_rad, joint=0)
        way = following.way_back(here, chunk, 10.6)
        np.testing.assert_array_equal(way.position_rad, here.position_rad)
        assert not way.velocity_rad_s.any() and not way.acceleration_rad_s2.any()
        assert way.stamp_s - 10.6 == pytest.approx(expected_s)


def test_while_a_stop_is_on_its_way_the_arm_is_waited_for_and_then_fetched_gently(following, home, chunk, limits):
    stray(following, chunk, home.position_rad)
    stop = brake(sample(chunk, 10.86), limits)
    assert_waits('does not follow', following, reading(10.9, home.position_rad), stop, stop)
    gap_rad = stop.position_rad[-1, 0] - home.position_rad[0]
    state = ask(following, reading(stop.end_s, home.position_rad), stop, stop)
    np.testing.assert_array_equal(state.position_rad, home.position_rad)
    assert state.stamp_s - stop.end_s == pytest.approx(np.sqrt(5.78 * gap_rad / 6.0))
    late = ask(following, reading(stop.end_s, home.position_rad), stop, stop, lead_s=9.0)
    assert late.stamp_s == stop.end_s + 9.0


def test_where_the_controller_says_it_holds_the_arm_comes_before_the_measurement(following, home):
    below, at_s = reading(10.0, home.position_rad - 0.01), 10.0
    for commanded, expected in (((at_s - 0.4, home.position_rad), home.position_rad),
                                ((at_s - 0.6, home.position_rad), below.position_rad),                  # not known any more
                                ((at_s, home.position_rad + TOLERANCE_RAD), below.position_rad),        # nothing that this arm is at
                                (None, below.position_rad)):
        following.commanded = commanded
        np.testing.assert_array_equal(ask(following, below).position_rad, expected)


@pytest.fixture
def lost(chunk, limits):
    """Readings of an arm that turns round at 11.0 s, at the end of a chunk, because the next, which goes on, was lost: -> next, readings"""
    after = swung(sample(chunk, 10.8), limits)
    at_s = np.arange(10.8, 11.04, 0.02)
    return after, [reading(stamp_s, position_rad) for stamp_s, position_rad in zip(at_s, positions(chunk, None, at_s))]


def test_a_chunk_is_lost_where_the_one_before_explains_the_way_better(following, chunk, lost):
    after, readings = lost
    assert following.lost_since(readings, after, [chunk]) == 1 and following.lost == 1
    arrived = [on(after, taken.stamp_s) for taken in readings]
    assert following.lost_since(arrived, after, [chunk]) == 0 and following.lost == 0


def test_a_chunk_that_has_hardly_begun_is_not_judged(following, chunk, lost):
    after, readings = lost
    elsewhere = replace(after, position_rad=after.position_rad + 0.1)
    early = [taken for taken in readings if taken.stamp_s < after.origin_s + WATCHED_S]
    assert following.lost_since(early, elsewhere, [chunk]) == 0 and following.lost_since([], elsewhere, [chunk]) == 0
    assert following.lost_since(readings, elsewhere, [chunk]) == 1


def test_an_arm_that_neither_chunk_explains_tells_nothing(following, chunk, lost):
    after, readings = lost
    held = [reading(taken.stamp_s, taken.position_rad + 0.05 * np.eye(7)[3]) for taken in readings]
    assert following.lost_since(held, after, [chunk]) == 0


def test_a_chunk_that_was_over_before_the_next_began_is_not_gone_back_to(following, home, chunk, limits):
    after = swung(MotionState(chunk.end_s, chunk.position_rad[-1], np.zeros(7), np.zeros(7)), limits)
    readings = [reading(after.origin_s + stamp_s, chunk.position_rad[-1] + 1e-6 * stamp_s) for stamp_s in np.arange(0.0, 0.3, 0.02)]
    assert following.lost_since(readings, after, [chunk]) == 0 and following.still


@pytest.mark.parametrize('noise_rad', [1e-6, 0.0])
def test_an_arm_that_stands_where_the_chunk_before_came_to_rest_tells_nothing(following, chunk, limits, noise_rad):
    """It may execute that chunk, something else may have stopped it, or its encoders may say the same for ever."""
    random, after = np.random.default_rng(0), swung(sample(chunk, chunk.end_s - 0.02), limits)
    readings = [reading(after.origin_s + stamp_s, chunk.position_rad[-1] + random.normal(0, noise_rad, 7)) for stamp_s in np.arange(0.02, 0.3, 0.02)]
    assert following.lost_since(readings, after, [chunk]) == 0


def test_a_measured_motion_goes_on():
    state = coasting(JointReading(10.0, np.array([1.0, 2.0]), np.array([0.5, -1.0])), 10.3)
    assert isinstance(state, MotionState) and state.stamp_s == 10.3
    np.testing.assert_allclose(state.position_rad, [1.15, 1.7])
    np.testing.assert_array_equal(state.velocity_rad_s, [0.5, -1.0])
    np.testing.assert_array_equal(state.acceleration_rad_s2, [0.0, 0.0])
