"""Faults of model, files and parameters, and of a lifecycle that is gone through over and over, by the rows of the contract."""
import json
import shutil
from pathlib import Path

import pytest
from rigs import Desk, Told
from std_srvs.srv import SetBool

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / 'models/panda_reach'
LEAK_SHARE = 0.05         # of the memory, in fifteen lifecycles: caches that fill, and endpoints that the middleware remembers

needs_model = pytest.mark.skipif(not (MODEL / 'config.json').exists(), reason='models/panda_reach is not there: train it first')


class Setup(Told):
    """A planner of the shipped kind whose model folder and robot file are the test's to spoil and to mend, never active."""

    def __init__(self, bench):
        super().__init__(bench)
        self.model, self.robot = bench.folder / 'model', bench.folder / 'robot.yaml'
        self.mend()
        self.process = bench.start('planner', f'model:={self.model}', f'robot:={self.robot}', 'device:=cpu')
        self.see.wait_status('INACTIVE')

    def mend(self):
        shutil.rmtree(self.model, ignore_errors=True)
        self.model.mkdir()
        for name in ('config.json', 'model.safetensors'):
            shutil.copy(MODEL / name, self.model)
        shutil.copy(ROOT / 'config/panda.yaml', self.robot)

    def rewrite(self, path, old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture(scope='module')
def module_setup(module_bench):
    return Setup(module_bench)


@pytest.fixture
def setup(module_setup):
    module_setup.mend()
    module_setup.mark()
    return module_setup


SPOILT_MODELS = {
    'missing': (lambda setup: shutil.rmtree(setup.model), 'model: no such model folder; expected a folder with config.json and model.safetensors'),
    'without_weights': (lambda setup: (setup.model / 'model.safetensors').unlink(), 'model.safetensors: missing'),
    'truncated': (lambda setup: (setup.model / 'model.safetensors').write_bytes((setup.model / 'model.safetensors').read_bytes()[:-1000]),
                  '… as in config.json; the file is truncated or belongs to another model'),
    'wrong_hash': (lambda setup: setup.rewrite(setup.model / 'config.json', '"sha256": "', '"sha256": "0ff'), 'expected 0ff'),
    'wrong_version': (lambda setup: setup.rewrite(setup.model / 'config.json', 'diffusion_planner/model/1', 'diffusion_planner/model/9'),
                      "config.json: format 'diffusion_planner/model/9', expected 'diffusion_planner/model/1'"),
    'no_json': (lambda setup: (setup.model / 'config.json').write_text('{'), 'config.json: not valid JSON'),
    'wrong_joints': (lambda setup: setup.rewrite(setup.model / 'config.json', '"panda_joint7"', '"panda_joint8"'), 'trained for joints ['),
}


@needs_model
@pytest.mark.parametrize('spoil, said', SPOILT_MODELS.values(), ids=SPOILT_MODELS)
def test_row_08_a_model_that_is_no_use_fails_configure_with_the_cause(setup, spoil, said):
    spoil(setup)
    fails_to_configure(setup, said)


SPOILT_ROBOTS = {
    'unknown_key': (('home_rad:', 'homes_rad:'), "unknown key 'homes_rad'"),
    'inverted_limits': (('position_max_rad: [2.8973', 'position_max_rad: [-3.0'), 'panda_joint1: position_min_rad must be below position_max_rad'),
    'wrong_type': (('control_period_s: ', 'control_period_s: often #'), "control_period_s: got 'often' (str), expected float"),
    'foreign_joint': (('joint_names: [panda_joint1,', 'joint_names: [elbow,'), 'trained for joints ['),
    'no_yaml': (('joint_names: [', 'joint_names: ]'), 'not valid YAML'),
}


@needs_model
@pytest.mark.parametrize('change, said', SPOILT_ROBOTS.values(), ids=SPOILT_ROBOTS)
def test_row_08_a_robot_file_that_is_no_use_fails_configure_with_the_place(setup, change, said):
    setup.rewrite(setup.robot, *change)
    fails_to_configure(setup, said)


def fails_to_configure(setup, said):
    """Assert that configure fails, that status and diagnostics say why in one line, and that the node lives on."""
    assert not setup.change('CONFIGURE')
    setup.see.wait(lambda: setup.heard('FAULT', said))
    setup.see.wait(lambda: said in setup.see.diagnostics.message)
    assert setup.see.diagnostics.message.startswith('FAULT: configure: ') and len(setup.see.diagnostics.message.splitlines()) == 1
    assert setup.process.poll() is None


@needs_model
def test_row_08_once_mended_it_configures(setup):
    setup.change('CONFIGURE')
    setup.see.wait(lambda: setup.fact('model version'))
    assert setup.see.statuses[-1] == 'INACTIVE'
    assert setup.fact('model version').endswith(json.loads((MODEL / 'config.json').read_text())['sha256'])
    assert setup.change('CLEANUP')


def test_row_08_a_robot_description_without_the_joints_fails_configure(bench):
    urdf = "<robot name='other'><joint name='elbow' type='revolute'><limit lower='-1' upper='1' velocity='1'/></joint></robot>"
    desk = Desk(bench, 'wayward', f'robot_description:="{urdf}"')
    desk.wait(lambda: desk.heard('FAULT', 'configure: robot_description: panda_joint1: got no such joint, expected one of elbow'))
    assert desk.process.poll() is None


BAD_AT_START = {
    'lead_s:=-1.0': 'lead_s: got -1.0, expected 0.02 to 5 s',
    'velocity_scale:=fast': "velocity_scale: got 'fast', expected float",
    'led_s:=0.3': 'led_s: unknown, expected one of',
    'backend:=magic': "backend: got 'magic', expected one of torch",
    'guidance_scale:=1.0e9': 'guidance_scale: got 1000000000.0, expected -1 to 100',
    'guidance_scale:=.nan': 'guidance_scale: got nan, expected -1 to 100',
}


def test_row_23_a_bad_parameter_at_start_ends_it_with_one_line(bench):
    started = {parameter: bench.start('hold', parameter) for parameter in BAD_AT_START}
    for parameter, process in started.items():
        assert process.wait(40) == 2
        lines = process.log.read_text().strip().splitlines()
        assert len(lines) == 1 and BAD_AT_START[parameter] in lines[0]


@pytest.fixture(scope='module')
def module_desk(other_module_bench):
    return Desk(other_module_bench, 'wayward', 'autostart:=false')


def test_row_24_activation_before_any_input_moves_nothing(module_desk):
    desk = module_desk
    desk.wait_status('INACTIVE')
    desk.mark()
    desk.sensors.joints, desk.sensors.cameras = False, set()
    assert desk.change('CONFIGURE', 'ACTIVATE')
    desk.wait(lambda: desk.heard('DEGRADED', 'waiting for joint states'))
    assert desk.is_silent() and desk.see.trajectories == []
    desk.sensors.restore()
    desk.wait_status('NOMINAL')
    assert desk.change('DEACTIVATE', 'CLEANUP')
    desk.wait_status('INACTIVE')


def test_row_24_twenty_lifecycles_leak_nothing(module_desk):
    desk, resident_kib, threads = module_desk, [], []
    desk.wait_status('INACTIVE')
    for _ in range(20):
        assert desk.change('CONFIGURE', 'ACTIVATE')
        desk.wait_trajectories(1)
        assert desk.change('DEACTIVATE', 'CLEANUP')
        resident_kib.append(proc(desk.process, 'VmRSS'))
        threads.append(proc(desk.process, 'Threads'))
    assert resident_kib[19] < (1 + LEAK_SHARE) * resident_kib[4], resident_kib
    assert threads[19] == threads[4]
    desk.wait(lambda: desk.see.count_publishers('joint_trajectory') == 0 and desk.see.count_subscribers('camera/image') == 0)


def test_row_23_a_bad_change_is_refused_and_changes_nothing(module_desk):
    desk, see = module_desk, module_desk.see
    assert desk.change('CONFIGURE', 'ACTIVATE')
    desk.begin()
    assert see.set_parameter('planner', 'guidance_scale', 3.0).successful
    for name, value in (('guidance_scale', 1e9), ('guidance_scale', float('nan')), ('guidance_scale', 'much'), ('speed_scale', 0.0), ('speed_scale', 2.0),
                        ('seed', 3), ('lead_s', 1.0), ('objective', 'nowhere.yaml')):
        answer, before = see.set_parameter('planner', name, value), see.get_parameter_of('planner', name)
        assert not answer.successful and answer.reason and see.get_parameter_of('planner', name) == before != value
    assert see.call('planner/set_guidance', SetBool, SetBool.Request(data=True), desk.sensors).message == 'guidance scale 3'
    assert see.call('planner/set_guidance', SetBool, SetBool.Request(data=False), desk.sensors).message == 'guidance scale 0'
    desk.begin()
    desk.wait_trajectories(2)
    assert desk.change('DEACTIVATE', 'CLEANUP', 'UNCONFIGURED_SHUTDOWN')
    assert desk.process.wait(10) == 0


def proc(process, name):
    """Read a figure off a process's status: -> its number, KiB of memory"""
    return int(Path(f'/proc/{process.pid}/status').read_text().split(f'{name}:')[1].split()[0])
