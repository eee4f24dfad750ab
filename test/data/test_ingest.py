"""Bags into episodes: what was recorded comes out as it went in, whatever the container, the pace or the order."""
import json
from dataclasses import replace

import numpy as np
import pytest
from recordings import MAPPING, PANDA, joints, mapping_file, number, picture, same, swing_bag, swings, write_messages

from diffusion_planner.data import store
from diffusion_planner.data.ingest import IngestError, ingest


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """The data folder of a bag as the simulator's play would make it."""
    folder = tmp_path_factory.mktemp('plain')
    ingest([swing_bag(folder / 'bag')], MAPPING, folder / 'data')
    return folder / 'data'


def test_what_went_in_comes_out(plain):
    found, pixels = store.read(plain), np.concatenate([store.read_pictures(path) for path in store.read(plain).paths])
    assert found.seed.tolist() == [7, 8] and list(found.attributes['joint_names']) == list(PANDA.joint_names)
    for index, episode in enumerate(swings()):
        rows, frames = (slice(*start[index:index + 2]) for start in (found.joint_start, found.frame_start))
        for name in ('stamp_s', 'position_rad', 'velocity_rad_s', 'reward'):
            np.testing.assert_allclose(getattr(found, name)[rows], getattr(episode, name), atol=2e-6)
        assert np.array_equal(pixels[frames], episode.pixels)
        np.testing.assert_allclose(found.frame_stamp_s[frames], episode.frame_stamp_s, atol=1e-6)
    commands = np.concatenate([store.read_column(path, 'command_rad') for path in found.paths])
    np.testing.assert_allclose(commands, np.concatenate([episode.command_rad for episode in swings()]), atol=2e-6)


@pytest.mark.parametrize('storage, compression', [('sqlite3', None), ('mcap', 'storage'), ('mcap', 'message'), ('sqlite3', 'message'), ('mcap', 'file'),
                                                  ('sqlite3', 'file')])
def test_the_container_makes_no_difference(tmp_path, plain, storage, compression):
    ingest([swing_bag(tmp_path / 'bag', storage, compression=compression)], MAPPING, tmp_path / 'data')
    assert same(plain, tmp_path / 'data')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_single_file_is_a_bag(tmp_path, plain, storage):
    bag = swing_bag(tmp_path / 'bag', storage)
    ingest([next(path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3'))], MAPPING, tmp_path / 'data')
    assert same(plain, tmp_path / 'data')


@pytest.mark.parametrize('speed', [0.5, 20.0])
def test_the_pace_of_the_recording_makes_no_difference(tmp_path, plain, speed):
    ingest([swing_bag(tmp_path / 'bag', speed=speed)], MAPPING, tmp_path / 'data')
    assert same(plain, tmp_path / 'data')


def test_several_bags_are_the_episodes_of_all(tmp_path, plain):
    bags = [swing_bag(tmp_path / name, storage, episodes=(episode,)) for name, storage, episode in zip('ab', ('mcap', 'sqlite3'), swings())]
    report = ingest(bags, MAPPING, tmp_path / 'data')
    found, whole = store.read(tmp_path / 'data'), store.read(plain)
    assert found.seed.tolist() == [7, 8] and [len(bag['episodes']) for bag in report['bags']] == [1, 1]
    np.testing.assert_allclose(found.position_rad, whole.position_rad, atol=1e-6)      # the second was at other stamps in the one bag


@pytest.mark.parametrize('age_s, expected', [(0.0, [88, 70]), (0.017, [84, 66])])
def test_a_change_of_the_episode_ends_it_without_any_gap(tmp_path, age_s, expected):
    """Two scenes follow one another at once: the joints of the second are elsewhere, and no sample lies between."""
    rows = []
    for tick in range(160):
        stamp_s, second = 1 + tick / 20, tick >= 90
        if tick % 4 == 2:
            rows += [(stamp_s, '/episode', number(int(second) + 5, 'std_msgs/msg/UInt32')), (stamp_s, '/camera/image', picture(stamp_s - age_s))]
        rows.append((stamp_s, '/joint_states', joints(stamp_s, np.array(PANDA.home_rad) + (0.15 if second else -0.15))))
    bag = write_messages(tmp_path / 'bag', {'/joint_states': 'sensor_msgs/msg/JointState', '/camera/image': 'sensor_msgs/msg/Image',
                                            '/episode': 'std_msgs/msg/UInt32'}, rows)
    text = 'cameras: {camera: {topic: /camera/image}}\nepisodes: {topic: {topic: /episode}}\n'
    report = ingest([bag], mapping_file(tmp_path, text), tmp_path / 'data')
    found = store.read(tmp_path / 'data')
    assert found.seed.tolist() == [5, 6] and report['bags'][0]['ended_by'] == {'another episode': 1, 'end of the recording': 1}
    assert np.diff(found.joint_start).tolist() == expected
    offsets = [found.position_rad[slice(*found.joint_start[index:index + 2])] - np.array(PANDA.home_rad) for index in range(2)]
    np.testing.assert_allclose(offsets[0], -0.15, atol=1e-6)
    np.testing.assert_allclose(offsets[1], 0.15, atol=1e-6)


def test_long_recordings_are_cut_and_go_on_where_they_were_cut(tmp_path):
    mapping = mapping_file(tmp_path, MAPPING.read_text().split('joint_states: /joint_states')[1].replace('longest_s: 60.0', 'longest_s: 1.0')
                           .replace('shortest_s: 1.0', 'shortest_s: 0.5'))
    report = ingest([swing_bag(tmp_path / 'bag', episodes=swings((7,)))], mapping, tmp_path / 'data')
    found = store.read(tmp_path / 'data')
    assert np.diff(found.joint_start).tolist() == [20, 20, 20] and np.diff(found.frame_start).tolist() == [5, 5, 5]
    np.testing.assert_allclose(found.position_rad, swings((7,))[0].position_rad, atol=2e-6)
    assert report['bags'][0]['ended_by'] == {'longest_s': 2, 'end of the recording': 1}


def test_short_episodes_are_left_out_and_counted(tmp_path):
    short = replace(swings()[0], **{name: getattr(swings()[0], name)[:12] for name in ('stamp_s', 'position_rad', 'velocity_rad_s', 'reward')},
                    frame_stamp_s=swings()[0].frame_stamp_s[:3], pixels=swings()[0].pixels[:3])
    report = ingest([swing_bag(tmp_path / 'bag', episodes=(short, swings()[1]))], MAPPING, tmp_path / 'data')
    assert store.read(tmp_path / 'data').seed.tolist() == [8] and report['bags'][0]['left_out'] == {'shorter than shortest_s': 1}


def test_the_report_is_beside_the_data(plain):
    report = json.loads((plain / 'ingest_report.json').read_text())
    topic = report['bags'][0]['topics']['cameras.camera']
    assert report['episodes'] == 2 and report['warnings'] and topic['rate_hz'] == 5.0 and topic['messages'] == 30
    assert (plain / 'ingest_report.png').read_bytes().startswith(b'\x89PNG') and {path.suffix for path in plain.iterdir()} == {'.h5', '.json', '.png'}


def test_an_unfinished_folder_is_begun_anew(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(store.ShardWriter, 'close', lambda writer: 1 / 0)
    bag = swing_bag(tmp_path / 'bag')
    with pytest.raises(ZeroDivisionError):
        ingest([bag], MAPPING, tmp_path / 'data')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bag']
    monkeypatch.undo()
    (tmp_path / 'data.part').mkdir()              # as a run that was killed leaves it
    (tmp_path / 'data.part' / 'ingest_state.json').write_text('{}')
    (tmp_path / 'data.part' / 'episodes-00007.h5').write_text('half')
    ingest([bag], MAPPING, tmp_path / 'data')
    assert same(plain, tmp_path / 'data') and not (tmp_path / 'data.part').exists()


@pytest.mark.parametrize('name, expected', [('data', 'is there already, expected a new folder'), ('data.part', 'no unfinished ingest')])
def test_nothing_of_others_is_overwritten(tmp_path, name, expected):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'mine.txt').write_text('mine')
    with pytest.raises(IngestError, match=expected):
        ingest([swing_bag(tmp_path / 'bag')], MAPPING, tmp_path / 'data')
    assert (tmp_path / name / 'mine.txt').read_text() == 'mine'
