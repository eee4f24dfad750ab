"""The books of the maze benchmark: promises, what results depend on, pairs of the ablation, and how it is interrupted."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip('gymnasium_robotics')

from diffusion_planner import cli                                                                  # noqa: E402
from diffusion_planner.benchmarks.maze import ablation, marks, methods, plots, promises, published, run, tables, tuning    # noqa: E402
from diffusion_planner.benchmarks.maze.world import MAZES, BenchmarkError                          # noqa: E402
from diffusion_planner.evaluation.metrics import wilson                                           # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


# Promises

def test_promises_of_an_episode_by_hand():
    # Reward first comes at step 100. The plan of step 0 promised it for 95, that of 30 for 80, that of 60 for 130: late by 0.05 s, which
    # grace allows, late by 0.2 s, and early by 0.3 s. The plans of 100 and 130 were made when the ball was there already.
    kept, late_s = promises.settle([0, 30, 60, 100, 130], [95, 80, 130, 140, 150], 100, 300, 0.01)
    assert kept == [1, 0, 1, None, None] and late_s == [0.05, 0.2, -0.3, None, None]


def test_a_plan_that_is_due_after_the_end_is_not_judged():
    assert promises.settle([0, 250], [100, 295], None, 300, 0.01) == ([0, None], [None, None])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 120)), max_size=10), st.none() | st.integers(1, 100))
def test_only_plans_before_the_first_reward_are_scored(plans, first_reach):
    made, due = [step for step, _ in plans], [step + ahead for step, ahead in plans]
    kept, late_s = promises.settle(made, due, first_reach, 100, 0.01)
    for step, end, came, late in zip(made, due, kept, late_s):
        if first_reach is not None and step >= first_reach:
            assert came is None and late is None
        if came is not None and late is not None:
            assert came == (late <= promises.GRACE_STEPS * 0.01 + 1e-9)
        assert (came is None) or end + promises.GRACE_STEPS <= 100


def _episode(promised, kept, late_s):
    return {'promised': promised, 'kept': kept, 'late_s': late_s}


def test_a_summary_of_promises_by_hand():
    # Scored: 0.9 kept, 0.5 broken; 0.7 kept. First plans: kept and kept. Lateness of those that came: -0.1, 0.3, 0.2.
    found = promises.summarise([_episode([0.9, 0.5, 1.0], [1, 0, None], [-0.1, 0.3, None]), _episode([0.7], [1], [0.2]), _episode([], [], [])])
    assert found['promised'][0] == pytest.approx(0.7) and found['kept'][0] == pytest.approx(2 / 3) and found['promises'] == 3
    assert found['kept_first'] == [1.0, *wilson(2, 2)] and found['late_s'][0] == pytest.approx(0.2)
    assert found['kept'][1:] == [0.5, 1.0]                  # either episode may be drawn twice


def test_where_nothing_was_promised_there_is_no_figure():
    found = promises.summarise([_episode([1.0], [None], [None]), _episode([], [], [])])
    assert found == {'promised': None, 'kept': None, 'kept_first': None, 'late_s': None, 'promises': 0}


# What results depend on

@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of few files in place of ours: -> its folder"""
    for name in (*marks.CONTRACTS, 'planning/planner.py', 'runtime/torch_backend.py', 'benchmarks/maze/methods.py', 'benchmarks/maze/plots.py'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('ANSWER = 42\n')
    monkeypatch.setattr(marks, 'PACKAGE', tmp_path)
    yield tmp_path
    marks.source.cache_clear()


def _source():
    marks.source.cache_clear()
    return marks.source()


@pytest.mark.parametrize('name, matters', [('planning/planner.py', True), ('runtime/torch_backend.py', True), ('layout.py', True),
                                           ('benchmarks/maze/methods.py', True), ('benchmarks/maze/plots.py', False), ('planning/new.py', True),
                                           ('evaluation/new.py', False)])
def test_source_that_results_depend_on_changes_the_mark(package, name, matters):
    before = _source()
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text('ANSWER = 43\n')
    assert (_source() != before) == matters


def test_tables_whose_values_are_part_of_a_mark_leave_the_source_as_it_was(package):
    path = package / 'benchmarks/maze/methods.py'
    path.write_text('A = 1\n# why\nTUNED = {"a": 1,\n         "b": 2}\nB = 2\n')
    before = _source()
    path.write_text('A = 1\n# why not\n# indeed\nTUNED = {"a": 3}\nB = 2\n')
    assert _source() == before
    path.write_text('A = 1\nTUNED = {"a": 3}\nB = 3\n')
    assert _source() != before


def test_every_room_that_plans_is_part_of_the_mark():
    names = {path.relative_to(marks.PACKAGE).as_posix() for path in marks.sources()}
    assert {'planning/planner.py', 'diffusion/guidance.py', 'runtime/torch_backend.py', 'nets/heads.py', 'benchmarks/maze/episodes.py',
            'benchmarks/maze/peers.py', 'benchmarks/maze/world.py', 'benchmarks/maze/promises.py'} <= names
    assert not names & {'benchmarks/maze/plots.py', 'benchmarks/maze/pictures.py', 'benchmarks/maze/tables.py'}


def test_calibration_is_part_of_the_mark_and_the_recommended_scale_is_not(tmp_path):
    def mark(**planning):
        (tmp_path / 'config.json').write_text(json.dumps({'sha256': 'one', 'planning': planning}))
        return marks.fingerprint(tmp_path, 'a')
    assert mark(typicality=1.0, recommended_scale=1.0) == mark(typicality=1.0, recommended_scale=0.3) != mark(typicality=2.0)


@pytest.mark.parametrize('name, number', [('pyramid', 'max_shift'), ('pyramid', 'steps'), ('best of N', 'bend'), ('best of N', 'count'),
                                          ('full sequence', 'steps')])
def test_every_number_of_a_peer_is_described(monkeypatch, name, number):
    before = methods.describe(name)
    monkeypatch.setattr(methods.PEERS[name], number, 7.5)
    assert methods.describe(name) != before


@pytest.mark.parametrize('name', methods.PEERS)
def test_tuning_one_method_leaves_the_marks_of_the_others(monkeypatch, name):
    before = {other: methods.describe(other) for other in methods.NAMES}
    monkeypatch.setitem(methods.TUNED, name, {**methods.TUNED[name], 'horizon': 1.2})
    assert [other for other in methods.NAMES if methods.describe(other) != before[other]] == [name]


# Tuning

def test_what_is_tuned_holds_what_is_used_and_the_best_is_the_first_of_equals():
    tried = tuning.settings()
    assert len({tuning.title(*setting) for setting in tried}) == len(tried) == 20
    assert {name for name, _ in tried} == set(methods.PEERS) and all(set(tuned) == set(methods.TUNED[name]) for name, tuned in tried)
    rows = [{'method': 'pyramid', 'tuned': index, 'mean': mean} for index, mean in enumerate((1.0, 3.0, 3.0))]
    assert tuning.best([*rows, {'method': 'best of N', 'tuned': 'x', 'mean': -5.0}]) == {'pyramid': 1, 'best of N': 'x'}


# The ablation's pairs

def _result(seed, reward, latched, first_reach=1):
    return {'seed': seed, 'reward': reward, 'latched': latched, 'first_reach': first_reach, 'plans': 1, 'crossing': 0, 'refused': 0, 'plan_ms': [1.0],
            **_episode([1.0], [1], [0.0])}


def test_pairs_by_hand():
    # 138.01 rewards are 100 points on umaze. Seed 0 brings 138.01 more than the default, seed 1 as much; the order of seeds is no matter.
    default = [_result(1, 50.0, 60.0), _result(0, 10.0, 20.0)]
    found = ablation.paired(MAZES['umaze'], [_result(0, 148.01, 20.0), _result(1, 50.0, 60.0)], default)
    assert found['normalised_more'] == pytest.approx([50.0, 0.0, 100.0]) and found['latched_more'] == [0.0, 0.0, 0.0]


def test_an_interval_of_pairs_is_narrower_than_what_seeds_differ_by():
    rewards = np.linspace(0, 250, 30)
    default = [_result(seed, reward, reward) for seed, reward in enumerate(rewards)]
    other = [_result(seed, reward + 1.3801, reward) for seed, reward in enumerate(rewards)]
    assert ablation.paired(MAZES['umaze'], other, default)['normalised_more'] == pytest.approx([1.0, 1.0, 1.0])


def test_few_steps_are_compared_with_the_best_and_with_many():
    none, some, every = ([_result(seed, 10.0, 10.0, 5 if seed < reached else None) for seed in range(4)] for reached in (0, 3, 4))
    found = ablation.few_steps(MAZES['umaze'], {'1': none, '3': some, '6': every, '10': some, '20': every})
    assert (found['success'], found['best_success'], found['best_steps'], found['many_success']) == (0.75, 1.0, [6, 20], 0.75)
    assert found['latched_more'] == [0.0, 0.0, 0.0]
    assert '3 sampling steps per stage: success 75%; best of all tried 100% (at 6, 20); 10 steps 75%' in ablation.few_steps_line(found)


def test_forms_are_crossed_with_scales_and_the_default_is_in_every_group_of_numbers():
    rows = ablation.variations(MAZES['large'])
    crossed = {(row[2].guidance_form, row[3]) for row in rows if row[0] == 'guidance form and scale'}
    assert crossed == {(form, scale) for form in ('noisy', 'clean', 'through') for scale in (0.3, 1.0, 10.0)}
    groups = {row[0] for row in rows if row[2:] == rows[0][2:]}
    assert {'default', 'guidance scale', 'arrival search', 'candidates filled in', 'fill-in tokens', 'replanning every'} <= groups


@pytest.fixture
def page(tmp_path):
    rows = [{'group': group, 'name': name, 'scale': scale, 'default': (settings, scale, every) == ablation.variations(MAZES['umaze'])[0][2:],
             **run.summary(MAZES['umaze'], [_result(0, 100.0 * (scale > 0), 100.0 * (scale > 0)), _result(1, 90.0, 95.0)])}
            for group, name, settings, scale, every in ablation.variations(MAZES['umaze'])]
    path = tmp_path / 'ablation.json'
    path.write_text(json.dumps({'maze': 'umaze', 'seeds': 2, 'first_seed': 0, 'rows': rows}))
    return path


def test_the_page_is_drawn(page, tmp_path):
    plots.draw(page, tmp_path / 'new' / 'page.png')
    assert 50_000 < (tmp_path / 'new' / 'page.png').stat().st_size < 1_000_000


def test_an_outlier_does_not_squeeze_a_panel():
    default, outlier = {'latched': [200.0, 190.0, 210.0]}, {'latched': [0.0, -2.0, 2.0]}
    assert plots.window([default, outlier], default) == plots.window([default], default) and plots.window([default], default)[0] > 180


# Published scores and training

def test_published_averages_are_those_of_the_papers():
    averages = {row['method']: row['average'] for row in published.rows()}
    assert averages == {'IQL': 47.0, 'Diffuser': 119.5, 'Diffusion Forcing': 141.7, 'Hierarchical Diffuser': 139.9,
                        'Diffusion Veteran (latched)': 163.6, 'HorizonFlow': 165.8}


def test_published_rows_stand_beside_our_own_of_the_fixed_goal():
    rows = [{'maze': name, 'goal': goal, 'method': 'ours', 'normalised': [score] * 3, 'latched': [score + 1] * 3}
            for name, score in (('umaze', 1.0), ('medium', 2.0), ('large', 3.0)) for goal in ('fixed', 'resampled')]
    table = tables.beside({'published': published.rows(), 'rows': rows})
    assert table.row_count == 8 and list(table.columns[4].cells)[-2:] == ['2.0', '3.0']


def test_training_does_not_write_over_a_model(tmp_path, capsys):
    folder = tmp_path / 'pointmaze_umaze'
    run.check_untrained(['umaze'], tmp_path)
    folder.mkdir()
    (folder / 'model.safetensors').write_bytes(b'x')
    with pytest.raises(BenchmarkError, match='has a model already and no training in progress; name a new folder with --models'):
        run.check_untrained(['umaze'], tmp_path)
    assert cli.main(['bench', 'maze', '--maze', 'umaze', '--train', '--models', str(tmp_path), '--data', str(tmp_path / 'data')]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / 'data').exists()
    (folder / 'training').mkdir()
    (folder / 'training/heads.pt').write_bytes(b'x')
    run.check_untrained(['umaze'], tmp_path)


# Interruption

def _processes(group):
    """List the living processes of a process group: -> [process id]"""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            state, _, its_group = path.read_text().rpartition(') ')[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != 'Z':
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path('/proc').exists(), reason='processes are looked up in /proc')
@pytest.mark.parametrize('everyone', [False, True], ids=['by kill', 'by Ctrl-C'])
def test_an_interruption_is_one_line_leaves_no_worker_and_keeps_what_was_finished(tmp_path, everyone):
    command = [sys.executable, '-m', 'diffusion_planner.cli', 'bench', 'maze', '--maze', 'umaze', '--method', 'ours', '--goal', 'fixed',
               '--seeds', '500', '--workers', '1', '--work', str(tmp_path), '--json', str(tmp_path / 'report.json')]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, 'OMP_NUM_THREADS': '1'})
    ledger, deadline = tmp_path / 'umaze-fixed-ours.jsonl', time.monotonic() + 120
    while not ledger.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    (os.killpg if everyone else os.kill)(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert said == 'diffusion-planner: interrupted; the same command goes on from there\n' and started.returncode == 130
    deadline = time.monotonic() + 5      # the tracker of multiprocessing's resources sees the end, and ends too
    while _processes(started.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _processes(started.pid)
    assert sum('"seed"' in line for line in ledger.read_text().splitlines()) % 5 == 0 and not (tmp_path / 'report.json').exists()
