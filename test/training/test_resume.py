"""A run that was stopped ends, bit for bit, as one that never was; one of something else is refused."""
import copy
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from every_stage import EVERY, STAGES, hasten, train
from tiny import write

from diffusion_planner.data import store
from diffusion_planner.training import curves, run, trainer
from diffusion_planner.training.config import Stage
from diffusion_planner.training.run import Run, RunError

STEPS, STOP, LOST = 11, 4, 8      # checkpoints are written every third step
BUDGET = Stage(STEPS, 8, 1e-2, warmup=4)
torch.set_num_threads(1)


class Killed(Exception):
    """Stands in for SIGKILL: nothing is written after it."""


def toy(folder, stage=BUDGET, resume=True, stop=None, **identity):
    """Train a small network, from both kinds of generator, until it is stopped: -> Run"""
    torch.manual_seed(3)
    config = SimpleNamespace(seed=1, ema_decay=0.9, checkpoint_every=3)
    made = Run('toy', folder, {'net': torch.nn.Linear(3, 2)}, stage, config, resume, 'cpu', identity=identity)
    writer = SimpleNamespace(add_scalar=lambda *_: None)

    def loss(generator):
        if stop and made.done == stop[1]:
            stop[0]()
        noise = torch.randn(8, 3, generator=generator) + torch.from_numpy(run.spun_off(generator).standard_normal((8, 3))).float()
        value = made.modules['net'](noise).square().mean()
        return value, {'loss': value.item()}
    made.train(loss, writer)
    return made


def interrupt(number):
    return lambda: os.kill(os.getpid(), number)


def kill():
    raise Killed


def state(path):
    return {key: value for key, value in torch.load(path, weights_only=True).items() if key != 'seconds'}


def same(one, other):
    """Compare nested state bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return len(one) == len(other) and all(map(same, one, other)) if isinstance(one, (list, tuple)) else one == other


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_writes_the_step_at_hand_and_the_rest_is_as_if_nothing_had_been(tmp_path, number, code):
    (tmp_path / 'whole').mkdir()
    toy(tmp_path / 'whole')
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        toy(tmp_path, stop=(interrupt(number), STOP))
    assert ended.value.code == code and signal.getsignal(number) == before
    assert state(tmp_path / 'toy.pt')['done'] == STOP + 1      # the step at hand, not the third one before
    toy(tmp_path)
    assert same(state(tmp_path / 'toy.pt'), state(tmp_path / 'whole/toy.pt'))


def test_after_a_kill_the_last_checkpoint_goes_on_and_curves_hold_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(run, 'LOG_EVERY', 1)
    (tmp_path / 'whole').mkdir()
    toy(tmp_path / 'whole')
    with pytest.raises(Killed):
        toy(tmp_path, stop=(kill, LOST))
    assert state(tmp_path / 'toy.pt')['done'] == 6 and curves.read(tmp_path / 'toy.csv')[-1][0] == LOST
    with (tmp_path / 'toy.csv').open('a') as file:
        file.write('9,lo')                                      # a row that the kill cut off
    toy(tmp_path)
    assert same(state(tmp_path / 'toy.pt'), state(tmp_path / 'whole/toy.pt'))
    assert [step for step, _, _ in curves.read(tmp_path / 'toy.csv')] == [*range(1, STEPS + 1)]
    assert (tmp_path / 'toy.csv').read_bytes() == (tmp_path / 'whole/toy.csv').read_bytes()


@pytest.mark.parametrize('change, message', [
    ({'stage': replace(BUDGET, steps=20)}, 'toy.steps: got 20, expected 11 as in the run so far; use --no-resume or another --out'),
    ({'stage': replace(BUDGET, learning_rate=0.5)}, 'toy.learning_rate: got 0.5, expected 0.01'),
    ({'stage': replace(BUDGET, batch=16)}, 'toy.batch: got 16, expected 8'),
    ({'width': [3, 5]}, r'width: got \[3, 5\], expected \[3, 4\]')])
def test_what_was_changed_in_between_is_named(tmp_path, change, message):
    with pytest.raises(SystemExit):
        toy(tmp_path, width=[3, 4], stop=(interrupt(signal.SIGTERM), STOP))
    with pytest.raises(RunError, match=f'toy.pt: {message}'):
        toy(tmp_path, **{'width': [3, 4]} | change)
    toy(tmp_path, resume=False, **{'width': [3, 4]} | change)   # a new run may be what it likes


@pytest.mark.parametrize('spoil', [lambda data: data[:len(data) // 2], lambda data: b'', lambda data: b'no checkpoint at all' * 50])
def test_a_spoilt_checkpoint_is_one_line(tmp_path, spoil):
    toy(tmp_path)
    path = tmp_path / 'toy.pt'
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RunError, match='toy.pt: no checkpoint of this stage .*; delete it or use --no-resume') as refused:
        toy(tmp_path)
    assert '\n' not in str(refused.value)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
    toy(tmp_path)
    kept = torch.load(tmp_path / 'toy.pt', weights_only=True)
    torch.save(kept | {'modules': {'net.weight': torch.zeros(9, 9)}}, tmp_path / 'toy.pt')
    with pytest.raises(RunError, match='no checkpoint of this stage'):
        toy(tmp_path)


def test_a_checkpoint_from_before_these_checks_is_taken_and_said_so(tmp_path, capsys):
    with pytest.raises(SystemExit):
        toy(tmp_path, stop=(interrupt(signal.SIGTERM), STOP))
    old = torch.load(tmp_path / 'toy.pt', weights_only=True)
    for key in ('identity', 'scaler'):
        del old[key]
    torch.save(old, tmp_path / 'toy.pt')
    assert toy(tmp_path, width=[9]).done == STEPS
    assert 'toy.pt: older than the checks of what a run belongs to; taken as it is' in capsys.readouterr().out


def test_every_stage_goes_on_bit_for_bit(data, tmp_path, monkeypatch):
    """Stages are stopped in turn, by a signal and by a kill, at steps that are no multiple of the checkpoint interval."""
    hasten(monkeypatch.setattr)
    path, whole, pieces = write(tmp_path, EVERY), tmp_path / 'whole', tmp_path / 'pieces'
    train(path, data, whole)
    update = Run._update
    for index, name in enumerate(STAGES):
        def stopped(self, loss, stop, name=name, index=index):
            if self.name == name and self.done == 3:
                kill() if index % 2 else os.kill(os.getpid(), signal.SIGTERM)
            return update(self, loss, stop)
        monkeypatch.setattr(Run, '_update', stopped)
        with pytest.raises(Killed if index % 2 else SystemExit):
            trainer.train(path, data, pieces, stage='all' if index < 4 else 'judges')
        monkeypatch.setattr(Run, '_update', update)
        assert state(pieces / f'training/{name}.pt')['done'] == (2 if index % 2 else 5)
        if index == 3:
            trainer.train(path, data, pieces)
    trainer.train(path, data, pieces, stage='judges')
    for name in STAGES:
        assert same(state(pieces / f'training/{name}.pt'), state(whole / f'training/{name}.pt')), name
    assert (pieces / 'model.safetensors').read_bytes() == (whole / 'model.safetensors').read_bytes()


def test_other_data_and_settings_than_those_of_the_run_are_refused(data, tmp_path):
    settings = copy.deepcopy(EVERY)
    trainer.train(write(tmp_path, settings), data, tmp_path / 'model', stage='representation')
    with pytest.raises(RunError, match='representation.pt: held_out_share: got 0.3, expected 0.2 as in the run so far'):
        trainer.train(write(tmp_path, settings | {'held_out_share': 0.3}), data, tmp_path / 'model')
    with pytest.raises(RunError, match=r'representation.pt: representation.learning_rate: got 0.002, expected 0.001'):
        trainer.train(write(tmp_path, settings | {'representation': settings['representation'] | {'learning_rate': 2e-3}}), data, tmp_path / 'model')
    shard = store.shards(data)[0]
    shard.with_name('episodes-00001.h5').write_bytes(shard.read_bytes())
    with pytest.raises(RunError, match='representation.pt: data.episodes: got 80, expected 40'):
        trainer.train(write(tmp_path, settings), data, tmp_path / 'model')
