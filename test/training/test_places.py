"""Where the reward is in recordings that do not tell: balls by hand, and a whole training on such data."""
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import SETTINGS, episode, write

from diffusion_planner.data import store
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim.scene import default_robot
from diffusion_planner.sim.task import REWARD_RADIUS_M
from diffusion_planner.training import imagined, trainer
from diffusion_planner.training.places import find_places

STAGE = {'steps': 2, 'batch': 16, 'learning_rate': 1e-3}
RADIUS_M = 0.06      # of the balls here: not the simulator's


class Few(SimpleNamespace):
    """Episodes of equal length: reward [N], joint_start [E + 1], privileged."""

    def __len__(self):
        return len(self.joint_start) - 1


def crossings(**privileged):
    """Two straight ways by the place of each of 50 episodes; the last five stay away from it: -> episodes, tip_m [N, 3], centre_m [E, 3]"""
    random = np.random.default_rng(0)
    centre_m, away = random.normal(0, 0.3, (50, 1, 1, 3)), random.normal(0, 1, (50, 2, 1, 3))
    by_m = random.normal(0, 0.02, (50, 2, 1, 3)) + np.where(np.arange(50) < 45, 0, 0.5)[:, None, None, None]
    tip_m = (centre_m + by_m + away / np.linalg.norm(away, axis=-1, keepdims=True) * np.linspace(-0.3, 0.3, 61)[:, None]).reshape(50, -1, 3)
    reward = np.linalg.norm(tip_m - centre_m[:, 0], axis=2) <= RADIUS_M
    episodes = Few(reward=reward.astype(np.float32).ravel(), joint_start=np.arange(51) * 122, privileged=privileged)
    return episodes, tip_m.reshape(-1, 3).astype(np.float32), centre_m[:, 0, 0]


def test_balls_are_found_from_ways_that_cross_them():
    episodes, tip_m, centre_m = crossings()
    places = find_places(episodes, tip_m)
    assert places.known[:45].all() and not places.known[45:].any()
    assert np.median(np.linalg.norm(places.centre_m - centre_m, axis=1)[:45]) < 0.01
    assert places.radius_m == pytest.approx(RADIUS_M, abs=0.005) and places.explained > 0.98
    assert places.figures()['episodes'] == 45 and 'fitted' in places.figures()['origin']


def test_what_the_simulator_tells_is_taken_as_it_is():
    target_m = np.random.default_rng(1).normal(0, 1, (50, 3)).astype(np.float32)
    places = find_places(*crossings(target_m=target_m)[:2])
    assert places.known.all() and (places.centre_m == target_m).all() and places.radius_m == REWARD_RADIUS_M
    assert places.reward(target_m[[3, 3]] + [[0, 0, 0.039], [0, 0, 0.041]], np.array([3, 3])).tolist() == [1, 0]


def test_a_reward_that_is_no_place_is_not_explained():
    episodes, tip_m, _ = crossings()
    episodes.reward = (np.random.default_rng(2).random(len(episodes.reward)) < 0.5).astype(np.float32)
    assert find_places(episodes, tip_m).explained < 0.7


def _write(folder, episodes):
    folder.mkdir()
    store.write_shard(store.shard_path(folder, 0), episodes, {
        'joint_names': list(default_robot().joint_names), 'cameras': ['camera'], 'picture_shape': (96, 96, 3)})
    return folder


def _untold(seed):
    made = episode(seed)
    made.privileged.clear()
    return made


def test_every_stage_trains_from_episodes_that_tell_no_target(tmp_path, monkeypatch):
    original = imagined.imagine
    monkeypatch.setattr(imagined, 'imagine', lambda job, head, episodes, rounds, **how: original(job, head, episodes, 3, batch=8, **how))
    data = _write(tmp_path / 'data', [_untold(seed) for seed in range(40)])
    path = write(tmp_path, SETTINGS | {'panel': STAGE, 'transition': STAGE, 'genuineness': STAGE, 'flaw': STAGE})
    trainer.train(path, data, tmp_path / 'model')
    trainer.train(path, data, tmp_path / 'model', stage='judges')
    planning = checkpoint.read_config(tmp_path / 'model')['planning']
    assert planning['probe']['rewarded_place_cm'] > 0 and planning['rewarded_places']['episodes'] == 20
    assert set(planning['reward_calibration']['judge']) == {'play', 'imagined'}
    assert (tmp_path / 'model/training/loss.png').stat().st_size > 10_000


def test_data_without_reward_is_refused_with_the_count(tmp_path):
    data = _write(tmp_path / 'data', [_untold(2 * index) for index in range(40)])
    with pytest.raises(store.StoreError, match="reward: none in the 16 episodes of the set 'guide', 0 of 40 in all; expected some in each"):
        trainer.train(write(tmp_path, SETTINGS), data, tmp_path / 'model')
