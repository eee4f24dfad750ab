"""Shaping: limits kept between knots too, exact start, exact rest, and any number of replans on top of each other."""
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from diffusion_planner.planning.jerk_limited import JerkLimited, State, extent, state_at
from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import JERK_RATIO, MARGIN_RAD, TAIL_S, ShapingLimits, brake, shape
from diffusion_planner.records import MotionState
from diffusion_planner.safety import check_chunk, peak_jerk
from diffusion_planner.splines import quintic_at

KNOT_S = 0.02
NOISE = some.sampled_from([0.0, 0.01, 0.3])


@pytest.fixture(scope='module')
def limits(robot):
    return ShapingLimits.of(robot, 0.6, 0.3, 60.0)


def smooth_plan(random, start_rad, reach_rad=0.5, count=12):
    """Lay a rest-to-rest quintic through `count` tokens: -> offset_s [T], position [T, J], velocity [T, J], truth(offset_s)"""
    step_rad, duration_s = random.uniform(-reach_rad, reach_rad, 7), random.uniform(1.5, 2.5)

    def truth(offset_s):
        share = np.clip(offset_s / duration_s, 0, 1)[:, None]
        return start_rad + step_rad * (10 * share**3 - 15 * share**4 + 6 * share**5)
    offset_s = duration_s * np.arange(1, count + 1) / count
    share = (offset_s / duration_s)[:, None]
    return offset_s, truth(offset_s), step_rad * 30 * share**2 * (1 - share)**2 / duration_s, truth


def wild_plan(random):
    """Draw a plan that no arm could follow."""
    count = int(random.integers(1, 13))
    return random.uniform(0.03, 0.3) * np.arange(1, count + 1), random.uniform(-4, 4, (count, 7)), random.uniform(-9, 9, (count, 7))


def assert_sound(chunk, limits, robot, start):
    at_s = np.arange(0.0, chunk.offset_s[-1], 1 / 240)
    knots = (chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2)
    position, velocity, acceleration = quintic_at(chunk.offset_s, *knots, at_s)
    assert np.all(np.abs(velocity) <= limits.velocity_rad_s) and np.all(np.abs(acceleration) <= limits.acceleration_rad_s2)
    jerk = np.diff(chunk.acceleration_rad_s2, axis=0) / KNOT_S
    assert np.all(np.abs(jerk) <= limits.jerk_rad_s3 * (1 + 1e-6)) and np.all(peak_jerk(chunk) <= JERK_RATIO * limits.jerk_rad_s3 + 1e-6)
    assert np.all(position >= robot.position_min_rad) and np.all(position <= robot.position_max_rad)
    for knot, expected in zip(knots, (start.position_rad, start.velocity_rad_s, start.acceleration_rad_s2)):
        np.testing.assert_array_equal(knot[0], expected)
    assert not chunk.velocity_rad_s[-1].any() and not chunk.acceleration_rad_s2[-1].any()
    np.testing.assert_allclose(np.diff(chunk.offset_s), KNOT_S)
    assert chunk.offset_s[0] == 0.0 and chunk.origin_s == start.stamp_s
    assert check_chunk(chunk, robot, start) == []


def test_a_feasible_plan_is_tracked(robot, home, limits):
    errors = []
    for seed in range(8):
        offset_s, position, velocity, truth = smooth_plan(np.random.default_rng(seed), home.position_rad)
        chunk = shape(offset_s, position, velocity, home, limits, 1.5)
        assert_sound(chunk, limits, robot, home)
        followed = chunk.offset_s <= 1.5
        errors.append(np.abs(chunk.position_rad[followed] - truth(chunk.offset_s[followed])))
    assert np.mean(np.concatenate(errors)) < 0.005 and np.concatenate(errors).max() < 0.04


def test_noisy_tokens_are_smoothed(robot, home, limits):
    random = np.random.default_rng(0)
    offset_s, position, velocity, truth = smooth_plan(random, home.position_rad)
    position, velocity = position + random.normal(0, 0.01, position.shape), velocity + random.normal(0, 0.02, velocity.shape)
    chunk = shape(offset_s, position, velocity, home, limits, 1.5)
    assert_sound(chunk, limits, robot, home)
    followed = chunk.offset_s <= 1.5
    assert np.abs(chunk.position_rad[followed] - truth(chunk.offset_s[followed])).mean() < 0.01
    assert np.sqrt(np.mean(np.diff(chunk.acceleration_rad_s2[followed], axis=0) ** 2)) / KNOT_S < 20.0


def test_a_finished_plan_settles_at_its_last_token(robot, home, limits):
    offset_s, position, velocity, _ = smooth_plan(np.random.default_rng(3), home.position_rad)
    chunk = shape(offset_s, position, velocity, home, limits, 5.0)
    assert_sound(chunk, limits, robot, home)
    np.testing.assert_allclose(chunk.position_rad[-1], position[-1], atol=1e-6)


def test_a_cut_plan_brakes_soon(robot, home, limits):
    offset_s, position, velocity, _ = smooth_plan(np.random.default_rng(4), home.position_rad)
    chunk = shape(offset_s, position, velocity, home, limits, 0.8)
    assert_sound(chunk, limits, robot, home)
    assert 0.8 < chunk.offset_s[-1] < 1.6


@settings(max_examples=60, deadline=None)
@given(seed=some.integers(0, 10**6), noise=NOISE, replans=some.integers(1, 6), wild=some.booleans())
def test_replans_keep_the_limits(robot, home, limits, seed, noise, replans, wild):
    random, state = np.random.default_rng(seed), home
    for _ in range(replans):
        offset_s, position, velocity, _ = smooth_plan(random, state.position_rad)
        plan = wild_plan(random) if wild else (offset_s, position + random.normal(0, noise, position.shape), velocity)
        chunk = shape(*plan, state, limits, 1.5)
        assert_sound(chunk, limits, robot, state)
        state = sample(chunk, chunk.origin_s + random.uniform(0.3, 0.8))
    assert_sound(brake(state, limits), limits, robot, state)


@settings(max_examples=40, deadline=None)
@given(seed=some.integers(0, 10**6), scale=some.sampled_from([0.05, 0.3, 1.0]), jerk=some.sampled_from([10.0, 500.0, 1e5]))
def test_any_limits_are_kept(robot, home, seed, scale, jerk):
    limits, random = ShapingLimits.of(robot, scale, scale, jerk), np.random.default_rng(seed)
    assert_sound(shape(*wild_plan(random), home, limits, 1.5), limits, robot, home)


@pytest.mark.parametrize('side', ['position_min_rad', 'position_max_rad'])
def test_full_speed_at_a_position_limit_stops_inside(robot, home, limits, side):
    state, goal = home, np.array(getattr(robot, side)) + (1.0 if side == 'position_max_rad' else -1.0)
    for _ in range(12):
        push = np.tile(np.sign(goal - state.position_rad) * limits.velocity_rad_s, (8, 1))
        chunk = shape(0.2 * np.arange(1, 9), np.tile(goal, (8, 1)), push, state, limits, 1.5)
        assert_sound(chunk, limits, robot, state)
        state = sample(chunk, chunk.origin_s + 0.5)
    gap = np.abs(state.position_rad - getattr(robot, side))
    assert gap.min() > 0.9 * MARGIN_RAD and gap.max() < 0.1


def test_a_start_outside_the_position_limits_comes_inside(robot, home, limits):
    outside = np.array(robot.home_rad)
    outside[3] = robot.position_max_rad[3] + 0.05
    start = MotionState(0.0, outside, np.zeros(7), np.zeros(7))
    chunk = shape(np.array([0.8, 1.6]), np.tile(home.position_rad, (2, 1)), np.zeros((2, 7)), start, limits, 1.5)
    assert np.all(np.diff(chunk.position_rad[:, 3]) <= 1e-9) and chunk.position_rad[-1, 3] < robot.position_max_rad[3]
    assert check_chunk(chunk, robot, start) == []


def test_brake_is_prompt_and_at_rest_already_it_holds(robot, home, limits):
    moving = MotionState(0.0, home.position_rad, 0.9 * limits.velocity_rad_s, np.zeros(7))
    assert_sound(brake(moving, limits), limits, robot, moving)
    assert brake(moving, limits).offset_s[-1] < 0.8
    held = brake(home, limits)
    assert np.all(held.position_rad == home.position_rad) and len(held.offset_s) == 2


def test_no_time_to_follow_is_a_brake(home, limits, robot):
    moving = MotionState(0.0, home.position_rad, 0.5 * limits.velocity_rad_s, np.zeros(7))
    chunk = shape(np.array([0.5]), home.position_rad[None], np.zeros((1, 7)), moving, limits, 0.0)
    np.testing.assert_array_equal(chunk.position_rad, brake(moving, limits).position_rad)


def test_a_plan_that_is_not_finite_is_refused(home, limits):
    with pytest.raises(ValueError, match='plan: got values that are not finite'):
        shape(np.array([0.5]), np.full((1, 7), np.nan), np.zeros((1, 7)), home, limits, 1.5)


def test_it_is_pure_and_quick(robot, home, limits):
    plan = smooth_plan(np.random.default_rng(5), home.position_rad, 0.3)[:3]
    first, busy_s = shape(*plan, home, limits, 1.5), []
    for _ in range(5):
        begun = time.process_time()
        again = shape(*plan, home, limits, 1.5)
        busy_s.append(time.process_time() - begun)
    np.testing.assert_array_equal(first.position_rad, again.position_rad)
    assert min(busy_s) < 0.008


@settings(max_examples=60, deadline=None)
@given(seed=some.integers(0, 10**6), stops=some.booleans())
def test_the_extent_of_a_motion(seed, stops):
    random = np.random.default_rng(seed)
    solver = JerkLimited(*random.uniform(0.2, 3.0, (3, 4)) * [[1.0], [2.0], [20.0]])
    state = State(random.uniform(-3, 3, 4), random.uniform(-1, 1, 4), random.uniform(-2, 2, 4))
    motion = solver.stop(state) if stops else solver.move(state, random.uniform(-3, 3, 4), np.zeros(4))
    way = np.array([state_at(motion, at_s).position for at_s in np.linspace(0, motion.duration, 3000)])
    np.testing.assert_allclose(extent(motion), (way.min(axis=0), way.max(axis=0)), atol=2e-5)


def test_a_range_without_zero_is_kept(robot, home, limits):
    # Joint 4 ends at -0.07. Slow to get going, it swings towards that end first to meet a plan that rushes the other way.
    limits, start = ShapingLimits.of(robot, 0.8, 0.03, 2.4), np.array(robot.home_rad)
    start[3] = robot.position_max_rad[3] - 0.03
    rest, offset_s = MotionState(0.0, start, np.zeros(7), np.zeros(7)), 0.25 * np.arange(1, 7)
    rush = np.tile(-1.7 * (np.arange(7) == 3), (6, 1))
    chunk = shape(offset_s, start + np.where(rush, -0.6 * offset_s[:, None]**2, 0.0), rush, rest, limits, 0.5)
    assert check_chunk(chunk, robot, rest) == [] and chunk.position_rad[:, 3].max() > start[3] + 0.005


def test_a_last_token_hours_away_is_not_driven_to(robot, home):
    for scale, jerk in ((0.01, 60.0), (1e-5, 60.0)):
        chunk = shape(np.array([0.1]), home.position_rad[None] + 1.0, np.zeros((1, 7)), home, ShapingLimits.of(robot, scale, 0.3, jerk), 1.5)
        assert chunk.offset_s[-1] < TAIL_S and check_chunk(chunk, robot, home) == []


def test_the_robots_jerk_is_kept_whatever_the_operator_allows(robot):
    limits = ShapingLimits.of(robot, 1.0, 1.0, 1e4)
    assert np.all(JERK_RATIO * limits.jerk_rad_s3 <= np.array(robot.jerk_max_rad_s3) * (1 + 1e-12))
    np.testing.assert_array_equal(ShapingLimits.of(robot, 0.6, 0.3, 60.0).jerk_rad_s3, np.full(7, 60.0))


def test_no_jerk_limited_profile_exceeds_the_ratio():
    # What a jerk of 1 over [0, 1] does to the quintic's at its beginning is linear in it, so the worst sign of each moment adds up.
    moment = (np.arange(20000) + 0.5) / 20000
    position, velocity, acceleration = (1 - moment)**2 / 2, 1 - moment, np.ones_like(moment)
    worst = np.abs(60 * position - 24 * velocity + 3 * acceleration).mean()
    assert 2.17 < worst < JERK_RATIO
