"""The command `audit`: options that do not go together are named, the others reach the audit."""
import json

import pytest

from diffusion_planner import cli, cli_audit
from diffusion_planner.evaluation import audit, audit_compared, audit_fit

WITH = {'--objective': ['config/objectives/over_the_wall.yaml'], '--scale': ['0.5'], '--maze': ['large']}


@pytest.mark.parametrize('one, other', [(one, other) for one, others in cli_audit.APART.items() for other in others if other != '--ray'])
def test_options_that_would_be_ignored_are_refused(capsys, one, other):
    assert cli.main(['audit', one, *WITH.get(one, ()), other, *WITH.get(other, ())]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f'diffusion-planner: {other}: got ') and lines[0].endswith(f'with {one}, expected only one of them')


def test_crossing_is_of_an_objective(capsys):
    assert cli.main(['audit', '--crossing']) == 2
    assert capsys.readouterr().err == 'diffusion-planner: --crossing: got it without --objective, expected both\n'


REPORT = {'summary': {'shipped_scale': 1.0}, 'sweep': [], 'separation': {'reward': {'all': None}}}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Run the command with nothing behind it: asked(arguments) -> what was asked for, and the report"""
    calls = []

    def note(name, result):
        return lambda *given, **more: (calls.append((name, *given[1:], more)), result)[1]
    monkeypatch.setattr(cli, '_whole', lambda model: model)
    monkeypatch.setattr(audit, 'audit', note('audit', REPORT))
    monkeypatch.setattr(audit_fit, 'fit', note('fit', {'recommended_scale': 2.0}))
    for name in ('constrained', 'flawed', 'parts'):
        monkeypatch.setattr(audit_compared, name, note(name, {'rows': []}))

    def run(*arguments):
        calls.clear()
        assert not cli.main(['audit', *arguments, '--json', str(tmp_path / 'audit.json'), '--plots', str(tmp_path / 'audit.png')])
        return list(calls), json.loads((tmp_path / 'audit.json').read_text())
    return run


def test_a_plain_audit_chooses_the_scale(asked):
    assert asked() == ([('audit', True, {'choose': True, 'chosen_on': None})], REPORT)
    assert asked('--no-write')[0] == [('audit', False, {'choose': True, 'chosen_on': None})]
    assert asked('--scale', '0.5')[0] == [('audit', True, {'choose': False, 'chosen_on': None})]


def test_with_a_fit_the_scale_is_chosen_on_its_scenes(asked):
    calls, report = asked('--fit', '--fit-seed', '3000')
    assert calls == [('fit', 3000, True, {}), ('audit', True, {'choose': False, 'chosen_on': 3000})]
    assert report['fitted'] == {'recommended_scale': 2.0}


def test_a_fit_without_writing_is_told_so(asked):
    assert asked('--fit', '--no-write')[0] == [('fit', 2000, False, {}), ('audit', False, {'choose': False, 'chosen_on': None})]


@pytest.mark.parametrize('option, name', [('--planted-flaw', 'flawed'), ('--parts', 'parts')])
def test_comparisons_are_reached_by_their_options(asked, option, name):
    calls, report = asked(option)
    assert calls[0][0] == name and report == {'rows': []}
