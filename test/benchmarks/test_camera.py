"""The benchmark of the camera's topic: over real topics, on a small scale, and what it makes of the figures."""
import json
import subprocess
import sys

import pytest

from diffusion_planner import cli
from diffusion_planner.benchmarks import camera
from diffusion_planner.config import ConfigError


def facts(sent=10, readers=1, cpu_s=0.1):
    return {'sent': sent, 'readers': readers, 'slowest_publish_ms': 3.0, 'cpu_s': cpu_s}


def heard(latency_ms, cpu_s=0.2):
    return {'received': len(latency_ms), 'latency_ms': latency_ms, 'cpu_s': cpu_s}


def test_the_reader_who_lost_most_counts():
    row = camera._figures(facts(readers=2), [heard([1.0] * 10), heard([3.0] * 8, 0.4)])
    assert (row['sent'], row['received'], row['lost_share']) == (10, 8, pytest.approx(0.2))
    assert row['latency_ms'] == {'p50': 1.0, 'p95': 3.0, 'p99': 3.0}
    assert row['reader_cpu_s'] == pytest.approx(0.3)


def test_nothing_received_is_no_latency():
    row = camera._figures(facts(), [heard([])])
    assert row['lost_share'] == 1.0 and set(row['latency_ms'].values()) == {None}


def test_readers_that_were_not_found_are_no_loss():
    with pytest.raises(ConfigError, match='1 of 2 readers'):
        camera._figures(facts(readers=1), [heard([1.0]), heard([])])


def test_each_run_reads_its_own_profile():
    inherited = {'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml', 'FASTRTPS_DEFAULT_PROFILES_FILE': 'mine.xml', 'HOME': '/'}
    assert camera.environment('none', inherited) == {'HOME': '/'}
    for name in ('fastdds.xml', 'fastdds_localhost.xml'):
        assert camera.environment(name, inherited)['FASTDDS_DEFAULT_PROFILES_FILE'].endswith(f'config/{name}')


@pytest.mark.parametrize('program, said', [('import sys; print("no rclpy", file=sys.stderr); sys.exit(3)', 'exit status 3, last words: no rclpy'),
                                           ('', 'exit status 0, last words: nothing'), ('print("hello")', 'last words: nothing')])
def test_a_child_that_fails_says_why(program, said):
    child = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pytest.raises(ConfigError, match=said):
        camera._facts(child, 30)


def test_a_child_that_hangs_is_given_up():
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pytest.raises(ConfigError, match='has not ended after 0 s'):
        camera._facts(child, 0.2)
    child.kill()
    child.wait()


def test_over_real_topics(tmp_path, capsys, monkeypatch):
    pytest.importorskip('rclpy')
    monkeypatch.setattr(camera, 'PROFILES', {name: camera.PROFILES[name] for name in ('none', 'fastdds_localhost.xml')})
    monkeypatch.setattr(camera, 'QOS', {camera.AS_THE_PLANNER: (False, 5)})      # a slow machine is not to overwrite what has come
    assert not cli.main(['bench', 'camera', '--seconds', '2', '--json', str(tmp_path / 'new' / 'camera.json')])
    report = json.loads((tmp_path / 'new' / 'camera.json').read_text())
    assert [run['profile'] for run in report['runs']] == ['none', 'fastdds_localhost.xml']
    assert [run['sent'] for run in report['runs']] == [60, 60]
    ours = report['runs'][1]
    assert ours['lost_share'] <= 0.1                                             # without the profile it is nine in ten
    assert 0 < ours['latency_ms']['p50'] <= ours['latency_ms']['p99'] < 2000
    assert 'fastdds_localhost.xml' in capsys.readouterr().out


@pytest.mark.parametrize('arguments', [['--seconds', '0'], ['--width', '0'], ['--rate', 'fast'], ['--readers', '0'], ['--domain', '300']])
def test_bad_options_are_one_line(arguments, capsys):
    assert cli.main(['bench', 'camera', *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and arguments[0] in lines[0]
