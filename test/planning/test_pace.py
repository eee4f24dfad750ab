"""Deadlines, against a clock that only network calls move."""
import pytest
from hypothesis import given, settings, strategies as st

from diffusion_planner.planning.pace import Pace

LENGTHS = st.integers(1, 50)      # of a network call; whole seconds, so that sums are exact
DEADLINES = st.integers(0, 500)
COUNTS = st.integers(1, 12)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now_s = 0

    def __call__(self):
        return self.now_s


def _stage(pace, clock, name, count, step_s, reserve=0):
    """Take up to `count` steps of a stage, each one network call long: -> steps taken"""
    stop = pace.stage(name, reserve)
    for _ in range(count):
        clock.now_s += step_s
        if stop():
            break
    return pace.steps[name]


@settings(max_examples=50, deadline=None)
@given(LENGTHS, COUNTS)
def test_without_a_deadline_nothing_stops(step_s, count):
    clock = Clock()
    pace = Pace(clock=clock)
    assert _stage(pace, clock, 'far', count, step_s, reserve=2) == count and _stage(pace, clock, 'fill', count, step_s) == count
    assert pace.steps == {'far': count, 'fill': count}


@settings(max_examples=200, deadline=None)
@given(LENGTHS, DEADLINES, COUNTS)
def test_a_deadline_is_overshot_by_no_more_than_one_step(step_s, deadline_s, count):
    clock = Clock()
    done = _stage(Pace(deadline_s, clock=clock), clock, 'far', count, step_s)
    assert clock.now_s <= deadline_s + step_s
    assert done == min(count, max(1, deadline_s // step_s))      # and no step that would have fitted is left out


@settings(max_examples=200, deadline=None)
@given(LENGTHS, DEADLINES, COUNTS, st.integers(0, 4))
def test_what_is_reserved_still_fits(step_s, deadline_s, count, reserve):
    clock = Clock()
    _stage(Pace(deadline_s, clock=clock), clock, 'far', count, step_s, reserve)
    clock.now_s += reserve * step_s
    assert clock.now_s <= max(deadline_s, (1 + reserve) * step_s)     # the latter: there was only time for what has to be


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 9), LENGTHS, DEADLINES, COUNTS, COUNTS)
def test_two_stages_and_what_follows_them_overshoot_by_no_more_than_one_step(tail_s, step_s, deadline_s, far, fill):
    clock = Clock()
    pace = Pace(deadline_s, tail_s=tail_s, clock=clock)
    _stage(pace, clock, 'far', far, step_s, reserve=2)
    clock.now_s += step_s                                # the call that judges the far tokens
    _stage(pace, clock, 'fill', fill, step_s)
    clock.now_s += tail_s
    assert clock.now_s <= max(deadline_s, 3 * step_s + tail_s)
    assert pace.steps['far'] >= 1 and pace.steps['fill'] >= 1


@settings(max_examples=200, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=12), DEADLINES)
def test_steps_of_uneven_length_overshoot_by_no_more_than_the_longest(lengths_s, deadline_s):
    clock = Clock()
    stop = Pace(deadline_s, clock=clock).stage('far')
    for step_s in lengths_s:
        clock.now_s += step_s
        if stop():
            break
    assert clock.now_s <= deadline_s + max(lengths_s)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, DEADLINES, COUNTS, COUNTS, LENGTHS)
def test_stop_after_replays_the_counts_whatever_the_clock_says(step_s, deadline_s, far, fill, other_s):
    clock = Clock()
    pace = Pace(deadline_s, clock=clock)
    taken = {'far': _stage(pace, clock, 'far', far, step_s, 2), 'fill': _stage(pace, clock, 'fill', fill, step_s)}
    for late_s in (None, 0, 10_000):
        again = Pace(late_s, stop_after=taken, clock=clock)
        _stage(again, clock, 'far', far, other_s, 2)
        _stage(again, clock, 'fill', fill, other_s)
        assert again.steps == taken


@pytest.mark.parametrize('deadline_s', [0, -5])
def test_a_deadline_that_is_over_still_gets_one_step_of_each_stage(deadline_s):
    clock = Clock()
    pace = Pace(deadline_s, clock=clock)
    assert _stage(pace, clock, 'far', 8, 3, reserve=2) == 1 and _stage(pace, clock, 'fill', 8, 3) == 1
