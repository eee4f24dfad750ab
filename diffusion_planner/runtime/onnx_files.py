"""The exported graphs of a model folder: what config.json says of them, checked against what is there. No PyTorch, no ONNX."""
import hashlib
from pathlib import Path

from diffusion_planner.runtime.checkpoint import ModelError, verify

ENTRY = 'onnx'                          # in config.json
FORMAT = 'diffusion_planner/onnx/1'


def command(folder):
    """What to say to have them made."""
    return f'diffusion-planner export {folder}'


def read(folder):
    """Check the graphs of a model folder: -> {name: path}, config dict. Raises ModelError."""
    folder = Path(folder)
    config = verify(folder)
    entry = config.get(ENTRY)
    if entry is None:
        raise ModelError(f'{folder}: has no ONNX graphs; expected those that `{command(folder)}` writes')
    if not isinstance(entry, dict) or entry.get('format') != FORMAT:
        found = entry.get('format') if isinstance(entry, dict) else entry
        raise ModelError(f'{folder}/config.json: {ENTRY}: format {found!r}, expected {FORMAT!r}; export it again: `{command(folder)}`')
    if entry['weights_sha256'] != config['sha256']:
        raise ModelError(f'{folder}/config.json: {ENTRY}: exported from weights {entry["weights_sha256"][:12]}…, model.safetensors is '
                         f'{config["sha256"][:12]}…; export it again: `{command(folder)}`')
    paths = {name: folder / f'{name}.onnx' for name in entry['files']}
    for name, path in paths.items():
        _check(path, entry['files'][name], folder)
    return paths, config


def _check(path, expected, folder):
    if not path.exists():
        raise ModelError(f'{path}: missing; export it again: `{command(folder)}`')
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != expected:
        raise ModelError(f'{path}: sha256 {found[:12]}…, expected {expected[:12]}… as in config.json; export it again: `{command(folder)}`')
