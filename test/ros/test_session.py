"""The session against small nodes that speak the same topics, each a process of its own."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from diffusion_planner.config import ConfigError  # noqa: E402
from diffusion_planner.ros import children, domains, options, session, soak_rig  # noqa: E402

FAKES = Path(__file__).parent / 'fake_nodes.py'
# A session in a process of its own, so that it can be interrupted: model and nodes are the only things that are not real.
SCRIPT = '''
import json, sys
from pathlib import Path
from diffusion_planner.ros import session
from diffusion_planner.runtime import checkpoint
arguments = json.loads(sys.argv[1])
checkpoint.verify = lambda folder: {'planning': {'recommended_scale': 2.0}}
hows = arguments.pop('hows', {})
session.commands = lambda *_: {role: [sys.executable, arguments_fakes, role, hows.get(role, '')] for role in ('sim', 'planner')}
arguments_fakes = sys.argv[2]
session.START_S = session.ANSWER_S = 15.0
paths = {name: Path(arguments.pop(name)) for name in ('json', 'video') if name in arguments}
sys.exit(session.run_sim(session.SimOptions(model='model', **paths, **arguments)))
'''


def start(folder, **arguments):
    return subprocess.Popen([sys.executable, '-c', SCRIPT, json.dumps(arguments), str(FAKES)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, 'TMPDIR': str(folder)})


def fakes_alive():
    return [line for line in subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout.splitlines()
            if str(FAKES) in line and ' -c ' not in line]


def test_session_measures_reports_and_films(tmp_path):
    report, video = tmp_path / 'deep' / 'sim.json', tmp_path / 'sim.mp4'
    process = start(tmp_path, episodes=3, seed=4, json=str(report), video=str(video), objective='config/objectives/keep_out.yaml')
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    written = json.loads(report.read_text())
    assert [row['seed'] for row in written['episodes']] == [4, 5, 6]
    assert [row['success'] for row in written['episodes']] == [True, False, True]
    assert all(row['plan_ms'] and set(row['plan_ms']) == {80.0} for row in written['episodes'])
    assert all(row['deadline_misses'] >= 1 and row['chunks_rejected'] == 1 and row['done'] for row in written['episodes'])
    summary = written['summary']
    assert summary['success_rate'] == 2 / 3 and summary['contacts'] == 2 and summary['episodes_with_contact'] == 1
    assert summary['deadline_misses'] == sum(row['deadline_misses'] for row in written['episodes'])
    assert written['settings']['guidance_scale'] == 2.0 and written['video'] == str(video)
    assert video.stat().st_size > 1000
    assert [row['zone_entries'] for row in written['episodes']] == [0, 2, 0] and written['settings']['objective'].endswith('keep_out.yaml')
    assert 'zone entries     2 physics steps, in 1 of 3 episodes' in output
    assert 'success          2 of 3' in output and 'p50 80 ms' in output and str(video) in output
    assert not fakes_alive()


def test_interrupted_session_keeps_what_was_measured(tmp_path):
    report = tmp_path / 'sim.json'
    process = start(tmp_path, episodes=50, json=str(report), hows={'planner': 'deaf'})
    wait_for(lambda: report.exists())
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)       # in a hurry: nobody waits for a node that does not listen
    output, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGINT
    assert 'interrupted by SIGINT' in errors and 'Traceback' not in errors
    row = json.loads(report.read_text())['episodes'][0]
    assert row['success'] and 'zone_entries' not in row and 'success' in output and 'zone' not in output
    assert not fakes_alive()


def test_dead_node_ends_the_session_with_its_last_words(tmp_path):
    report = tmp_path / 'sim.json'
    process = start(tmp_path, episodes=3, json=str(report), hows={'sim': 'dies in 1'})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert '  | out of cheese' in errors and errors.splitlines()[-1].startswith('diffusion-planner: sim node ended with exit status 3')
    assert len(json.loads(report.read_text())['episodes']) == 1
    assert not fakes_alive()


def test_faulty_planner_ends_the_session(tmp_path):
    process = start(tmp_path, hows={'planner': 'faulty'})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and 'FAULT: no model' in errors.splitlines()[-1]


def test_killed_session_leaves_no_node_behind(tmp_path):
    process = start(tmp_path, episodes=50, json=str(tmp_path / 'sim.json'))
    wait_for((tmp_path / 'sim.json').exists)
    process.kill()
    process.communicate()
    wait_for(lambda: not fakes_alive(), 10)


def wait_for(condition, seconds=30):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_domain_in_use_is_refused_by_its_number():
    before = dict(os.environ)
    with domains.lease() as domain:
        assert os.environ['ROS_DOMAIN_ID'] == str(domain) and os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
        with pytest.raises(ConfigError, match=f'--domain {domain}: in use by another run .process {os.getpid()}'):
            with domains.lease(domain):
                pass
        with domains.lease() as other:
            assert other != domain
    assert dict(os.environ) == before


def test_domain_with_a_node_of_ours_is_refused(tmp_path):
    with domains.lease() as domain:
        with children.running({'sim': [sys.executable, str(FAKES), 'sim']}, tmp_path):
            wait_for(lambda: domains.node_alive(domain))
            domains.lock_path(domain).unlink()       # as if the run that started the node had been killed
            with pytest.raises(ConfigError, match=f'--domain {domain}: node /sim is alive there'):
                with domains.lease(domain):
                    pass


def test_bad_options_are_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    with pytest.raises(ConfigError, match='--gui needs a display; DISPLAY is not set'):
        session.run_sim(session.SimOptions(model=tmp_path, gui=True))
    with pytest.raises(ValueError, match='no such model folder'):
        session.run_sim(session.SimOptions(model=tmp_path / 'nothing'))
    with pytest.raises(ConfigError, match='play data'):
        session.run_sim(session.SimOptions(model=tmp_path, seed=999_999))
    with pytest.raises(ConfigError, match='is a folder'):
        session.run_sim(session.SimOptions(model=tmp_path, json=tmp_path))
    with pytest.raises(ConfigError, match="^backend: got 'caffe', expected one of torch, onnx$"):
        session.run_sim(session.SimOptions(model=tmp_path, backend='caffe'))
    with pytest.raises(ConfigError, match="^device: got 'tensorrt' with backend torch"):
        session.run_sim(session.SimOptions(model=tmp_path, device='tensorrt'))
    with pytest.raises(ConfigError, match="--oddity: got 'fog', expected one of target_off_table, "):
        session.run_sim(session.SimOptions(model=tmp_path, oddity='fog'))
    (tmp_path / 'bad.yaml').write_text('keep_in: []')
    with pytest.raises(ConfigError, match="unknown key 'keep_in'"):
        session.run_sim(session.SimOptions(model=tmp_path, objective=tmp_path / 'bad.yaml'))
    with pytest.raises(ConfigError, match='nowhere.yaml'):
        session.run_sim(session.SimOptions(model=tmp_path, objective='nowhere.yaml'))


def test_commands_carry_parameters_as_rcl_reads_them(tmp_path):
    lines = options.commands(options.SimOptions(model=Path("/tmp/it's a model"), seed=3), 1)
    assert 'scene_seed:=4' in lines['sim'] and 'gui:=false' in lines['sim']
    assert "model:='/tmp/it''s a model'" in lines['planner'] and 'guidance_scale:=1.0' in lines['planner']
    plain = options.commands(options.SimOptions(model=tmp_path), None)
    assert not any(word in part for lines in plain.values() for part in lines for word in ('guidance', 'objective', 'oddity'))
    assert 'guard:=true' in plain['planner'] and not any('deadline' in part for part in plain['planner'])
    hurried = options.commands(options.SimOptions(model=tmp_path, backend='onnx', device='cpu', deadline_ms=15), None)
    assert {"backend:='onnx'", "device:='cpu'", 'deadline_ms:=15.0'} <= set(hurried['planner'])
    assert hurried['sim'] == plain['sim']


def test_rigs_hand_on_what_the_planner_is_run_with(tmp_path):
    for lines in (soak_rig.real_time(tmp_path, 3, backend='onnx'), soak_rig.on_the_wall_clock(tmp_path, 3, backend='onnx', deadline_ms=20.0)):
        assert "backend:='onnx'" in lines['planner'] and "backend:='onnx'" not in lines['sim']
    assert 'deadline_ms:=20.0' in lines['planner']


def test_objective_goes_to_both_nodes_and_the_oddity_to_the_simulator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)     # where the shipped file is found all the same
    lines = options.commands(options.SimOptions(model=tmp_path, objective='config/objectives/keep_out.yaml', guard=False, oddity='second_arm'), 1)
    objective = f"objective:='{FAKES.parents[2] / 'config/objectives/keep_out.yaml'}'"
    assert objective in lines['sim'] and objective in lines['planner']
    assert "oddity:='second_arm'" in lines['sim'] and 'guard:=false' in lines['planner']
