"""Work shared by processes and by ray: the same results, lost workers made good, errors passed on, nothing left behind."""
import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from diffusion_planner import cli
from diffusion_planner.config import ConfigError
from diffusion_planner.sim import fanout
from diffusion_planner.training.demos import make_demos

MODEL = Path('models/panda_reach')
HOLD = '''
import sys
import test_fanout
from diffusion_planner.sim import fanout
list(fanout.run(test_fanout.hold, [(sys.argv[1], int(sys.argv[2]))], workers=3, ray=fanout.HERE))
'''


def square(number):
    return number ** 2


def process_id(_):
    return os.getpid()


def refuse(item):
    raise ConfigError(f'item: got {item!r}, expected another')


class CannotBeMadeAgain(Exception):
    def __init__(self, one, other):
        super().__init__(f'{one} and {other}')


def refuse_oddly(item):
    raise CannotBeMadeAgain(item, item)


def die_until(item):
    """Kill this process until the file has so many letters: (path, count) -> count"""
    path, count = item
    with open(path, 'a+') as file:
        file.seek(0)
        if len(file.read()) < count:
            file.write('x')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    return count


def hold(item):
    """Tell by a file what ray this is, and keep one of its workers busy as long as a process lives: (path, process id)"""
    import ray
    path, process = item
    Path(f'{path}.part').write_text(json.dumps([ray.get_runtime_context().gcs_address, os.environ['RAY_AUTH_TOKEN']]))
    os.replace(f'{path}.part', path)
    with suppress(ProcessLookupError):
        while True:
            os.kill(process, 0)
            time.sleep(0.2)


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    """A program with a ray of its own, two of whose workers have nothing to do: -> process, [address, word]"""
    if importlib.util.find_spec('ray') is None:      # without importing it: it reads what is meant for it only then
        pytest.skip('ray is not installed')
    told = tmp_path_factory.mktemp('ray') / 'told'
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(told), str(os.getpid())], start_new_session=True, stderr=subprocess.DEVNULL,
                               env={**os.environ, 'PYTHONPATH': str(Path(__file__).parent)})       # where its workers find this file
    until = time.monotonic() + 120
    while not told.exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    yield process, json.loads(told.read_text())
    process.kill()
    process.wait()


@pytest.fixture
def address(program, monkeypatch):
    """A ray on two workers to be joined."""
    for name, value in {**fanout.ALONE, 'RAY_AUTH_TOKEN': program[1][1]}.items():
        monkeypatch.setenv(name, value)
    return program[1][0]


@pytest.fixture(params=['local', 'ray'])
def ray(request):
    """What runs the work: processes of this machine, or ray."""
    return None if request.param == 'local' else request.getfixturevalue('address')


def test_every_item_comes_back_once(ray):
    assert sorted(fanout.run(square, range(7), 2, ray)) == [(number, number ** 2) for number in range(7)]


def test_without_work_nothing_is_started():
    assert list(fanout.run(square, [], 2, 'nowhere:1')) == []


def test_processes_are_kept_unless_each_item_must_have_its_own(ray):
    assert len({found for _, found in fanout.run(process_id, range(4), 2, ray)}) <= 2
    assert len({found for _, found in fanout.run(process_id, range(4), 2, ray, fresh=True)}) == 4


def test_what_is_raised_there_is_raised_here(ray):
    with pytest.raises(ConfigError, match="item: got 3, expected another") as raised:
        list(fanout.run(refuse, [3], 2, ray))
    assert 'in refuse' in str(raised.value.__cause__)
    with pytest.raises(RuntimeError, match='CannotBeMadeAgain: 3 and 3'):
        list(fanout.run(refuse_oddly, [3], 2, ray))


def test_what_a_lost_process_had_is_done_again(ray, tmp_path):
    item = str(tmp_path / 'deaths'), 2
    assert list(fanout.run(die_until, [item], 2, ray)) == [(item, 2)]
    assert (tmp_path / 'deaths').read_text() == 'xx'


def test_what_kills_every_process_is_named(ray, tmp_path):
    item = str(tmp_path / 'deaths'), 99
    with pytest.raises(fanout.FanOutError, match=r"deaths', 99\).*, expected a result"):
        list(fanout.run(die_until, [item], 2, ray))
    assert (tmp_path / 'deaths').read_text() == 'xxx'


def test_who_stops_listening_leaves_no_process_behind():
    results = fanout.run(square, range(9), 2)
    next(results)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


def test_play_is_the_same_bit_for_bit(address, tmp_path):
    for name, where in (('here', None), ('there', address)):
        make_demos(tmp_path / name, 2, 5, 2, where, shard=1)
    files = {name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ('here', 'there')}
    assert sorted(files['here']) == ['episodes-00000.h5', 'episodes-00001.h5', 'seed.txt']
    assert files['here'] == files['there']


def test_episodes_are_the_same_but_for_the_time_they_take(address, tmp_path):
    found = {}
    for name, more in (('here', ()), ('there', ('--ray', address))):
        path = tmp_path / f'{name}.json'
        assert not cli.main(['compare', '--model', str(MODEL), '--episodes', '2', '--method', 'guided', '--json', str(path), *more])
        report = json.loads(path.read_text())
        for row in report['episodes']:
            assert len(row.pop('plan_ms')) and len(row.pop('took_ms'))
        found[name] = report['settings'], report['episodes']
    assert found['here'] == found['there'] and len(found['here'][1]) == 2


def test_an_interrupted_program_leaves_no_ray_behind(program):
    process, _ = program

    def family():
        lines = subprocess.run(['ps', '-e', '-o', 'sid=,args='], capture_output=True, text=True, check=True).stdout.splitlines()
        return [line for line in lines if line.split()[0] == str(process.pid) and 'defunct' not in line]
    assert any('raylet' in line for line in family())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    until = time.monotonic() + 20
    while found := family():
        assert time.monotonic() < until, found
        time.sleep(0.1)


@pytest.mark.parametrize('arguments, expected', [
    (['compare', '--ray', 'cluster'], "--ray: got 'cluster', expected nothing, auto, or the address"),
    (['demos', '--ray', 'http://here:1'], "--ray: got 'http://here:1'"),
    (['demos', '--ray', '127.0.0.1:9', '--out', '{folder}'], "--ray: got '127.0.0.1:9' ([Errno 111] Connection refused), expected a ray cluster"),
    (['audit', '--maze', 'large', '--ray'], "--ray: got 'local' with --maze"),
])
def test_names_what_is_wrong_with_an_address(capsys, tmp_path, arguments, expected):
    assert cli.main([argument.format(folder=tmp_path) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and expected in lines[0]


def test_without_ray_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setattr(fanout.importlib.util, 'find_spec', lambda name: None)
    assert cli.main(['demos', '--ray']) == 2
    assert capsys.readouterr().err == ("diffusion-planner: --ray: got 'local' without ray installed, expected the ray extra: "
                                       "pip install 'diffusion_planner[ray]'\n")


@pytest.mark.parametrize('given, meant', [
    (['demos', '--ray'], ['demos', '--ray=local']),
    (['demos', '--ray', '--workers', '3'], ['demos', '--ray=local', '--workers', '3']),
    (['demos', '--ray', 'head:6379'], ['demos', '--ray', 'head:6379']),
    (['demos', '--ray=head:6379'], ['demos', '--ray=head:6379']),
])
def test_an_address_may_be_left_out(given, meant):
    assert cli._with_address(given) == meant
