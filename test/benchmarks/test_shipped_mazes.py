"""The shipped models of the mazes, as they are: they plan, to the goal, through no wall, and the same way twice."""
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('gymnasium_robotics')
from diffusion_planner.benchmarks.maze import methods, run   # noqa: E402
from diffusion_planner.benchmarks.maze.episodes import crosses_wall, run_episodes   # noqa: E402
from diffusion_planner.benchmarks.maze.world import MAZES, World   # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / 'models'
SEEDS = range(5000, 5012)     # not those of the README's figures


@pytest.fixture(params=list(MAZES))
def maze(request):
    return MAZES[request.param]


@pytest.fixture
def backend(maze):
    return run.load(maze.name, str(MODELS / f'pointmaze_{maze.name}'))


def _first_plans(backend, world):
    starts, goals_m = zip(*(world.reset(seed, fixed_goal=False) for seed in SEEDS))
    return methods.Ours(backend).plan(starts, goals_m, SEEDS, SEEDS), goals_m


def test_first_plans_reach_the_goal_and_enter_no_wall(maze, backend):
    world = World(maze)
    paths, goals_m = _first_plans(backend, world)
    planned = [(path, goal_m) for path, goal_m in zip(paths, goals_m) if path is not None]
    assert len(planned) >= 10                                    # a refusal is allowed, 9 in 10 plan at once
    assert sum(crosses_wall(path, world.grid) for path, _ in planned) <= 1     # the aim is 2 % of plans
    ends = [np.linalg.norm(path.position_m[-1] - goal_m) for path, goal_m in planned]
    assert np.median(ends) < 0.3 and max(ends) < 0.6


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
