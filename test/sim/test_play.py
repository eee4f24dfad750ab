"""Play data: clear, within limits, whole on disk."""
import h5py
import numpy as np
import pytest

from diffusion_planner.data import store
from diffusion_planner.data.windows import Windows
from diffusion_planner.sim import rollout, scene
from diffusion_planner.sim.camera import Camera
from diffusion_planner.sim.motion import NoPath, PathFinder
from diffusion_planner.sim.task import reward
from diffusion_planner.sim.world import World


@pytest.fixture(scope='module')
def episodes():
    world, robot = World(), scene.default_robot()
    finder, episodes, seed = PathFinder(world, robot, 0), [], 5_000_000
    while len(episodes) < 3:
        seed += 1
        try:
            episodes.append(rollout.play_episode(world, robot, finder, Camera(), seed))
        except (NoPath, rollout.Contact):   # a draw that cannot be played is thrown away, as when data is made
            assert seed < 5_000_010
    return episodes


@pytest.fixture(scope='module')
def folder(episodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp('episodes')
    store.write_shard(store.shard_path(folder, 0), episodes, {'joint_names': ['a'], 'cameras': ['camera'], 'robot': 'panda'})
    return folder


def test_play_keeps_the_limits_of_play(episodes):
    robot = scene.default_robot()
    limits = rollout.play_limits(robot)
    for episode in episodes:
        acceleration = np.diff(episode.velocity_rad_s, axis=0) / np.diff(episode.stamp_s)[:, None]
        assert (np.abs(episode.velocity_rad_s) <= 1.02 * limits.velocity_rad_s + 1e-3).all()
        assert (np.abs(acceleration) <= 1.05 * limits.acceleration_rad_s2 + 0.05).all()


def test_play_is_clear_of_wall_and_table(episodes):
    world = World()
    world.set_obstacles((scene.WALL,))
    for episode in episodes:
        assert all(world.is_clear(position_rad, 0.02, 0.0) for position_rad in episode.position_rad)


def test_rewards_are_those_of_the_task_and_the_last_instant_is_terminal(episodes):
    robot = scene.default_robot()
    for episode in episodes:
        expected = reward(robot.tip_m(episode.position_rad), episode.privileged['target_m'])
        assert (episode.reward == expected).mean() > 0.99   # float32 may tip an instant on the border
        assert episode.terminal.sum() == 1 and episode.terminal[-1]


def test_a_shard_reads_back_as_it_was_written(episodes, folder):
    read = store.read(folder)
    assert len(read) == 3 and read.seed.tolist() == [episode.seed for episode in episodes]
    np.testing.assert_array_equal(read.position_rad, np.concatenate([episode.position_rad for episode in episodes]))
    np.testing.assert_array_equal(store.read_pictures(read.paths[0]), np.concatenate([episode.pixels for episode in episodes]))


def test_a_cut_off_shard_is_named(folder, tmp_path):
    whole = (folder / 'episodes-00000.h5').read_bytes()
    (tmp_path / 'episodes-00000.h5').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(store.StoreError, match='episodes-00000.h5: cannot be read'):
        store.read(tmp_path)


def test_part_files_are_passed_over_and_an_empty_folder_is_named(tmp_path):
    (tmp_path / 'episodes-00000.part').write_bytes(b'half')
    with pytest.raises(store.StoreError, match='expected a folder written by'):
        store.read(tmp_path)


def test_a_foreign_file_is_named(tmp_path):
    with h5py.File(tmp_path / 'episodes-00000.h5', 'w') as file:
        file['x'] = [1]
    with pytest.raises(store.StoreError, match='format None'):
        store.read(tmp_path)


def test_windows_hold_what_was_known_at_each_instant(folder):
    read = store.read(folder)
    windows = Windows(read, (-1.2, -0.4, 0.0), 4.0)
    joint, frame, _, offset_s, present = windows.draw(np.arange(3), 64, 5, np.random.default_rng(0))
    episode = np.searchsorted(read.joint_start, joint[:, -1], side='right') - 1
    assert (np.searchsorted(read.frame_start, frame, side='right') - 1 == episode[:, None]).all()
    stamps = read.stamp_s[joint]
    assert (read.frame_stamp_s[frame] <= stamps + 1e-4)[present].all()          # no picture from the future
    gaps = (stamps[:, 1:] - stamps[:, :-1])
    np.testing.assert_allclose(gaps[present[:, :-1]], np.diff(offset_s, axis=1)[present[:, :-1]], atol=1e-4)
    assert (np.diff(offset_s[:, 2:], axis=1) >= 0).all() and not present[:, 0].all() and present[:, 2:].all()
