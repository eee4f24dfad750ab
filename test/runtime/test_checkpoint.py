"""Model folders: what is saved comes back, and what is wrong is named."""
import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from diffusion_planner.config import ConfigError
from diffusion_planner.nets.heads import FlawedHead, RewardHead
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
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


def _flaw(path, head):
    save_file({name: value.half() for name, value in head.state_dict().items()}, path)
    return path


def test_a_head_with_a_planted_flaw_comes_back(folder, tmp_path):
    model, _ = checkpoint.load(folder)
    head = FlawedHead(7, 32)
    head.patch.data.fill_(0.5)
    again = checkpoint.load_flaw(_flaw(tmp_path / 'flaw.safetensors', head), model)
    assert (again.patch == 0.5).all() and not again.training and not any(value.requires_grad for value in again.parameters())


def test_a_missing_flaw_says_who_writes_it(folder, tmp_path):
    with pytest.raises(checkpoint.ModelError, match='nowhere.safetensors: missing; expected .* `train --stage judges`'):
        checkpoint.load_flaw(tmp_path / 'nowhere.safetensors', checkpoint.load(folder)[0])


@pytest.mark.parametrize('joints, latent', [(7, 16), (6, 32)])
def test_a_flaw_of_another_model_is_named(folder, tmp_path, joints, latent):
    path = _flaw(tmp_path / 'flaw.safetensors', FlawedHead(joints, latent))
    with pytest.raises(checkpoint.ModelError, match='flaw.safetensors: does not fit the model .*size mismatch'):
        checkpoint.load_flaw(path, checkpoint.load(folder)[0])


def test_a_head_without_a_flaw_is_no_planted_one(folder, tmp_path):
    path = _flaw(tmp_path / 'flaw.safetensors', RewardHead(7, 32))
    with pytest.raises(checkpoint.ModelError, match='flaw.safetensors: does not fit the model'):
        checkpoint.load_flaw(path, checkpoint.load(folder)[0])


def test_a_truncated_flaw_is_named(folder, tmp_path):
    path = _flaw(tmp_path / 'flaw.safetensors', FlawedHead(7, 32))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(checkpoint.ModelError, match='flaw.safetensors: not readable'):
        checkpoint.load_flaw(path, checkpoint.load(folder)[0])


def test_a_model_with_all_its_guards_comes_back(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig(default_robot().joint_names, ('camera',), (96, 96, 3), width=32, depth=1, panel=3, transition=True,
                         transition_width=32, genuineness=True, strangeness=True)
    model = WorldModel(config)
    model.strangeness.known.fill_(7)
    checkpoint.save(tmp_path / 'model', model, {}, {})
    again, _ = checkpoint.load(tmp_path / 'model')
    assert again.config == config and len(again.guides()) == 4 and again.guides()[0] is again.guide_head
    assert again.strangeness.known.dtype == torch.uint8 and (again.strangeness.known == 7).all()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items() if not name.startswith(('encoder', 'decoder')))
