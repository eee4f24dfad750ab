"""Figures of an audit, on episodes that are written down here."""
import json

import numpy as np
import pytest
from audits import episode, plan

from diffusion_planner.evaluation import audit_figures
from diffusion_planner.evaluation.metrics import clustered_interval, mean_interval, wilson


def test_a_summary_by_hand():
    rows = [episode(True, [plan(True, 0.9, success=0.8, apart_m=0.01, in_force=0.5), plan(None, 0.1, success=0.1)]),
            episode(False, [plan(False, 0.7, success=0.6)], contacts=3, zone_entries=2, refusals=['no safe candidate: 1 x'])]
    figures = audit_figures.summarise(rows)
    assert (figures['episodes'], figures['plans'], figures['refused']) == (2, 3, 1)
    assert figures['success'] == pytest.approx([0.5, *wilson(1, 2)]) == figures['contact'] == figures['zone_entered']
    # Nobody knows what became of the plan of which `came` is None: it counts neither as promised nor as kept.
    assert figures['realised_reward'] == pytest.approx(clustered_interval([[True], [False]]))
    assert figures['predicted_reward'] == pytest.approx(mean_interval([0.9, 0.7]))
    # What the first plan of each episode promised for it.
    assert figures['predicted_success'] == pytest.approx(mean_interval([0.8, 0.6]))
    assert figures['apart_m'] == [0.01] * 3 and figures['in_force'] == [0.5] * 3 and figures['plan_ms'] == [50.0] * 3
    assert figures['typicality'] == [0.5] * 3 and figures['curvature'] is None


def test_an_episode_without_a_plan_promised_nothing():
    rows = [episode(True, [plan(True, success=0.8)]), episode(False, [], refusals=['a', 'b'])]
    figures = audit_figures.summarise(rows)
    assert figures['predicted_success'] == pytest.approx(mean_interval([0.8, 0.0])) and figures['success'][0] == 0.5 and figures['refused'] == 2


def test_where_no_plan_was_made_there_is_nothing_to_average():
    figures = audit_figures.summarise([episode(False, [])] * 3)
    assert figures['realised_reward'] is None and figures['predicted_reward'] is None and figures['predicted_success'] is None
    assert figures['success'] == pytest.approx([0.0, *wilson(0, 3)])
    json.dumps(figures, allow_nan=False)


def test_shares_are_none_of_nothing():
    assert audit_figures.share_interval([]) is None and audit_figures.share_interval(np.array([True, False])) == pytest.approx([0.5, *wilson(1, 2)])


def test_intervals_over_plans_are_those_of_episodes():
    # Two episodes of a hundred plans each, which all said the same: two things are known, not two hundred.
    rows = [episode(True, [plan(True, 0.9, apart_m=0.1)] * 100), episode(True, [plan(True, 0.5, apart_m=0.3)] * 100)]
    figures = audit_figures.summarise(rows)
    assert figures['predicted_reward'] == pytest.approx([0.7, 0.5, 0.9]) and figures['apart_m'] == pytest.approx([0.2, 0.1, 0.3])
    assert figures['realised_reward'] == pytest.approx([1.0, *wilson(2, 2)])


def test_how_good_promises_are_by_hand():
    # Errors 0.2, 0.9 and, without a plan, 0: a mean square of (0.04 + 0.81 + 0) / 3. Of two pairs one is the right way round.
    rows = [episode(True, [plan(True, success=0.8)]), episode(False, [plan(False, success=0.9)]), episode(False, [])]
    assert audit_figures.promise_scores(rows) == pytest.approx({'success_brier': 0.85 / 3, 'success_roc': 0.5})
    assert audit_figures.promise_scores(rows[:1])['success_roc'] is None
    assert audit_figures.promise_scores([episode(True, [plan(True)])]) == {'success_brier': None, 'success_roc': None}


def test_the_share_of_episodes_that_break_a_term():
    rows = [episode(True, [], executed=told) for told in ({'wall': 0.1, 'slow': -0.2}, {'wall': -1e-3}, {'wall': float('nan')}, None)]
    assert audit_figures.violated(rows) == {'wall': pytest.approx([0.5, *wilson(2, 4)]), 'slow': pytest.approx([0.25, *wilson(1, 4)])}
    assert audit_figures.violated([episode(True, [])]) == {}
