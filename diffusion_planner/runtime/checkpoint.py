"""Model folders: config.json says what the weights mean, model.safetensors holds them. No pickle anywhere."""
import hashlib
import json
import os
from pathlib import Path

from diffusion_planner.config import from_mapping, to_mapping

FORMAT = 'diffusion_planner/model/1'
FLAW_FILE = 'planted_flaw.safetensors'    # in a model's folder: a reward head with a planted flaw, for the audit


class ModelError(ValueError):
    """A model folder that cannot be used; the message names the file and what was expected."""


def save(folder, model, planning, training, half=('encoder.', 'decoder.')):
    """Write a model folder; `planning` is what planning must know about the data, `training` how it was made.

    Weights whose names begin with one of `half` are stored in half precision.
    """
    from safetensors.torch import save_file
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / 'model.safetensors'
    part = weights.with_suffix('.part')
    # Half precision does for pictures, and keeps the file small.
    save_file({name: (value.half() if name.startswith(half) else value).contiguous()
               for name, value in model.state_dict().items()}, part)
    part.chmod(0o644)   # safetensors writes for its owner alone
    os.replace(part, weights)
    write_config(folder, {'format': FORMAT, 'sha256': _sha256(weights), 'model': to_mapping(model.config),
                          'planning': planning, 'training': training})


def write_config(folder, config):
    part = Path(folder) / 'config.part'
    part.write_text(json.dumps(config, indent=1) + '\n')
    os.replace(part, Path(folder) / 'config.json')


def read_config(folder):
    """Read config.json: -> dict. Raises ModelError."""
    path = Path(folder) / 'config.json'
    if not Path(folder).is_dir():
        raise ModelError(f'{folder}: no such model folder; expected a folder with config.json and model.safetensors')
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(f'{path}: missing; expected a model folder with config.json and model.safetensors') from None
    except ValueError as error:
        raise ModelError(f'{path}: not valid JSON ({error})') from None
    if not isinstance(config, dict) or config.get('format') != FORMAT:
        found = config.get('format') if isinstance(config, dict) else type(config).__name__
        raise ModelError(f'{path}: format {found!r}, expected {FORMAT!r}')
    return config


def verify(folder):
    """Check that a model folder is whole: -> config dict. Raises ModelError."""
    config, weights = read_config(folder), Path(folder) / 'model.safetensors'
    if not weights.exists():
        raise ModelError(f'{weights}: missing')
    if (found := _sha256(weights)) != config.get('sha256'):
        raise ModelError(f'{weights}: sha256 {found[:12]}…, expected {str(config.get("sha256"))[:12]}… as in config.json; '
                         'the file is truncated or belongs to another model')
    return config


def load(folder, device='cpu'):
    """Rebuild the model of a folder: -> WorldModel in eval mode, config dict. Raises ModelError or ConfigError."""
    from safetensors.torch import load_file

    from diffusion_planner.nets.world_model import ModelConfig, WorldModel
    config = verify(folder)
    model = WorldModel(from_mapping(ModelConfig, config['model'], f'{folder}/config.json: model'))
    try:
        model.load_state_dict(load_file(Path(folder) / 'model.safetensors'))
    except RuntimeError as error:
        raise ModelError(f'{folder}/model.safetensors: does not fit config.json ({str(error).splitlines()[1].strip()})') from None
    return model.requires_grad_(False).eval().to(device), config


def load_flaw(path, model):
    """Load the reward head with a planted flaw that goes with a model: -> FlawedHead. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from diffusion_planner.nets.heads import FlawedHead
    if not Path(path).exists():
        raise ModelError(f'{path}: missing; expected the reward head with a planted flaw that `train --stage judges` writes')
    head = FlawedHead(model.layout.joints, model.layout.cameras * model.config.latent)
    try:
        head.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise ModelError(f'{path}: not readable ({error})') from None
    except RuntimeError as error:
        raise ModelError(f'{path}: does not fit the model ({str(error).splitlines()[-1].strip()})') from None
    return head.requires_grad_(False).eval()


def _sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
