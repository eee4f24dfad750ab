"""Recordings with something wrong: each is reported, the rest is used, and what cannot be used is one line."""
import shutil

import numpy as np
import pytest
from recordings import MAPPING, PANDA, RECEIVED_NS, joints, mapping_file, number, picture, same, swing_bag, swings, write_messages

from diffusion_planner import cli
from diffusion_planner.data import store
from diffusion_planner.data.bags import BagError, open_bag
from diffusion_planner.data.ingest import IngestError, ingest
from diffusion_planner.data.ingest_inputs import CameraError

KINDS = {'/joint_states': 'sensor_msgs/msg/JointState', '/camera/image': 'sensor_msgs/msg/Image'}
CAMERA = 'cameras: {camera: {topic: /camera/image}}\n'


def rows(seconds=4.0, joint_hz=20, camera_hz=10, begin_s=100.0):
    """A plain recording: (log_s, topic, message) of joints and one camera, stamped when it was recorded."""
    made = [(tick / joint_hz, '/joint_states', joints(begin_s + tick / joint_hz)) for tick in range(round(seconds * joint_hz))]
    made += [(tick / camera_hz + 0.003, '/camera/image', picture(begin_s + tick / camera_hz)) for tick in range(round(seconds * camera_hz))]
    return sorted(made, key=lambda row: row[0])


def made(tmp_path, recorded, text=CAMERA, name='bag', kinds=KINDS):
    """Ingest such rows: -> report, data folder"""
    bag = write_messages(tmp_path / name, kinds, recorded)
    return ingest([bag], mapping_file(tmp_path, text), tmp_path / f'{name}_data'), tmp_path / f'{name}_data'


def lengths_s(report):
    return [episode['duration_s'] for episode in report['bags'][0]['episodes']]


def topic(report, name):
    return report['bags'][0]['topics'][name]


@pytest.mark.parametrize('storage, share', [('mcap', 0.55), ('mcap', 0.9), ('sqlite3', 0.6)])
def test_a_bag_cut_in_the_middle(tmp_path, storage, share):
    """What was before the cut is as in the whole bag."""
    bag = swing_bag(tmp_path / 'bag', storage)
    ingest([bag], MAPPING, tmp_path / 'whole')
    file = next(path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3'))
    file.write_bytes(file.read_bytes()[:int(share * file.stat().st_size)])
    report = ingest([bag], MAPPING, tmp_path / 'data')
    found, whole = store.read(tmp_path / 'data'), store.read(tmp_path / 'whole')
    assert 40 < len(found.stamp_s) < len(whole.stamp_s)
    assert any('ends in the middle' in note or 'cannot be read to its end' in note or 'damaged' in note for note in report['bags'][0]['notes'])
    assert np.array_equal(found.position_rad[:40], whole.position_rad[:40]) and np.array_equal(found.reward[:40], whole.reward[:40])


@pytest.mark.parametrize('content', [None, 'rosbag2_bagfile_information: {', '\xff'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_metadata_that_is_missing_or_spoilt(tmp_path, storage, content):
    bag = swing_bag(tmp_path / 'bag', storage)
    ingest([bag], MAPPING, tmp_path / 'whole')
    (bag / 'metadata.yaml').unlink()
    if content is not None:
        (bag / 'metadata.yaml').write_text(content, encoding='latin-1')
    report = ingest([bag], MAPPING, tmp_path / 'data')
    assert same(tmp_path / 'whole', tmp_path / 'data') and 'metadata.yaml' in report['bags'][0]['notes'][0]


def test_a_file_of_the_bag_that_is_missing(tmp_path):
    bag = swing_bag(tmp_path / 'bag')
    text = (bag / 'metadata.yaml').read_text()
    (bag / 'metadata.yaml').write_text(text.replace('- bag.mcap', '- bag.mcap\n  - bag_1.mcap'))
    assert 'bag_1.mcap' in (bag / 'metadata.yaml').read_text()
    assert 'bag_1.mcap is missing' in ingest([bag], MAPPING, tmp_path / 'data')['bags'][0]['notes'][0]


@pytest.mark.parametrize('lost, name', [('/joint_states', 'joint_states'), ('/camera/image', 'cameras.camera')])
def test_nothing_is_made_up_where_messages_were_lost(tmp_path, lost, name):
    """A second and a half without one input divides the recording there."""
    report, folder = made(tmp_path, [row for row in rows() if not (row[1] == lost and 1.0 < row[0] < 2.5)])
    found, begins = store.read(folder), [episode['begin_s'] for episode in report['bags'][0]['episodes']]
    assert len(found) == 2 and topic(report, name)['gaps'] == 1 and topic(report, name)['largest_gap_s'] == pytest.approx(1.5, abs=0.11)
    assert begins == pytest.approx([100.0, 102.5]) and lengths_s(report)[0] <= 1.0 + 0.6
    truth = [np.array(PANDA.home_rad)[0] + 0.1 * np.sin(begin + np.arange(count) / 20) for begin, count in zip(begins, np.diff(found.joint_start))]
    np.testing.assert_allclose(found.position_rad[:, 0], np.concatenate(truth), atol=1e-3)
    assert any(f'{name}: 1 gap, ' in warning for warning in report['warnings'])


@pytest.mark.parametrize('until_s, episodes', [(1.2, 1), (1.28, 2)])
def test_a_few_lost_messages_are_bridged(tmp_path, until_s, episodes):
    report, _ = made(tmp_path, [row for row in rows() if not (row[1] == '/joint_states' and 1.0 < row[0] < until_s)], CAMERA + 'episodes: {shortest_s: 0.9}\n')
    assert report['episodes'] == episodes and topic(report, 'joint_states')['gaps'] == episodes - 1


def test_reordered_stamps_are_sorted(tmp_path):
    swapped = rows()
    for index in range(30, len(swapped) - 12, 11):
        swapped[index], swapped[index + 5] = ((swapped[near][0], *swapped[far][1:]) for near, far in ((index, index + 5), (index + 5, index)))
    report, folder = made(tmp_path, swapped)
    _, straight = made(tmp_path, rows(), name='straight')
    assert topic(report, 'joint_states')['reordered'] > 3 and topic(report, 'joint_states')['too_late'] == 0
    assert same(folder, straight)


def test_what_comes_twice_or_far_too_late_is_left_out(tmp_path):
    late = [(3.5, '/joint_states', joints(101.0, np.array(PANDA.home_rad) + 0.05)), (2.0501, '/joint_states', joints(102.05))]
    report, folder = made(tmp_path, sorted(rows() + late, key=lambda row: row[0]))
    _, straight = made(tmp_path, rows(), name='straight')
    assert topic(report, 'joint_states')['too_late'] == 1 and topic(report, 'joint_states')['duplicates'] == 1
    assert same(folder, straight)


def test_a_camera_that_starts_late(tmp_path):
    report, folder = made(tmp_path, [row for row in rows() if row[1] != '/camera/image' or row[0] > 1.95])
    assert [episode['begin_s'] for episode in report['bags'][0]['episodes']] == [102.0]
    assert len(store.read(folder).stamp_s) == 40


def test_a_joint_that_is_missing_for_a_while(tmp_path):
    recorded = [(log_s, name, joints(100 + log_s, np.zeros(6), PANDA.joint_names[1:]) if name == '/joint_states' and 1.6 < log_s < 1.72 else message)
                for log_s, name, message in rows()]
    report, _ = made(tmp_path, recorded)
    (reason, count), = topic(report, 'joint_states')['rejected'].items()
    assert "'panda_joint1' is missing" in reason and count == 2 and report['episodes'] == 1


def test_pictures_that_show_nothing_or_are_broken_are_passed_over(tmp_path):
    dark, short = picture(101.0), picture(102.0)
    dark.data[:] = 0
    short.data = short.data[:100]
    spoilt = {101.0: dark, 102.0: short}
    recorded = [(log_s, name, spoilt.get(message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec, message) if name == '/camera/image' else message)
                for log_s, name, message in rows()]
    report, folder = made(tmp_path, recorded)
    assert report['episodes'] == 1 and sum(topic(report, 'cameras.camera')['rejected'].values()) == 2
    pixels, _ = store.read_pictures(store.read(folder).paths[0]), made(tmp_path, rows(), name='straight')
    straight = store.read_pictures(store.read(tmp_path / 'straight_data').paths[0])
    changed = [index for index in range(len(pixels)) if not np.array_equal(pixels[index], straight[index])]
    assert changed == [5, 10] and report['bags'][0]['picture_age_s']['largest'] == pytest.approx(0.1)


def test_an_encoder_that_jumps_for_a_moment(tmp_path):
    recorded = rows()
    recorded[30] = (recorded[30][0], '/joint_states', joints(recorded[30][2].header.stamp.sec + 1e-9 * recorded[30][2].header.stamp.nanosec,
                                                             np.array(PANDA.home_rad) + 1.0))
    report, folder = made(tmp_path, recorded)
    assert topic(report, 'joint_states')['rejected'] == {'position: jumped for a moment': 1} and report['episodes'] == 1
    assert np.abs(store.read(folder).position_rad - np.array(PANDA.home_rad)).max() < 0.11


@pytest.mark.parametrize('unstamped', ['joints', 'pictures', 'both'])
def test_messages_without_stamps_are_dated_by_their_log_times(tmp_path, unstamped):
    recorded = [(log_s, name, joints(0.0, message.position) if name == '/joint_states' and unstamped != 'pictures' else
                 picture(0.0, seed=log_s) if name == '/camera/image' and unstamped != 'joints' else message)
                for log_s, name, message in rows(begin_s=RECEIVED_NS / 1e9)]
    report, _ = made(tmp_path, recorded)
    assert report['bags'][0]['dated_by'] == ('header stamps' if unstamped == 'pictures' else 'log time')
    counts = [topic(report, name)['unstamped'] for name in ('joint_states', 'cameras.camera')]
    assert counts == {'joints': [80, 0], 'pictures': [0, 40], 'both': [80, 40]}[unstamped] and lengths_s(report) == pytest.approx([3.9], abs=0.06)


def test_a_camera_with_a_clock_of_its_own(tmp_path):
    recorded = [(log_s, name, picture(message.header.stamp.sec + 5000.0) if name == '/camera/image' else message) for log_s, name, message in rows()]
    with pytest.raises(IngestError, match='cameras.camera: /camera/image: no message can be used; header.stamp: more than 3 s ahead of the joint states'):
        made(tmp_path, recorded)
    report, _ = made(tmp_path, recorded, CAMERA.replace('image', 'image, stamps: log'), name='by_log')
    assert lengths_s(report) == pytest.approx([3.9], abs=0.06)
    assert topic(report, 'cameras.camera')['rejected'] == {}


def test_a_clock_that_is_set_back(tmp_path):
    again = [(log_s + 4.0, name, message) for log_s, name, message in rows(begin_s=20.0)]
    report, _ = made(tmp_path, rows() + again)
    assert report['bags'][0]['clock_restarts'] == 1 and [episode['begin_s'] for episode in report['bags'][0]['episodes']] == pytest.approx([100.0, 20.0])
    assert lengths_s(report) == pytest.approx([3.95, 3.95], abs=0.21)


def test_damage_within_a_file_costs_one_chunk(tmp_path):
    bag = swing_bag(tmp_path / 'bag', episodes=swings((7, 8, 9, 10)))
    file, = bag.glob('*.mcap')
    with open_bag(bag) as found:
        places = [piece.offset for piece in found._parts[0]._pieces]
    content = bytearray(file.read_bytes())
    content[places[1] + 24:places[1] + 28] = b'spot'      # the checksum of a chunk
    file.write_bytes(content)
    report = ingest([bag], MAPPING, tmp_path / 'data')
    assert f'chunk at byte {places[1]} is spoilt (checksum), left out' in report['bags'][0]['notes']
    assert 3 < report['duration_s'] < 11 and report['episodes'] >= 2


def error_line(capsys, *arguments):
    """Run the command line: -> its one line of complaint"""
    assert cli.main(['ingest', *map(str, arguments)]) != 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize('name, expected', [
    ('nowhere', 'nowhere: is not there, expected a rosbag2 folder'), ('empty', 'empty: not a bag, expected a folder with .mcap or .db3 files'),
    ('robots', 'is a LeRobot dataset, expected a bag'), ('notes.txt', 'not a bag'), ('notes.mcap', 'no mcap file'), ('notes.db3', 'no sqlite3 file'),
])
def test_what_is_no_bag(tmp_path, capsys, name, expected):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'robots' / 'meta').mkdir(parents=True)
    (tmp_path / 'robots' / 'meta' / 'info.json').write_text('{}')
    for file in ('notes.txt', 'notes.mcap', 'notes.db3'):
        (tmp_path / file).write_text('a shopping list ' * 20)
    assert expected in error_line(capsys, tmp_path / name, '--map', MAPPING, '--out', tmp_path / 'data')
    assert not list(tmp_path.glob('data*'))


@pytest.mark.parametrize('change, expected', [
    ({'/camera/image}': '/hand/image}'}, 'cameras.camera: topic /hand/image is not there, expected one of /camera/image, /clock, /episode, /joint_states, '),
    ({'topic: /reward': 'topic: /episode', 'above: 0.5': 'above: 99'}, 'reward: topic /episode never fires'),
    ({'robot: config/panda.yaml': 'robot: config/ur5e.yaml'},
     "no message is of robot ur5e; name: 'shoulder_pan_joint' is missing, expected once; got ['panda_joint1'"),
    ({'shortest_s: 1.0': 'shortest_s: 20'}, 'no episode of at least 20 s in 1 bag: '),
    ({'field: data, above': 'field: dota, above'}, "has no field 'dota'"),
])
def test_what_cannot_be_ingested(tmp_path, capsys, change, expected):
    text = MAPPING.read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / 'mapping.yaml').write_text(text)
    assert expected in error_line(capsys, swing_bag(tmp_path / 'bag'), '--map', tmp_path / 'mapping.yaml', '--out', tmp_path / 'data')
    assert not list(tmp_path.glob('data*'))


def test_pictures_of_changing_size(tmp_path):
    recorded = [(log_s, name, picture(100 + log_s, 48, 64) if name == '/camera/image' and log_s > 2 else message) for log_s, name, message in rows()]
    with pytest.raises(CameraError, match=r'camera camera: got 64x48 at 102\.\d+ s in .*bag, expected 32x24 as before'):
        made(tmp_path, recorded)
    assert not list(tmp_path.glob('bag_data*'))


def test_a_type_that_nobody_describes(tmp_path):
    import sqlite3
    bag = write_messages(tmp_path / 'bag', {**KINDS, '/odd': ('odd_msgs/msg/Odd', 'float64 value\n')}, [*rows(), *(
        (tick / 20 + 0.001, '/odd', lambda types, tick=tick: types.types['odd_msgs/msg/Odd'](float(tick))) for tick in range(80))], 'sqlite3')
    odd = mapping_file(tmp_path, CAMERA + 'sensors: {odd: {topic: /odd, fields: [value], stamps: log}}\n', 'odd.yaml')
    ingest([bag], odd, tmp_path / 'known')
    assert store.read(tmp_path / 'known').sensors['odd'].shape[1] == 1
    with sqlite3.connect(next(bag.glob('*.db3'))) as database:
        database.execute('DROP TABLE message_definitions')
    with pytest.raises(BagError, match='type odd_msgs/msg/Odd: the bag does not describe it'):
        ingest([bag], odd, tmp_path / 'data')
    ingest([bag], mapping_file(tmp_path, CAMERA), tmp_path / 'without')      # nobody asked for it
    shutil.rmtree(tmp_path / 'known')


def test_an_unindexed_file_is_read_in_the_order_of_its_log_times(tmp_path):
    """Messages outside chunks, written topic by topic: as other tools write them, without a summary."""
    import struct
    bag = write_messages(tmp_path / 'bag', KINDS, rows())
    with open_bag(bag) as found:
        stored, topics = [(name, log_ns, bytes(data)) for name, log_ns, data in found.messages()], found.topics

    def record(op, body):
        return struct.pack('<BQ', op, len(body)) + body

    def text(value):
        return struct.pack('<I', len(value.encode())) + value.encode()
    out = b'\x89MCAP0\r\n' + record(1, text('ros2') + text('test'))
    for number_, name in enumerate(sorted(topics), 1):
        out += record(3, struct.pack('<H', number_) + text(topics[name].type) + text('ros2msg') + text(topics[name].definition))
        out += record(4, struct.pack('<HH', number_, number_) + text(name) + text('cdr') + text(''))
    for name, log_ns, data in sorted(stored, key=lambda row: row[0]):
        out += record(5, struct.pack('<HIQQ', sorted(topics).index(name) + 1, 0, log_ns, log_ns) + data)
    (tmp_path / 'flat.mcap').write_bytes(out + record(15, b'\0' * 4) + record(2, b'\0' * 20) + b'\x89MCAP0\r\n')
    with open_bag(tmp_path / 'flat.mcap') as found:
        times = [log_ns for _, log_ns, _ in found.messages()]
    assert times == sorted(times) and len(times) == len(stored)
    ingest([tmp_path / 'flat.mcap'], mapping_file(tmp_path, CAMERA), tmp_path / 'flat')
    ingest([bag], mapping_file(tmp_path, CAMERA), tmp_path / 'whole')
    assert same(tmp_path / 'flat', tmp_path / 'whole')


def test_memory_does_not_grow_with_the_recording(tmp_path, monkeypatch):
    """A camera that stops, and pictures that go on without joints, must not pile up either."""
    from diffusion_planner.data import ingest_episodes
    held, advance = [], ingest_episodes.Cutter.advance

    def watched(cutter, until_ns, events, over):
        yield from advance(cutter, until_ns, events, over)
        held.append(sum(map(len, cutter.rows.values())) + len(cutter.frames) + len(events))
    monkeypatch.setattr(ingest_episodes.Cutter, 'advance', watched)
    recorded = [row for row in rows(120.0) if not (row[1] == '/camera/image' and 20 < row[0] < 50) and not (row[1] == '/joint_states' and 60 < row[0] < 100)]
    report, _ = made(tmp_path, recorded, CAMERA + 'episodes: {longest_s: 5.0}\nreward: {}\n')
    assert report['episodes'] >= 10 and max(held) < 350 and number(1.0) is not None
