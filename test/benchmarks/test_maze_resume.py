"""Training for a maze that was stopped ends, bit for bit, as one that never was; one of another maze or other play is refused."""
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_planner.benchmarks.maze import play, training
from diffusion_planner.benchmarks.maze.world import MAZES, PERIOD_S
from diffusion_planner.training.config import Stage
from diffusion_planner.training.run import Run, RunError

STAGES = ('heads', 'familiarity', 'transition', 'denoiser')
BUDGET = Stage(7, 64, 1e-3, 2)
TINY = replace(training.MazeTraining(), **dict.fromkeys(STAGES, BUDGET), width=32, depth=1, held_out_share=0.3, checkpoint_every=2)
torch.set_num_threads(1)


class Killed(Exception):
    """Stands in for SIGKILL: nothing is written after it."""


def record(folder, seed=0):
    """Write play that needs no physics: balls on Lissajous curves."""
    random = np.random.default_rng(seed)
    instant = np.arange(400) * PERIOD_S
    rate, phase = random.uniform(0.5, 2, (2, 10, 1, 2))
    angle = rate * instant[None, :, None] + 3 * phase
    state = np.concatenate([2 * np.sin(angle), 2 * rate * np.cos(angle)], 2).astype(np.float32)
    folder.mkdir()
    np.savez(folder / 'play_0000.npz', state=state, force=np.zeros((10, 400, 2), np.float32), version=play.VERSION)
    return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return record(tmp_path_factory.mktemp('maze') / 'play')


def kill():
    raise Killed


def stop(monkeypatch, name, step, how):
    """Stop the run of a stage at a step."""
    update = Run._update

    def stopped(self, loss, stop):
        if self.name == name and self.done == step:
            how()
        return update(self, loss, stop)
    monkeypatch.setattr(Run, '_update', stopped)


def weights(out, name):
    kept = torch.load(out / f'training/{name}.pt', weights_only=True)
    return kept['done'], {f'{part}.{key}': value for part in ('modules', 'average') for key, value in kept[part].items()}


@pytest.mark.parametrize('how, ended, kept', [(lambda: os.kill(os.getpid(), signal.SIGINT), SystemExit, 5), (kill, Killed, 2)])
def test_every_stage_goes_on_bit_for_bit(data, tmp_path, monkeypatch, how, ended, kept):
    """A signal that comes within the fourth step is seen at the fifth, which is kept; a kill leaves the checkpoint of the second."""
    whole, pieces = tmp_path / 'whole', tmp_path / 'pieces'
    training.train(MAZES['umaze'], data, whole, TINY)
    for name in STAGES:
        with monkeypatch.context() as patched, pytest.raises(ended):
            stop(patched, name, 3, how)
            training.train(MAZES['umaze'], data, pieces, TINY)
        assert weights(pieces, name)[0] == kept
    training.train(MAZES['umaze'], data, pieces, TINY)
    for name in STAGES:
        (done, ours), (_, theirs) = weights(pieces, name), weights(whole, name)
        assert done == BUDGET.steps and all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert (pieces / 'model.safetensors').read_bytes() == (whole / 'model.safetensors').read_bytes()


def test_a_run_of_another_maze_other_play_or_other_settings_is_refused(data, tmp_path, monkeypatch):
    stop(monkeypatch, 'heads', 3, kill)
    with pytest.raises(Killed):
        training.train(MAZES['umaze'], data, tmp_path / 'model', TINY)
    for maze, folder, settings, message in [
            ('medium', data, TINY, r"maze: got 'medium', expected 'umaze' as in the run so far; use another --models$"),
            ('umaze', record(tmp_path / 'other', seed=1), TINY, r"data.columns: got '\w{12}', expected '\w{12}' as in the run so far"),
            ('umaze', data, replace(TINY, width=64), 'width: got 64, expected 32')]:
        with pytest.raises(RunError, match='model/training/heads.pt: ' + message):
            training.train(MAZES[maze], folder, tmp_path / 'model', settings)
