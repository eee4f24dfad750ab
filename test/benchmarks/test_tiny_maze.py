"""A model of a minute of training on a minute of play, end to end: guidance has to bring the ball nearer to the goal."""
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip('gymnasium_robotics')

from diffusion_planner.benchmarks.maze import methods, play, training      # noqa: E402
from diffusion_planner.benchmarks.maze.episodes import run_episodes        # noqa: E402
from diffusion_planner.benchmarks.maze.world import BALL, MAZES, World     # noqa: E402
from diffusion_planner.runtime.torch_backend import load_backend           # noqa: E402

torch.set_num_threads(1)

SEEDS = range(40)
EPISODES = 25
# A model this small is typical of nothing: limits would refuse most of its plans, and this test is not about them.
SETTINGS = replace(methods.SETTINGS, typicality_limit=1e9, mismatch_limit=1e9, refuse_unfamiliar=False, reach_limit=-1e9, step_limit=-1e9)


@pytest.fixture(scope='module')
def world():
    return World(replace(MAZES['umaze'], steps=200))     # two seconds: the horizon of the maze


@pytest.fixture(scope='module')
def backend(world, tmp_path_factory):
    data, out = tmp_path_factory.mktemp('play'), tmp_path_factory.mktemp('model')
    states, forces = zip(*(play._episode(world, seed) for seed in range(EPISODES)))
    np.savez(data / 'play_0000.npz', state=np.array(states), force=np.array(forces), version=play.VERSION)
    training.train(MAZES['umaze'], data, out, training.tiny())
    return load_backend(out, BALL)


def _distances_m(world, method):
    """How far from the goal the ball is after one plan per seed, each from the start of that seed: -> m [40]"""
    ends = [run_episodes([world], method, [seed], False, None)[0] for seed in SEEDS]
    return np.array([np.linalg.norm(episode.state[:2] - episode.goal_m) for episode in ends])


def test_guidance_ends_nearer_to_the_goal_than_no_guidance(world, backend):
    guided, unguided = (_distances_m(world, methods.Ours(backend, SETTINGS, scale)) for scale in (1.0, 0.0))
    # Paired sign test: if guidance made no difference, each of 40 starts would fall either way with probability 1/2, and
    # 31 or more would with probability sum over k >= 31 of (40 choose k) / 2^40 = 0.00034.
    assert (guided < unguided).sum() >= 31
    assert np.median(guided) < np.median(unguided) / 2
