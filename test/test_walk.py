"""The walk of models/from_bags/BAGS.md on a tiny setting: record, ingest, train, evaluate, replay, run. Each step is the command itself."""
import json
import os
import subprocess
import sys

import pytest
import yaml

pytest.importorskip('rosbags')
pytest.importorskip('rclpy')
EPISODES, SEED = 30, 6000
STAGE = {'steps': 6, 'batch': 16, 'learning_rate': 1e-3}
TINY = {'robot': 'config/panda.yaml', 'model': {'width': 32, 'depth': 1}, 'held_out_share': 0.2, 'threads': 1, 'checkpoint_every': 3, 'picture_stride': 1,
        **dict.fromkeys(('representation', 'heads', 'familiarity', 'denoiser', 'panel', 'transition', 'genuineness', 'flaw'), STAGE)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp('walk')
    (made / 'tiny.yaml').write_text(yaml.safe_dump(TINY))
    return made


def run(folder, *arguments, status=0):
    """Run the program as a user would: -> its standard output"""
    code = 'from diffusion_planner.cli import main; raise SystemExit(main())'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'COLUMNS': '200'}
    done = subprocess.run([sys.executable, '-c', code, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == status, f'{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
    assert 'Traceback' not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def data(folder):
    """Record play over real topics and ingest it."""
    run(folder, 'play', '--episodes', EPISODES, '--seed', SEED, '--speed', 100, '--record', 'bag')
    run(folder, 'ingest', 'bag', '--out', 'data')
    return folder / 'data'


@pytest.fixture(scope='module')
def model(folder, data):
    run(folder, 'train', 'tiny.yaml', '--data', 'data', '--out', 'model')
    run(folder, 'train', 'tiny.yaml', '--data', 'data', '--out', 'model', '--stage', 'judges')
    return folder / 'model'


def test_every_episode_that_was_played_is_there(data):
    from diffusion_planner.data import store
    episodes = store.read(data)
    assert len(episodes) == EPISODES and episodes.privileged == {}
    assert set(episodes.reward) == {0.0, 1.0} and (data / 'ingest_report.png').stat().st_size > 1000


def test_the_model_is_whole(model):
    from diffusion_planner.runtime.checkpoint import verify
    assert verify(model)['planning']


def test_the_report_is_made(folder, model):
    run(folder, 'evaluate', 'bag', '--model', 'model', '--out', 'report', '--limit', 8)
    report = json.loads((folder / 'report' / 'report.json').read_text())
    assert report and (folder / 'report' / 'report.html').stat().st_size > 10_000


def test_the_model_replays_the_bag(folder, model):
    out = run(folder, 'replay', 'bag', '--model', 'model', '--duration', 4, '--json', 'replay.json')
    assert json.loads((folder / 'replay.json').read_text()), out


def test_the_model_drives_the_arm(folder, model):
    """Trained for seconds it reaches nothing, but plans, is refused or not, and the session comes to its end."""
    run(folder, 'sim', '--episodes', 1, '--model', 'model', '--no-video', '--json', 'sim.json')
    assert len(json.loads((folder / 'sim.json').read_text())['episodes']) == 1
