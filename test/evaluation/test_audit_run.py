"""Books of an audit: what is run anew, and what is not."""
import json
from dataclasses import replace

import pytest
from audits import GUARDED, make_model

from diffusion_planner.evaluation import audit_run
from diffusion_planner.evaluation.audit_compared import PARTS
from diffusion_planner.evaluation.closed_loop import LoopSettings
from diffusion_planner.runtime import checkpoint


@pytest.fixture
def model(tmp_path):
    (tmp_path / 'mine.yaml').write_text('keep_out: []')
    return make_model(tmp_path / 'model', spread=[1, 2], forecast={'bias': 1.0}, recommended_scale=1.0)


def test_modes_are_named_by_what_they_set():
    options = audit_run.Options('model')
    assert {audit_run.mode_of(options.settings(mode, 1.0)) for mode in audit_run.MODES} == set(audit_run.MODES)
    for mode in audit_run.MODES:
        assert audit_run.mode_of(options.settings(mode, 1.0)) == mode == audit_run.mode_of(options.settings(mode, 8.0, alone=True))
    assert audit_run.describe(options.settings('free', 0.25, alone=True)) == 'one plan alone, free 0.25'
    for changes in PARTS.values():                                # the guard with a part left out is a guard still
        assert audit_run.mode_of(replace(GUARDED, changes=changes)) == 'guarded'


def _change(model, **changes):
    checkpoint.write_config(model, {**checkpoint.read_config(model), **changes})


def _mark(model, **changes):
    return audit_run.fingerprint(replace(LoopSettings(str(model), 1.0, objective=str(model.parent / 'mine.yaml')), **changes))


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
    options = audit_run.Options(model, 3, seed=7, work=tmp_path / 'work', workers=1)
    jobs = [options.settings('guarded', scale) for scale in (0.0, 1.0)]
    for settings in jobs:
        audit_run.Ledger(options.work / f'{audit_run.fingerprint(settings)}.jsonl', audit_run.fingerprint(settings)).add(
            [{'seed': seed, 'scale': settings.guidance_scale} for seed in (9, 7, 8)])
    monkeypatch.setattr(audit_run, 'episodes', None)
    found = audit_run.run(options, jobs)
    assert [[row['seed'] for row in found[settings]] for settings in jobs] == [[7, 8, 9]] * 2
    assert [found[settings][0]['scale'] for settings in jobs] == [0.0, 1.0]


def test_a_report_is_written_as_a_whole(tmp_path):
    audit_run.write({'summary': {'shipped_scale': 0.5}}, tmp_path / 'deep' / 'audit.json')
    assert json.loads((tmp_path / 'deep' / 'audit.json').read_text()) == {'summary': {'shipped_scale': 0.5}}
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['audit.json']
