"""The shipped models of the mazes, as they are: they plan, to the goal, through no wall, and the same way twice."""
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('gymnasium_robotics')
from diffusion_planner.benchmarks.maze import methods, run   # noqa: E402
from diffusion_planner.benchmarks.maze.episodes import crosses_wall, run_episodes   # noqa: E402
from diffusion_planner.benchmarks.maze.world import MAZES, World   # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / 'models'
SEEDS = range(5000, 5012)     # not those of the README's figures
LOOKS = range(5000, 5060)     # first plans of each maze, about 20 ms each


@pytest.fixture(params=list(MAZES))
def maze(request):
    return MAZES[request.param]


@pytest.fixture
def backend(maze):
    return run.load(maze.name, str(MODELS / f'pointmaze_{maze.name}'))


def _first_plans(backend, world, seeds=SEEDS):
    starts, goals_m = zip(*(world.reset(seed, fixed_goal=False) for seed in seeds))
    return methods.Ours(backend).plan(starts, goals_m, seeds, seeds), goals_m


@lru_cache(maxsize=None)
def _looks(name):
    """Plan once from every start of LOOKS: -> which plans enter a wall, and how far from the goal they end, in m"""
    world = World(MAZES[name])
    paths, goals_m = _first_plans(run.load(name, str(MODELS / f'pointmaze_{name}')), world, LOOKS)
    planned = [(path, goal_m) for path, goal_m in zip(paths, goals_m) if path is not None]
    return ([crosses_wall(path, world.grid) for path, _ in planned],
            [np.linalg.norm(path.position_m[-1] - goal_m) for path, goal_m in planned])


def test_first_plans_reach_the_goal_and_enter_no_wall(maze):
    # The aim is 2 % of plans in a wall: of 60 that makes 7 or more with probability
    # sum over k >= 7 of (60 choose k) 0.02^k 0.98^(60 - k) = 0.0002, and at 15 % 7 or more in four of five.
    # Where 10 % are refused, 15 or more of 60 are with probability 0.0007.
    crossing, ends = _looks(maze.name)
    assert len(ends) >= 46
    assert sum(crossing) <= 6
    assert np.median(ends) < 0.3 and max(ends) < 0.6


def test_first_plans_of_all_mazes_enter_no_wall():
    # As above, of 180: 12 or more at 2 % with probability sum over k >= 12 of (180 choose k) 0.02^k 0.98^(180 - k) = 0.0003,
    # which with three mazes' 0.0002 stays below 0.001; at 10 % 12 or more in 95 of 100.
    assert sum(sum(_looks(name)[0]) for name in MAZES) <= 11


def test_equal_seeds_give_equal_plans_bit_for_bit(backend, maze):
    (one, same), other = ([_first_plans(backend, World(maze))[0][0] for _ in range(2)],
                          methods.Ours(backend).plan(*zip(World(maze).reset(SEEDS[0], False)), [1], [0])[0])
    np.testing.assert_array_equal(one.position_m, same.position_m)
    assert other is None or not np.array_equal(one.position_m, other.position_m)


def test_an_episode_reaches_the_goal_and_stays(backend, maze):
    episode, = run_episodes([World(maze)], methods.Ours(backend), [SEEDS[0]], True, methods.REPLAN_STEPS['ours'])
    assert episode.result.first_reach is not None
    assert episode.result.reward >= 0.7 * episode.result.latched


def test_weights_are_small_enough_to_ship(maze):
    assert (MODELS / f'pointmaze_{maze.name}' / 'model.safetensors').stat().st_size < 5_000_000
