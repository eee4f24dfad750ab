"""What an audit reports and writes, on episodes that are written down: no simulator and no network."""
import json

import pytest
from audits import episode, make_model, plan

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation import audit, audit_compared, audit_fit, audit_run
from diffusion_planner.evaluation.audit_judges import AFTERWARDS
from diffusion_planner.evaluation.audit_run import mode_of
from diffusion_planner.runtime import checkpoint

SAID = {'success': 0.9, 'comes_true': 0.8}
BEST = 4.0       # the guarded scale whose plans come true


def happens(settings, seed):
    """What an episode comes to: guarded 1 to 8 succeed and 4 keeps its promises; damped does, free only at the least scales."""
    scale, mode = settings.guidance_scale, mode_of(settings)
    success = {'guarded': scale >= 1, 'damped': True, 'free': scale <= 0.125}[mode]
    came = scale == BEST or seed % 2 == 0
    kept = bool(came and success)
    judged = [plan(kept, 0.9 if kept else 0.2, panel=0.9 if kept else 0.2, genuineness=3.0 * kept, **({} if settings.neutral else SAID))]
    executed = {'stay_high': 0.1 if settings.objective else -0.1} if settings.objective or settings.watched else None
    return {**episode(success, judged, zone_entries=int(settings.objective is None)), 'seed': seed, 'executed': executed,
            'time_to_target_s': 2.0 if success else None, 'elapsed_s': 10.0}


@pytest.fixture
def model(tmp_path, monkeypatch):
    def run(_function, items, _workers, _ray):
        yield from ((item, [happens(item[0], seed) for seed in item[1]]) for item in items)
    monkeypatch.setattr(audit_run.fanout, 'run', run)
    monkeypatch.setattr(audit.refusal, 'measure', lambda model, seed: [])
    return make_model(tmp_path / 'model', recommended_scale=1.0)


@pytest.fixture
def options(model, tmp_path):
    return audit_run.Options(model, 4, 1000, work=tmp_path / 'work')


def planning(model):
    return checkpoint.read_config(model)['planning']


def test_an_audit_chooses_a_scale_writes_it_and_says_on_which_scenes(options, model):
    report = audit.audit(options)
    summary = report['summary']
    assert summary['recommended_scale'] == summary['shipped_scale'] == BEST == planning(model)['recommended_scale']
    assert summary['chosen_on_seed'] == 1000 and summary['predicted_success'] == 0.9 and summary['realised_success'] == 1.0
    # Guarded and damped succeed up to the end of the sweep, so that their knees lie beyond it; free falls after an eighth.
    assert summary['knee_guarded'] is None and summary['knee_damped'] is None and summary['knee_free'] == 0.125
    assert summary['success_roc'] == 0.5 and 0 < summary['success_brier'] < 0.81
    assert set(report) == {'summary', 'model', 'sha256', 'episodes', 'first_seed', 'objective', 'planted_flaw', 'sweep', 'refusal',
                           'separation', 'reliability', 'roc'}
    assert {(row['mode'], row['scale']) for row in report['sweep']} >= {('free', 0.03), ('free', 0.06), ('guarded', 8.0), ('damped', 8.0)}
    json.dumps(report, allow_nan=False)


def test_what_is_not_written_is_only_reported(options, model):
    summary = audit.audit(options, write=False)['summary']
    assert summary['recommended_scale'] == BEST and summary['shipped_scale'] == 1.0 and planning(model) == {'recommended_scale': 1.0}


def test_a_scale_that_was_chosen_elsewhere_stays(options, model):
    summary = audit.audit(options, choose=False, chosen_on=2000)['summary']
    assert summary['success_at_eight_times_guarded'] == 1.0 and summary['success_at_eight_times_free'] == 0.0
    assert summary['recommended_scale'] == summary['shipped_scale'] == 1.0 and summary['chosen_on_seed'] == 2000
    assert planning(model) == {'recommended_scale': 1.0}


def test_a_fit_writes_the_judge_and_the_scale_of_its_own_scenes(options, model):
    found = audit_fit.fit(options, 2000)
    assert planning(model) == json.loads(json.dumps(found)) and found['recommended_scale'] == BEST
    told = found['forecast']
    assert (told['first_seed'], told['scenes'], told['plans'], told['episodes']) == (2000, 4, 28, 40) and len(told['episode']) == 2
    weight = dict(zip(told['features'], told['weight']))
    assert weight['panel'] > 0 and not any(weight[name] for name in AFTERWARDS)      # which the planner does not know in time


def test_a_fit_that_is_not_to_write_writes_nothing(options, model):
    assert audit_fit.fit(options, 2000, write=False)['recommended_scale'] == BEST
    assert planning(model) == {'recommended_scale': 1.0}


def test_no_episodes_are_refused(model):
    with pytest.raises(ConfigError, match='--episodes: got 0, expected at least 1'):
        audit.audit(audit_run.Options(model, 0))


def test_an_objective_is_compared_with_watching_it(options, tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('keep_out: []')
    report = audit_compared.constrained(audit_run.replace(options, objective=path))
    without, told = report['rows']
    assert (without['name'], told['name']) == ('without', 'with') and report['objective'] == str(path) and report['scale'] == 1.0
    assert without['zone_entered'][0] == 1.0 and told['zone_entered'][0] == 0.0
    assert without['violated']['stay_high'][0] == 1.0 and told['violated']['stay_high'][0] == 0.0
    assert told['time_to_target_s'] == [2.0] * 3


def test_a_planted_flaw_guides_in_every_mode_and_once_not(options):
    report = audit_compared.flawed(options)
    assert [(row['name'], row['mode']) for row in report['rows']] == [*((mode, mode) for mode in audit_run.MODES), ('guarded, no flaw', 'guarded')]
    assert report['planted_flaw'] and {row['scale'] for row in report['rows']} == {1.0}


def test_parts_are_left_out_one_at_a_time_at_eight_times_the_scale(options):
    report = audit_compared.parts(options)
    assert [row['name'] for row in report['rows']] == list(audit_compared.PARTS) and report['scale'] == 8.0
    assert {row['mode'] for row in report['rows']} == {'guarded'} and all(row['violated'] == {} for row in report['rows'])
