"""Scenes, tasks and camera, over many seeds."""
import numpy as np
import pytest

from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.camera import Camera
from diffusion_planner.sim.task import Touch, reward
from diffusion_planner.sim.world import World


@pytest.fixture(scope='module')
def world():
    world = World()
    yield world
    world.close()


def test_forward_kinematics_equals_the_simulators(world):
    robot, random = scenes.default_robot(), np.random.default_rng(0)
    for _ in range(20):
        position_rad = np.array(robot.home_rad) + random.normal(0, 0.4, 7)
        world.set_joints(position_rad)
        np.testing.assert_allclose(robot.tip_m(position_rad), world.tip_m(), atol=1e-6)


def test_equal_seeds_give_equal_scenes_and_others_differ():
    assert scenes.sample_scene(3) == scenes.sample_scene(3)
    assert scenes.sample_scene(3) != scenes.sample_scene(4)


def test_every_scene_starts_clear_within_limits_and_away_from_the_target(world):
    robot = scenes.default_robot()
    for seed in range(40):
        scene = scenes.draw_scene(world, robot, seed)
        start = np.array(scene.start_rad)
        assert world.is_clear(start, 0.04, 0.0)
        assert np.all(start > robot.position_min_rad) and np.all(start < robot.position_max_rad)
        assert np.linalg.norm(robot.tip_m(start) - scene.target_m) > 0.14


def test_the_wall_is_really_in_the_way():
    assert scenes.blocked_share(60, 0) >= 0.30


def test_projection_finds_the_target_in_the_picture(world):
    camera, robot = Camera(), scenes.default_robot()
    for seed in range(5):
        scene = scenes.draw_scene(world, robot, seed)
        world.set_target(scene.target_m)
        world.set_joints(robot.home_rad)
        picture = world.render(camera, 192, 192).astype(int)
        red = np.argwhere((picture[..., 0] > 120) & (picture[..., 1] < 70) & (picture[..., 2] < 70))
        if len(red) > 20:   # not behind the arm
            np.testing.assert_allclose(red.mean(0)[::-1], camera.project(np.array([scene.target_m]), 192, 192)[0], atol=2.0)


def test_reward_is_one_within_four_centimetres():
    target = np.array([0.5, 0.2, 0.03])
    assert reward(target + [0.039, 0, 0], target) == 1
    assert reward(target + [0.041, 0, 0], target) == 0


def test_success_is_half_a_second_without_a_break():
    touch = Touch()
    for elapsed_s, rewarded in ((0.0, True), (0.4, True), (0.45, False), (0.5, True), (0.9, True)):
        touch.update(elapsed_s, rewarded)
    assert not touch.success
    touch.update(1.0, True)
    assert touch.success and touch.time_to_target_s == 0.5
