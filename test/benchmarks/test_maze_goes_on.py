"""The maze benchmark, stopped after a seed and gone on with in real worker processes, ends as one that never stopped."""
import json
from pathlib import Path

import pytest

pytest.importorskip('gymnasium_robotics')

from diffusion_planner.benchmarks.maze import run   # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / 'models'


def _bench(work):
    return run.bench(run.Options(('umaze',), ('ours',), ('fixed',), seeds=2, models=MODELS, work=work, workers=1, timed=1))


def _lines(ledger):
    return [line for line in ledger.read_text().splitlines() if line]


def _episodes(lines):
    """Read the lines of a ledger without how long planning took."""
    return [{name: value for name, value in json.loads(line).items() if name != 'plan_ms'} for line in lines]


def test_a_ledger_with_one_finished_seed_is_completed_to_that_of_an_uninterrupted_run(tmp_path):
    whole, pieces = (tmp_path / name / 'umaze-fixed-ours.jsonl' for name in ('whole', 'pieces'))
    uninterrupted = _bench(whole.parent)
    first, second = _lines(whole)
    pieces.parent.mkdir()
    pieces.write_text(f'{first}\n{second[:40]}')        # killed while it wrote down the second seed
    resumed = _bench(pieces.parent)
    *before, added = _lines(pieces)
    assert before == [first, second[:40]]               # the finished seed was not run again
    assert _episodes([added]) == _episodes([second])
    assert resumed['rows'] == uninterrupted['rows'] and resumed['rows'][0]['plans'] > 10      # 300 steps, a plan every 30: more than one seed's
