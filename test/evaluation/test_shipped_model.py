"""The shipped model, against scenes it has not seen: what it imagines must be so."""
import numpy as np
import pytest
import torch

from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.offline import probe_scene
from diffusion_planner.files import find
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.world import World

ROBOT = scenes.default_robot()


@pytest.fixture(scope='module')
def planner():
    return load_planner(find('models/panda_reach'), ROBOT)


@pytest.fixture(scope='module')
def world():
    world = World()
    world.set_obstacles((scenes.WALL,))
    yield world
    world.close()


def _familiar(planner, position_rad):
    network = planner.backend.network
    own = network.layout.position
    normal = (torch.tensor(np.array(position_rad), dtype=torch.float32) - network.normalizer.mean[own]) / network.normalizer.spread[own]
    with torch.no_grad():
        return (network.familiarity(normal) > network.familiarity.floor).numpy()


def test_what_collides_is_unfamiliar_although_nobody_said_so(planner, world):
    """Postures on straight lines between starts of scenes: those that collide are told apart, those that start are not."""
    starts = np.array([scenes.draw_scene(world, ROBOT, seed).start_rad for seed in range(700, 760)])
    random = np.random.default_rng(0)
    share = random.random((3000, 1))
    lines = starts[random.integers(60, size=3000)] * share + starts[random.integers(60, size=3000)] * (1 - share)
    colliding = [posture for posture in lines if not world.is_clear(posture, 0.0, 0.0)]
    assert len(colliding) > 50
    assert 1 - _familiar(planner, colliding).mean() > 0.9
    assert _familiar(planner, starts).mean() > 0.9


def test_a_future_that_both_heads_believe_in_is_where_they_say(planner, world):
    """One look each at sixteen scenes; a first look may be refused or fall short, but then the heads must know it."""
    drawn = [scenes.draw_scene(world, ROBOT, seed) for seed in range(800, 816)]
    guided = [probe_scene(planner, world, ROBOT, scene, 1.0) for scene in drawn]
    believed = [row for row in guided if min(row.get('reward', 0), row.get('judge', 0)) > 0.9]
    assert len(believed) >= 6
    assert np.mean([row['miss_m'] <= 0.04 for row in believed]) >= 0.8
    unguided = [probe_scene(planner, world, ROBOT, scene, 0.0) for scene in drawn]
    assert sum(row.get('miss_m', 1.0) <= 0.04 for row in unguided) <= 3


def test_the_arm_reaches_in_closed_loop_without_contact(planner):
    env = ArmEnv()
    loop = Loop(LoopSettings('', guidance_scale=1.0), env, planner)
    rows = [loop.run(seed) for seed in range(900, 904)]
    assert sum(row['success'] for row in rows) >= 3
    assert all(row['limit_violations'] == 0 for row in rows if row['contacts'] == 0)
    assert sum(row['contacts'] > 0 for row in rows) <= 1


def test_equal_seeds_give_equal_episodes(planner):
    loop = Loop(LoopSettings('', guidance_scale=1.0), ArmEnv(), planner)
    one, same = loop.run(901), Loop(LoopSettings('', guidance_scale=1.0), ArmEnv(), planner).run(901)
    assert one['time_to_target_s'] == same['time_to_target_s']
    np.testing.assert_array_equal(one['predicted_reward'], same['predicted_reward'])
