"""A whole training run on a tiny setting: every stage, resumed, ending in a folder that plans."""
import pytest
import torch
from tiny import SETTINGS, episode, write

from diffusion_planner.config import ConfigError
from diffusion_planner.data import store
from diffusion_planner.runtime import checkpoint
from diffusion_planner.training import trainer


def test_training_ends_in_a_folder_that_loads(data, tmp_path):
    trainer.train(write(tmp_path, SETTINGS), data, tmp_path / 'model')
    model, config = checkpoint.load(tmp_path / 'model')
    assert {'typicality', 'reward_calibration', 'probe'} <= set(config['planning'])
    assert (model.normalizer.spread[model.layout.position] < 1).all()   # fitted, not the ones it starts with
    assert torch.load(tmp_path / 'model/training/denoiser.pt', weights_only=True)['done'] == 4


def test_training_goes_on_where_it_stopped(data, tmp_path):
    trainer.train(write(tmp_path, SETTINGS), data, tmp_path / 'model', stage='familiarity')
    assert not (tmp_path / 'model/training/denoiser.pt').exists()
    before = (tmp_path / 'model/training/representation.pt').read_bytes()
    trainer.train(write(tmp_path, SETTINGS), data, tmp_path / 'model')
    assert (tmp_path / 'model/training/representation.pt').read_bytes() == before    # finished stages are not trained again
    assert torch.load(tmp_path / 'model/training/denoiser.pt', weights_only=True)['done'] == 4


def test_a_wrong_type_in_the_configuration_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="representation: steps: got 'many' .str., expected int"):
        trainer.train(write(tmp_path, SETTINGS | {'representation': {'steps': 'many', 'batch': 8, 'learning_rate': 1e-3}}), data, tmp_path / 'm')


def test_an_unknown_stage_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="stage: got 'decoder', expected one of all, representation"):
        trainer.train(write(tmp_path, SETTINGS), data, tmp_path / 'm', stage='decoder')


def test_data_of_another_robot_is_refused(data, tmp_path):
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    store.write_shard(store.shard_path(foreign, 0), [episode(0)], {'joint_names': ['elbow'], 'cameras': ['camera'], 'picture_shape': (96, 96, 3)})
    with pytest.raises(ConfigError, match="joints .'elbow'., expected .'panda_joint1'"):
        trainer.train(write(tmp_path, SETTINGS), foreign, tmp_path / 'm')
