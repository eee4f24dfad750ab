"""The arithmetic of the audit, on episodes that are written down here."""
import json
from dataclasses import replace

import numpy as np
import pytest

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation import audit
from diffusion_planner.evaluation.closed_loop import LoopSettings
from diffusion_planner.evaluation.metrics import mean_interval, wilson
from diffusion_planner.planning.forecast import FEATURES
from diffusion_planner.runtime import checkpoint

GUARDED, FREE = LoopSettings('model', 1.0), LoopSettings('model', 1.0, guard=False, changes=(('proximal', False),))


def _plan(came, reward=0.9, **more):
    return {'came': came, 'reward': reward, 'judge': 0.8, 'typicality': 0.5, **more}


def _episode(success, judged, contacts=0, refusals=(), **more):
    return {'success': success, 'contacts': contacts, 'judged': judged, 'refusals': list(refusals), 'plan_ms': [50.0] * len(judged), **more}


# Summaries

def test_a_summary_by_hand():
    rows = [_episode(True, [_plan(True, 0.9, success=0.8, apart_m=0.01, in_force=0.5), _plan(None, 0.1, success=0.1)]),
            _episode(False, [_plan(False, 0.7, success=0.6)], contacts=3, zone_entries=2, refusals=['no safe candidate: 1 x'])]
    figures = audit.summarise(rows)
    assert (figures['episodes'], figures['plans'], figures['refused']) == (2, 3, 1)
    assert figures['success'] == pytest.approx([0.5, *wilson(1, 2)]) == figures['contact'] == figures['zone_entered']
    # Nobody knows what became of the plan of which `came` is None: it counts neither as promised nor as kept.
    assert figures['realised_reward'] == pytest.approx([0.5, *wilson(1, 2)])
    assert figures['predicted_reward'] == pytest.approx(mean_interval([0.9, 0.7]))
    # What the first plan of each episode promised for it.
    assert figures['predicted_success'] == pytest.approx(mean_interval([0.8, 0.6]))
    assert figures['apart_m'] == [0.01] * 3 and figures['in_force'] == [0.5] * 3 and figures['plan_ms'] == [50.0] * 3
    assert figures['typicality'] == [0.5] * 3 and figures['curvature'] is None


def test_an_episode_without_a_plan_promised_nothing():
    rows = [_episode(True, [_plan(True, success=0.8)]), _episode(False, [], refusals=['a', 'b'])]
    figures = audit.summarise(rows)
    assert figures['predicted_success'] == pytest.approx([0.4] * 3) and figures['success'][0] == 0.5 and figures['refused'] == 2


def test_where_no_plan_was_made_there_is_nothing_to_average():
    figures = audit.summarise([_episode(False, [])] * 3)
    assert figures['realised_reward'] is None and figures['predicted_reward'] is None and figures['predicted_success'] is None
    assert figures['success'] == pytest.approx([0.0, *wilson(0, 3)])
    json.dumps(figures, allow_nan=False)


# The scale to use

def _row(mode, scale, success, realised=0.5):
    return {'mode': mode, 'scale': scale, 'success': [success, 0, 1], 'realised_reward': realised if realised is None else [realised, 0, 1]}


def test_the_knee_is_the_last_scale_before_success_falls():
    # Best 0.95: good are those from 0.93 on. Guarded from 0.5 to 8, free only 0.25; that 4 is good again is past the fall.
    rows = [_row('guarded', scale, success) for scale, success in ((0.0, 0.5), (0.5, 0.94), (1.0, 0.95), (2.0, 0.93), (8.0, 0.94))]
    rows += [_row('free', scale, success) for scale, success in ((0.25, 0.9), (1.0, 0.4), (4.0, 0.9))]
    found = audit.recommend(rows[::-1])                                # in whatever order
    assert found['knee_guarded'] == 8.0 and found['knee_free'] == 0.25 and 'knee_damped' not in found


def test_of_good_scales_the_one_whose_plans_come_true_most_is_recommended():
    # 0.5, 1 and 2 are good; plans of 1 and 2 come true within 0.02 of the best: the smaller of them. 8 keeps its promises but fails.
    rows = [_row('guarded', *told) for told in ((0.25, 0.5, 0.99), (0.5, 0.95, 0.60), (1.0, 0.96, 0.80), (2.0, 0.95, 0.81), (8.0, 0.6, 0.99))]
    assert audit.recommend(rows)['recommended_scale'] == 1.0


def test_a_tie_goes_to_the_smaller_scale():
    assert audit.recommend([_row('guarded', scale, 1.0, 1.0) for scale in (2.0, 0.5, 1.0)])['recommended_scale'] == 0.5


def test_without_guarded_rows_nothing_is_recommended():
    found = audit.recommend([_row('free', 1.0, 0.9)])
    assert found == {'knee_free': 1.0}


def test_scales_that_made_no_plan_are_not_the_ones_to_use():
    rows = [_row('guarded', 0.0, 0.0, None), _row('guarded', 1.0, 0.0, 0.3)]
    assert audit.recommend(rows)['recommended_scale'] == 1.0


# The judges

def _found(*told):
    """[(settings, came, contacts, judgements)] as audit.looks gives them"""
    rows = []
    for settings, came, contacts, judged in told:
        plan = _plan(came, **judged)
        rows.append((settings, _episode(came, [plan], contacts), plan))
    return rows


def test_a_plan_comes_true_if_it_touches_the_target_and_nothing_else():
    rows = _found((GUARDED, True, 0, {}), (GUARDED, True, 2, {}), (GUARDED, False, 0, {}), (GUARDED, None, 0, {}))
    assert [audit.came_true(row) for _, row, _ in rows] == [True, False, False, False]


def test_separation_by_hand():
    # All: rewards 0.9 and 0.6 came true, 0.7 and 0.2 did not: 3 of 4 pairs the right way round. Guarded alone: 0.9 over 0.2.
    unguided = replace(GUARDED, guidance_scale=0.0)
    told = ((GUARDED, True, 0, {'reward': 0.9, 'doubt': 0.1}), (FREE, True, 0, {'reward': 0.6, 'doubt': 0.0}),
            (unguided, False, 0, {'reward': 0.7, 'doubt': 0.3}), (GUARDED, False, 0, {'reward': 0.2, 'doubt': 0.2}))
    table = audit.separation(_found(*told))
    assert table['reward'] == {'all': 0.75, 'with reward': 1.0, 'guarded': 1.0}
    assert table['agreement']['all'] == 1.0                             # the less doubt, the better
    assert table['judge']['all'] == 0.5                                 # all alike
    assert table['plans that came true'] == {'all': '2 of 4', 'with reward': '2 of 3', 'guarded': '1 of 2'}
    assert set(FEATURES) <= set(table) and 'combined judge' not in table
    told = [(settings, came, contacts, {**judged, 'comes_true': came * 0.8}) for settings, came, contacts, judged in told]
    assert audit.separation(_found(*told))['combined judge']['all'] == 1.0


def test_where_all_came_true_there_is_nothing_to_tell_apart():
    table = audit.separation(_found((GUARDED, True, 0, {}), (GUARDED, True, 0, {'reward': 0.1})))
    assert table['reward'] == {'all': None, 'with reward': None, 'guarded': None}
    json.dumps(table, allow_nan=False)


def test_reliability_by_hand():
    # Two bins: said 0.2 and 0.4, one of two came true: mean 0.3 against 0.5; said 0.8 and 1.0, both: 0.9 against 1.
    rows = _found(*((GUARDED, came, 0, {'reward': reward}) for reward, came in ((0.2, False), (0.4, True), (0.8, True), (1.0, True))))
    table = audit.reliability(rows, bins=2)
    told = table['head that guides']
    assert told['ece'] == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)
    assert [row[0] for row in told['diagram']] == pytest.approx([0.3, 0.9]) and [row[4] for row in told['diagram']] == [2, 2]
    assert told['diagram'][0][1:4] == pytest.approx([0.5, *wilson(1, 2)])
    assert set(table) == {'head that guides', 'judge'}                  # no combined judge said anything
    assert audit.reliability([]) == {}


def test_a_roc_curve_by_hand():
    # In falling order of reward: came true, not, came true, not: the curve goes up, right, up, right.
    rows = _found(*((GUARDED, came, 0, {'reward': reward}) for reward, came in ((0.2, False), (0.4, True), (0.8, False), (0.9, True))))
    assert audit.roc_curves(rows)['reward'] == [[0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [1.0, 1.0]]
    assert audit.roc_curves(rows[1::2]) == {}                           # all came true


def test_no_look_at_all_is_judged_without_complaint():
    assert audit.reliability([]) == {} and audit.roc_curves([]) == {}


# Books

def test_modes_are_named_by_what_they_set():
    options = audit.Options('model')
    assert {audit.mode_of(options.settings(mode, 1.0)) for mode in audit.MODES} == set(audit.MODES)
    for mode in audit.MODES:
        assert audit.mode_of(options.settings(mode, 1.0)) == mode == audit.mode_of(options.settings(mode, 8.0, alone=True))
    assert audit.describe(options.settings('free', 0.25, alone=True)) == 'one plan alone, free 0.25'
    for changes in audit.PARTS.values():                                # the guard with a part left out is a guard still
        assert audit.mode_of(replace(GUARDED, changes=changes)) == 'guarded'


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / 'model'
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps({'format': checkpoint.FORMAT, 'sha256': 'abc', 'model': {}, 'training': {},
                                                    'planning': {'spread': [1, 2], 'forecast': {'bias': 1.0}, 'recommended_scale': 1.0}}))
    (folder / checkpoint.FLAW_FILE).write_bytes(b'wrong')
    (tmp_path / 'mine.yaml').write_text('keep_out: []')
    return folder


def _change(model, **changes):
    checkpoint.write_config(model, {**checkpoint.read_config(model), **changes})


def _mark(model, **changes):
    return audit._mark(replace(LoopSettings(str(model), 1.0, objective=str(model.parent / 'mine.yaml')), **changes))


def test_the_fingerprint_changes_with_all_that_episodes_depend_on(model):
    marks = [_mark(model), _mark(model, guidance_scale=2.0), _mark(model, guard=False), _mark(model, alone=True), _mark(model, flaw=True),
             _mark(model, objective=None), _mark(model, changes=(('trust', 1.0),)), _mark(model, oddity='lights_out')]
    _change(model, sha256='abd')
    marks.append(_mark(model))
    planning = checkpoint.read_config(model)['planning']
    _change(model, planning={**planning, 'spread': [1, 3]})
    marks.append(_mark(model))
    _change(model, planning={**planning, 'spread': [1, 3], 'forecast': {'bias': 2.0}})
    marks.append(_mark(model))
    (model.parent / 'mine.yaml').write_text('keep_out: [] # another')
    marks.append(_mark(model))
    (model / checkpoint.FLAW_FILE).write_bytes(b'wrong in another way')
    marks.append(_mark(model, flaw=True))
    assert len(set(marks)) == len(marks)


def test_the_fingerprint_does_not_change_with_what_episodes_do_not_depend_on(model):
    mark, neutral = _mark(model), _mark(model, neutral=True)
    assert mark == _mark(model)
    planning = checkpoint.read_config(model)['planning']
    _change(model, planning={**planning, 'recommended_scale': 3.0})
    assert _mark(model) == mark
    _change(model, planning={**planning, 'forecast': {'bias': 2.0}})       # only neutral episodes do without the combined judge
    assert _mark(model, neutral=True) == neutral and _mark(model) != mark
    elsewhere = model.rename(model.parent / 'moved')
    assert _mark(elsewhere, neutral=True) == neutral


def test_what_is_planned_with_finished_books_is_not_run_again(model, tmp_path, monkeypatch):
    """Two settings of three seeds each, all of them in the books: no worker has anything to do."""
    options = audit.Options(model, 3, seed=7, work=tmp_path / 'work', workers=1)
    jobs = [options.settings('guarded', scale) for scale in (0.0, 1.0)]
    for settings in jobs:
        audit.Ledger(options.work / f'{audit._mark(settings)}.jsonl', audit._mark(settings)).add(
            [{'seed': seed, 'scale': settings.guidance_scale} for seed in (9, 7, 8)])
    monkeypatch.setattr(audit, 'episodes', None)
    found = audit.run(options, jobs)
    assert [[row['seed'] for row in found[settings]] for settings in jobs] == [[7, 8, 9]] * 2
    assert [found[settings][0]['scale'] for settings in jobs] == [0.0, 1.0]


def test_no_episodes_are_refused(model):
    with pytest.raises(ConfigError, match='--episodes: got 0, expected at least 1'):
        audit.audit(audit.Options(model, 0))


def test_a_report_is_written_as_a_whole(tmp_path):
    audit.write({'summary': {'shipped_scale': 0.5}}, tmp_path / 'deep' / 'audit.json')
    assert json.loads((tmp_path / 'deep' / 'audit.json').read_text()) == {'summary': {'shipped_scale': 0.5}}
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['audit.json']


def test_shares_are_none_of_nothing():
    assert audit._share([]) is None and audit._share(np.array([True, False])) == pytest.approx([0.5, *wilson(1, 2)])
