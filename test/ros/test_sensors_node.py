"""A model with two cameras and a wrench on an arm: the parameter `sensors`, what becomes of readings, and the node itself."""
import re
from types import SimpleNamespace as Message

import numpy as np
import planners
import pytest
import stepped
import torch
import yaml
from geometry_msgs.msg import WrenchStamped
from rigs import ROBOT, Desk
from std_msgs.msg import Float64MultiArray

from diffusion_planner.config import ConfigError
from diffusion_planner.messages import MessageError, read_vector
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.planning.history import History
from diffusion_planner.ros import parameters
from diffusion_planner.ros.conversions import to_time
from diffusion_planner.ros.diagnostics import State
from diffusion_planner.ros.sensing import message_class, mistyped, read_sources, remember
from diffusion_planner.runtime import checkpoint

AXES = [f'wrench.{kind}.{axis}' for kind in ('force', 'torque') for axis in 'xyz']
WRENCH = {'topic': 'ft/wrench', 'type': 'geometry_msgs/msg/WrenchStamped', 'fields': AXES}
FINGERS = {'topic': '/gripper', 'type': 'std_msgs/msg/Float64MultiArray', 'fields': ['data[0:2]', 'data[3]']}


def text(**entries):
    return yaml.safe_dump(entries, default_flow_style=True, width=10_000)


def wrench(now_s, newtons=1.0):
    message = WrenchStamped()
    message.header.stamp = to_time(now_s)
    message.wrench.force.x, message.wrench.torque.z = newtons, 0.1
    return message


# What a message says

def test_numbers_are_read_by_the_paths_of_their_fields():
    message = wrench(1.0)
    message.wrench.force.y = -2.0
    np.testing.assert_array_equal(read_vector(message, AXES), [1, -2, 0, 0, 0, 0.1])
    np.testing.assert_array_equal(read_vector(Float64MultiArray(data=[5.0, 6.0, 7.0, 8.0]), FINGERS['fields']), [5, 6, 8])
    listed = Message(poses=[Message(x=1), Message(x=2)], on=True)
    np.testing.assert_array_equal(read_vector(listed, ['poses[1].x', 'on']), [2, 1])


@pytest.mark.parametrize('path, said', [
    ('wrench.push.x', "wrench.push.x: Vector3 has no field 'push'|Wrench has no field 'push'"), ('wrench.force', 'got Vector3, expected numbers'),
    ('wrench.force.x[0]', 'got no list, expected at least 1 values'), ('header.frame_id', 'expected finite numbers|expected numbers'),
    ('wrench.torque.y', 'wrench.torque.y: got nan, expected finite numbers')])
def test_what_is_no_number_is_named(path, said):
    message = wrench(1.0)
    message.wrench.torque.y = float('nan')
    with pytest.raises(MessageError, match=said):
        read_vector(message, [path])
    with pytest.raises(MessageError, match=r'data\[0:2\]: got 1, expected at least 2 values'):
        read_vector(Float64MultiArray(data=[5.0]), FINGERS['fields'])


# The parameter

def test_sources_are_read_from_text_from_a_file_and_from_a_mapping_with_more_in_it(tmp_path):
    entries = {'wrench': WRENCH, 'fingers': FINGERS}
    for name, content in (('plain.yaml', entries), ('mapping.yaml', {'robot': 'config/panda.yaml', 'sensors': entries})):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    wanted = ('fingers', 3), ('wrench', 6)
    for given in (text(**entries), str(tmp_path / 'plain.yaml'), str(tmp_path / 'mapping.yaml')):
        found = read_sources(given, wanted)
        assert list(found) == ['fingers', 'wrench'] and found['wrench'].fields == tuple(AXES) and found['fingers'].topic == '/gripper'
    assert list(read_sources(text(**entries), wanted[1:])) == ['wrench']      # what the model does not have is left out
    assert read_sources('', ()) == read_sources(text(**entries), ()) == {}
    assert message_class('geometry_msgs/msg/WrenchStamped') is WrenchStamped


@pytest.mark.parametrize('given, said', [
    ('', 'got none, expected wrench, of which the model was trained with 6 numbers: its topic, type and fields'),
    (text(fingers=FINGERS), 'got fingers, expected wrench'), ('nowhere.yaml', 'nowhere.yaml: cannot be read'), ('a: [', 'not valid YAML: '),
    ('- 1: 2', 'got .*, expected name: .topic, type, fields. for each'),
    (text(wrench={**WRENCH, 'rate': 5}), "wrench: unknown key 'rate'"), (text(wrench={'topic': '/a', 'fields': AXES}), "wrench: key 'type' is missing"),
    (text(wrench={**WRENCH, 'type': 'WrenchStamped'}), "wrench: type: got 'WrenchStamped', expected one that is installed, such as"),
    (text(wrench={**WRENCH, 'type': 'geometry_msgs/msg/Wench'}), "wrench: type: got 'geometry_msgs/msg/Wench'"),
    (text(wrench={**WRENCH, 'type': 'no_msgs/msg/Wrench'}), "wrench: type: got 'no_msgs/msg/Wrench'"),
    (text(wrench={**WRENCH, 'fields': ['wrench.force.w']}), "wrench: fields: wrench.force.w: Vector3 has no 'w', expected one of x, y, z"),
    (text(wrench={**WRENCH, 'fields': ['wrench force']}), "wrench: field: got 'wrench force'"),
    (text(wrench={**WRENCH, 'stamps': 'never'}), "wrench: stamps: got 'never', expected one of header, log")])
def test_a_parameter_that_is_no_use_is_refused_in_one_line(given, said):
    with pytest.raises(ConfigError, match=f'^parameter sensors: {said}') as refused:
        read_sources(given, (('wrench', 6),))
    assert len(str(refused.value).splitlines()) == 1


# What becomes of readings, on a clock that the test moves

class Feeling(planners.Swing):
    cameras, sensors = ('left', 'right'), (('fingers', 3), ('wrench', 6))


class Rig(stepped.Rig):
    """Sends a wrench and fingers, too, unless `unseen` names them."""

    def see(self):
        super().see()
        self.say = getattr(self, 'say', {'wrench': lambda: wrench(self.now_s), 'fingers': lambda: Float64MultiArray(data=[1.0, 2.0, 9.0, 3.0])})
        for name in set(self.say) - self.unseen:
            self.engine.inputs.take_sensor(name, self.say[name]())


@pytest.fixture
def rig(monkeypatch):
    return lambda fields=AXES, **values: Rig(monkeypatch, Feeling, sensors=text(wrench={**WRENCH, 'fields': fields}, fingers=FINGERS),
                                             sensor_timeout_s=0.3, **values).start()


def test_a_history_of_its_own_doubts_sensors_as_the_node_does_by_default():
    """What is evaluated offline is what the node would have done."""
    given = {entry.name: entry.default for entry in parameters.PLANNER}
    planner = Message(cameras=('left',), context_offset_s=(0.0,), sensors=Feeling.sensors)
    made, own = remember(planner, ROBOT, given), History(7, ('left',), (0.0,), sensors=Feeling.sensors)
    for name in ('fresh_s', 'blind_s', 'sensor_fresh_s', 'sensor_blind_s', 'any_camera', 'any_sensor', 'sensors', 'cameras'):
        assert getattr(made, name) == getattr(own, name)


def test_readings_reach_the_plan_stamped_or_not(rig):
    rig = rig()
    rig.turn(1.0)
    rig.until(State.NOMINAL)
    seen, _ = rig.engine.cycle.begin(rig.now_s)
    np.testing.assert_allclose(seen.sensors[-1], [1, 2, 3, 1, 0, 0, 0, 0, 0.1])
    assert not seen.sensor_level[-1].any() and rig.sent
    assert rig.engine.inputs.sources['fingers'].rate_hz() == pytest.approx(50, rel=0.1)
    assert 'wrench age s' in rig.engine.facts()
    rig.unseen = {'left', 'right'}
    rig.turn(0.1)
    assert rig.engine.inputs.newest()['wait'] == pytest.approx(100)     # since the newest picture, whatever was felt since


@pytest.mark.parametrize('require', [True, False])
def test_a_sensor_that_stops_is_doubted_worried_about_and_braked_for(rig, require):
    rig = rig(require_sensors=require)
    rig.turn(1.0)
    rig.unseen = {'wrench'}
    assert rig.until(State.DEGRADED, 1.0) == 'wrench: stale'
    seen, _ = rig.engine.cycle.begin(rig.now_s)
    assert 0 < seen.sensor_level[-1, 1] < 1 and seen.sensor_level[-1, 0] == 0 and seen.level[-1] == 0
    if require:
        assert rig.until(State.BRAKING, 1.0) == 'wrench: stale'
    else:
        sent = len(rig.sent)
        assert rig.turn(2.0) == (State.DEGRADED, 'wrench: stale') and len(rig.sent) > sent
        assert rig.engine.cycle.begin(rig.now_s)[0].sensor_level[-1, 1] == 1
    rig.unseen = set()
    rig.until(State.NOMINAL)


@pytest.mark.parametrize('require', [True, False])
def test_a_sensor_that_never_came(rig, require):
    rig = rig(require_sensors=require)
    rig.unseen = {'wrench'}
    rig.engine.history._felt['wrench'].clear()
    rig.engine.inputs.sources['wrench']._receipts.clear(), rig.engine.inputs.sources['wrench']._stamps_s.clear()
    said = rig.turn(1.0)
    assert said == (State.DEGRADED, 'waiting for readings of wrench' if require else 'wrench: nothing received')
    assert bool(rig.sent) != require


def test_a_topic_of_another_type_is_named(rig):
    rig = rig()
    rig.unseen = {'wrench'}
    rig.engine.history._felt['wrench'].clear()
    carried = {'ft/wrench': ['geometry_msgs/msg/Wrench'] * 2, '/gripper': [FINGERS['type']]}
    graph = Message(get_publishers_info_by_topic=lambda topic: [Message(topic_type=kind) for kind in carried[topic]])
    rig.engine.health.mistyped = mistyped(graph, rig.engine.inputs.sensors)
    state, reason = rig.turn(0.1)
    assert state == State.DEGRADED and reason == ('waiting for readings of wrench; wrench: ft/wrench carries geometry_msgs/msg/Wrench, '
                                                  'the parameter sensors says geometry_msgs/msg/WrenchStamped')


@pytest.mark.parametrize('message, said', [
    (Float64MultiArray(data=[1.0]), r'fingers dropped: data\[0:2\]: got 1, expected at least 2 values'),
    (Float64MultiArray(data=[1.0, float('inf'), 0.0, 0.0]), r'fingers dropped: data\[0:2\]: got .*, expected finite numbers')])
def test_a_bad_reading_is_dropped_and_named(rig, message, said):
    rig = rig()
    rig.turn(1.0)
    rig.say['fingers'] = lambda: message
    rig.turn(0.1)
    state, reason = rig.turn(0.1)
    assert state == State.DEGRADED and 'fingers dropped: data[0:2]: got' in reason
    assert pytest.approx(rig.engine.cycle.begin(rig.now_s)[0].sensors[-1, :3]) == [1, 2, 3]
    assert len(rig.logged) == 1 and re.match(said, rig.logged[0])       # said once


def test_readings_of_another_size_than_the_models_are_named(rig):
    rig = rig(fields=AXES[:3])
    state, reason = rig.turn(0.1)
    assert state == State.DEGRADED and not rig.sent
    assert 'wrench dropped: fields: got 3 numbers (wrench.force.x, wrench.force.y, wrench.force.z), expected 6 as the model was trained' in reason


# The node, in a process of its own

@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model of random weights that imagines standing about where the Panda is at home: -> folder"""
    torch.manual_seed(0)
    network = WorldModel(ModelConfig(ROBOT.joint_names, ('left', 'right'), latent=8, width=32, depth=1, sensors=(('wrench', 6),)))
    folder, own = tmp_path_factory.mktemp('feeling') / 'model', network.layout
    network.normalizer.mean[own.position], network.normalizer.spread[own.motion] = torch.tensor(ROBOT.home_rad), 0.005
    checkpoint.save(folder, network, {'typicality': {'level': 0.5, 'band_s': [0.0, 4.0], 'median': [1.0], 'q90': [1.0], 'q99': [1.0]}}, {})
    return folder


def test_the_node_plans_by_two_cameras_and_a_wrench_and_brakes_without_it(bench, model):
    (mapping := model.parent / 'sensors.yaml').write_text(text(wrench=WRENCH))
    desk = Desk(bench, 'planner', 'guard:=false', f'sensors:={mapping}', 'sensor_timeout_s:=0.8', f'model:={model}', cameras=('left', 'right'))
    publisher, look, desk.feels = bench.observer.create_publisher(WrenchStamped, 'ft/wrench', 10), desk.every, False

    def every():
        look()
        if desk.feels:
            publisher.publish(wrench(bench.observer.get_clock().now().nanoseconds * 1e-9))
    desk.every = every
    desk.wait(lambda: desk.heard('DEGRADED', 'waiting for readings of wrench'), 60)
    assert not desk.see.trajectories
    desk.feels = True
    desk.wait_trajectories(2, 30)
    desk.check_trajectories()
    desk.wait(lambda: desk.fact('wrench rate Hz') and float(desk.fact('wrench rate Hz')) > 1)
    desk.feels = False
    desk.wait(lambda: desk.heard('DEGRADED', 'wrench: stale') and desk.heard('BRAKING', 'wrench: stale'))
    desk.feels = True
    desk.wait_trajectories(1)
