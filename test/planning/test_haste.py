"""Which plan fits a deadline, by what earlier ones took."""
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from diffusion_planner.planning.haste import BEND, FLOOR, RETRY, SHARE, Haste, fewer, retold, shorter, told
from diffusion_planner.planning.planner import PlannerSettings

FULL = PlannerSettings(arrivals=10, far_steps=3, fill_steps=3, plans=3, plans_max=6)
SECONDS = st.floats(0.0001, 0.1)


def _noted(far_s, fill_s, rest_s, settings=FULL, haste=None):
    """A memory of one plan that took so long per step, and besides."""
    haste = haste or Haste()
    steps = {'far': settings.far_steps, 'fill': settings.fill_steps}
    pace = SimpleNamespace(steps=steps, seconds={'far': steps['far'] * far_s, 'fill': steps['fill'] * fill_s})
    haste.note(settings, FULL, pace, sum(pace.seconds.values()) + rest_s)
    return haste


def test_steps_get_fewer_one_at_a_time_the_far_tokens_first():
    assert shorter(FULL) == [(3, 3), (2, 3), (2, 2), (1, 2), (1, 1)]
    assert shorter(replace(FULL, far_steps=1, fill_steps=3)) == [(1, 3), (1, 2), (1, 1)]


@pytest.mark.parametrize('deadline_s', [None, 0.001])
def test_before_anything_is_known_nothing_changes(deadline_s):
    assert Haste().fit(FULL, deadline_s) == FULL


def test_nobody_hurries_without_a_deadline_or_with_a_long_one():
    haste = _noted(0.002, 0.001, 0.004)
    assert haste.fit(FULL, None) == haste.fit(FULL, 1.0) == FULL


@pytest.mark.parametrize('expected_ms, far, fill, arrivals', [
    (13.0, 3, 3, 10),        # 3 x 2 + 3 x 1 + 4
    (12.9, 2, 3, 10), (10.9, 2, 2, 10),
    (9.9, 3, 3, 5),          # with half of the candidates everything is expected to cost 0.7: 9.1
    (9.0, 2, 3, 5), (7.5, 2, 2, 5),      # 7.7, 7.0
    (6.9, 3, 3, 3),          # with a quarter 0.49: 6.37
    (6.3, 2, 3, 3), (5.0, 2, 2, 3), (4.8, 1, 2, 3), (3.9, 1, 1, 3), (0.1, 1, 1, 3)])      # 5.39, 4.9, 3.92, 3.43
def test_a_plan_is_chosen_that_is_expected_to_fit(expected_ms, far, fill, arrivals):
    chosen = _noted(0.002, 0.001, 0.004).fit(FULL, (expected_ms + 1e-6) / 1000 / SHARE)
    assert (chosen.far_steps, chosen.fill_steps, chosen.arrivals) == (far, fill, arrivals)
    assert chosen.bend == (FULL.bend if (far, fill) == (3, 3) else BEND)


def test_a_dearer_plan_counts_at_once_and_a_cheaper_one_slowly():
    haste = _noted(0.002, 0.001, 0.004)
    dear = _noted(0.004, 0.002, 0.008, haste=haste)
    assert dear.fit(FULL, 0.0259 / SHARE).far_steps == 2 and dear.fit(FULL, 0.0261 / SHARE).far_steps == 3
    assert _noted(0.002, 0.001, 0.004, haste=dear).fit(FULL, 0.0225 / SHARE).far_steps == 2      # 26 - 0.2 x 13 = 23.4


def test_what_was_too_dear_is_tried_again_after_a_while():
    haste, small = _noted(0.002, 0.001, 0.004), replace(fewer(FULL, 1), far_steps=3, fill_steps=3)
    deadline_s, plans = 0.0095 / SHARE, 0
    while haste.fit(FULL, deadline_s).arrivals == 5:
        plans += 1
        _noted(0.001, 0.0005, 0.002, small, haste)
        assert plans < 20
    assert (2 * 2 + 2 * 1 + 4) * RETRY ** plans <= 9.5 < (2 * 2 + 2 * 1 + 4) * RETRY ** (plans - 1)


@given(SECONDS, SECONDS, SECONDS, st.floats(0.0001, 1.0))
def test_no_choice_has_more_than_the_settings_or_less_than_one_of_each(far_s, fill_s, rest_s, deadline_s):
    chosen = _noted(far_s, fill_s, rest_s).fit(FULL, deadline_s)
    assert 1 <= chosen.far_steps <= 3 and 1 <= chosen.fill_steps <= 3 and chosen.arrivals in (3, 5, 10)
    assert chosen.arrivals == 3 or min(chosen.far_steps, chosen.fill_steps) >= FLOOR


def test_what_was_changed_is_told_and_taken_back():
    few = replace(fewer(FULL, 1), far_steps=1)
    assert told(FULL, FULL) == {} and retold(FULL, {'far': 3, 'fill': 2}) == FULL
    assert retold(FULL, {'far': 1, 'fill': 3, **told(few, FULL)}) == few
