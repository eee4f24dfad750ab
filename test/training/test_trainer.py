"""A whole training run on a tiny setting: every stage, resumed, ending in a folder that plans."""
import numpy as np
import pytest
import torch
import yaml

from diffusion_planner.config import ConfigError
from diffusion_planner.data import store
from diffusion_planner.records import Episode
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim.scene import default_robot
from diffusion_planner.training import trainer

SETTINGS = {'robot': 'config/panda.yaml', 'model': {'width': 32, 'depth': 1}, 'held_out_share': 0.2, 'threads': 1, 'checkpoint_every': 2,
            'representation': {'steps': 3, 'batch': 8, 'learning_rate': 1e-3},
            'heads': {'steps': 3, 'batch': 16, 'learning_rate': 1e-3}, 'familiarity': {'steps': 3, 'batch': 16, 'learning_rate': 1e-3},
            'denoiser': {'steps': 4, 'batch': 8, 'learning_rate': 1e-3}}


def _episode(seed):
    """Sway about home for four seconds; every other episode is rewarded for a while."""
    random, robot = np.random.default_rng(seed), default_robot()
    stamp_s = np.arange(80, dtype=np.float32) * 0.05
    sway = random.normal(0, 0.3, 7) * np.sin(stamp_s[:, None] * random.uniform(0.5, 2.0, 7))
    position_rad = (np.array(robot.home_rad) + sway).astype(np.float32)
    reward = ((stamp_s > 1) & (stamp_s < 2) & bool(seed % 2)).astype(np.float32)
    return Episode(seed, stamp_s, position_rad, np.gradient(position_rad, 0.05, axis=0), position_rad, reward, stamp_s == stamp_s[-1],
                   np.arange(20, dtype=np.float32) * 0.2, random.integers(0, 255, (20, 1, 96, 96, 3), dtype=np.uint8),
                   {'target_m': random.normal(0, 0.2, 3).astype(np.float32)})


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    store.write_shard(store.shard_path(folder, 0), [_episode(seed) for seed in range(40)],
                      {'joint_names': list(default_robot().joint_names), 'cameras': ['camera'], 'picture_shape': (96, 96, 3)})
    return folder


def _write(tmp_path, settings):
    path = tmp_path / 'training.yaml'
    path.write_text(yaml.safe_dump(settings))
    return path


def test_training_ends_in_a_folder_that_loads(data, tmp_path):
    trainer.train(_write(tmp_path, SETTINGS), data, tmp_path / 'model')
    model, config = checkpoint.load(tmp_path / 'model')
    assert {'typicality', 'reward_calibration', 'probe'} <= set(config['planning'])
    assert (model.normalizer.spread[model.layout.position] < 1).all()   # fitted, not the ones it starts with
    assert torch.load(tmp_path / 'model/training/denoiser.pt', weights_only=True)['done'] == 4


def test_training_goes_on_where_it_stopped(data, tmp_path):
    short = SETTINGS | {'denoiser': SETTINGS['denoiser'] | {'steps': 2}}
    trainer.train(_write(tmp_path, short), data, tmp_path / 'model')
    before = (tmp_path / 'model/training/representation.pt').read_bytes()
    trainer.train(_write(tmp_path, SETTINGS), data, tmp_path / 'model')
    assert (tmp_path / 'model/training/representation.pt').read_bytes() == before    # finished stages are not trained again
    assert torch.load(tmp_path / 'model/training/denoiser.pt', weights_only=True)['done'] == 4


def test_a_wrong_type_in_the_configuration_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="representation: steps: got 'many' .str., expected int"):
        trainer.train(_write(tmp_path, SETTINGS | {'representation': {'steps': 'many', 'batch': 8, 'learning_rate': 1e-3}}), data, tmp_path / 'm')


def test_an_unknown_stage_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="stage: got 'decoder', expected one of all, representation"):
        trainer.train(_write(tmp_path, SETTINGS), data, tmp_path / 'm', stage='decoder')


def test_data_of_another_robot_is_refused(data, tmp_path):
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    store.write_shard(store.shard_path(foreign, 0), [_episode(0)], {'joint_names': ['elbow'], 'cameras': ['camera'], 'picture_shape': (96, 96, 3)})
    with pytest.raises(ConfigError, match="joints .'elbow'., expected .'panda_joint1'"):
        trainer.train(_write(tmp_path, SETTINGS), foreign, tmp_path / 'm')
