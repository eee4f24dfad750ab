"""Work shared by processes and by ray: the same results, lost workers made good, errors passed on, nothing left behind."""
import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from diffusion_planner import cli
from diffusion_planner.config import ConfigError
from diffusion_planner.sim import fanout
from diffusion_planner.training.demos import make_demos

MODEL = Path('models/panda_reach')
HOLD = '''
import signal, sys
import test_fanout
from diffusion_planner.sim import fanout
signal.signal(signal.SIGINT, signal.default_int_handler)       # which is off where tests are run in the background of a shell
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


@pytest.fixture(scope='module')
def joined(program):
    """A ray on two workers that this process has joined."""
    address, word = program[1]
    with fanout._environment({**fanout.ALONE, 'RAY_AUTH_TOKEN': word}), fanout._cluster(address, 2) as ray:
        yield address, ray


@pytest.fixture
def address(joined, monkeypatch):
    """A ray that is joined once for all tests, as that takes seconds."""
    monkeypatch.setattr(fanout, '_cluster', lambda address, workers: nullcontext(joined[1]))
    return joined[0]


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
    for name, workers, where in (('here', 1, None), ('there', 2, address)):
        make_demos(tmp_path / name, 2, 5, workers, where, shard=1)
    files = {name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ('here', 'there')}
    assert sorted(files['here']) == ['episodes-00000.h5', 'episodes-00001.h5', 'seed.txt']
    assert files['here'] == files['there']


def test_episodes_are_the_same_but_for_the_time_they_take(address, tmp_path):
    found = {}
    for name, more in (('here', ('--workers', '1')), ('there', ('--ray', address))):
        path = tmp_path / f'{name}.json'
        assert not cli.main(['compare', '--model', str(MODEL), '--episodes', '2', '--method', 'guided', '--json', str(path), *more])
        report = json.loads(path.read_text())
        for row in report['episodes']:
            assert len(row.pop('plan_ms')) and len(row.pop('took_ms'))
        found[name] = report['settings'], report['episodes']
    assert found['here'] == found['there'] and len(found['here'][1]) == 2


def family(program):
    """List the processes of the program's session: -> {process id: command line}"""
    lines = subprocess.run(['ps', '-eww', '-o', 'sid=,pid=,args='], capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(pid): command for sid, pid, command in (line.split(maxsplit=2) for line in lines) if sid == str(program.pid) and 'defunct' not in command}


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_a_ray_of_our_own_listens_on_the_loopback_alone(program):
    sockets, found = set(), []
    for descriptor in (path for pid in family(program[0]) for path in Path(f'/proc/{pid}/fd').glob('*')):
        with suppress(FileNotFoundError):
            sockets.add(os.readlink(descriptor))
    for name in ('tcp', 'tcp6'):
        for words in map(str.split, Path(f'/proc/net/{name}').read_text().splitlines()[1:]):
            if words[3] == '0A' and f'socket:[{words[9]}]' in sockets:
                found.append(words[1].split(':')[0])
    assert len(found) >= 3 and all(address.endswith('0100007F') for address in found)


def test_an_interrupted_program_leaves_no_ray_behind(program, joined):
    process, (_, ray) = program[0], joined
    ray.shutdown()                       # here, as it would miss the other end
    assert any('raylet' in command for command in family(process).values())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) != 0
    until = time.monotonic() + 20
    while found := family(process):
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


def test_without_ray_the_extra_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(fanout.importlib.util, 'find_spec', lambda name: None)
    assert cli.main(['demos', '--episodes', '1', '--out', str(tmp_path), '--ray']) == 2
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
