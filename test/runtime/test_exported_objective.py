"""Exported objectives say what torch says, for those that are shipped; what was not exported, or for others, is refused."""
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.objectives.motion import Motion
from diffusion_planner.objectives.spec import load_objective
from diffusion_planner.runtime import objective_export
from diffusion_planner.runtime.exported_objective import FOLDER, ExportedObjective, content_of, load_exported, session
from diffusion_planner.runtime.objective_export import Graph, export_objective, verify
from diffusion_planner.runtime.pressure import TEMPERATURE
from diffusion_planner.runtime.tracing import ExportError, with_gradient
from diffusion_planner.sim.scene import default_robot

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
MODEL, ROBOT = ROOT / 'models' / 'panda_reach', default_robot()
SHIPPED = sorted(path.stem for path in (ROOT / 'config' / 'objectives').glob('*.yaml'))
SMALL = 'joint_margins: {panda_joint4: 0.15}   # the least there is'
HOME_RAD = np.array(ROBOT.home_rad)


@pytest.fixture(scope='module')
def pairs():
    """-> {name: (what torch has, what was exported)}"""
    paths = [ROOT / 'config' / 'objectives' / f'{name}.yaml' for name in SHIPPED]
    return {path.stem: (load_objective(path, ROBOT), load_exported(path, ROBOT, MODEL)) for path in paths}


def motions(asked, seed, count, points):
    """Draw motions that begin near what an objective is about: -> position_rad [P, T, J], velocity_rad_s [P, T, J], offset_s [P, T]"""
    random, joints = np.random.default_rng(seed), len(HOME_RAD)
    offset_s = np.concatenate([np.zeros((count, 1)), random.uniform(0.05, 0.4, (count, points - 1)).cumsum(1)], 1)
    rate = random.normal(0, 0.4, (count, 1, joints))
    start_rad = HOME_RAD + random.normal(0, 0.5, (60, joints))
    for place in (*asked.zones, *asked.people)[:1]:
        start_rad = start_rad[np.argsort(np.linalg.norm(ROBOT.tip_m(start_rad) - place.centre_m, axis=-1))]
    return start_rad[seed % 2] + offset_s[..., None] * rate, rate + random.normal(0, 0.1, (count, points, joints)), offset_s


def tensors(*arrays):
    return [torch.tensor(values, dtype=torch.float32) for values in arrays]


def close(found, wanted, tolerance=1e-4):
    wanted = wanted.detach().numpy() if isinstance(wanted, torch.Tensor) else wanted
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1.0, np.abs(wanted).max(initial=0)))


@pytest.mark.parametrize('name', SHIPPED)
@pytest.mark.parametrize('count, points', [(8, 13), (1, 2), (3, 6), (2, 21)])
def test_the_pull_on_paths_is_that_of_autograd(pairs, name, count, points):
    asked, exported = pairs[name]
    pulled = 0
    for seed in range(8):
        given = motions(asked, seed, count, points)
        value, gradient = with_gradient(lambda *given: asked.guidance(Motion(*given, asked.kinematics), TEMPERATURE))(*tensors(*given))
        for found, wanted in zip(exported.pull(*given), (value, gradient)):
            assert found.dtype == np.float32
            close(found, wanted)
        pulled += bool(gradient.any())
    assert pulled


@pytest.mark.parametrize('name', SHIPPED)
@pytest.mark.parametrize('count', [1, 7, 64])
def test_the_pull_on_ends_is_that_of_autograd(pairs, name, count):
    asked, exported = pairs[name]
    position_rad, velocity_rad_s = (values[:, 0] for values in motions(asked, count, count, 2)[:2])
    position_rad = position_rad + np.random.default_rng(0).normal(0, 0.5, position_rad.shape)

    def end(position, velocity):
        return asked.guidance_at_end(Motion(position[:, None], velocity[:, None], torch.zeros(len(position), 1), asked.kinematics))
    value, gradient = exported.pull_at_end(position_rad, velocity_rad_s)
    if all(term.formula for term in asked.terms):
        assert not value.any() and not gradient.any() and gradient.shape == position_rad.shape
        return
    for found, wanted in zip((value, gradient), with_gradient(end)(*tensors(position_rad, velocity_rad_s))):
        close(found, wanted)


@pytest.mark.parametrize('name', SHIPPED)
def test_judgements_are_those_of_torch(pairs, name):
    asked, exported = pairs[name]
    broken = 0
    for seed, (count, points) in enumerate([(8, 13), (1, 2), (3, 5)] * 12):
        given = motions(asked, seed, count, points)
        wanted, found = asked.judge(*given), exported.judge(*given)
        for kind in ('robustness', 'share', 'broken'):
            ours, theirs = getattr(found, kind), getattr(wanted, kind)
            assert list(ours) == list(theirs)
            for term in theirs:
                assert ours[term].dtype == theirs[term].dtype
                close(ours[term].astype(float), theirs[term].astype(float), 1e-6)
        close(found.score, wanted.score, 1e-6)
        broken += sum(int(values.sum()) for values in wanted.broken.values())
    assert broken


@pytest.mark.parametrize('name', SHIPPED)
def test_breaches_and_refused_starts_are_those_of_torch(pairs, name):
    asked, exported = pairs[name]
    entered, refused = 0, 0
    for seed in range(60):
        path = [values[0] for values in motions(asked, seed, 1, 15)]
        wanted = asked.breaches(*path)
        assert exported.breaches(*path) == wanted
        said = [_said(objective, path[0][0]) for objective in (asked, exported)]
        assert said[0] == said[1]
        entered, refused = entered + bool(wanted), refused + bool(said[0])
    # An arm that stands is slow enough for anybody.
    assert bool(refused) == (name != 'near_people') and bool(entered) == bool(asked.zones)


def _said(objective, position_rad):
    try:
        objective.check_start(position_rad)
    except ConfigError as error:
        return str(error)
    return ''


@pytest.mark.parametrize('name', SHIPPED)
def test_what_is_written_in_the_file_is_there_too(pairs, name):
    asked, exported = pairs[name]
    assert [(term.name, term.hard, term.scale) for term in exported.terms] == [(term.name, term.hard, term.scale) for term in asked.terms]
    for what in ('name', 'weights', 'goal_pose', 'people', 'zones'):
        assert getattr(exported, what) == getattr(asked, what)


def test_what_is_shipped_is_small():
    assert sum(path.stat().st_size for path in (MODEL / FOLDER).iterdir()) < 3e6


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """Export the least objective: -> model folder, paths"""
    folder = tmp_path_factory.mktemp('model')
    return folder, export_objective(SMALL, ROBOT, folder)


@pytest.fixture
def copy(small, tmp_path):
    """A copy of it to spoil: -> model folder"""
    shutil.copytree(small[0], tmp_path / 'model')
    return tmp_path / 'model'


def test_an_export_is_found_by_its_content(small):
    folder, paths = small
    assert sorted(path.name for path in (folder / FOLDER).iterdir()) == sorted(path.name for path in paths) == [
        'objective.end.onnx', 'objective.json', 'objective.judge.onnx', 'objective.pull.onnx', 'objective.start.onnx']
    for text in (SMALL, 'joint_margins:\n  panda_joint4: 1.5e-1\n'):
        exported = load_exported(text, ROBOT, folder)
        assert exported.name == 'objective' and exported.breaches(HOME_RAD[None], HOME_RAD[None], np.zeros(1)) == []
    asked = load_objective(SMALL, ROBOT)
    given = motions(asked, 0, 3, 4)
    close(exported.judge(*given).robustness['joint_margins'], asked.judge(*given).robustness['joint_margins'])


def test_demands_that_exclude_each_other_are_told_as_torch_tells_them(small):
    text = 'formulas:\n  - {name: up, formula: always (tip_z > 0.5), hard: true}\n  - {name: down, formula: always (tip_z < 0.4), hard: true}'
    asked = load_objective(text, ROBOT)
    told = objective_export.describe(asked, *_spec(text))
    start = next(graph for graph in objective_export.graphs(asked) if graph.kind == 'start')
    made = session(start.trace(ROBOT).SerializeToString())
    exported = ExportedObjective('objective', _spec(text)[0], told, {'start': lambda: made})
    assert _said(exported, HOME_RAD) == _said(asked, HOME_RAD) and 'exclude each other' in _said(asked, HOME_RAD)
    for objective in (exported, asked):
        with pytest.raises(ConfigError, match=r"'up' \(tip_z > 0.5\) and 'down' \(tip_z < 0.4\) exclude each other, no state keeps to both"):
            objective.check_together()


def _spec(text):
    return objective_export.read_spec(text)[0], ROBOT


@pytest.mark.parametrize('text, said', [
    ('joint_margins: {panda_joint4: 0.2}', 'objective: not exported for .*: .*objective.json is of another content; run `diffusion-planner export .* --objective FILE'),
    ('joint_margins: {panda_joint4: much}', "objective: joint_margins.panda_joint4: got 'much'"),
    ('no such file.yaml', "'no such file.yaml': cannot be read"),
])
def test_what_was_not_exported_is_refused(small, text, said):
    with pytest.raises(ConfigError, match=said) as refusal:
        load_exported(text, ROBOT, small[0])
    assert '\n' not in str(refusal.value)


def test_a_file_that_was_not_exported_is_refused_by_its_name(small):
    path = ROOT / 'config' / 'objectives' / 'temporal.yaml'
    with pytest.raises(ConfigError) as refusal:
        load_exported(path, ROBOT, small[0])
    assert str(refusal.value) == f'{path}: not exported for {small[0]}: run `diffusion-planner export {small[0]} --objective {path}`'


def test_an_export_for_another_robot_is_refused(small):
    frames = ROBOT.chain
    longer = replace(ROBOT, chain=(replace(frames[0], xyz_m=(0.0, 0.0, 0.4)), *frames[1:]))
    for other in (longer, replace(ROBOT, position_max_rad=(2.0, *ROBOT.position_max_rad[1:]))):
        with pytest.raises(ConfigError, match='objective.json: exported for another robot than panda; run `diffusion-planner export'):
            load_exported(SMALL, other, small[0])
    assert load_exported(SMALL, replace(ROBOT, velocity_max_rad_s=(1.0,) * 7), small[0])      # of which no graph knows anything


@pytest.mark.parametrize('spoil, said', [
    (lambda folder: (folder / 'objective.pull.onnx').write_bytes(b'half'), 'objective.pull.onnx: sha256 .* expected .* as in objective.json; run `diffusion'),
    (lambda folder: (folder / 'objective.judge.onnx').unlink(), 'objective.judge.onnx: cannot be read .*; run `diffusion-planner export'),
    (lambda folder: (folder / 'objective.json').write_text('{'), 'objective: not exported for .*; run|objective: not exported for .*: run'),
    (lambda folder: _change(folder / 'objective.json', format='other/9'), "objective.json: format 'other/9', expected 'diffusion_planner/objective/1'; run"),
])
def test_spoilt_files_are_refused(copy, spoil, said):
    spoil(copy / FOLDER)
    with pytest.raises(ConfigError, match=said):
        load_exported(SMALL, ROBOT, copy)


def test_a_graph_that_onnxruntime_does_not_understand_is_refused(copy):
    folder = copy / FOLDER
    _change(folder / 'objective.json', graphs={'start': hashlib.sha256(b'no graph').hexdigest()})
    (folder / 'objective.start.onnx').write_bytes(b'no graph')
    with pytest.raises(ConfigError, match=r'objective.start.onnx: onnxruntime cannot run it \('):
        load_exported(SMALL, ROBOT, copy)


def _change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_export_that_fails_leaves_what_was_there(copy, monkeypatch):
    monkeypatch.setattr(Graph, 'trace', lambda graph, _: onnx.load(copy / FOLDER / f'objective.{graph.kind}.onnx'))
    before = {path.name: path.read_bytes() for path in (copy / FOLDER).iterdir()}
    monkeypatch.setattr(objective_export, 'verify', lambda graph, *_: (_ for _ in ()).throw(ExportError('differs')) if graph.kind == 'judge' else None)
    with pytest.raises(ExportError, match='^objective: judge: differs$'):
        export_objective(SMALL, ROBOT, copy)
    assert {path.name: path.read_bytes() for path in (copy / FOLDER).iterdir()} == before


@pytest.mark.parametrize('function, other, said', [
    (lambda position: position.square().sum((1, 2)), lambda position: 1.001 * position.square().sum((1, 2)), 'differs from torch by 0.001'),
    (lambda position: position.sum((1, 2)), lambda position: position.sum((1, 2)) / torch.zeros(()), 'differs from torch by (nan|inf)'),
    (lambda position: position.round().sum((1, 2)), None, 'not differentiable: its value changes with the motion, and its gradient is 0 everywhere'),
])
def test_graphs_that_are_not_the_function_are_refused(function, other, said):
    graph = Graph('pull', with_gradient(function), {'position_rad': 'PTJ'}, ('value', 'gradient'))
    made = replace(graph, function=with_gradient(other or function)).trace(ROBOT)
    with pytest.raises(ExportError, match=said):
        verify(graph, session(made.SerializeToString()), ROBOT)


def test_an_objective_without_a_gradient_is_refused_by_name(tmp_path):
    with pytest.raises(ExportError, match='^objective: pull: not differentiable: no gradient leads'):
        export_objective('formulas: [{name: soon, formula: always (seconds < 3)}]', ROBOT, tmp_path)
    assert not list(tmp_path.iterdir())


def test_contents_that_differ_are_told_apart():
    texts = [SMALL, 'joint_margins: {panda_joint4: 0.16}', 'weights: {reward: 0}\njoint_margins: {panda_joint4: 0.15}']
    assert len({content_of(_spec(text)[0]) for text in texts}) == 3


def test_an_exported_objective_is_used_without_torch():
    code = f'''
import sys
import numpy as np
from diffusion_planner.config import load
from diffusion_planner.files import find
from diffusion_planner.robot import Robot
from diffusion_planner.ros.wishes import Wishes, read_zones
robot = load(Robot, find('config/panda.yaml'))
values = {{'guidance_scale': 1.0, 'guard': True, 'objective': 'config/objectives/keep_out.yaml', 'speed_scale': 1.0, 'deadline_ms': 0.0,
          'backend': 'onnx', 'model': {str(MODEL)!r}}}
wishes = Wishes.of(values, robot)
home_rad = np.array(robot.home_rad)
wishes = wishes.changed({{'objective': 'config/objectives/temporal.yaml'}}, robot, home_rad)
path = np.tile(home_rad, (2, 3, 1)), np.zeros((2, 3, 7)), np.tile([0.0, 0.5, 1.0], (2, 1))
wishes.objective.pull(*path), wishes.objective.judge(*path), wishes.objective.breaches(*(part[0] for part in path))
print(wishes.objective.name, len(read_zones('config/objectives/keep_out.yaml')), *(part in sys.modules for part in ('torch', 'onnx', 'lark')))
'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout.split() == ['temporal', '2', 'False', 'False', 'False'], done.stderr
