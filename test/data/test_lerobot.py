"""Round trips through LeRobot datasets, what the folders hold, and the command line."""
import json

import numpy as np
import pyarrow.parquet
import pytest

from diffusion_planner import cli, config, files
from diffusion_planner.data import lerobot, lerobot_export, lerobot_import, lerobot_mapping, store
from diffusion_planner.records import Episode
from diffusion_planner.robot import Robot

ROBOT = config.load(Robot, files.find('config/panda.yaml'))
LENGTHS = 41, 30, 55      # joint samples at 20 Hz
VIDEO_ERROR = 4           # of 255 levels, mean over smooth pictures


def picture(seed, frame, camera, size):
    """Make a smooth picture that tells episode, frame and camera."""
    row, column = np.mgrid[:size, :size]
    return np.stack([row * 2 + 5 * frame, column * 2 + 40 * camera, np.full_like(row, 60 * (seed % 3) + 20)], -1).astype(np.uint8)


def episode(seed, count, size):
    random, stamp_s = np.random.default_rng(seed), (np.arange(count) / 20).astype(np.float32)
    position_rad = (np.array(ROBOT.home_rad) + random.normal(0, 0.1, (count, 7))).astype(np.float32)
    command_rad, velocity_rad_s = (random.normal(0, 1, (count, 7)).astype(np.float32) for _ in range(2))
    reward = (random.random(count) < 0.4).astype(np.float32)
    reward[0] = seed % 2
    frames = int((count - 1) / 4) + 1
    pixels = np.stack([[picture(seed, frame, camera, size) for camera in range(2)] for frame in range(frames)])
    return Episode(seed, stamp_s, position_rad, velocity_rad_s, command_rad, reward, np.arange(count) == count - 1,
                   (np.arange(frames) / 5).astype(np.float32), pixels,
                   sensors={'wrench': random.normal(0, 5, (count, 3)).astype(np.float32), 'grip': random.random((count, 1)).astype(np.float32)})


def make(folder, size=16):
    """Write three episodes in two shards: -> the folder"""
    folder.mkdir()
    episodes = [episode(1_000_000 + number, count, size) for number, count in enumerate(LENGTHS)]
    attributes = {'joint_names': list(ROBOT.joint_names), 'cameras': ['front', 'wrist'], 'robot': 'panda', 'picture_shape': (size, size, 3)}
    store.write_shard(store.shard_path(folder, 0), episodes[:2], attributes)
    store.write_shard(store.shard_path(folder, 1), episodes[2:], attributes)
    return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp('lerobot') / 'data')


@pytest.fixture(scope='module')
def written(data):
    lerobot_export.export(data, data.parent / 'images', video=False)
    return data.parent / 'images'


def columns(folder, name):
    return np.concatenate([store.read_column(path, name) for path in store.shards(folder)])


def assert_same(got, expected, pixels=True):
    first, second = store.read(got), store.read(expected)
    for name in (*store.JOINT_FIELDS, 'frame_stamp_s', 'joint_count', 'frame_count', 'seed'):
        np.testing.assert_array_equal(columns(got, name), columns(expected, name), name)
        assert columns(got, name).dtype == columns(expected, name).dtype, name
    assert first.sensors.keys() == second.sensors.keys()
    for name, values in second.sensors.items():
        np.testing.assert_array_equal(first.sensors[name], values, name)
    for name in ('joint_names', 'cameras', 'picture_shape'):
        assert list(first.attributes[name]) == list(second.attributes[name]), name
    assert first.attributes['robot'] == second.attributes['robot']
    if pixels:
        np.testing.assert_array_equal(columns(got, 'pixels'), columns(expected, 'pixels'))


def test_images_come_back_bit_for_bit(data, written, tmp_path):
    loaded = lerobot_import.load(written, tmp_path / 'back', ROBOT)
    assert_same(tmp_path / 'back', data)
    assert loaded.episodes == 3 and loaded.notes == []


def test_a_multiple_of_the_rate_comes_back_bit_for_bit(data, tmp_path):
    assert lerobot_export.export(data, tmp_path / 'fast', video=False, fps=40)[1] == sum(2 * count - 1 for count in LENGTHS)
    lerobot_import.load(tmp_path / 'fast', tmp_path / 'back', ROBOT)
    assert_same(tmp_path / 'back', data)


def test_frames_at_the_rate_of_the_pictures(data, tmp_path):
    lerobot_export.export(data, tmp_path / 'slow', video=False, fps=5)
    lerobot_import.load(tmp_path / 'slow', tmp_path / 'back', ROBOT, lerobot_mapping.Mapping(joint_hz=5))
    back, given = store.read(tmp_path / 'back'), store.read(data)
    np.testing.assert_array_equal(back.position_rad, np.concatenate(
        [given.position_rad[start:stop:4] for start, stop in zip(given.joint_start, given.joint_start[1:])]))
    np.testing.assert_array_equal(columns(tmp_path / 'back', 'pixels'), columns(data, 'pixels'))


def test_video_keeps_numbers_and_nearly_keeps_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, 'VIDEO_MB', 0)      # every episode begins a file, and every second one a folder
    monkeypatch.setattr(lerobot, 'FILES_PER_CHUNK', 2)
    given = make(tmp_path / 'data', 64)
    lerobot_export.export(given, tmp_path / 'video')
    assert len(list((tmp_path / 'video/videos').rglob('chunk-001/file-000.mp4'))) == 2
    lerobot_import.load(tmp_path / 'video', tmp_path / 'back', ROBOT)
    assert_same(tmp_path / 'back', given, pixels=False)
    got, expected = (columns(folder, 'pixels').astype(int) for folder in (tmp_path / 'back', given))
    assert np.abs(got - expected).mean() < VIDEO_ERROR
    for camera in range(2):      # each is nearer to its own original than to any other
        distance = np.abs(got[:, None, camera].mean((2, 3)) - expected[None, :, camera].mean((2, 3))).sum(-1)
        assert (distance.argmin(1) == np.arange(len(got))).all()


def test_many_files(data, tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, 'DATA_MB', 0.01)
    lerobot_export.export(data, tmp_path / 'many', video=False)
    assert len(list((tmp_path / 'many/data').rglob('*.parquet'))) == 3
    lerobot_import.load(tmp_path / 'many', tmp_path / 'back', ROBOT)
    assert_same(tmp_path / 'back', data)


def test_many_shards(data, written, tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_import, 'SHARD', 2)
    lerobot_import.load(written, tmp_path / 'back', ROBOT)
    assert len(store.shards(tmp_path / 'back')) == 2
    assert_same(tmp_path / 'back', data)


def test_what_is_written_is_what_lerobot_reads(written):
    info = json.loads((written / 'meta/info.json').read_text())
    assert (info['codebase_version'], info['fps'], info['total_episodes'], info['total_frames']) == ('v3.0', 20, 3, sum(LENGTHS))
    assert info['features']['observation.state'] == {'dtype': 'float32', 'shape': [7], 'names': list(ROBOT.joint_names)}
    assert info['features']['observation.images.front']['dtype'] == 'image' and info['video_path'] is None
    table = pyarrow.parquet.read_table(written / info['data_path'].format(chunk_index=0, file_index=0))
    assert {str(table.schema.field(name).type) for name in ('observation.state', 'action')} == {'fixed_size_list<element: float>[7]'}
    assert [str(table.schema.field(name).type) for name in ('next.reward', 'next.done', 'observation.grip', 'index')] == ['float', 'bool', 'float', 'int64']
    assert str(table.schema.field('observation.images.front').type) == 'struct<bytes: binary, path: string>'
    note = json.loads(table.schema.metadata[b'huggingface'])['info']['features']
    assert note.keys() == info['features'].keys() and note['observation.images.wrist'] == {'_type': 'Image'}
    assert table['index'].to_pylist() == list(range(sum(LENGTHS)))
    np.testing.assert_allclose(table['timestamp'], np.concatenate([np.arange(count) for count in LENGTHS]) / 20, atol=1e-6)
    tasks = pyarrow.parquet.read_table(written / 'meta/tasks.parquet')
    assert tasks.to_pydict() == {'task_index': [0], 'task': ['play']}
    assert json.loads(tasks.schema.metadata[b'pandas'])['index_columns'] == ['task']


def test_where_each_episode_is(written):
    rows = pyarrow.parquet.read_table(written / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    for number, row in enumerate(rows):
        assert (row['episode_index'], row['length'], row['tasks']) == (number, LENGTHS[number], ['play'])
        assert (row['dataset_from_index'], row['dataset_to_index']) == (starts[number], starts[number + 1])
        assert {row[f'{kind}/{name}_index'] for kind in ('data', 'meta/episodes') for name in ('chunk', 'file')} == {0}
    file = pyarrow.parquet.ParquetFile(written / 'data/chunk-000/file-000.parquet')
    assert file.num_row_groups == 3      # an episode each, for random access


def test_the_reward_is_that_of_the_state_an_action_leads_to(data, written):
    rows = pyarrow.parquet.read_table(written / 'data/chunk-000/file-000.parquet', columns=['next.reward']).to_pydict()['next.reward']
    reward = store.read(data).reward
    assert rows[:LENGTHS[0]] == [*reward[1:LENGTHS[0]], reward[LENGTHS[0] - 1]]


def test_statistics(data, written):
    statistics, episodes = json.loads((written / 'meta/stats.json').read_text()), store.read(data)
    found = statistics['observation.state']
    for name, expected in (('min', episodes.position_rad.min(0)), ('mean', episodes.position_rad.mean(0)), ('std', episodes.position_rad.std(0)),
                           ('q10', np.quantile(episodes.position_rad, 0.1, 0)), ('count', [sum(LENGTHS)])):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
    pixels = columns(data, 'pixels')[:, 1] / 255
    found = statistics['observation.images.wrist']
    assert np.shape(found['std']) == (3, 1, 1) and found['count'] == [len(pixels)]
    np.testing.assert_allclose(np.ravel(found['mean']), pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(found['std']), pixels.std((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(found['q90']), np.quantile(pixels, 0.9, (0, 1, 2), method='inverted_cdf'))
    row = pyarrow.parquet.read_table(written / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()[1]
    start, stop = LENGTHS[0], LENGTHS[0] + LENGTHS[1]
    np.testing.assert_allclose(row['stats/observation.state/max'], episodes.position_rad[start:stop].max(0))


def test_a_dataset_is_told_from_other_folders(data, written):
    assert lerobot.is_dataset(written) and not lerobot.is_dataset(data) and not lerobot.is_dataset(data / 'episodes-00000.h5')


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def test_the_command_line_there_and_back(data, tmp_path, capsys):
    assert run(capsys, 'to-lerobot', data, '--out', tmp_path / 'there', '--images')[0] in (0, None)
    code, said = run(capsys, 'from-lerobot', tmp_path / 'there', '--out', tmp_path / 'back')
    assert code in (0, None) and '3 episodes' in said.out
    assert_same(tmp_path / 'back', data)
    code, said = run(capsys, 'from-lerobot', tmp_path / 'there', '--out', tmp_path / 'back')
    assert code == 2 and said.err.count('\n') == 1 and 'expected a new folder' in said.err


def test_nothing_is_left_where_writing_fails(data, tmp_path, capsys):
    code, said = run(capsys, 'to-lerobot', data, '--out', tmp_path / 'video')      # 16 x 16 is too small for the encoder
    assert code == 2 and '--images' in said.err and said.err.count('\n') == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_dataset(data, tmp_path):
    (tmp_path / 'out.part/meta').mkdir(parents=True)
    lerobot_export.export(data, tmp_path / 'out', video=False)
    assert [path.name for path in tmp_path.iterdir()] == ['out']
