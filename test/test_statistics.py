"""The area under a ROC curve, by hand."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from diffusion_planner.statistics import roc_area

scores = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30)


@pytest.mark.parametrize('score, positive, area', [
    ([1, 2, 3, 4], [0, 0, 1, 1], 1.0), ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
    ([1, 3, 2, 4], [0, 0, 1, 1], 0.75),          # of four pairs only (2 over 3) is the wrong way round
    ([1, 1, 1], [0, 1, 1], 0.5),                 # ties count half
    ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),         # wins: 2 over 1, 3 over both; the tie of 2 and 2 a half: 3.5 of 4
])
def test_by_hand(score, positive, area):
    assert roc_area(score, positive) == area


@pytest.mark.parametrize('score, positive', [([1, 2], [1, 1]), ([1, 2], [0, 0]), ([], [])])
def test_of_one_kind_only_there_is_none(score, positive):
    assert np.isnan(roc_area(score, positive))


@given(scores)
def test_it_is_the_share_of_pairs_that_are_the_right_way_round(rows):
    score, positive = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if positive.all() or not positive.any():
        return
    over = score[positive][:, None] - score[~positive][None]
    assert roc_area(score, positive) == pytest.approx(((over > 0) + 0.5 * (over == 0)).mean())
    assert roc_area(-score, positive) == pytest.approx(1 - roc_area(score, positive))
    assert roc_area(np.exp(score), positive) == roc_area(score, positive)          # only the order counts
