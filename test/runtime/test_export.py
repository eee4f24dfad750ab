"""The command `export`: a model goes in, graphs that agree with it come out, and nothing changes where something is wrong."""
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from diffusion_planner import cli
from diffusion_planner.evaluation import exporting, parity
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.runtime import checkpoint, export, objective_export, onnx_files
from diffusion_planner.runtime.checkpoint import ModelError, read_config
from diffusion_planner.runtime.exported_objective import sha256
from diffusion_planner.runtime.onnx_backend import load_backend
from diffusion_planner.runtime.torch_backend import TorchBackend
from diffusion_planner.runtime.tracing import ExportError

torch.set_num_threads(1)
JOINTS = SimpleNamespace(joint_names=('one', 'two'))
TYPICALITY = {'level': 0.5, 'band_s': [0.0, 2.0, 4.0], 'median': [0.5, 0.5], 'q90': [1.0, 1.0], 'q99': [2.0, 2.0]}
GRAPHS = {'places', 'conditions', 'imagine', 'far', 'fill', 'judge_far', 'pictures'}     # what the first cases of a comparison need


def save(folder, seed=0):
    """Write a small model of random weights with two cameras and a wrench: -> folder"""
    torch.manual_seed(seed)
    network = WorldModel(ModelConfig(JOINTS.joint_names, ('left', 'right'), (96, 96, 3), latent=4, width=16, depth=1, heads=2,
                                     sensors=(('wrench', 6),)))
    checkpoint.save(folder, network, {'typicality': TYPICALITY}, {'steps': 3})
    return folder


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Export it with the graphs that a test needs: -> folder, report, what was told"""
    folder, told, recipes = save(tmp_path_factory.mktemp('tiny') / 'model'), [], export.recipes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, 'recipes', lambda network: {name: recipe for name, recipe in recipes(network).items() if name in GRAPHS})
        report = exporting.export_model(folder, 2, told.append)
    return folder, report, told


@pytest.fixture
def traced(exported, monkeypatch):
    """Let graphs be those of the first export, which takes no time: -> what was told"""
    told = []

    def write_graphs(network, weights_file, folder, tell):
        for name in sorted(GRAPHS):
            tell(name)
            told.append(name)
            shutil.copyfile(exported[0] / f'{name}.onnx', f'{folder}/{name}.onnx')
        return {name: sha256((exported[0] / f'{name}.onnx').read_bytes()) for name in GRAPHS}
    monkeypatch.setattr(export, 'write_graphs', write_graphs)
    return told


@pytest.fixture
def before(tmp_path):
    """A model with graphs of an earlier export, which are no longer true: -> folder"""
    folder = save(tmp_path / 'model')
    (folder / 'far.onnx').write_bytes(b'an older one')
    (folder / 'gone.onnx').write_bytes(b'of an older format')
    (folder / 'MODEL_CARD.md').write_text('# Model')
    return folder


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_what_is_exported_is_said_in_the_folder_and_plans_as_the_model_does(exported):
    folder, report, told = exported
    config = read_config(folder)
    entry = config[onnx_files.ENTRY]
    assert {path.name for path in folder.iterdir()} == {*(f'{name}.onnx' for name in GRAPHS), 'model.safetensors', 'config.json'}
    assert entry['files'] == {name: sha256((folder / f'{name}.onnx').read_bytes()) for name in GRAPHS}
    assert entry['opset'] == export.OPSET and entry['weights_sha256'] == config['sha256'] == sha256((folder / 'model.safetensors').read_bytes())
    assert set(entry['made_with']) == {'torch', 'onnx', 'onnxruntime'} and entry['parity']['cases'] == 2
    assert config['training'] == {'steps': 3} and config['planning']['typicality'] == TYPICALITY
    assert report['parity'] == entry['parity']['largest_difference'] and set(report['files']) == GRAPHS
    assert {text for text in told if text.startswith('tracing')} == {f'tracing {name}' for name in GRAPHS} and '2 cases' in told[-1]
    assert sum(report['files'].values()) < 0.2 * (folder / 'model.safetensors').stat().st_size


def test_two_cameras_are_told_apart_and_may_be_doubtful_each_for_itself(exported):
    network, config = checkpoint.load(exported[0])
    one, other = TorchBackend(network, config['planning']), load_backend(exported[0], JOINTS)
    for case in parity.cases(one, 3, seed=4):      # of the form 'clean', whose graphs are there
        wanted, found = (backend.encode(case.observation, case.goal) for backend in (one, other))
        np.testing.assert_allclose(found.tokens, wanted.tokens[0], atol=1e-4)
        np.testing.assert_allclose(found.level, wanted.level[0], atol=1e-6)
        assert max(parity.difference(one, other, case).values()) < parity.LIMIT
    assert len(case.observation.pictures[0]) == 2


def test_an_export_replaces_the_one_before_and_takes_what_is_not_exported_any_more(before, traced):
    exporting.export_model(before, 1)
    assert sorted(path.name for path in before.iterdir()) == sorted([*(f'{name}.onnx' for name in GRAPHS), 'model.safetensors', 'config.json', 'MODEL_CARD.md'])
    assert load_backend(before, JOINTS) and traced == sorted(GRAPHS)


def test_graphs_that_differ_from_the_model_leave_the_folder_as_it_was(tmp_path, traced):
    folder = save(tmp_path / 'other', seed=1)      # whose weights the graphs refer to, but not all that was made of them
    kept = content(folder)
    with pytest.raises(ExportError, match=rf'^{folder}: not exported: \w+: backends differ by .*, expected at most 0.0001 .* with form clean'):
        exporting.export_model(folder, 2)
    assert content(folder) == kept


@pytest.mark.parametrize('failure', [KeyboardInterrupt(), OSError('no space left'), RuntimeError()])
@pytest.mark.parametrize('stage', ['a graph', 'config.json', 'the comparison'])
def test_an_interrupted_export_leaves_the_folder_as_it_was(before, traced, monkeypatch, failure, stage):
    def fail(*_):
        raise failure
    kept, tell = content(before), (lambda text: fail() if stage == 'a graph' and len(traced) == 3 else None)
    if stage == 'config.json':
        monkeypatch.setattr(checkpoint, 'write_config', fail)
    if stage == 'the comparison':
        monkeypatch.setattr(parity, 'difference', fail)
    with pytest.raises(type(failure)):
        exporting.export_model(before, 2, tell)
    assert content(before) == kept and not [path for path in before.iterdir() if path.is_dir()]


def test_graphs_that_were_put_in_place_by_halves_are_refused(before, traced, monkeypatch):
    exporting.export_model(before, 1)
    monkeypatch.setattr(export, 'write_graphs', altered(export.write_graphs))
    monkeypatch.setattr(checkpoint, 'write_config', first_time(checkpoint.write_config))
    monkeypatch.setattr(parity, 'check', lambda *_: {})
    with pytest.raises(KeyboardInterrupt):
        exporting.export_model(before, 1)
    with pytest.raises(ModelError, match=r'far.onnx: sha256 .* as in config.json; export it again: `diffusion-planner export'):
        load_backend(before, JOINTS)


def altered(write_graphs):
    """Make a graph that says the same with other bytes."""
    def write(network, weights, folder, tell):
        files = write_graphs(network, weights, folder, tell)
        with open(f'{folder}/far.onnx', 'ab') as file:
            file.write(b'\x1a\x04made')      # the name of who produced it
        return {**files, 'far': sha256(open(f'{folder}/far.onnx', 'rb').read())}
    return write


def first_time(function):
    """Let a function be interrupted from its second call on."""
    calls = []

    def call(*given):
        calls.append(given)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return function(*given)
    return call


class Unknown(nn.Module):
    def forward(self, told):
        return torch.special.bessel_j0(told)


def test_what_cannot_be_exported_is_named_with_its_graph(before, monkeypatch, capsys):
    kept = content(before)
    monkeypatch.setattr(export, 'recipes', lambda network: {'judge_far': (Unknown(), {'told': torch.ones(3, 2)}, ['said'], {})})
    with pytest.raises(ExportError, match=r'^judge_far: operator .*bessel_j0.*: has no counterpart in ONNX; expected elementary operators$'):
        exporting.export_model(before)
    assert cli.main(['export', str(before)]) == 2
    assert 'diffusion-planner: judge_far: operator' in (said := capsys.readouterr().err) and said.count('\n') == 1
    assert content(before) == kept


def test_the_command_tells_what_it_made(before, traced, capsys):
    assert not cli.main(['export', str(before), '--cases', '2'])
    said = ' '.join(capsys.readouterr().out.split())
    assert f'{len(GRAPHS)} graphs' in said and 'largest difference from PyTorch on the same noise, of at most 0.0001: far ' in said


def test_the_command_exports_objectives_alone_where_that_is_asked(before, traced, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(objective_export, 'export_objective', lambda *given: asked.append(given) or [before / 'config.json'])
    text = tmp_objective(before.parent)
    assert not cli.main(['export', str(before), '--only-objectives', '--objective', str(text)])
    assert not traced and [(given[0], given[1].name, given[2]) for given in asked] == [(text, 'panda', before)]


def tmp_objective(folder):
    path = folder / 'margins.yaml'
    path.write_text('joint_margins: {panda_joint4: 0.15}')
    return path


@pytest.mark.parametrize('given, said', [
    (['no_such_folder'], 'no_such_folder'),
    (['{folder}', '--cases', '0'], 'cases'),
    (['{folder}', '--objective', 'no_such.yaml'], 'no_such.yaml'),
])
def test_what_cannot_be_exported_is_refused_in_one_line(before, traced, capsys, given, said):
    kept = content(before)
    assert cli.main(['export', *(part.format(folder=before) for part in given)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1 and 'Traceback' not in error
    assert content(before) == kept and not traced


def test_weights_that_are_damaged_are_refused_before_anything_is_traced(before, traced):
    with open(before / 'model.safetensors', 'r+b') as file:
        file.truncate(1000)
    with pytest.raises(ModelError, match='model.safetensors: sha256 .* the file is truncated or belongs to another model$'):
        exporting.export_model(before)
    assert not traced
