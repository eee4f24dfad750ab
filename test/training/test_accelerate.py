"""Two processes train what one trains: the same curves, the same weights, to the rounding of sums."""
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import every_stage
import pytest
import torch
from every_stage import EVERY, STAGES
from tiny import episode, write

from diffusion_planner.data import store
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim.scene import default_robot
from diffusion_planner.training import curves
from diffusion_planner.training.denoising import denoising_loss
from diffusion_planner.training.distributed import Processes, ProcessesError, find_processes

HERE = Path(__file__).resolve().parent


def start(arguments):
    """Run every_stage.py in two processes that accelerate launches."""
    launcher = ['--multi_gpu', '--num_processes', '2', '--main_process_port', '0', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': f'{HERE.parents[1]}:{HERE}'}
    return subprocess.Popen([sys.executable, '-m', 'accelerate.commands.launch', *launcher, str(HERE / 'every_stage.py'), *map(str, arguments)],
                            env=environment, cwd=HERE.parents[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Folders of one process and of two on the same data."""
    folder = tmp_path_factory.mktemp('pair')
    (folder / 'data').mkdir()
    store.write_shard(store.shard_path(folder / 'data', 0), [episode(seed) for seed in range(40)], {
        'joint_names': list(default_robot().joint_names), 'cameras': ['camera'], 'picture_shape': (96, 96, 3)})
    path = write(folder, EVERY)
    (folder / 'two').mkdir()
    running = start((path, folder / 'data', folder / 'two'))
    try:
        with pytest.MonkeyPatch.context() as patch:
            every_stage.hasten(patch.setattr)
            every_stage.train(path, folder / 'data', folder / 'one')
        said, _ = running.communicate(timeout=600)
    finally:
        running.kill()
    assert running.returncode == 0, said[-3000:]
    (folder / 'two.txt').write_text(said)
    return folder


def test_curves_are_the_same(pair):
    for stage in STAGES:
        one, two = (curves.read(pair / f'{name}/training/{stage}.csv') for name in ('one', 'two'))
        assert [row[:2] for row in one] == [row[:2] for row in two] and max(row[0] for row in one) == 6
        losses = [(mine[2], theirs[2]) for mine, theirs in zip(one, two) if not mine[1].endswith(curves.APART)]
        assert len(losses) >= 6
        for mine, theirs in losses:
            assert theirs == pytest.approx(mine, rel=1e-5), stage


def test_weights_are_the_same_and_those_of_all_processes_equal(pair):
    one, two = (checkpoint.load(pair / name)[0].state_dict() for name in ('one', 'two'))
    for name, value in one.items():
        if name.startswith('denoiser'):
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
    notes = [(pair / f'two/averages-{rank}.txt').read_text() for rank in (0, 1)]
    assert notes[0] == notes[1] and [line.split()[0] for line in notes[0].splitlines()] == [*STAGES]


def test_only_one_process_speaks(pair):
    said = (pair / 'two.txt').read_text()
    assert said.count('judges written') == 1 and said.count('40 episodes, 8 held out') == 2     # once per command


def test_shares_cover_a_batch_once():
    rows = [*range(48)]
    shares = []
    for index in range(3):
        process = Processes(device='cpu')
        process.index, process.count = index, 3
        shares.append(rows[process.own(48)])
    assert sum(shares, []) == rows and {len(share) for share in shares} == {16}


def test_a_batch_that_does_not_part_is_refused():
    process = Processes(device='cpu')
    process.check_batch('denoiser', 100)           # alone it takes any
    process.count = 2
    process.check_batch('denoiser', 96)
    with pytest.raises(ProcessesError, match='denoiser: batch: got 100, expected a multiple of 16: 8 for each of 2 processes'):
        process.check_batch('denoiser', 100)


def test_shares_of_a_denoising_loss_average_to_the_whole():
    """Tokens that are absent are not spread evenly over the shares, so a mean of their means would be another loss."""
    generator = torch.Generator().manual_seed(0)
    clean, offset_s = torch.randn(8, 5, 4, generator=generator), torch.arange(5.0).repeat(8, 1)
    present = torch.ones(8, 5, dtype=torch.bool)
    present[:3, :2] = False
    whole, first, second = (denoising_loss(lambda noisy, level, offset: noisy * 0.7, clean, offset_s, present, 2, torch.ones(4),
                                           torch.Generator().manual_seed(1), own) for own in (slice(None), slice(0, 4), slice(4, 8)))
    assert float((first + second) / 2) == pytest.approx(float(whole), rel=1e-6) and float(first) != pytest.approx(float(second), rel=1e-3)


def test_without_accelerate_one_process_trains_and_several_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    monkeypatch.delenv('ACCELERATE_MIXED_PRECISION', raising=False)
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    alone = find_processes('cpu')
    assert alone.main and alone.count == 1 and alone.mean({'loss': 1.0}) == {'loss': 1.0}
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ProcessesError, match='WORLD_SIZE: got 2, expected 1 where accelerate is not installed'):
        find_processes('cpu')


def test_a_launcher_that_started_one_process_of_several_is_told(monkeypatch):
    """accelerate launch --num_processes 2 starts one process where there is no GPU, and says nothing."""
    lone = SimpleNamespace(num_processes=1, process_index=0, device='cpu', end_training=lambda: None)
    monkeypatch.setitem(sys.modules, 'accelerate', SimpleNamespace(Accelerator=lambda **_: lone, InitProcessGroupKwargs=lambda **_: None))
    monkeypatch.setenv('ACCELERATE_MIXED_PRECISION', 'no')
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    assert find_processes('cpu').accelerator is lone
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    with pytest.raises(ProcessesError, match='got 1 process, expected several: without GPUs it starts them only with --multi_gpu'):
        find_processes('cpu')
