"""Oddities: seen in the picture, the same for equal seeds, gone without a trace at the next reset."""
import numpy as np
import pybullet
import pytest

from diffusion_planner.config import ConfigError
from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.oddities import ODDITIES
from diffusion_planner.sim.world import TABLE_CENTRE_M, TABLE_HALF_M

SEEDS = (11, 12, 13)


@pytest.fixture(scope='module')
def env():
    env = ArmEnv()
    yield env
    env.close()


def picture(env, seed, oddity=None):
    env.reset(seed, oddity)
    return env.render().pixels.astype(int)


@pytest.mark.parametrize('name', ODDITIES)
def test_the_picture_shows_it(env, name):
    for seed in SEEDS:
        changed = np.abs(picture(env, seed, name) - picture(env, seed)).max(-1) > 30
        assert changed.sum() >= 10   # of 9216: the ball alone covers some 40


@pytest.mark.parametrize('name', ODDITIES)
def test_the_next_reset_undoes_it_to_the_bit(env, name):
    def episode():
        env.reset(SEEDS[0])
        before = env.render().pixels
        for _ in range(48):
            env.step()
        return [before, env.render().pixels, *env.world.joint_state(), env.scene.start_rad, env.scene.target_m]
    ordinary = episode()
    env.reset(SEEDS[1], name)
    for _ in range(24):
        env.step()
    for one, other in zip(ordinary, episode(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert env.world.extras == [] and env.oddity is None and env.camera == env.settings.camera


@pytest.mark.parametrize('name', ODDITIES)
def test_equal_seeds_give_equal_pictures(env, name):
    first = picture(env, SEEDS[0], name)
    assert (picture(env, SEEDS[1], name) != first).any()
    np.testing.assert_array_equal(picture(env, SEEDS[0], name), first)


@pytest.mark.parametrize('name', ODDITIES)
def test_the_arm_starts_clear_of_it(env, name):
    for seed in range(20):
        env.reset(seed, name)
        env.step()
        assert env.episode()['contacts'] == 0


def test_an_unknown_name_is_refused_and_nothing_changes(env):
    env.reset(SEEDS[0], 'lights_out')
    with pytest.raises(ConfigError, match="oddity: got 'fog', expected one of target_off_table, second_arm"):
        env.reset(SEEDS[1], 'fog')
    assert env.scene.seed == SEEDS[0] and env.oddity == 'lights_out'


def test_the_ball_is_off_the_table_and_out_of_reach(env):
    for seed in range(40):
        env.reset(seed, 'target_off_table')
        aside = np.abs(np.subtract(env.scene.target_m, TABLE_CENTRE_M))[:2] > np.array(TABLE_HALF_M)[:2] + 0.03
        assert aside.any() and env.scene.target_m[2] < -0.3
        assert env.reward() == 0


def test_the_lights_are_at_five_to_fifteen_percent(env):
    ordinary = picture(env, SEEDS[0]).mean()
    env.reset(SEEDS[0], 'lights_out')
    first, second = env.render().pixels, env.render().pixels
    assert 0.04 < first.mean() / ordinary < 0.17 and first.dtype == np.uint8
    assert (first != second).any()   # noise is drawn anew for every picture


def test_the_camera_moves_ten_centimetres_and_projects_from_there(env):
    env.reset(SEEDS[0], 'camera_moved')
    shift_m = np.subtract(env.camera.eye_m, env.settings.camera.eye_m)
    assert np.linalg.norm(shift_m) == pytest.approx(0.10)
    np.testing.assert_allclose(np.subtract(env.camera.look_at_m, env.settings.camera.look_at_m), shift_m)
    np.testing.assert_array_equal(env.project([[0.5, 0.1, 0.0]]), env.camera.project([[0.5, 0.1, 0.0]]))


@pytest.mark.parametrize('seed', SEEDS)
def test_contact_with_the_obstacle_counts(env, seed):
    env.reset(seed, 'unseen_obstacle')
    centre_m = pybullet.getBasePositionAndOrientation(env.world.extras[0], physicsClientId=env.world.client)[0]
    posture_rad = np.array(env.robot.home_rad)
    for _ in range(10):
        posture_rad = env.world.inverse(posture_rad, centre_m, (1, 0, 0, 0))

    def contacts():
        env.world.set_joints(posture_rad)
        env.controller.reset(posture_rad)
        env.step()
        return env.episode()['contacts']
    assert contacts() == 1
    env.reset(seed)
    assert contacts() == 0   # it was the obstacle that was touched, not table or wall


def test_a_collision_leaves_nothing_behind(env):
    ordinary = picture(env, SEEDS[0])
    env.reset(SEEDS[1], 'unseen_obstacle')
    for finger in (9, 10):   # as when something has forced the gripper open
        pybullet.resetJointState(env.world.arm, finger, 0.02, physicsClientId=env.world.client)
    np.testing.assert_array_equal(picture(env, SEEDS[0]), ordinary)


def test_the_second_arm_stays_where_it_stands(env):
    env.reset(SEEDS[0], 'second_arm')
    before_rad = [pybullet.getJointState(env.world.extras[0], joint, physicsClientId=env.world.client)[0] for joint in range(7)]
    for _ in range(240):
        env.step()
    after_rad = [pybullet.getJointState(env.world.extras[0], joint, physicsClientId=env.world.client)[0] for joint in range(7)]
    np.testing.assert_allclose(after_rad, before_rad, atol=0.02)
