"""Model folders that cannot be planned with: one line each that names what is wrong, at load time."""
import hashlib
import json
import os
import shutil
from dataclasses import replace

import onnx
import pytest

from diffusion_planner.config import ConfigError
from diffusion_planner.files import find
from diffusion_planner.runtime import onnx_files
from diffusion_planner.runtime.checkpoint import ModelError, read_config, write_config
from diffusion_planner.runtime.onnx_backend import load_backend
from diffusion_planner.sim.scene import default_robot

MODEL, ROBOT = find('models/panda_reach'), default_robot()


@pytest.fixture
def model(tmp_path):
    """A copy of the shipped model to spoil: -> folder"""
    folder = tmp_path / 'model'
    folder.mkdir()
    for path in (*MODEL.glob('*.onnx'), MODEL / 'model.safetensors', MODEL / 'config.json'):
        try:
            os.link(path, folder / path.name)
        except OSError:
            shutil.copyfile(path, folder / path.name)
    return folder


def rewrite(folder, name, data):
    """Put another file in place of one that is linked."""
    (folder / name).unlink()
    (folder / name).write_bytes(data)


def change(folder, **changes):
    """Change what config.json says of the graphs."""
    config = read_config(folder)
    config['onnx'] = {**config['onnx'], **changes}
    write_config(folder, config)


def vouch(folder, name):
    """Let config.json say that the file is as it should be."""
    files = {**read_config(folder)['onnx']['files'], name: hashlib.sha256((folder / f'{name}.onnx').read_bytes()).hexdigest()}
    change(folder, files=files)


def refusal(folder, kind=ModelError, robot=ROBOT, **given):
    with pytest.raises(kind) as refused:
        load_backend(folder, robot, **given)
    assert '\n' not in str(refused.value)
    return str(refused.value)


def test_a_whole_folder_is_read(model):
    paths, config = onnx_files.read(model)
    assert set(paths) == {path.stem for path in MODEL.glob('*.onnx')} and all(path == model / f'{name}.onnx' for name, path in paths.items())
    assert config['onnx']['opset'] >= 23 and set(config['onnx']['made_with']) == {'torch', 'onnx', 'onnxruntime'}


def test_nothing_but_graphs_and_weights_is_needed(model):
    backend = load_backend(model, ROBOT)
    assert backend.identity == f'format diffusion_planner/model/1, sha256 {read_config(MODEL)["sha256"]}' and backend.device == 'CPUExecutionProvider'
    assert {path.name for path in model.iterdir()} == {*(f'{name}.onnx' for name in backend.graphs.paths), 'model.safetensors', 'config.json'}


def test_a_folder_without_graphs_says_how_they_are_made(model):
    config = read_config(model)
    config.pop('onnx')
    write_config(model, config)
    assert refusal(model) == f'{model}: has no ONNX graphs; expected those that `diffusion-planner export {model}` writes'


@pytest.mark.parametrize('entry, told', [({'format': 'other/9'}, "'other/9'"), ({}, 'None'), ('old', "'old'")])
def test_graphs_of_another_format_are_refused(model, entry, told):
    write_config(model, {**read_config(model), 'onnx': entry})
    assert refusal(model) == (f"{model}/config.json: onnx: format {told}, expected 'diffusion_planner/onnx/1'; export it again: "
                              f'`diffusion-planner export {model}`')


def test_graphs_of_other_weights_are_refused(model):
    change(model, weights_sha256='0' * 64)
    assert f'{model}/config.json: onnx: exported from weights 000000000000…, model.safetensors is ' in (said := refusal(model)) and 'export it again' in said


def test_weights_that_are_not_those_of_the_model_are_refused(model):
    rewrite(model, 'model.safetensors', (MODEL / 'model.safetensors').read_bytes()[:-1])
    assert f'{model}/model.safetensors: sha256 ' in refusal(model)


@pytest.mark.parametrize('name', ['far', 'pull_back', 'picture'])
def test_a_missing_graph_is_refused_even_if_it_is_seldom_needed(model, name):
    (model / f'{name}.onnx').unlink()
    assert refusal(model) == f'{model}/{name}.onnx: missing; export it again: `diffusion-planner export {model}`'


@pytest.mark.parametrize('name', ['far', 'at_level'])
def test_a_changed_graph_is_refused_even_if_it_is_seldom_needed(model, name):
    data = bytearray((model / f'{name}.onnx').read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(model, f'{name}.onnx', bytes(data))
    said = refusal(model)
    assert said.startswith(f'{model}/{name}.onnx: sha256 ') and said.endswith(f'as in config.json; export it again: `diffusion-planner export {model}`')


@pytest.mark.parametrize('data', [b'', b'no graph', (MODEL / 'fill.onnx').read_bytes()[:-3000]])
def test_a_graph_that_nobody_can_read_is_refused_whatever_its_hash(model, data):
    rewrite(model, 'fill.onnx', data)
    vouch(model, 'fill')
    assert f'{model}/fill.onnx: ONNX Runtime ' in (said := refusal(model)) and ' cannot run it: ' in said


def test_a_graph_with_an_operator_that_nobody_has_is_refused(model):
    graph = onnx.load(model / 'judge_paths.onnx', load_external_data=False)
    graph.graph.node[0].op_type = 'Guess'
    rewrite(model, 'judge_paths.onnx', graph.SerializeToString())
    vouch(model, 'judge_paths')
    assert f'{model}/judge_paths.onnx: ONNX Runtime ' in (said := refusal(model)) and 'Guess' in said


def test_pictures_of_another_size_are_refused(model):
    config = read_config(model)
    config['model']['picture_shape'] = [64, 128, 3]
    write_config(model, config)
    assert refusal(model) == (f'{model}/pictures.onnx: exported for pictures of (96, 96, 3), config.json says (64, 128, 3); export it again: '
                              f'`diffusion-planner export {model}`')


def test_planning_without_what_it_must_know_is_refused(model):
    config = read_config(model)
    write_config(model, {name: value for name, value in config.items() if name != 'planning'})
    assert refusal(model) == f"{model}: has no 'planning', which planning needs; export it again: `diffusion-planner export {model}`"


def test_another_robot_is_refused(model):
    names = ('elbow', *ROBOT.joint_names[1:])
    said = refusal(model, ConfigError, replace(ROBOT, joint_names=names))
    assert said == f'{model}: trained for joints {list(ROBOT.joint_names)}, the robot has {list(names)}'


def test_providers_and_numbers_of_threads_that_cannot_be_are_refused(model):
    assert refusal(model, ConfigError, provider='CUDAExecutionProvider').startswith('device: CUDAExecutionProvider is installed but does not start here')
    load_backend(model, ROBOT)
    assert refusal(model, ConfigError, threads=2).startswith('threads: got 2, but this process runs ONNX graphs on 1 already')


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert 'no such model folder' in refusal(tmp_path / 'nowhere')
    (tmp_path / 'config.json').write_text(json.dumps({'format': 'diffusion_planner/model/1', 'sha256': ''}))
    assert refusal(tmp_path) == f'{tmp_path}/model.safetensors: missing'
