"""The table of methods, on episodes that are written down here."""
import json

import pytest
from audits import episode, plan

from diffusion_planner.evaluation import compare as comparing


def row(method, seed, *plans):
    return {**episode(True, plans), 'method': method, 'seed': seed, 'time_to_target_s': 2.0, 'limit_violations': 0}


ROWS = [row('guided', 1, plan(True, comes_true=0.9), plan(None, comes_true=0.1)), row('guided', 2, plan(False, comes_true=0.5)),
        row('line', 1)]


def test_promises_are_means_over_plans_whose_fate_is_known():
    found = comparing.summaries(ROWS, ('guided', 'line'))
    assert found['guided']['plans'] == {'count': 2, 'comes_true': pytest.approx(0.7), 'came': 0.5} and found['line']['plans'] is None
    assert comparing.promises([row('guided', 1, plan(True))]) is None                   # no combined judge


def test_what_was_said_and_what_came_is_printed_and_written(monkeypatch, tmp_path, capsys):
    told = {(each['method'], each['seed']): each for each in ROWS}
    monkeypatch.setattr(comparing.fanout, 'run', lambda function, work, workers, ray: (
        (item, told[item[2], item[1]]) for item in work if (item[2], item[1]) in told))
    comparing.compare('model', 2, 1, tmp_path / 'compare.json', methods=('guided', 'line'))
    assert 'guided: of 2 plans 0.70 were said to come true by themselves, 0.50 did' in ' '.join(capsys.readouterr().out.split())
    report = json.loads((tmp_path / 'compare.json').read_text())
    assert report['summary']['guided']['plans']['came'] == 0.5 and len(report['episodes']) == 3
