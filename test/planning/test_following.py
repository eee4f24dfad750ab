"""Whether an arm does what its chunk says, from readings by hand."""
import numpy as np
import pytest

from diffusion_planner.planning.following import REST_RAD_S, UNMOVED_RAD, Following, NotFollowing, coasting
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import ShapingLimits, brake, shape
from diffusion_planner.records import JointReading, MotionState

TOLERANCE_RAD = 0.25


@pytest.fixture
def following(robot):
    return Following(robot, TOLERANCE_RAD)


@pytest.fixture(scope='module')
def limits(robot):
    return ShapingLimits.of(robot, 0.6, 0.3, 60.0)


@pytest.fixture(scope='module')
def chunk(home, limits):
    """One second at 1 rad/s of the first joint, from 10.0 s on."""
    offset_s, position_rad = np.linspace(0.25, 2.0, 8), np.tile(home.position_rad, (8, 1))
    position_rad[:, 0] += offset_s
    velocity_rad_s = np.zeros_like(position_rad)
    velocity_rad_s[:, 0] = 1.0
    return shape(offset_s, position_rad, velocity_rad_s, home, limits, 1.0)


def reading(stamp_s, position_rad, speed_rad_s=0.0):
    return JointReading(stamp_s, np.array(position_rad), np.full(7, speed_rad_s))


def stray(following, home, chunk, limits, held_rad, at_s=10.8):
    """Let the arm be held where it is, until its chunk is stopped: -> the brake"""
    with pytest.raises(NotFollowing):
        following.reference(reading(at_s, held_rad), chunk, None, at_s, at_s + 0.3)
    following.note_stop(reading(at_s, held_rad))
    return brake(sample(chunk, at_s + 0.06), limits)


def test_an_arm_at_rest_sets_out_from_where_it_is_measured(following, home):
    with pytest.raises(NotReady, match='come to rest') as waiting:
        following.reference(reading(10.0, home.position_rad, 1.1 * REST_RAD_S), None, None, 10.0, 10.3)
    assert not isinstance(waiting.value, NotFollowing)
    state = following.reference(reading(10.0, home.position_rad, 0.9 * REST_RAD_S), None, None, 10.0, 10.3)
    assert state.stamp_s == 10.3 and not state.velocity_rad_s.any() and not state.acceleration_rad_s2.any()
    np.testing.assert_array_equal(state.position_rad, home.position_rad)


def test_an_arm_that_lags_within_the_tolerance_goes_on_from_its_chunk(following, chunk):
    lagging = reading(10.6, sample(chunk, 10.6).position_rad - 0.9 * TOLERANCE_RAD)
    state, expected = following.reference(lagging, chunk, None, 10.6, 10.9), sample(chunk, 10.9)
    for field in ('stamp_s', 'position_rad', 'velocity_rad_s', 'acceleration_rad_s2'):
        np.testing.assert_array_equal(getattr(state, field), getattr(expected, field))
    assert following.strays == 0


def test_once_left_a_chunk_stays_left_until_the_next(following, home, chunk, limits):
    stray(following, home, chunk, limits, home.position_rad)
    with pytest.raises(NotFollowing):
        following.reference(reading(10.9, sample(chunk, 10.9).position_rad), chunk, None, 10.9, 11.2)
    following.renew()
    following.reference(reading(10.9, sample(chunk, 10.9).position_rad), chunk, None, 10.9, 11.2)


def test_a_chunk_that_has_not_begun_cannot_be_left(following, home, chunk):
    away = reading(9.9, home.position_rad + 1.0)
    np.testing.assert_allclose(following.reference(away, chunk, None, 9.9, 10.2).position_rad, sample(chunk, 10.2).position_rad)


def test_an_arm_that_never_moves_is_counted(following, home, chunk, limits):
    held = reading(10.0, home.position_rad)
    following.reference(held, None, None, 10.0, 10.3)
    for count in (1, 2, 3):
        stop = stray(following, home, chunk, limits, home.position_rad + 0.9 * UNMOVED_RAD)
        assert following.unmoved == count
        with pytest.raises(NotReady) as waiting:      # the brake is on its way: not twice
            following.reference(reading(10.9, home.position_rad), stop, stop, 10.9, 11.2)
        assert not isinstance(waiting.value, NotFollowing)
        following.reference(reading(stop.end_s, home.position_rad), stop, stop, stop.end_s, stop.end_s + 0.3)
        following.renew()
        assert following.strays == count


def test_an_arm_that_moved_and_was_then_held_back_is_not(following, home, chunk, limits):
    following.reference(reading(10.0, home.position_rad), None, None, 10.0, 10.3)
    stray(following, home, chunk, limits, home.position_rad)
    assert following.unmoved == 1
    following.renew()
    stray(following, home, chunk, limits, home.position_rad + 1.1 * UNMOVED_RAD)
    assert following.unmoved == 0


def test_a_chunk_that_was_executed_to_its_end_clears_the_count(following, home, chunk, limits):
    following.reference(reading(10.0, home.position_rad), None, None, 10.0, 10.3)
    stray(following, home, chunk, limits, home.position_rad)
    following.renew()
    following.reference(reading(chunk.end_s, chunk.position_rad[-1]), chunk, None, chunk.end_s, chunk.end_s + 0.3)
    assert following.unmoved == 0


def test_a_stop_of_an_arm_that_follows_counts_nothing(following, home):
    following.reference(reading(10.0, home.position_rad), None, None, 10.0, 10.3)
    following.note_stop(reading(10.1, home.position_rad))
    assert following.unmoved == 0


def test_the_way_back_takes_as_long_as_half_the_acceleration_needs(following, home, chunk, limits, robot):
    stop = stray(following, home, chunk, limits, home.position_rad)
    gap_rad = stop.position_rad[-1, 0] - home.position_rad[0]
    state = following.reference(reading(stop.end_s, home.position_rad), stop, stop, stop.end_s, stop.end_s + 0.3)
    np.testing.assert_array_equal(state.position_rad, home.position_rad)
    assert state.stamp_s - stop.end_s == pytest.approx(np.sqrt(5.78 * gap_rad / (0.5 * robot.acceleration_max_rad_s2[0])))
    late = following.reference(reading(stop.end_s, home.position_rad), stop, stop, stop.end_s, stop.end_s + 9.0)
    assert late.stamp_s == stop.end_s + 9.0


def test_where_the_controller_says_it_holds_the_arm_comes_before_the_measurement(following, home):
    below, at_s = reading(10.0, home.position_rad - 0.01), 10.0
    for commanded, expected in (((at_s - 0.4, home.position_rad), home.position_rad),
                                ((at_s - 0.6, home.position_rad), below.position_rad),                  # not known any more
                                ((at_s, home.position_rad + TOLERANCE_RAD), below.position_rad),        # nothing that this arm is at
                                (None, below.position_rad)):
        following.commanded = commanded
        np.testing.assert_array_equal(following.reference(below, None, None, at_s, 10.3).position_rad, expected)


def test_a_measured_motion_goes_on():
    state = coasting(JointReading(10.0, np.array([1.0, 2.0]), np.array([0.5, -1.0])), 10.3)
    assert isinstance(state, MotionState) and state.stamp_s == 10.3
    np.testing.assert_allclose(state.position_rad, [1.15, 1.7])
    np.testing.assert_array_equal(state.velocity_rad_s, [0.5, -1.0])
    np.testing.assert_array_equal(state.acceleration_rad_s2, [0.0, 0.0])
