"""Datasets of others: lerobot_v3 was written by LeRobot 0.6.2 itself, the rest are such folders with something wrong."""
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from diffusion_planner import cli
from diffusion_planner.config import ConfigError
from diffusion_planner.data import lerobot, lerobot_import, lerobot_mapping, store
from diffusion_planner.robot import JointFrame, Robot

THEIRS = Path(__file__).parent / 'lerobot_v3'      # 40 and 55 frames at 30 per second, in degrees; joints and pictures as in `expected`
FRAME = JointFrame((0.0, 0.0, 0.1), (0.0, 0.0, 0.0))
ROBOT = Robot('tabletop', ('base', 'shoulder', 'elbow'), (-2.0,) * 3, (2.0,) * 3, (3.0,) * 3, (5.0,) * 3, (50.0,) * 3, 0.01, (FRAME,) * 3, FRAME, (0.0,) * 3)
DEGREES = lerobot_mapping.Mapping(units='deg', picture_size=(64, 64))
DATA, EPISODES, VIDEO = 'data/chunk-000/file-000.parquet', 'meta/episodes/chunk-000/file-000.parquet', 'videos/observation.images.front/chunk-000/file-000.mp4'


def expected(number, stamp_s):
    """Say where the joints of an episode were: -> position_rad, velocity_rad_s [N, 3]"""
    position = np.stack([60 * np.sin(stamp_s + number), 30 * np.cos(stamp_s), -20 * stamp_s], 1)
    velocity = np.stack([60 * np.cos(stamp_s + number), -30 * np.sin(stamp_s), np.full_like(stamp_s, -20)], 1)
    return np.radians(position), np.radians(velocity)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(THEIRS, tmp_path / 'theirs')
    return tmp_path / 'theirs'


def edit(path, change):
    """Change a parquet file: change(columns as lists)."""
    columns = pyarrow.parquet.read_table(path).to_pydict()
    change(columns)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def edit_info(folder, change):
    info = json.loads((folder / 'meta/info.json').read_text())
    change(info)
    (folder / 'meta/info.json').write_text(json.dumps(info))


def refusal(folder, mapping=DEGREES, robot=ROBOT):
    """Read a dataset that cannot be used: -> what is said; nothing may be left."""
    out = folder.parent / 'out'
    with pytest.raises((lerobot.LeRobotError, ConfigError)) as error:
        lerobot_import.load(folder, out, robot, mapping)
    assert '\n' not in str(error.value) and not out.exists() and not out.with_name('out.part').exists()
    return str(error.value)


def test_numbers_of_a_dataset_in_degrees(tmp_path):
    loaded = lerobot_import.load(THEIRS, tmp_path / 'out', ROBOT, DEGREES)
    found = store.read(tmp_path / 'out')
    assert list(found.joint_start) == [0, 27, 64] and list(found.frame_start) == [0, 7, 17]      # 1.3 s and 1.8 s at 20 and 5 Hz
    command = np.concatenate([store.read_column(path, 'command_rad') for path in found.paths])
    for number, rows in enumerate((slice(0, 27), slice(27, 64))):
        stamp_s = np.arange(rows.stop - rows.start) / 20
        position_rad, velocity_rad_s = expected(number, stamp_s)
        np.testing.assert_allclose(found.stamp_s[rows], stamp_s, atol=1e-6)
        np.testing.assert_allclose(found.position_rad[rows], position_rad, atol=2e-4)
        np.testing.assert_allclose(command[rows], position_rad + math.radians(1), atol=2e-4)
        np.testing.assert_allclose(found.velocity_rad_s[rows], velocity_rad_s, atol=2e-3)
    assert list(found.seed) == [0, 1] and not found.reward.any() and found.sensors == {}
    assert list(np.flatnonzero(np.concatenate([store.read_column(path, 'terminal') for path in found.paths]))) == [26, 63]
    assert [word for word in ('NOTHING IS REWARDED', 'gripper.pos', 'velocities', 'ends') if not any(word in note for note in loaded.notes)] == []


def test_pictures_of_video_and_images(tmp_path):
    lerobot_import.load(THEIRS, tmp_path / 'out', ROBOT, DEGREES)
    found = store.read(tmp_path / 'out')
    pixels = store.read_pictures(found.paths[0])
    assert list(found.attributes['cameras']) == ['front', 'wrist'] and pixels.shape == (17, 2, 64, 64, 3)
    for number, rows in enumerate((slice(0, 7), slice(7, 17))):
        frame = 6 * np.arange(rows.stop - rows.start)      # 5 of 30 per second
        np.testing.assert_allclose(pixels[rows, 0].mean((1, 2)), np.stack([4 * frame, 0 * frame + 100, 0 * frame + 60 * number], 1), atol=3)
        np.testing.assert_array_equal(pixels[rows, 1, 0, 0], np.stack([0 * frame + 10 * number, 0 * frame, frame], 1))


def test_pictures_are_cut_to_size_and_cameras_chosen(tmp_path):
    mapping = dataclasses.replace(DEGREES, cameras={'side': 'observation.images.wrist'}, picture_size=(16, 32), camera_hz=10)
    lerobot_import.load(THEIRS, tmp_path / 'out', ROBOT, mapping)
    found = store.read(tmp_path / 'out')
    assert list(found.attributes['cameras']) == ['side'] and store.read_pictures(found.paths[0]).shape == (14 + 19, 1, 16, 32, 3)


def test_a_mapping_from_a_file_and_options(tmp_path):
    (tmp_path / 'map.yaml').write_text('units: deg\nreward: next.score\nreward_above: 3.5\nsensors: {force: gripper.force}\n')
    mapping = lerobot_mapping.chosen(tmp_path / 'map.yaml', ROBOT, 'shoulder.pos,base.pos,elbow.pos', ['eye=observation.images.wrist'], joint_hz=10.0)
    assert mapping.joints == {'base': 'shoulder.pos', 'shoulder': 'base.pos', 'elbow': 'elbow.pos'} and mapping.units == 'deg'
    assert mapping.cameras == {'eye': 'observation.images.wrist'} and (mapping.reward_above, mapping.joint_hz) == (3.5, 10.0)


def test_rewards_sensors_and_uneven_stamps(copy, tmp_path):
    def change(columns):
        columns['next.score'] = [float(frame) for frame in columns['frame_index']]
        columns['force'] = [[frame / 30, 1.0] for frame in columns['frame_index']]
        columns['next.done'] = [frame in (12, 39, 54) for frame in columns['frame_index']]
        columns['timestamp'] = [stamp if stamp < 0.5 else stamp + 0.1 for stamp in columns['timestamp']]      # three frames were lost
    edit(copy / DATA, change)
    edit_info(copy, lambda info: info['features'].update({'next.score': {'dtype': 'float32', 'shape': [1], 'names': None},
                                                          'force': {'dtype': 'float32', 'shape': [2], 'names': None},
                                                          'next.done': {'dtype': 'bool', 'shape': [1], 'names': None}}))
    mapping = dataclasses.replace(DEGREES, cameras={'wrist': 'observation.images.wrist'}, reward='next.score', reward_above=29.5, sensors={'force': 'force'})
    loaded = lerobot_import.load(copy, tmp_path / 'out', ROBOT, mapping)
    found = store.read(tmp_path / 'out')
    assert loaded.uneven == 2
    # Frame 30, with the first score above, was at 1.1 s by its stamp; its reward is that of the state after it, 1/30 s later.
    np.testing.assert_allclose(found.stamp_s[:29][found.reward[:29] > 0], np.arange(1.15, 1.41, 0.05), atol=1e-5)
    # Frames 12 and 39, at 0.4 and 1.4 s, end something.
    assert list(np.flatnonzero(store.read_column(found.paths[0], 'terminal')[:29])) == [8, 28]
    shift = np.interp(found.stamp_s[:29], [0, 14 / 30, 0.6, 1.4], [0, 14 / 30, 0.5, 1.3])
    np.testing.assert_allclose(found.sensors['force'][:29], np.stack([shift, np.ones(29)], 1), atol=1e-4)


def test_episodes_in_any_order_within_a_file(copy, tmp_path):
    edit(copy / DATA, lambda columns: columns.update({name: values[40:] + values[:40] for name, values in columns.items()}))
    lerobot_import.load(copy, tmp_path / 'swapped', ROBOT, DEGREES)
    lerobot_import.load(THEIRS, tmp_path / 'out', ROBOT, DEGREES)
    for name in ('position_rad', 'pixels'):
        np.testing.assert_array_equal(*(store.read_column(tmp_path / folder / 'episodes-00000.h5', name) for folder in ('swapped', 'out')))


def remove_action(columns):
    del columns['action']


def break_stamps(columns):
    columns['timestamp'][7] = 0.0


def short_state(columns):
    columns['observation.state'] = [values[:2] for values in columns['observation.state']]


def not_a_number(columns):
    columns['observation.state'][3] = [math.nan] * 4


def drop_rows(columns):
    for values in columns.values():
        del values[-5:]


def spoil_picture(columns):
    columns['observation.images.wrist'][12] = {'bytes': b'\x89PNG', 'path': 'frame.png'}


@pytest.mark.parametrize('change, words', [
    (remove_action, "file-000.parquet: has no column 'action'"),
    (break_stamps, 'episode 0: timestamp: got values that do not rise'),
    (short_state, 'episode 0: observation.state: got 80 values of type'),
    (not_a_number, 'episode 0: observation.state: got a number that is missing or not finite in frame 3'),
    (drop_rows, 'holds 50 rows of episode 1, expected 55'),
    (spoil_picture, 'observation.images.wrist, row 12: got 4 bytes, expected an encoded picture'),
])
def test_broken_frames(copy, change, words):
    edit(copy / DATA, change)
    assert words in refusal(copy)


@pytest.mark.parametrize('change, words', [
    (lambda info: info.update(codebase_version='v2.1'), 'convert_dataset_v21_to_v30'),
    (lambda info: info.update(codebase_version='v4.0'), 'codebase_version: got v4.0, expected v3.0'),
    (lambda info: info.pop('features'), 'info.json: features: got None'),
    (lambda info: info.update(fps=0), 'info.json: fps: got 0'),
    (lambda info: info['features'].pop('observation.state'), "has no feature 'observation.state'; there are action, observation.images.front"),
    (lambda info: info['features']['observation.state'].update(names=None), 'got 4 numbers without names, expected 3, one per joint of tabletop'),
    (lambda info: [info['features'].pop(f'observation.images.{name}') for name in ('front', 'wrist')], 'has no camera; expected a feature'),
])
def test_broken_descriptions(copy, change, words):
    edit_info(copy, change)
    assert words in refusal(copy)


@pytest.mark.parametrize('path, words', [
    ('meta/info.json', 'expected the folder of a LeRobot dataset'),
    (EPISODES, 'has no meta/episodes/*/*.parquet'),
    (DATA, f'{DATA}: is missing; expected the file with episode 0'),
    (VIDEO, f'{VIDEO}: is missing; expected the file with episode 0'),
])
def test_missing_files(copy, path, words):
    (copy / path).unlink()
    assert words in refusal(copy)


@pytest.mark.parametrize('path, words', [
    ('meta/info.json', 'expected JSON'),
    (EPISODES, 'expected a whole parquet file'),
    (DATA, 'expected a whole parquet file'),
    (VIDEO, 'expected a whole video'),
])
def test_files_that_are_cut_off(copy, path, words):
    content = (copy / path).read_bytes()
    (copy / path).write_bytes(content[:len(content) // 2])
    assert f'{path}: cannot be ' in (said := refusal(copy)) and words in said


def test_a_video_that_ends_too_early(copy):
    edit(copy / EPISODES, lambda columns: columns.update({'videos/observation.images.front/from_timestamp': [0.0, 60.0]}))
    assert 'expected the frames that meta/episodes speaks of' in refusal(copy)


@pytest.mark.parametrize('mapping, words', [
    (lerobot_mapping.Mapping(), 'base: got 57.8'),      # degrees, taken for radians
    (dataclasses.replace(DEGREES, joints={'base': 'wrist.pos'}), "has no joint 'wrist.pos'; there are base.pos, shoulder.pos, elbow.pos, gripper.pos"),
    (dataclasses.replace(DEGREES, joints={'hand': 'base.pos'}), "joints: got 'hand', expected one of base, shoulder, elbow"),
    (dataclasses.replace(DEGREES, cameras={'top': 'observation.images.top'}), 'there are observation.images.front, observation.images.wrist'),
    (dataclasses.replace(DEGREES, sensors={'force': 'force'}), "has no sensor 'force'"),
    (dataclasses.replace(DEGREES, reward='next.reward'), "has no feature 'next.reward'"),
    (dataclasses.replace(DEGREES, reward='frame_index'), 'frame_index: got 0 to 39, expected 0 to 1; reward_above'),
    (dataclasses.replace(DEGREES, camera_hz=0.4), 'all 2 episodes are too short'),
])
def test_what_does_not_fit(copy, mapping, words):
    assert words in refusal(copy, mapping)


def test_doing_without_an_action(copy, tmp_path):
    edit_info(copy, lambda info: info['features']['action'].update(names=['x', 'y', 'z', 'grip']))
    assert "action has no joint 'base'; there are x, y, z, grip" in (said := refusal(copy)) and 'action: none' in said
    loaded = lerobot_import.load(copy, tmp_path / 'without', ROBOT, dataclasses.replace(DEGREES, action='none'))
    found = store.read(tmp_path / 'without')
    np.testing.assert_array_equal(store.read_column(found.paths[0], 'command_rad')[:26], found.position_rad[1:27])
    assert 'no action: the next measured position is the command' in loaded.notes


def test_another_robot(copy):
    other = dataclasses.replace(ROBOT, name='other', joint_names=('one', 'two', 'three'))
    assert "has no joint 'one'; there are base.pos" in (said := refusal(copy, robot=other)) and 'joints of other' in said


def test_a_depth_camera_is_left_out_and_said_so(copy, tmp_path):
    edit_info(copy, lambda info: info['features']['observation.images.front']['info'].update(is_depth_map=True))
    assert 'depth cameras are left out: observation.images.front' in lerobot_import.load(copy, tmp_path / 'without', ROBOT, DEGREES).notes
    assert 'expected one with colours' in refusal(copy, dataclasses.replace(DEGREES, cameras={'front': 'observation.images.front'}))


@pytest.mark.parametrize('options, words', [
    (('--units', 'grad'), "units: got 'grad', expected one of rad, deg"),
    (('--joints', 'a,b'), '--joints: got 2 names, expected 7'),
    (('--camera', 'front'), "--camera: got 'front', expected NAME=FEATURE"),
    ((), 'base.pos'),
])
def test_one_line_on_the_command_line(tmp_path, capsys, options, words):
    assert cli.main(['from-lerobot', str(THEIRS), '--out', str(tmp_path / 'out'), *options]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count('\n') == 1 and list(tmp_path.iterdir()) == []
