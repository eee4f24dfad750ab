"""Rows are those of the pairs asked for, whatever was asked for before, and only what is new is made."""
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffusion_planner.runtime.onnx_rows import BATCH, Rows, row_name

COUNT, WIDTH, CAPACITY = 3, 2, 20


class Conditions:
    """Makes rows that say what they were made of: the pair, times the number of the table."""

    def __init__(self):
        self.made = []

    def __call__(self, level, offset_s):
        assert len(level) % BATCH == 0 and level.dtype == offset_s.dtype == np.float32
        self.made += list(zip(level.tolist(), offset_s.tolist()))
        return {'rows': np.stack([number * np.stack([level, offset_s], -1) for number in range(1, COUNT + 1)])}

    def new(self):
        """List the pairs made since the last call, without what fills the batch up."""
        made, self.made = self.made, []
        return [pair for pair in made if pair != (0.0, 0.0)]


@pytest.fixture
def rows():
    return Rows(Conditions(), CAPACITY)


def check(rows, level, offset_s):
    """Find rows and look whether they are the right ones: -> index"""
    index, pairs = rows.find(level, offset_s), np.stack(np.broadcast_arrays(np.float32(level), np.float32(offset_s)), -1)
    assert index.dtype == np.int64 and index.shape == pairs.shape[:-1]
    for number in range(COUNT):
        np.testing.assert_array_equal(rows.tables[row_name(number)][index], (number + 1) * pairs)
    return index


def test_every_place_of_a_schedule_finds_its_row(rows):
    level, offset_s = np.linspace(1, 0.2, 3)[:, None, None] * np.ones((1, 2, 3)), np.array([[0.5, 1.0, 1.5], [1.0, 2.0, 3.0]])
    index = check(rows, level, offset_s)
    assert index.shape == (3, 2, 3) and len(np.unique(index)) == 15      # a second of both is 1.0
    assert len(rows._conditions.new()) == 15


def test_what_is_known_is_not_made_again(rows):
    check(rows, np.arange(1, 6), 1.0)
    version, before = rows.version, dict(rows.tables)
    rows._conditions.new()
    check(rows, np.array([3, 1, 3]), 1.0)
    assert rows.version == version and not rows._conditions.new()
    check(rows, np.array([3, 9]), 1.0)
    assert rows.version > version and rows._conditions.new() == [(9.0, 1.0)]
    assert all(rows.tables[name] is table for name, table in before.items())      # they are bound, and filled in place


def test_the_least_recently_used_give_way(rows):
    check(rows, np.arange(CAPACITY) + 1, 1.0)
    check(rows, np.arange(5) + 1, 1.0)
    rows._conditions.new()
    check(rows, np.arange(12) + 101, 1.0)                                # in place of 6 to 17
    assert len(rows._conditions.new()) == 12
    check(rows, np.array([1, 2, 3, 4, 5, 18, 19, 20]), 1.0)
    assert not rows._conditions.new()
    check(rows, np.array([6]), 1.0)
    assert rows._conditions.new() == [(6.0, 1.0)]


def test_what_a_call_uses_does_not_give_way_to_what_it_makes(rows):
    check(rows, np.arange(CAPACITY) + 1, 1.0)
    rows._conditions.new()
    check(rows, np.concatenate([[1, 2], np.arange(CAPACITY - 2) + 101]), 1.0)      # the two oldest, and all others new
    assert len(rows._conditions.new()) == CAPACITY - 2


def test_more_than_there_is_room_for_is_refused_and_spoils_nothing(rows):
    check(rows, np.arange(CAPACITY) + 1, 1.0)
    with pytest.raises(ValueError, match=f'^{CAPACITY + 1} different levels and seconds, expected at most {CAPACITY}$'):
        rows.find(np.arange(CAPACITY + 1) + 101, 1.0)
    rows._conditions.new()
    check(rows, np.arange(CAPACITY) + 1, 1.0)
    assert not rows._conditions.new()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=CAPACITY), min_size=1, max_size=12))
def test_whatever_is_asked_in_turn_every_row_is_the_right_one(asked):
    rows = Rows(Conditions(), CAPACITY)
    for pairs in asked:
        level, offset_s = np.array(pairs, np.float32).T
        check(rows, level, offset_s)
