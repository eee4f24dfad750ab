"""A bag played into the live node, and the node's plans held against those made offline from the same bag."""
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402

from diffusion_planner.data.bags import open_bag, stamp_ns  # noqa: E402
from diffusion_planner.data.mapping import SensorTopic, load  # noqa: E402
from diffusion_planner.files import find  # noqa: E402
from diffusion_planner.layout import ModelConfig  # noqa: E402
from diffusion_planner.ros import replay, replay_compare, replay_options  # noqa: E402
from diffusion_planner.ros.circumstances import Circumstances, numbers, observation_of  # noqa: E402
from diffusion_planner.ros.conversions import to_json  # noqa: E402
from diffusion_planner.ros.recording import Recording, ReplayError, Track, restamped, tracks_of  # noqa: E402
from diffusion_planner.ros.republish import Converter, offered  # noqa: E402
from diffusion_planner.ros.sensing import read_sources  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'test'))
import bags  # noqa: E402

MODEL = ROOT / 'models/panda_reach'
needs_model = pytest.mark.skipif(not (MODEL / 'config.json').exists(), reason='models/panda_reach is not there: train it first')
JOINTS, PICTURES = Track('/joint_states', '/joint_states', 'joints'), Track('/camera/image', '/camera/image', 'camera', 'camera')
MAPPING = load(find('config/mapping.yaml'))[0]


def model_of(cameras=('camera',), joint_names=None):
    names = joint_names or load(find('config/mapping.yaml'))[1].joint_names
    return ModelConfig(joint_names=tuple(names), cameras=tuple(cameras))


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """A few seconds at seven times the pace of real time, as a simulator that does not wait records them."""
    return bags.write_bag(tmp_path_factory.mktemp('bags') / 'bag', episodes=bags.line_episodes((11,), 4.0), speed=7.0)


# -- the bag's own time


def test_messages_are_due_when_they_came_between_joint_states(bag):
    with Recording(bag, [JOINTS, PICTURES, Track('/reward', '/reward', 'other')]) as recording:
        found = list(recording.messages())
        joints = [due for due in found if due.track is JOINTS]
        assert [due.due_s for due in joints] == pytest.approx([due.stamp_s for due in joints], abs=1e-6)
        assert np.diff([due.due_s for due in found]).min() >= 0
        rewards = [due for due in found if due.track.topic == '/reward']
        assert rewards[0].stamp_s is None and [due.due_s for due in rewards] == pytest.approx([due.due_s for due in joints], abs=1e-6)
        assert recording.end_s - recording.begin_s == pytest.approx(3.95, abs=0.01)
        middle_s = (bags.RECEIVED_NS * 1e-9) + 0.5 * 0.05 / 7.0       # half way to the second joint state, at seven times the pace
        assert recording.due_s(middle_s) == pytest.approx(1.025, abs=1e-4)
        assert recording.clock_ahead_s() > 1e9      # log times are those of another clock altogether


def test_a_part_of_a_bag(bag):
    with Recording(bag, [JOINTS], 1.0, 0.5) as recording:
        stamps_s = [due.stamp_s for due in recording.messages()]
    assert stamps_s == pytest.approx(np.arange(2.0, 2.51, 0.05), abs=1e-6)
    with pytest.raises(ReplayError, match='begins at 9 s and ends before, expected a start within the 4.0 s of the bag'):
        Recording(bag, [JOINTS], 9.0)


def test_a_bag_with_two_clocks_is_played_up_to_the_second(tmp_path):
    def back(topic, stamp_s, message):
        return bags.joint_state(message.name, message.position, message.velocity, stamp_s - 2.0) if topic == '/joint_states' and stamp_s > 3.0 else message
    path = bags.write_bag(tmp_path / 'bag', episodes=bags.line_episodes((11,), 4.0), change=back)
    with pytest.raises(ReplayError, match='go back 2.0 s after the beginning, expected one clock; play what comes before with a duration of 2.0'):
        Recording(path, [JOINTS])
    with Recording(path, [JOINTS], 0.0, 2.0) as recording:
        assert len(list(recording.messages())) == 41


def test_joints_without_stamps_are_dated_by_their_reception(tmp_path):
    def unstamped(topic, stamp_s, message):
        return bags.joint_state(message.name, message.position, message.velocity, 0.0) if topic == '/joint_states' else message
    path = bags.write_bag(tmp_path / 'bag', episodes=bags.line_episodes((11,), 4.0), change=unstamped)
    with Recording(path, [JOINTS]) as recording:
        assert recording.begin_s == pytest.approx(bags.RECEIVED_NS * 1e-9) and recording.end_s - recording.begin_s == pytest.approx(3.95, abs=0.01)


def test_a_header_is_written_anew():
    message = Image(height=1, width=1, encoding='rgb8', step=3, data=[1, 2, 3])
    message.header.stamp.sec, message.header.frame_id = 5, 'camera'
    data = restamped(serialize_message(message), 7.25)
    assert stamp_ns(data) == 7_250_000_000
    message.header.stamp.sec, message.header.stamp.nanosec = 7, 250_000_000
    assert deserialize_message(data, Image) == message


# -- what goes where


def test_topics_of_the_mapping_go_where_the_node_listens(bag):
    with open_bag(bag) as opened:
        found = {track.topic: track for track in tracks_of(MAPPING, model_of(), opened.topics)}
        assert found['/joint_states'].to == '/joint_states' and found['/camera/image'].to == '/camera/image'
        assert {topic for topic, track in found.items() if track.role == 'other'} == {'/reward', '/episode'}
        with pytest.raises(ReplayError, match='cameras: got camera, expected wrist too, which the model was trained with'):
            tracks_of(MAPPING, model_of(['camera', 'wrist']), opened.topics)
    compressed = SimpleNamespace(type='sensor_msgs/msg/CompressedImage')
    assert [track.to for track in tracks_of(MAPPING, model_of(), {'/camera/image': compressed}) if track.role == 'camera'] == ['/camera/image/compressed']


def test_missing_topics_and_other_robots_are_refused(bag, tmp_path):
    values = {'bag': str(bag), 'map': 'config/mapping.yaml', 'start_s': 0.0, 'duration_s': 0.0, 'player': 'own', 'model': str(MODEL)}
    with pytest.raises(ReplayError, match='topic /wrist is not in the bag, expected it as in --map; there are /camera/image, /clock, '):
        Recording(bag, [JOINTS, Track('/wrist', '/wrist', 'camera', 'wrist')])
    with pytest.raises(ValueError, match='not a bag'):
        replay_options.chosen({**values, 'bag': str(tmp_path)})
    with pytest.raises(ValueError, match='^rate: got 0.0, expected 0.01 to 20$'):
        replay_options.chosen({**values, 'rate': 0.0})
    other = bags.write_bag(tmp_path / 'bag', episodes=bags.line_episodes((11,), 4.0), joint_names=[f'arm_{number}' for number in range(7)])
    with Recording(other, [JOINTS]) as recording:
        with pytest.raises(ReplayError, match='joints arm_0, .*arm_6 on /joint_states, expected panda_joint1, .* too, of the robot'):
            replay_options._check_robot(recording, model_of())


def test_the_planner_is_told_what_comes(bag, tmp_path):
    pixels = np.zeros((120, 160, 3), np.uint8)

    def larger(topic, stamp_s, message):
        return bags.image(pixels, stamp_s) if topic == '/camera/image' else message
    always = {'use_sim_time': True, 'autostart': True, 'shadow': True}
    wrench = SensorTopic('/joint_states', ('effort[0:2]', 'position[0]'))
    model = replace(model_of(), sensors=(('wrench', 3),))
    with Recording(bag, [JOINTS, PICTURES]) as recording:
        assert replay_options.planner_values(recording, model_of(), MAPPING) == always
    with Recording(bags.write_bag(tmp_path / 'bag', episodes=bags.line_episodes((11,), 4.0), change=larger), [JOINTS, PICTURES]) as recording:
        assert replay_options.planner_values(recording, model_of(), MAPPING) == {**always, 'camera_size': '160x120'}
        with pytest.raises(ReplayError, match='sensors: got none, expected wrench too'):
            tracks_of(MAPPING, model, recording.bag.topics)
    tracks = tracks_of(replace(MAPPING, sensors={'wrench': wrench}), model, {})
    with Recording(bag, tracks) as recording:                # one topic, two purposes
        assert [due.track.role for due in recording.messages() if due.track.topic == '/joint_states'] == 80 * ['joints', 'sensor']
        entry = replay_options.sensor_entry(wrench, recording)
    assert entry == {'topic': '/joint_states', 'type': 'sensor_msgs/msg/JointState', 'fields': ['effort[0:2]', 'position[0]']}
    assert read_sources(json.dumps({'wrench': entry}), model.sensors)['wrench'].fields == wrench.fields     # as the node reads it


# -- who plays


def test_rosbag2_plays_where_it_can(bag, monkeypatch):
    with Recording(bag, [JOINTS, PICTURES]) as recording:
        monkeypatch.setattr(replay_options, 'rosbag2_trouble', lambda _: '')
        assert replay_options.choose_player('auto', recording) == 'rosbag2' and replay_options.choose_player('own', recording) == 'own'
        monkeypatch.setattr(replay_options, 'rosbag2_trouble', lambda _: 'but ros2 bag is not installed')
        assert replay_options.choose_player('auto', recording) == 'own'
        with pytest.raises(ReplayError, match='^player: got rosbag2, but ros2 bag is not installed; expected player own$'):
            replay_options.choose_player('rosbag2', recording)


def test_rosbag2_is_told_what_to_play_and_whose_clock(bag, tmp_path):
    values = {'rate': 0.5, 'start_s': 1.0, 'duration_s': 0.0}
    with Recording(bag, [JOINTS, Track('/camera/image', '/eye/image', 'camera', 'eye')]) as recording:
        command = replay_options.rosbag2_command(recording, values)
    assert command == ['ros2', 'bag', 'play', str(bag), '--rate', '0.5', '--disable-keyboard-controls', '--start-offset', '1',
                       '--topics', '/joint_states', '/camera/image', '/clock', '--remap', '/camera/image:=/eye/image']
    as_received = bags.RECEIVED_NS * 1e-9 - bags.FIRST_S

    def real(topic, stamp_s, message):
        return bags.joint_state(message.name, message.position, message.velocity, stamp_s + as_received) if topic == '/joint_states' else message
    path = bags.write_bag(tmp_path / 'bag', episodes=bags.line_episodes((11,), 4.0), change=real)
    with Recording(path, [JOINTS]) as recording:
        command = replay_options.rosbag2_command(recording, {**values, 'start_s': 0.0, 'duration_s': 2.0})
    assert command[7:] == ['--clock', '100', '--playback-duration', '2', '--topics', '/joint_states']


# -- messages


def test_quality_of_service_is_as_it_was_offered():
    names = '- {history: keep_last, depth: 5, reliability: best_effort, durability: volatile}'
    numbers_ = '- {history: 1, depth: 1, reliability: 1, durability: 1}'
    assert offered(names).reliability == ReliabilityPolicy.BEST_EFFORT and offered(names).durability == DurabilityPolicy.VOLATILE
    latched = offered(numbers_)
    assert latched.durability == DurabilityPolicy.TRANSIENT_LOCAL and latched.depth == 1 and latched.reliability == ReliabilityPolicy.RELIABLE
    for unclear in ('', f'{names}\n{numbers_}'):
        assert offered(unclear).reliability == ReliabilityPolicy.RELIABLE and offered(unclear).durability == DurabilityPolicy.VOLATILE


def test_messages_of_this_ros_pass_as_they_are(bag):
    with open_bag(bag) as opened:
        for topic in opened.topics:
            convert = Converter(opened, topic)
            _, _, data = next(iter(opened.messages([topic])))
            assert convert.as_is and convert(data) == bytes(data)
            convert.as_is = False
            assert deserialize_message(convert(data), convert.kind) == deserialize_message(bytes(data), convert.kind)


def test_messages_of_another_ros_are_filled_in_by_name(tmp_path):
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    text = 'std_msgs/Header header\nfloat64[] position\nstring[] name\nint32 serial\n'       # no velocities, another order, and more
    store = get_typestore(Stores.EMPTY)
    known = bags.typestore().fielddefs
    store.register({kind: known[kind] for kind in ('std_msgs/msg/Header', 'builtin_interfaces/msg/Time')}
                   | get_types_from_msg(text, 'sensor_msgs/msg/JointState'))
    with Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/joint_states', 'sensor_msgs/msg/JointState', typestore=store)
        kinds = store.types
        header = kinds['std_msgs/msg/Header'](stamp=kinds['builtin_interfaces/msg/Time'](sec=3, nanosec=4), frame_id='base')
        message = kinds['sensor_msgs/msg/JointState'](header=header, position=np.array([0.5, -0.25]), name=['a', 'b'], serial=9)
        writer.write(connection, 10, store.serialize_cdr(message, 'sensor_msgs/msg/JointState'))
    with open_bag(tmp_path / 'bag') as opened:
        convert = Converter(opened, '/joint_states')
        _, _, data = next(iter(opened.messages()))
        made = deserialize_message(convert(data), JointState)
    assert not convert.as_is
    assert (made.header.stamp.sec, made.header.frame_id, list(made.name), list(made.position), list(made.velocity)) == (3, 'base', ['a', 'b'], [0.5, -0.25], [])


# -- what a plan was made from


def observation():
    from diffusion_planner.records import Observation
    return Observation(2.3, np.array([-0.4, 0.0]), np.array([[0.1, 0.2], [0.3, 0.4]]), np.zeros((2, 2)), np.zeros((2, 1, 4, 4, 3), np.uint8),
                       np.array([[-np.inf], [1.8]]), np.array([1.0, 0.0]), np.array([[1.0], [0.0]]))


def test_what_a_plan_was_made_from_survives_json():
    facts = json.loads(to_json(Circumstances(2.0, 1.95, observation(), None, 1).facts()).data)
    assert 'pictures' not in facts['observation'] and facts['refused'] == 1
    made = observation_of(facts, observation().pictures)
    for name, value in vars(observation()).items():
        np.testing.assert_array_equal(getattr(made, name), value)
    assert replay_compare.differences(facts, observation(), ['camera']) == []
    facts['observation']['picture_stamp_s'][1] = [1.6]
    facts['observation']['position_rad'][0][1] += 1e-3
    assert replay_compare.differences(facts, observation(), ['camera']) == [
        'joints at -0.4 s differ by 0.001 rad', 'camera at +0 s: had the picture of 1.600 s, the bag has one of 1.800 s by then']
    assert numbers([None, 1.0]).tolist() == [-np.inf, 1.0]


# -- all of it


@pytest.fixture(scope='module')
def replayed(bag, tmp_path_factory):
    """The bag played to the shipped model at the pace of real time, on the loopback: -> exit status, report, lines, options"""
    path = tmp_path_factory.mktemp('replay') / 'deep' / 'replay.json'
    options = replay.ReplayOptions(bag, MODEL, find('config/mapping.yaml'), json=path, backend='onnx')
    return replay.run_replay(options), json.loads(path.read_text()), options


@needs_model
def test_live_plans_are_the_offline_ones(replayed):
    status, report, _ = replayed
    found = report['comparison']
    assert status == 0 and found['plans'] == report['finished'] >= 4
    # The node may have missed a message that the bag has; what it makes of what it had is the same to the last bit, or nearly.
    assert found['same_inputs'] >= 0.9 * found['plans']
    assert found['same_inputs_agree'] == found['same_inputs'] and found['same_inputs_largest_rad'] <= 1e-4
    assert found['remade_agree'] == found['plans'] and found['remade_largest_rad'] <= 1e-4
    assert found['chunks_agree'] == found['chunks'] or found['others']
    messages = report['played']['messages']
    assert messages == {'/joint_states': 80, '/reward': 80, '/camera/image': 20, '/episode': 20}
    assert report['planner']['shadow'] and report['planner']['use_sim_time']


@needs_model
def test_a_live_plan_that_is_another_is_noticed(replayed, bag):
    from diffusion_planner.ros.parameters import PLANNER
    _, report, options = replayed
    player, planner = replay.settings(options)
    values = {entry.name: entry.default for entry in PLANNER} | planner
    first, second = (json.loads(json.dumps(report['plans'][number])) for number in (0, 1))
    first['position_rad'][0][0] += 2e-4
    second['made_from']['observation']['position_rad'][1][0] += 1e-3      # the node saw something else there
    recording, _ = replay_options.open_checked({'start_s': 0.0, 'duration_s': 0.0, **player})
    with recording:
        found = replay_compare.compare(recording, values, {'plans': [first, second], 'chunks': [[[9.0] * 7]]})
    assert found['plans'] == 2 and found['same_inputs'] == 1 and found['same_inputs_agree'] == 0
    assert found['others'][0]['largest_rad'] == pytest.approx(2e-4) and found['others'][0]['why'] == ['another plan was chosen']
    assert found['others'][1]['why'][0].startswith('joints at ') and found['others'][1]['remade_rad'] > 0
    assert found['chunks_agree'] == 0
