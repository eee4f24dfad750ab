"""What a mapping can ask for: rewards told in several ways, sensors, cameras, commands, and what divides episodes."""
import re

import numpy as np
import pytest
import yaml
from recordings import MAPPING, PANDA, header, joints, mapping_file, number, picture, same, swing_bag, write_messages

from diffusion_planner.config import ConfigError
from diffusion_planner.data import mapping as mappings
from diffusion_planner.data import store
from diffusion_planner.data.ingest import ingest
from diffusion_planner.data.ingest_reward import read_intervals

REWARD = '  topic: {topic: /reward, field: data, above: 0.5}'
CAMERA = 'cameras: {camera: {topic: /camera/image}}\n'
KINDS = {'/joint_states': 'sensor_msgs/msg/JointState', '/camera/image': 'sensor_msgs/msg/Image'}


def rows(seconds=4.0):
    """Joints and a camera, stamped from 100 s on: (log_s, topic, message)"""
    made = [(tick / 20, '/joint_states', joints(100 + tick / 20)) for tick in range(round(seconds * 20))]
    return made + [(tick / 5, '/camera/image', picture(100 + tick / 5)) for tick in range(round(seconds * 5))]


def made(tmp_path, recorded, text=CAMERA, kinds=(), name='data'):
    """Ingest such rows: -> report, Episodes"""
    bag = write_messages(tmp_path / f'{name}_bag', {**KINDS, **dict(kinds)}, sorted(recorded, key=lambda row: row[0]))
    report = ingest([bag], mapping_file(tmp_path, text), tmp_path / name)
    return report, store.read(tmp_path / name)


def changed(tmp_path, *replacements, name='changed.yaml'):
    """Write the shipped mapping with some lines replaced: -> path"""
    text = MAPPING.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_the_shipped_mapping_explains_what_there_is():
    shipped, robot = mappings.load(MAPPING)
    assert robot.joint_names == PANDA.joint_names and shipped.reward.kind == 'topic'
    text = MAPPING.read_text()
    assert all(re.search(rf'\b{name}:', text) for name in mappings.Mapping.__dataclass_fields__)
    for kind in (mappings.CameraTopic, mappings.SensorTopic, mappings.RewardTopic, mappings.RewardMarker, mappings.RewardIntervals, mappings.Split):
        assert all(re.search(rf'\b{name}\b', text) for name in kind.__dataclass_fields__), kind
    every = '\n'.join(line.replace('# ', '', 1) if re.match(r'\s+# (wrist|wrench|fingers|service|\s+type)', line) else line for line in text.splitlines())
    uncommented = mappings.config.from_mapping(mappings.Mapping, yaml.safe_load(every.replace('sensors: {}', 'sensors:')))
    assert uncommented.sensors['wrench'].gap_s == 0.25 and set(uncommented.cameras) == {'camera', 'wrist'} and uncommented.episodes.service == '/reset'


@pytest.mark.parametrize('change, expected', [
    (('joint_hz: 20.0', 'joint_hz: 0.0'), 'joint_hz: got 0.0, expected a number above 0'),
    (('/camera/image}', 'camera/image}'), "topic: got 'camera/image', expected a full name such as /joint_states"),
    (('/camera/image}', '/camera/image, stamps: wall}'), "stamps: got 'wall', expected one of header, log"),
    (('above: 0.5}', 'above: 0.5}\n  marker: {topic: /target}'), 'got topic and marker, expected one of them'),
    (('sensors: {}', 'sensors: {f: {topic: /f, fields: [wrench..x]}}'), "field: got 'wrench..x', expected a path such as"),
    (('sensors: {}', 'sensors: {camera: {topic: /f, fields: [x]}}'), "'camera' is a camera already"),
    (('shortest_s: 1.0', 'shortest_s: 99.0'), 'shortest_s: got 99.0, expected less than longest_s (60.0)'),
    (('lag_s: 3.0', 'lags: 3.0'), "unknown key 'lags'"),
    (('robot: config/panda.yaml', 'robot: config/pando.yaml'), 'config/pando.yaml'),
])
def test_refuses(tmp_path, change, expected):
    with pytest.raises((ConfigError, FileNotFoundError), match=re.escape(expected)):
        mappings.load(changed(tmp_path, change))


def test_rewards_by_marker_are_those_of_the_simulator(tmp_path):
    bag = swing_bag(tmp_path / 'bag')
    ingest([bag], MAPPING, tmp_path / 'topic')
    ingest([bag], changed(tmp_path, (REWARD, '  marker: {topic: /target}')), tmp_path / 'marker')
    assert same(tmp_path / 'topic', tmp_path / 'marker')
    ingest([bag], changed(tmp_path, (REWARD, '  marker: {topic: /target, within_m: 0.05}')), tmp_path / 'wide')
    narrow, wide = store.read(tmp_path / 'marker').reward, store.read(tmp_path / 'wide').reward
    assert 0 < narrow.sum() < wide.sum() and (wide >= narrow).all()


def test_rewards_by_intervals(tmp_path):
    (tmp_path / 'rewarded.csv').write_text('start,end,value\n0.5, 1.0\n# a note\n2.0,2.2,0.5\n')
    _, found = made(tmp_path, rows(), CAMERA + 'reward: {intervals: {file: rewarded.csv}}\n')
    expected = np.where((found.stamp_s > 0.49) & (found.stamp_s < 1.01), 1.0, np.where((found.stamp_s > 1.99) & (found.stamp_s < 2.21), 0.5, 0.0))
    np.testing.assert_allclose(found.reward, expected)
    (tmp_path / 'rewarded.yaml').write_text('- [100.5, 101.0]\n- {start: 102.0, end: 102.2, value: 0.5}\n')
    _, absolute = made(tmp_path, rows(), CAMERA + 'reward: {intervals: {file: rewarded.yaml, absolute: true}}\n', name='absolute')
    np.testing.assert_allclose(absolute.reward, expected)
    with pytest.raises(ConfigError, match='got 2 bags, expected one, or absolute: true'):
        ingest([tmp_path / 'data_bag', tmp_path / 'absolute_bag'], mapping_file(tmp_path, CAMERA + 'reward: {intervals: {file: rewarded.csv}}\n'),
               tmp_path / 'both')


@pytest.mark.parametrize('text, expected', [('a,b\n', "row 1: got ['a', 'b']"), ('1,2\n3,x\n', "row 2: got ['3', 'x']"), ('2,1\n', 'start below end'),
                                            ('1,2,3\n', 'value from 0 to 1'), ('\n', 'got no interval')])
def test_intervals_that_are_none(tmp_path, text, expected):
    (tmp_path / 'rewarded.csv').write_text(text)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        read_intervals(tmp_path / 'rewarded.csv')


@pytest.mark.parametrize('hold, expected_s', [('', 2.0), (', hold_s: 0.5', 0.5)])
def test_a_reward_told_only_when_it_changes_holds(tmp_path, hold, expected_s):
    told = [(1.01, '/done', number(True, 'std_msgs/msg/Bool')), (3.01, '/done', number(False, 'std_msgs/msg/Bool'))]
    _, found = made(tmp_path, rows() + told, CAMERA + f'reward: {{topic: {{topic: /done{hold}}}}}\n', {'/done': 'std_msgs/msg/Bool'})
    assert found.reward.sum() / 20 == pytest.approx(expected_s, abs=0.06) and found.stamp_s[np.flatnonzero(found.reward)[0]] == pytest.approx(1.0)


def test_without_rewards_everything_is_zero_and_said(tmp_path):
    report, found = made(tmp_path, rows())
    assert not found.reward.any() and 'nothing is rewarded: such data trains no reward' in report['warnings']


def test_sensors_are_interpolated_to_the_joints(tmp_path):
    """A wrench at 33 Hz with stamps, and two of three numbers of an array without any, at 50 Hz."""
    wrench = [(tick * 0.03, '/wrench', lambda types, tick=tick: types.types['geometry_msgs/msg/WrenchStamped'](
        header(100 + tick * 0.03), types.types['geometry_msgs/msg/Wrench'](types.types['geometry_msgs/msg/Vector3'](tick * 0.03, 1.0, 2.0),
                                                                           types.types['geometry_msgs/msg/Vector3'](3.0, 4.0, 5.0)))) for tick in range(133)]
    layout = 'std_msgs/msg/MultiArrayLayout'
    array = [(tick * 0.02 + 0.0001, '/array', lambda types, tick=tick: types.types['std_msgs/msg/Float64MultiArray'](
        types.types[layout]([], 0), np.array([9.0, tick * 0.02 + 0.0001, -1.0]))) for tick in range(199)]
    text = CAMERA + 'sensors:\n  wrench: {topic: /wrench, fields: [wrench.force.x, wrench.torque]}\n'.replace('wrench.torque', 'wrench.torque.z')
    text += "  array: {topic: /array, fields: ['data[1:3]']}\n"
    _, found = made(tmp_path, rows() + wrench + array, text, {'/wrench': 'geometry_msgs/msg/WrenchStamped', '/array': 'std_msgs/msg/Float64MultiArray'})
    assert {name: values.shape[1] for name, values in found.sensors.items()} == {'wrench': 2, 'array': 2}
    np.testing.assert_allclose(found.sensors['wrench'], np.stack([found.stamp_s + 0.0001, np.full_like(found.stamp_s, 5.0)], 1), atol=1e-5)
    np.testing.assert_allclose(found.sensors['array'][:, 0], found.stamp_s + 0.0001, atol=1e-3)


def test_a_sensor_that_falls_silent_ends_the_episode(tmp_path):
    force = [(tick * 0.05 + 0.001, '/force', number(1.0)) for tick in range(80) if not 30 <= tick < 35]
    report, _ = made(tmp_path, rows() + force, CAMERA + 'sensors: {force: {topic: /force, fields: [data]}}\n', {'/force': 'std_msgs/msg/Float32'})
    assert [round(episode['duration_s'], 1) for episode in report['bags'][0]['episodes']] == pytest.approx([1.4, 2.1], abs=0.11)


def test_two_cameras_one_of_them_compressed(tmp_path):
    """Each grid instant has the newest picture of each; JPEG is decoded as the planner does, and both are cut and resampled alike."""
    import cv2

    from diffusion_planner.messages import fit, read_image
    from bags import typestore
    shots = {tick: picture(100 + tick * 0.04, 60, 100, 3).data.reshape(60, 100, 3) for tick in range(100)}
    packed = {tick: typestore().types['sensor_msgs/msg/CompressedImage'](header(100 + tick * 0.04), 'jpeg', cv2.imencode('.jpg', shot)[1].reshape(-1))
              for tick, shot in shots.items()}
    text = 'cameras: {camera: {topic: /camera/image}, wrist: {topic: /wrist}}\npicture_size: [32, 48]\n'
    report, found = made(tmp_path, rows() + [(tick * 0.04, '/wrist', message) for tick, message in packed.items()], text,
                         {'/wrist': 'sensor_msgs/msg/CompressedImage'})
    pixels = store.read_pictures(found.paths[0])
    assert pixels.shape == (20, 2, 32, 48, 3) and report['cameras'] == {'camera': {'rows': 24, 'columns': 32}, 'wrist': {'rows': 60, 'columns': 100}}
    assert np.array_equal(pixels[7, 1], fit(read_image(packed[35], 'wrist').pixels, (32, 48, 3)))
    assert np.array_equal(pixels[7, 0], fit(read_image(picture(101.4), 'camera').pixels, (32, 48, 3)))


def test_velocities_that_a_driver_leaves_out_are_worked_out(tmp_path):
    _, found = made(tmp_path, rows())
    np.testing.assert_allclose(found.velocity_rad_s[1:, 0], np.diff(found.position_rad[:, 0]) / 0.05, atol=1e-4)
    assert found.velocity_rad_s[0, 0] == 0.0


@pytest.mark.parametrize('way', ['controller', 'trajectory'])
def test_commands_of_the_controller(tmp_path, way):
    """A controller that is told the home posture plus a ramp of 0.1 rad/s, while the arm does something else."""
    home = np.array(PANDA.home_rad)
    if way == 'controller':
        definition = ('std_msgs/Header header\nstring[] joint_names\ntrajectory_msgs/JointTrajectoryPoint reference\n')
        kind, named = ('control_msgs/msg/JointTrajectoryControllerState', definition), 'control_msgs/msg/JointTrajectoryControllerState'

        def message(types, tick):
            point = types.types['trajectory_msgs/msg/JointTrajectoryPoint']
            duration = types.types['builtin_interfaces/msg/Duration'](0, 0)
            return types.types[named](header(100 + tick / 20), list(PANDA.joint_names[::-1]),
                                      point(np.array((home + tick / 200)[::-1]), np.zeros(0), np.zeros(0), np.zeros(0), duration))
        told = [(tick / 20, '/command', lambda types, tick=tick: message(types, tick)) for tick in range(80)]
    else:
        kind = 'trajectory_msgs/msg/JointTrajectory'

        def message(types):
            point, duration = types.types['trajectory_msgs/msg/JointTrajectoryPoint'], types.types['builtin_interfaces/msg/Duration']
            points = [point(home + second / 10, np.zeros(0), np.zeros(0), np.zeros(0), duration(second, 0)) for second in (0, 2, 5)]
            return types.types['trajectory_msgs/msg/JointTrajectory'](header(0.0), list(PANDA.joint_names), points)
        told = [(0.0, '/command', message)]
    _, found = made(tmp_path, rows() + told, CAMERA + 'command: /command\n', {'/command': kind})
    commands = store.read_column(found.paths[0], 'command_rad')
    np.testing.assert_allclose(commands, home + found.stamp_s[:, None] / 10, atol=1e-5)


def test_service_calls_divide_episodes(tmp_path):
    """What happens between a call and its answer, the reset of a scene, belongs to no episode."""
    import struct

    def event(kind, number_):
        return b'\x00\x01\x00\x00' + struct.pack('<BxxxiI16sxxxxq', kind, 100, 0, b'client', number_)
    calls = [(1.5, '/reset/_service_event', event(1, 1)), (2.5, '/reset/_service_event', event(2, 1))]
    report, _ = made(tmp_path, rows() + calls, CAMERA + 'episodes: {service: /reset, shortest_s: 0.5}\n', {
        '/reset/_service_event': ('some_msgs/msg/Event', 'uint8 whatever\n')})
    assert [(episode['begin_s'], round(episode['duration_s'], 2)) for episode in report['bags'][0]['episodes']] == [(100.0, 1.45), (102.6, 1.35)]
    assert report['bags'][0]['left_out'] == {'during a service call': 1}


def test_any_message_divides_episodes(tmp_path):
    marks = [(1.5, '/mark', number(0.0)), (2.7, '/mark', number(0.0))]
    report, _ = made(tmp_path, rows() + marks, CAMERA + "episodes: {topic: {topic: /mark, field: ''}}\n", {'/mark': 'std_msgs/msg/Float32'})
    assert report['episodes'] == 3


def test_a_reward_belongs_to_the_joint_state_that_it_came_with(tmp_path):
    """Played faster than it happened: rewards come right after their joint state, and now and then the next one is as near."""
    random, recorded, log_s = np.random.default_rng(0), [], 0.0
    for tick in range(200):
        recorded.append((log_s, '/joint_states', joints(100 + tick / 20)))
        recorded += [(log_s, '/camera/image', picture(100 + tick / 20))] if tick % 4 == 0 else []
        step_s = random.choice([2e-6, 1e-3], p=[0.2, 0.8])
        recorded.append((log_s + min(1.5e-6, 0.8 * step_s), '/reward', number(float(tick % 10 < 5))))
        log_s += step_s
    text = CAMERA + 'reward: {topic: {topic: /reward}}\n'
    report, found = made(tmp_path, recorded, text, {'/reward': 'std_msgs/msg/Float32'})
    assert np.array_equal(found.reward[10:], (np.arange(200) % 10 < 5)[10:]) and report['bags'][0]['topics']['reward']['duplicates'] <= 2
