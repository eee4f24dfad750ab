"""How judges are judged, on plans that are written down here."""
import json
from dataclasses import replace

import pytest
from audits import FREE, GUARDED, episode, plan

from diffusion_planner.evaluation import audit_judges
from diffusion_planner.evaluation.metrics import wilson
from diffusion_planner.planning.forecast import FEATURES


def _found(*told):
    """[(settings, came, contacts, judgements)] as audit_judges.looks gives them"""
    rows = []
    for settings, came, contacts, judged in told:
        told = plan(came, **judged)
        rows.append((settings, episode(came, [told], contacts), told))
    return rows


def test_a_plan_comes_true_if_it_touches_the_target_and_nothing_else():
    rows = _found((GUARDED, True, 0, {}), (GUARDED, True, 2, {}), (GUARDED, False, 0, {}), (GUARDED, None, 0, {}))
    assert [audit_judges.came_true(row) for _, row, _ in rows] == [True, False, False, False]


def test_separation_by_hand():
    # All: rewards 0.9 and 0.6 came true, 0.7 and 0.2 did not: 3 of 4 pairs the right way round. Guarded alone: 0.9 over 0.2.
    unguided = replace(GUARDED, guidance_scale=0.0)
    told = ((GUARDED, True, 0, {'reward': 0.9, 'doubt': 0.1}), (FREE, True, 0, {'reward': 0.6, 'doubt': 0.0}),
            (unguided, False, 0, {'reward': 0.7, 'doubt': 0.3}), (GUARDED, False, 0, {'reward': 0.2, 'doubt': 0.2}))
    table = audit_judges.separation(_found(*told))
    assert table['reward'] == {'all': 0.75, 'with reward': 1.0, 'guarded': 1.0}
    assert table['agreement']['all'] == 1.0                             # the less doubt, the better
    assert table['judge']['all'] == 0.5                                 # all alike
    assert table['plans that came true'] == {'all': '2 of 4', 'with reward': '2 of 3', 'guarded': '1 of 2'}
    assert set(FEATURES) <= set(table) and 'combined judge' not in table
    told = [(settings, came, contacts, {**judged, 'comes_true': came * 0.8}) for settings, came, contacts, judged in told]
    assert audit_judges.separation(_found(*told))['combined judge']['all'] == 1.0


def test_where_all_came_true_there_is_nothing_to_tell_apart():
    table = audit_judges.separation(_found((GUARDED, True, 0, {}), (GUARDED, True, 0, {'reward': 0.1})))
    assert table['reward'] == {'all': None, 'with reward': None, 'guarded': None}
    json.dumps(table, allow_nan=False)


def test_reliability_by_hand():
    # Two bins: said 0.2 and 0.4, one of two came true: mean 0.3 against 0.5; said 0.8 and 1.0, both: 0.9 against 1.
    rows = _found(*((GUARDED, came, 0, {'reward': reward}) for reward, came in ((0.2, False), (0.4, True), (0.8, True), (1.0, True))))
    table = audit_judges.reliability(rows, bins=2)
    told = table['head that guides']
    assert told['ece'] == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)
    assert [row[0] for row in told['diagram']] == pytest.approx([0.3, 0.9]) and [row[4] for row in told['diagram']] == [2, 2]
    assert told['diagram'][0][1:4] == pytest.approx([0.5, *wilson(1, 2)])
    assert set(table) == {'head that guides', 'judge'}                  # no combined judge said anything
    assert audit_judges.reliability([]) == {}


def test_a_roc_curve_by_hand():
    # In falling order of reward: came true, not, came true, not: the curve goes up, right, up, right.
    rows = _found(*((GUARDED, came, 0, {'reward': reward}) for reward, came in ((0.2, False), (0.4, True), (0.8, False), (0.9, True))))
    assert audit_judges.roc_curves(rows)['reward'] == [[0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [1.0, 1.0]]
    assert audit_judges.roc_curves(rows[1::2]) == {}                           # all came true


def test_no_look_at_all_is_judged_without_complaint():
    assert audit_judges.reliability([]) == {} and audit_judges.roc_curves([]) == {}
