"""Retiming: the way stays, and near somebody it takes longer."""
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffusion_planner.objectives.limits import Person
from diffusion_planner.planning.retiming import HEADROOM, slow_down
from diffusion_planner.robot import JointFrame, Robot
from diffusion_planner.splines import cubic

FRAME = JointFrame((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
# One joint about z that turns a tip at 1 m: at the angle q it is at (cos q, sin q), and a rad/s is a metre per second.
LEVER = Robot('lever', ('hinge',), (-3.0,), (3.0,), (9.0,), (9.0,), (9.0,), 0.01, (FRAME,), JointFrame((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)), (0.0,))
LIMIT_M_S = 0.2


def _near(angle, radius_m=0.3, speed_m_s=LIMIT_M_S):
    return Person('somebody', (float(np.cos(angle)), float(np.sin(angle)), 0.0), radius_m, speed_m_s)


def _sweep(end=2.0, seconds=2.0, points=8, velocity=None):
    """One path from angle 0 to `end` at constant speed, from a start that already has that speed, or a given one."""
    speed = end / seconds
    observation = SimpleNamespace(position_rad=np.zeros((1, 1)), velocity_rad_s=np.full((1, 1), speed if velocity is None else velocity))
    share = np.arange(1, points + 1) / points
    return observation, (seconds * share)[None], (end * share)[None, :, None], np.full((1, points, 1), speed)


def _speeds(observation, offset_s, position_rad, velocity_rad_s, points=40):
    """Where the tip is along the cubics of a path, and how fast: -> angle, speed [P, T, points]"""
    def begun(first, rest):
        return np.concatenate([np.repeat(first[None, -1:], len(rest), 0), rest], 1)
    path, rate, gap_s = begun(observation.position_rad, position_rad), begun(observation.velocity_rad_s, velocity_rad_s), np.diff(offset_s, prepend=0.0)
    elapsed = np.linspace(0, 1, points) * gap_s[..., None]
    angle, speed, _ = cubic(elapsed, gap_s[..., None], (path[:, :-1, None], rate[:, :-1, None]), (path[:, 1:, None], rate[:, 1:, None]))
    return angle[..., 0], np.abs(speed[..., 0])


def test_far_from_everybody_nothing_changes():
    observation, offset_s, position, velocity = _sweep()
    slowed_s, slowed = slow_down(observation, offset_s, position, velocity, (_near(-2.0),), LEVER)
    np.testing.assert_allclose(slowed_s, offset_s, rtol=1e-12)
    np.testing.assert_array_equal(slowed, velocity)
    np.testing.assert_allclose(slow_down(observation, offset_s, position, velocity, (), LEVER)[0], offset_s, rtol=1e-12)


def test_who_allows_the_speed_that_it_has_changes_nothing():
    # A metre per second with headroom for the limit: 1 / 0.85 = 1.18 is allowed.
    observation, offset_s, position, velocity = _sweep()
    np.testing.assert_allclose(slow_down(observation, offset_s, position, velocity, (_near(1.0, speed_m_s=1.2),), LEVER)[0], offset_s, rtol=1e-12)


def test_the_time_it_takes_by_hand():
    # Somebody near the whole way: 2 m at 0.85 x 0.2 m/s take 11.8 s. The token after the first stretch is a little slow, for the
    # cubic that leads there is fastest in its middle.
    observation, offset_s, position, velocity = _sweep(velocity=HEADROOM * LIMIT_M_S)
    slowed_s, slowed = slow_down(observation, offset_s, position, velocity, (_near(1.0, radius_m=5.0),), LEVER)
    assert slowed_s[0, -1] == pytest.approx(2.0 / (HEADROOM * LIMIT_M_S), rel=0.1)
    np.testing.assert_allclose(slowed[0, 2:], HEADROOM * LIMIT_M_S, rtol=0.1)


@pytest.mark.parametrize('start_rad_s', [0.3, 0.5, 1.0])
@pytest.mark.parametrize('person', [_near(1.0, 5.0), _near(0.35, 0.25)], ids=['everywhere', 'ahead'])
def test_a_start_that_is_too_fast_does_not_swing_out(start_rad_s, person):
    # The arm cannot be slower than it is. With three times the time of the first stretch, 3 x 0.25 rad / speed, the cubic that ends
    # at rest just does not overshoot; with more it swings out by 4/27 of speed times time, in a minute for several radians.
    observation, offset_s, position, velocity = _sweep(end=2.0, seconds=8.0, velocity=start_rad_s)
    slowed_s, slowed = slow_down(observation, offset_s, position, velocity, (person,), LEVER)
    reached, _ = _speeds(observation, slowed_s, position, slowed)
    plain, _ = _speeds(observation, offset_s, position, velocity)
    assert reached[0, 0].max() <= max(0.25, plain[0, 0].max()) + 1e-6     # the first token is at 0.25 rad
    assert slowed_s[0, 0] <= max(3 * 0.25 / start_rad_s, offset_s[0, 0]) + 1e-9


@settings(max_examples=40, deadline=None)
# Six postures are looked at in a stretch of at most 0.6 m: who is near for less than that between two of them goes unnoticed.
@given(st.floats(0.2, 1.8), st.floats(0.2, 0.8), st.floats(0.05, 0.5), st.floats(0.6, 2.5), st.integers(4, 14))
def test_near_somebody_the_limit_is_kept_and_time_only_goes_on(angle, radius_m, limit_m_s, end, points):
    person = _near(angle, radius_m, limit_m_s)
    observation, offset_s, position, velocity = _sweep(end, points=points, velocity=0.0)
    before = position.copy(), velocity.copy(), offset_s.copy()
    slowed_s, slowed = slow_down(observation, offset_s, position, velocity, (person,), LEVER)
    for kept, given_ in zip(before, (position, velocity, offset_s)):
        np.testing.assert_array_equal(kept, given_)                            # what was given is left alone
    gap_s, old_s = np.diff(slowed_s, prepend=0.0), np.diff(offset_s, prepend=0.0)
    assert (gap_s > 0).all() and (gap_s >= old_s * (1 - 1e-9)).all()
    assert (np.abs(slowed) <= np.abs(velocity) + 1e-12).all() and (np.sign(slowed) == np.sign(velocity)).all()
    reached, speed = _speeds(observation, slowed_s, position, slowed)
    near = np.hypot(np.cos(reached) - person.centre_m[0], np.sin(reached) - person.centre_m[1]) <= radius_m
    assert (speed[near] <= limit_m_s * 1.02).all()


def test_of_several_people_the_slowest_counts():
    observation, offset_s, position, velocity = _sweep()
    quick, slow = _near(1.0, 5.0, 0.5), _near(1.0, 5.0, 0.2)
    both = slow_down(observation, offset_s, position, velocity, (quick, slow), LEVER)[0]
    np.testing.assert_allclose(both, slow_down(observation, offset_s, position, velocity, (slow,), LEVER)[0])


def test_each_path_is_retimed_by_itself():
    # The first path goes by somebody at angle 1, the second turns the other way.
    observation, offset_s, position, velocity = _sweep(velocity=0.0)
    both = slow_down(observation, np.repeat(offset_s, 2, 0), np.concatenate([position, -position]), np.concatenate([velocity, -velocity]),
                     (_near(1.0),), LEVER)
    alone = slow_down(observation, offset_s, position, velocity, (_near(1.0),), LEVER)
    np.testing.assert_allclose(both[0][0], alone[0][0])
    np.testing.assert_allclose(both[0][1], offset_s[0])
    assert both[0][0, -1] > offset_s[0, -1]


def test_only_stretches_near_somebody_take_longer():
    observation, offset_s, position, velocity = _sweep(velocity=1.0)
    slowed_s, _ = slow_down(observation, offset_s, position, velocity, (_near(2.0, 0.4),), LEVER)
    longer = np.diff(slowed_s, prepend=0.0)[0] > np.diff(offset_s, prepend=0.0)[0] + 1e-9
    # A chord of 0.4 m is an angle of 2 asin(0.2) = 0.40: near from angle 1.6 on, in the seventh stretch of 0.25 rad.
    assert longer.tolist() == [False] * 6 + [True] * 2
