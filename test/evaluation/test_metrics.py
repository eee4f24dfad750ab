"""Figures of episodes and their intervals."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from diffusion_planner.evaluation.metrics import clustered_interval, clustered_share, mean_interval, wilson


def test_wilson_by_hand():
    # 5 of 10 at z = 2: spread 0.4, centre (0.5 + 0.2) / 1.4 = 0.5, half 2 / 1.4 sqrt(0.025 + 0.01) = 0.2673.
    assert wilson(5, 10, z=2.0) == pytest.approx((0.5 - 0.26726, 0.5 + 0.26726), abs=1e-5)
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0 and 0.2 < wilson(0, 10)[1] < 0.35


def test_the_interval_of_a_mean_is_two_standard_errors_wide_on_either_side():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - 1.96 * values.std() / 20, mean + 1.96 * values.std() / 20), abs=0.02)


def test_one_value_is_its_own_interval_and_equal_calls_give_equal_intervals():
    assert mean_interval([0.3]) == [0.3, 0.3, 0.3]
    assert mean_interval([0.1, 0.5, 0.9]) == mean_interval(np.array([0.1, 0.5, 0.9]))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_the_mean_lies_in_its_interval(values):
    mean, low, high = mean_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert all(isinstance(value, float) for value in (mean, low, high))      # as JSON wants them


def test_the_interval_of_groups_is_that_of_their_means_where_they_are_alike_within():
    means = np.random.default_rng(1).normal(3.0, 2.0, 50)
    assert clustered_interval([[mean] * 7 for mean in means]) == pytest.approx(mean_interval(means))


def test_groups_count_by_their_size_and_empty_ones_do_not():
    # Of 4 values 3 are 1: a draw of two groups has a mean of 1, 3/4 or 0.
    assert clustered_interval([[1.0, 1.0, 1.0], [], [0.0]]) == pytest.approx([0.75, 0.0, 1.0])
    assert clustered_interval([[], []]) is None and clustered_share([]) is None and clustered_interval([]) is None


def test_a_share_without_spread_has_the_interval_of_as_many_trials_as_groups():
    assert clustered_share([[True, True], [True]]) == pytest.approx([1.0, *wilson(2, 2)])
    assert clustered_share([[False]] * 9) == pytest.approx([0.0, *wilson(0, 9)])
    assert clustered_share([[True], [False]]) == clustered_interval([[1], [0]])
