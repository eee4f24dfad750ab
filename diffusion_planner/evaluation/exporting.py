"""The command `export`: graphs of a model beside its weights, which say that they are there only once they are proven equal."""
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

from diffusion_planner.evaluation import parity
from diffusion_planner.runtime import checkpoint, export, onnx_files
from diffusion_planner.runtime.tracing import ExportError

LIBRARIES = ('torch', 'onnx', 'onnxruntime')


def export_model(folder, cases=54, tell=lambda text: None, threads=1):
    """Write a model's graphs: -> {'files': {name: bytes}, 'parity': see parity.check}

    Nothing of the folder changes before all graphs are made and agree with PyTorch. Raises ModelError, or ExportError where an operator
    cannot be exported or the backends differ.
    """
    from diffusion_planner.runtime.onnx_backend import load_backend
    from diffusion_planner.runtime.torch_backend import TorchBackend
    folder = Path(folder)
    network, config = checkpoint.load(folder)
    with tempfile.TemporaryDirectory(prefix='.export-', dir=folder) as made:
        weights = _beside(folder / 'model.safetensors', Path(made))
        files = export.write_graphs(network, weights, made, lambda name: tell(f'tracing {name}'))
        config[onnx_files.ENTRY] = {'format': onnx_files.FORMAT, 'opset': export.OPSET, 'made_with': {name: version(name) for name in LIBRARIES},
                                    'weights_sha256': config['sha256'], 'files': files}
        checkpoint.write_config(made, config)
        tell(f'comparing plans with PyTorch, {cases} cases')
        exported = load_backend(made, SimpleNamespace(joint_names=network.config.joint_names), threads)
        try:
            worst = parity.check(TorchBackend(network, config['planning']), exported, cases)
        except parity.Different as different:
            raise ExportError(f'{folder}: not exported: {different}') from None
        config[onnx_files.ENTRY]['parity'] = {'cases': cases, 'limit': parity.LIMIT, 'largest_difference': worst}
        _move(made, folder, files, config)
    return {'files': {name: (folder / f'{name}.onnx').stat().st_size for name in files}, 'parity': worst}


def _beside(weights, folder):
    """Put the weights beside graphs that refer to them, without copying where that is possible: -> path"""
    path = folder / weights.name
    try:
        os.link(weights, path)
    except OSError:
        shutil.copyfile(weights, path)
    return path


def _move(made, folder, files, config):
    """Put the graphs in place and say so last: until then what config.json says of old graphs is not true of new ones, which loading tells."""
    for path in folder.glob('*.onnx'):
        if path.stem not in files:
            path.unlink()
    for name in files:
        os.replace(Path(made) / f'{name}.onnx', folder / f'{name}.onnx')
    checkpoint.write_config(folder, config)


def run(folder, objectives=(), robot='config/panda.yaml', cases=54, networks=True):
    """Export a model and objectives for it, and tell of it. An objective that cannot be used is refused before anything is traced."""
    from rich.console import Console
    from diffusion_planner import config, files
    from diffusion_planner.objectives.spec import load_objective
    from diffusion_planner.robot import Robot
    from diffusion_planner.runtime.objective_export import export_objective
    console = Console()
    arm = config.load(Robot, robot if Path(robot).exists() else files.find(robot)) if objectives else None
    for path in objectives:
        load_objective(path, arm)
    with console.status('exporting') as status:
        if networks:
            _tell_of(console, folder, export_model(folder, cases, status.update))
        for path in objectives:
            status.update(f'tracing {path}')
            written = export_objective(path, arm, folder)
            console.print(f'{path}: {len(written)} files in {Path(written[0]).parent}, {sum(Path(one).stat().st_size for one in written) / 1e3:.0f} kB')


def _tell_of(console, folder, report):
    sizes, worst = report['files'], dict(report['parity'])
    edges = worst.pop('edges')
    console.print(f'{folder}: {len(sizes)} graphs, {sum(sizes.values()) / 1e3:.0f} kB beside the weights they refer to')
    console.print(f'largest difference from PyTorch on the same noise, of at most {parity.LIMIT:g}: '
                  + ', '.join(f'{name} {value:.1e}' for name, value in worst.items())
                  + f'; {edges} cases left out, in which PyTorch itself changes as much with rounding' * bool(edges))
