"""Model folders: what is saved comes back, and what is wrong is named."""
import dataclasses
import json

import pytest
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.runtime import checkpoint
from diffusion_planner.runtime.torch_backend import load_backend
from diffusion_planner.sim.scene import default_robot


def test_a_model_comes_back_as_it_was_saved(folder):
    model, config = checkpoint.load(folder)
    again, _ = checkpoint.load(folder)
    assert config['planning']['typicality']['level'] == 0.5
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_weights_hold_no_pickle(folder):
    assert (folder / 'model.safetensors').read_bytes()[8:9] == b'{'


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(checkpoint.ModelError, match='nowhere: no such model folder; expected'):
        checkpoint.verify(tmp_path / 'nowhere')


def test_a_truncated_file_is_named(folder):
    weights = folder / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(checkpoint.ModelError, match='model.safetensors: sha256 .* expected .* truncated'):
        checkpoint.verify(folder)


def test_a_foreign_folder_is_named(folder):
    (folder / 'config.json').write_text(json.dumps({'architectures': ['LlamaForCausalLM']}))
    with pytest.raises(checkpoint.ModelError, match="format None, expected 'diffusion_planner/model/1'"):
        checkpoint.verify(folder)


def test_an_unknown_key_in_the_models_configuration_is_named(folder):
    config = json.loads((folder / 'config.json').read_text())
    config['model']['widht'] = 3
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="unknown key 'widht'"):
        checkpoint.load(folder)


def test_a_robot_with_other_joints_is_refused(folder):
    robot = dataclasses.replace(default_robot(), joint_names=tuple('abcdefg'))
    with pytest.raises(ConfigError, match="trained for joints .*panda_joint1.* the robot has .*'a'"):
        load_backend(folder, robot)
