"""Playback: the state a controller would have, by hand arithmetic and against the controller itself."""
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from diffusion_planner.planning.playback import positions, sample
from diffusion_planner.records import ActionChunk
from diffusion_planner.sim.controller import TrajectoryController
from diffusion_planner.splines import cubic, cubic_at, linear, quintic, quintic_at

ROWS = arrays(np.float64, (4, 2), elements=some.floats(-3, 3))


def chunk_of(position, velocity, acceleration, origin_s=5.0):
    return ActionChunk(origin_s, 0.1 * np.arange(len(position)), *map(np.array, (position, velocity, acceleration)))


def test_half_way_of_a_rest_to_rest_quintic():
    # 10/8 - 15/16 + 6/32 = 0.5; speed (30/4 - 60/8 + 30/16) / 0.1 s = 18.75 of 1 rad per 0.1 s.
    state = sample(chunk_of([[0.0], [1.0]], [[0.0], [0.0]], [[0.0], [0.0]]), 5.05)
    assert state.position_rad == pytest.approx(0.5) and state.velocity_rad_s == pytest.approx(18.75)
    assert state.acceleration_rad_s2 == pytest.approx(0.0, abs=1e-9) and state.stamp_s == 5.05


def test_before_the_origin_it_is_the_first_point_and_after_the_end_the_last_at_rest():
    chunk = chunk_of([[0.1], [0.2]], [[0.3], [0.4]], [[0.5], [0.6]])
    before, after = sample(chunk, 4.0), sample(chunk, 6.0)
    assert (before.position_rad, before.velocity_rad_s, before.acceleration_rad_s2) == pytest.approx((0.1, 0.3, 0.5))
    assert (after.position_rad, after.velocity_rad_s, after.acceleration_rad_s2) == (pytest.approx(0.2), 0.0, 0.0)


def test_a_chunk_of_one_knot_stands_still():
    assert sample(chunk_of([[0.7]], [[0.0]], [[0.0]]), 7.0).position_rad == 0.7


def test_positions_of_two_chunks_are_those_of_the_one_before_until_the_next_begins():
    before = chunk_of([[0.0], [1.0], [1.0]], [[0.0], [0.5], [0.0]], [[0.0], [0.0], [0.0]], origin_s=5.0)
    chunk = chunk_of([[0.7], [0.2]], [[0.1], [0.0]], [[0.0], [0.0]], origin_s=5.15)
    at_s = np.array([4.9, 5.0, 5.05, 5.149, 5.15, 5.2, 5.25, 5.4])
    expected = [sample(before if instant_s < 5.15 else chunk, instant_s).position_rad for instant_s in at_s]
    np.testing.assert_allclose(positions(chunk, before, at_s), expected)
    alone = [sample(chunk, instant_s).position_rad for instant_s in at_s]      # it stood at its first point
    np.testing.assert_allclose(positions(chunk, None, at_s), alone)
    np.testing.assert_array_equal(positions(chunk, None, at_s[:4]), 0.7)


@settings(max_examples=20, deadline=None)
@given(ROWS, ROWS, ROWS)
def test_splines_pass_their_knots(position, velocity, acceleration):
    knot_s = np.array([0.0, 0.1, 0.35, 0.4])
    for got, expected in zip(quintic_at(knot_s, position, velocity, acceleration, knot_s), (position, velocity, acceleration)):
        np.testing.assert_allclose(got, expected, atol=1e-8)
    for got, expected in zip(cubic_at(knot_s, position, velocity, knot_s), (position, velocity)):
        np.testing.assert_allclose(got, expected, atol=1e-8)


@pytest.mark.parametrize('piece, order', [(cubic, 2), (quintic, 3)])
def test_velocity_and_acceleration_are_the_derivatives(piece, order):
    begin, end = np.random.default_rng(0).normal(size=(2, order, 1, 3))
    at_s, step = np.linspace(0.01, 0.19, 9), 1e-5
    low, here, high = (piece(at_s + shift, np.full(9, 0.2), begin, end) for shift in (-step, 0.0, step))
    np.testing.assert_allclose((high[0] - low[0]) / (2 * step), here[1], atol=1e-6)
    np.testing.assert_allclose((high[1] - low[1]) / (2 * step), here[2], atol=1e-5)


def test_linear_moves_evenly():
    position, velocity, acceleration = linear(0.25, 1.0, np.array([0.0]), np.array([2.0]))
    assert (position, velocity, acceleration) == (0.5, 2.0, 0.0)


def test_playback_is_what_the_controller_does():
    random = np.random.default_rng(1)
    rows = random.normal(0, 0.2, (3, 6, 2))
    rows[1:, -1] = 0.0
    chunk = chunk_of(*rows, origin_s=1.0)
    points = [SimpleNamespace(positions=list(p), velocities=list(v), accelerations=list(a), effort=[],
                              time_from_start=SimpleNamespace(sec=0, nanosec=round(1e9 * offset)))
              for offset, p, v, a in zip(chunk.offset_s, *rows)]
    controller = TrajectoryController(('a', 'b'), 1 / 240)
    stamp = SimpleNamespace(sec=1, nanosec=0)
    message = SimpleNamespace(header=SimpleNamespace(stamp=stamp), joint_names=['a', 'b'], points=points)
    assert controller.accept(message, 1.0) == []
    for cycle in range(140):
        now_s, state = 1.0 + cycle / 240, sample(chunk, 1.0 + cycle / 240)
        expected = (state.position_rad, state.velocity_rad_s, state.acceleration_rad_s2)
        np.testing.assert_allclose(controller.reference(now_s), expected, atol=1e-5)
