import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.diffusion.matrices import scheduling_matrix

LEVELS = st.lists(st.one_of(st.just(0.0), st.just(1.0), st.floats(0.0625, 1, width=32)), min_size=1, max_size=12)


@st.composite
def schedules(draw):
    start = draw(LEVELS)
    ranks = st.lists(st.integers(0, 4), min_size=len(start), max_size=len(start))
    order = draw(st.one_of(st.sampled_from(['forward', 'backward', 'far_first']), ranks))
    return torch.tensor(start), draw(st.integers(1, 9)), draw(st.integers(0, 9)), order


BENDS = st.floats(0.125, 8)


@settings(max_examples=200, deadline=None)
@given(schedules())
def test_every_matrix_leads_from_the_start_levels_to_zero_without_rising(schedule):
    start, steps, lag, order = schedule
    matrix = scheduling_matrix(start, steps, lag, order)
    assert torch.equal(matrix[0], start)
    assert (matrix[-1] == 0).all()
    assert (matrix.diff(dim=0) <= 0).all()
    assert (matrix[:, start == 0] == 0).all()
    assert matrix.dtype == start.dtype


@settings(max_examples=200, deadline=None)
@given(schedules())
def test_every_unknown_token_takes_exactly_its_steps_and_no_row_is_wasted_below_full_lag(schedule):
    start, steps, lag, order = schedule
    matrix = scheduling_matrix(start, steps, lag, order)
    falls = matrix.diff(dim=0) < 0
    assert (falls.sum(0)[start > 0] == steps).all()
    if isinstance(order, str) and lag <= steps and (start > 0).any():
        assert falls.any(1).all()


@settings(max_examples=100, deadline=None)
@given(LEVELS, st.integers(1, 9))
def test_without_lag_the_order_does_not_matter(start, steps):
    matrices = [scheduling_matrix(torch.tensor(start), steps, 0, order) for order in ('forward', 'backward', 'far_first')]
    assert torch.equal(matrices[0], matrices[1]) and torch.equal(matrices[0], matrices[2])
    assert len(matrices[0]) == steps + 1


@settings(max_examples=100, deadline=None)
@given(LEVELS, st.integers(1, 9), st.integers(0, 9))
def test_backward_is_forward_seen_from_the_far_end(start, steps, lag):
    start = torch.tensor(start)
    assert torch.equal(scheduling_matrix(start, steps, lag, 'backward'),
                       scheduling_matrix(start.flip(0), steps, lag, 'forward').flip(1))


def test_named_patterns_by_hand():
    start = torch.tensor([0.0, 1.0, 1.0])   # one known token, two unknown
    assert scheduling_matrix(start, 2).tolist() == [[0, 1, 1], [0, 0.5, 0.5], [0, 0, 0]]
    pyramid = scheduling_matrix(start, 2, lag=1)
    assert pyramid.tolist() == [[0, 1, 1], [0, 0.5, 1], [0, 0, 0.5], [0, 0, 0]]
    autoregressive = scheduling_matrix(start, 2, lag=2)
    assert autoregressive.tolist() == [[0, 1, 1], [0, 0.5, 1], [0, 0, 1], [0, 0, 0.5], [0, 0, 0]]
    start = torch.tensor([0.0, 1.0, 1.0, 1.0])
    far_first = scheduling_matrix(start, 1, lag=1, order='far_first')
    assert far_first.tolist() == [[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_a_warm_start_uses_all_its_steps():
    matrix = scheduling_matrix(torch.tensor([0.5, 1.0]), 4)
    assert matrix[:, 0].tolist() == [0.5, 0.375, 0.25, 0.125, 0]


def test_a_bent_schedule_by_hand():
    # With 3/4, 2/4 and 1/4 of the steps left the level is 9/16, 4/16 and 1/16; a token that begins at 1/2 has half of that.
    matrix = scheduling_matrix(torch.tensor([1.0, 0.5, 0.0]), 4, bend=2)
    assert matrix[:, 0].tolist() == [1, 0.5625, 0.25, 0.0625, 0]
    assert matrix[:, 1].tolist() == [0.5, 0.28125, 0.125, 0.03125, 0]
    assert matrix[:, 2].tolist() == [0] * 5


@settings(max_examples=200, deadline=None)
@given(schedules(), BENDS)
def test_however_bent_it_leads_from_the_start_levels_to_zero_without_rising(schedule, bend):
    start, steps, lag, order = schedule
    matrix = scheduling_matrix(start, steps, lag, order, bend)
    assert torch.equal(matrix[0], start)
    assert (matrix[-1] == 0).all()
    assert (matrix.diff(dim=0) <= 0).all()
    assert (matrix[:, start == 0] == 0).all()
    assert matrix.shape == scheduling_matrix(start, steps, lag, order).shape and matrix.dtype == start.dtype


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 9), st.floats(1.25, 8))
def test_a_bend_above_one_makes_the_steps_smaller_towards_the_end(steps, bend):
    parts = -scheduling_matrix(torch.ones(1, dtype=torch.float64), steps, bend=bend)[:, 0].diff()
    assert (parts.diff() < 0).all()


@pytest.mark.parametrize('arguments', [dict(steps=0), dict(steps=3, lag=-1), dict(steps=3, order='sideways'),
                                       dict(steps=3, bend=0), dict(steps=3, bend=-1.0)])
def test_impossible_schedules_are_refused_with_what_was_given(arguments):
    with pytest.raises(ValueError, match='got'):
        scheduling_matrix(torch.ones(2), **arguments)
