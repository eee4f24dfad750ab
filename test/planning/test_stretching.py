"""Stretching: nothing changes within the limits, and too fast a plan becomes slower just enough."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from diffusion_planner.planning.shaping import SMOOTH_S, ShapingLimits
from diffusion_planner.planning.stretching import clamped, stretch

OFFSET_S = 0.5 * np.arange(1, 7)


@pytest.fixture(scope='module')
def limits(robot):
    return ShapingLimits.of(robot, 0.6, 0.3, 60.0)     # 1.305 rad/s for the first joint


def sweep(home, way_rad, joint=0):
    """Move one joint by way_rad [T] from home: -> position [T, J], velocity [T, J]"""
    position = np.tile(home.position_rad, (len(way_rad), 1))
    position[:, joint] += way_rad
    velocity = np.zeros_like(position)
    velocity[:, joint] = 0.4
    return position, velocity


def test_a_plan_within_the_limits_is_left_as_it_is(home, limits):
    position, velocity = sweep(home, 1.3 * OFFSET_S[:4])
    offset_s, rate, factor = stretch(OFFSET_S[:4], position, velocity, home, limits)
    assert factor == 1.0 and rate is velocity
    np.testing.assert_array_equal(offset_s, OFFSET_S[:4])


def test_a_fast_stretch_is_slowed_and_no_other(home, limits):
    # 1.305 rad between the second token and the third take a second, not half of one: all later tokens half a second later.
    position, velocity = sweep(home, np.array([0.1, 0.2, 1.505, 1.6, 1.7, 1.8]))
    offset_s, rate, factor = stretch(OFFSET_S, position, velocity, home, limits)
    np.testing.assert_allclose(offset_s, [0.5, 1.0, 2.0, 2.5, 3.0, 3.5])
    assert factor == pytest.approx(3.5 / 3.0)
    np.testing.assert_allclose(rate[:, 0], [0.4, 0.2, 0.2, 0.4, 0.4, 0.4])


def test_the_start_is_the_first_of_the_way(home, limits):
    position, velocity = sweep(home, np.full(6, 1.305))
    assert stretch(OFFSET_S, position, velocity, home, limits)[0] == pytest.approx(OFFSET_S + 0.5)


def test_jitter_of_tokens_is_no_speed(home, limits):
    # 0.1 rad to and fro every 40 ms are 2.5 rad/s, but nothing on average over +-SMOOTH_S.
    offset_s = 0.04 * np.arange(1, 25)
    position, velocity = sweep(home, 0.05 * (-1.0) ** np.arange(24))
    assert stretch(offset_s, position, velocity, home, limits)[2] == 1.0
    position, velocity = sweep(home, 2.61 * offset_s)     # and as fast in one direction
    assert stretch(offset_s, position, velocity, home, limits)[2] == pytest.approx(2.0, rel=0.02)


def test_what_is_beyond_the_position_limits_is_no_way(home, limits):
    # The joint can go 2.8873 rad, in 2.2125 s.
    position, velocity = sweep(home, np.full(1, 50.0))
    offset_s, _, factor = stretch(np.array([0.5]), position, velocity, home, limits)
    assert offset_s[0] == pytest.approx(limits.position_max_rad[0] / 1.305) and factor == pytest.approx(offset_s[0] / 0.5)


@settings(max_examples=100, deadline=None)
@given(seed=some.integers(0, 10**6), step_s=some.sampled_from([1e-6, 0.03, 0.3, 2.0]), count=some.integers(1, 12), reach=some.floats(0.0, 8.0))
def test_no_token_comes_sooner_and_none_is_too_fast(home, limits, seed, step_s, count, reach):
    random = np.random.default_rng(seed)
    gap_s = step_s * random.uniform(0.5, 1.5, count)
    position = home.position_rad + np.cumsum(random.uniform(-reach, reach, (count, 7)), axis=0)
    velocity = random.normal(size=(count, 7))
    offset_s, rate, factor = stretch(np.cumsum(gap_s), position, velocity, home, limits)
    slower_s = np.diff(offset_s, prepend=0.0)
    assert factor >= 1.0 and np.all(slower_s >= gap_s * (1 - 1e-9)) and np.all(np.abs(rate) <= np.abs(velocity))
    way = np.abs(np.diff(np.clip(np.concatenate([[home.position_rad], position]), limits.position_min_rad, limits.position_max_rad), axis=0))
    long = slower_s >= 2 * SMOOTH_S      # what is shorter counts with what is beside it
    assert np.all(way[long] <= limits.velocity_rad_s * slower_s[long, None] * 1.001)


def test_how_far_a_plan_leaves_the_position_limits(home, limits):
    position, _ = sweep(home, np.array([0.0, 0.2]))
    assert clamped(position, limits) == 0.0
    position[1, 3] = limits.position_max_rad[3] + 0.25
    position[0, 5] = limits.position_min_rad[5] - 0.1
    assert clamped(position, limits) == pytest.approx(0.25)
