"""The launch files, where ROS 2's launch is installed: what the arguments become."""
import importlib.util
import re
from pathlib import Path

import pytest

launch = pytest.importorskip('launch')
pytest.importorskip('launch_ros')

ROOT = Path(__file__).resolve().parent.parent
FAST_DDS = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE', 'RMW_IMPLEMENTATION', 'ROS_DISTRO'


def load(name, monkeypatch, installed=()):
    """Load a launch file that finds this checkout as the package, and the other packages named."""
    def share(package):
        if package not in ('diffusion_planner', *installed):
            raise LookupError(package)
        return str(ROOT)
    spec = importlib.util.spec_from_file_location(f'{name}_launch', ROOT / 'launch' / f'{name}.launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'get_package_share_directory', share)
    for variable in FAST_DDS:
        monkeypatch.delenv(variable, raising=False)
    return module


@pytest.fixture
def sim(monkeypatch):
    return load('sim', monkeypatch)


@pytest.fixture
def arm(monkeypatch):
    return load('arm', monkeypatch)


@pytest.fixture
def replay(monkeypatch):
    """The launch file that replays a bag; what is in the bag is another test's business."""
    module = load('replay', monkeypatch)
    monkeypatch.setattr(module, 'look', lambda values: ({'bag': values['bag'], 'rate': values['rate'], 'player': 'own'},
                                                        {'shadow': True, 'use_sim_time': True, 'autostart': True, 'camera_size': '640x480'}))
    return module


def context_of(module, argv=(), **arguments):
    context = launch.LaunchContext(argv=argv)
    context.launch_configurations.update({**{entry.name: entry.default for entry in module.ARGUMENTS}, **arguments})
    return context


def built(module, **arguments):
    """Build the actions of a launch file: -> {process or node name: its parts as text}"""
    context = context_of(module, **arguments)
    return {name_of(action): parts_of(action, context) for action in module.nodes(context)}


def name_of(action):
    return getattr(action, 'node_executable', None) or 'record'


def text_of(context, value):
    from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
    return perform_substitutions(context, normalize_to_list_of_substitutions(value))


def parts_of(action, context):
    """Read off an action what is passed on: parameters, namespace, remappings, environment, arguments."""
    from launch_ros.parameter_descriptions import ParameterFile
    from launch_ros.utilities import evaluate_parameters, normalize_parameters
    part = {'env': {text_of(context, name): text_of(context, value) for name, value in action.additional_env or ()}}
    if name_of(action) == 'record':
        return {**part, 'cmd': [text_of(context, word) for word in action.cmd]}
    values, files, order = {}, [], []
    for given in evaluate_parameters(context, normalize_parameters(list(action._Node__parameters))):
        files += [given] if isinstance(given, (Path, ParameterFile)) else []
        values |= given if isinstance(given, dict) else {}
        order.append('arguments' if isinstance(given, dict) else 'file')
    files = [Path(text_of(context, file.param_file) if isinstance(file, ParameterFile) else file).name for file in files]
    names = {text_of(context, a): text_of(context, b) for a, b in action._Node__remappings or ()}
    extra = [text_of(context, word) for word in action._Node__ros_arguments or ()]
    return {**part, 'parameters': values, 'files': files, 'order': order, 'remappings': names, 'ros_arguments': extra,
            'namespace': text_of(context, action._Node__node_namespace or '')}


@pytest.mark.parametrize('name', ['sim', 'arm', 'replay'])
def test_declares_its_arguments(name, monkeypatch):
    module = load(name, monkeypatch)
    declared = {argument.name: argument.default_value for argument in module.generate_launch_description().get_launch_arguments()}
    assert set(declared) == {entry.name for entry in module.ARGUMENTS}


def test_arguments_are_parameters_of_the_nodes(sim, arm, replay):
    from diffusion_planner.ros import parameters
    for module, names, table in ((sim, sim.SIM, parameters.SIM), (sim, sim.PLANNER, parameters.PLANNER), (arm, arm.PLANNER, parameters.PLANNER),
                                 (replay, replay.PLANNER, parameters.PLANNER)):
        kinds = {entry.name: entry.kind for entry in module.ARGUMENTS} | {'robot_description': str, 'use_sim_time': None}
        known = {entry.name: entry.kind for entry in table} | {'use_sim_time': None}    # that one is ROS's own
        assert {name: kinds[name] for name in names} == {name: known.get(name) for name in names}


@pytest.mark.parametrize('name, text', [('scene_seed', '1.5'), ('guidance_scale', 'strong'), ('guard', 'off'), ('gui', 'yes')])
def test_refuses_a_value_that_does_not_fit(sim, name, text):
    with pytest.raises(RuntimeError, match=f'{name}:={text}: expected a value'):
        sim.nodes(context_of(sim, **{name: text}))


def test_words_that_mean_nothing_are_told(sim):
    first, *_ = sim.nodes(context_of(sim, argv=['sceneseed:=3', 'guard:=true']))
    assert isinstance(first, launch.actions.LogInfo) and 'sceneseed:=3: not an argument' in text_of(launch.LaunchContext(), first.msg)


def test_a_window_needs_a_display(sim, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    with pytest.raises(RuntimeError, match='DISPLAY is not set'):
        sim.nodes(context_of(sim, gui='true'))


def test_sim_starts_both_nodes_and_leaves_the_rest_as_configured(sim):
    made = built(sim)
    assert list(made) == ['sim_node', 'planner_node']
    assert made['sim_node']['files'] == ['sim.yaml'] and made['sim_node']['parameters'] == {}
    assert made['planner_node']['files'] == ['planner.yaml'] and made['planner_node']['parameters'] == {'autostart': True, 'use_sim_time': True}


def test_sim_passes_arguments_on(sim):
    made = built(sim, scene_seed='3', guidance_scale='2', inject='true', backend='onnx', device='cpu', deadline_ms='20')
    assert made['sim_node']['parameters'] == {'scene_seed': 3, 'inject': True}
    assert made['planner_node']['parameters'] == {'autostart': True, 'use_sim_time': True, 'guidance_scale': 2.0, 'backend': 'onnx', 'device': 'cpu',
                                                  'deadline_ms': 20.0}


def test_one_simulator_and_a_planner_per_namespace(sim):
    context = context_of(sim, namespaces='left,right')
    actions = [(name_of(action), parts_of(action, context)) for action in sim.nodes(context)]
    assert [(name, part['namespace']) for name, part in actions] == [('sim_node', ''), ('planner_node', 'left'), ('planner_node', 'right')]
    assert actions[0][1]['parameters'] == {'namespaces': 'left,right'}


def test_nodes_of_the_simulation_read_the_profile(sim, monkeypatch):
    for part in built(sim).values():
        assert part['env'] == {'FASTDDS_DEFAULT_PROFILES_FILE': str(ROOT / 'config/fastdds_localhost.xml')}
    assert not any(part['env'] for part in built(sim, profile='').values())
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', 'mine.xml')
    assert not any(part['env'] for part in built(sim).values())
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE')
    with pytest.raises(RuntimeError, match='profile:=nowhere.xml: expected the name of a file'):
        built(sim, profile='nowhere.xml')


@pytest.mark.parametrize('name', ['sim', 'arm'])
def test_rviz_has_to_be_installed(name, monkeypatch):
    with pytest.raises(RuntimeError, match='^rviz:=true: expected package rviz2, which is not installed$'):
        built(load(name, monkeypatch), rviz='true')
    assert 'rviz2' in built(load(name, monkeypatch, installed=['rviz2']), rviz='true')


def test_a_bag_needs_ros2_bag_and_a_new_folder(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match=f'^record:={tmp_path}/bag: expected package ros2bag'):
        built(load('sim', monkeypatch), record=f'{tmp_path}/bag')
    module = load('sim', monkeypatch, installed=['ros2bag'])
    with pytest.raises(RuntimeError, match=f'record:={tmp_path}: expected a folder that does not exist'):
        built(module, record=str(tmp_path))
    *command, topics = built(module, record=f'{tmp_path}/bag', namespaces='left,right')['record']['cmd']
    assert command == ['ros2', 'bag', 'record', '--output', f'{tmp_path}/bag', '--use-sim-time', '--regex']
    heard = '/clock', '/diagnostics', '/left/camera/image', '/right/planner/plan', '/right/joint_trajectory', '/left/joint_states'
    assert all(re.search(topics, topic) for topic in heard)
    assert not any(re.search(topics, topic) for topic in ('/camera/image', '/left/sim/view', '/left/camera/image/compressed', '/x/clock'))


def test_stays_on_this_machine_unless_told_otherwise(sim, monkeypatch):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE', raising=False)
    assert len(sim.localhost_only()) == 1
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    assert sim.localhost_only() == []


def test_text_arrives_as_text(sim):
    # YAML text among the arguments must not become a mapping on its way to the node.
    text = '{formulas: [{name: low, formula: tip_z > 0}]}'
    _, planner = sim.nodes(context := context_of(sim, objective=text))
    parameters = planner._Node__parameters[-1]
    value = next(iter(value for value in parameters.values() if hasattr(value, 'evaluate') and value.value_type is str))
    assert value.evaluate(context) == text


def test_an_arm_begins_in_shadow_mode_and_slowly(arm):
    made = built(arm)['planner_node']
    assert made['parameters'] == {'shadow': True, 'speed_scale': 0.2, 'autostart': True, 'use_sim_time': False}
    assert made['remappings'] == {'joint_trajectory': 'joint_trajectory_controller/joint_trajectory'}
    assert made['env'] == {'FASTDDS_DEFAULT_PROFILES_FILE': str(ROOT / 'config/fastdds.xml')}
    with pytest.raises(RuntimeError, match='shadow:=no: expected a value true or false'):
        built(arm, shadow='no')


def test_an_arm_has_its_own_topics(arm):
    made = built(arm, namespace='/left', camera='wrist', image_topic='/cam/color', joint_states_topic='/joint_states', trajectory_topic='go',
                 speed_scaling_topic='scaling/value')['planner_node']
    assert made['namespace'] == 'left'
    assert made['remappings'] == {'joint_states': '/joint_states', 'joint_trajectory': 'go', 'speed_scaling': 'scaling/value',
                                  'wrist/image': '/cam/color', 'wrist/image/compressed': '/cam/color/compressed'}
    assert made['ros_arguments'] == ['--log-level', 'left.planner:=info']


def test_several_cameras_have_a_topic_each_and_sensors_are_handed_on(arm):
    made = built(arm, camera='front,wrist', image_topic='/color,wrist/image', sensors='mine.yaml')['planner_node']
    assert {name: topic for name, topic in made['remappings'].items() if 'image' in name} == {
        'front/image': '/color', 'front/image/compressed': '/color/compressed'}       # the wrist's is called that already
    assert made['parameters']['sensors'] == 'mine.yaml'
    with pytest.raises(RuntimeError, match='^image_topic:=/color: expected as many topics as there are cameras, 2$'):
        built(arm, camera='front,wrist', image_topic='/color')


@pytest.mark.parametrize('name, text', [('image_topic', 'a b'), ('trajectory_topic', ''), ('camera', ''), ('log_level', 'loud'),
                                        ('namespace', 'left,right'), ('namespace', 'my-arm'), ('params_file', 'nowhere.yaml'),
                                        ('robot_description_file', 'nowhere.urdf'), ('speed_scale', 'slow')])
def test_an_arm_refuses_what_cannot_be_used(arm, name, text):
    with pytest.raises(RuntimeError, match=f'^{name}:={text}: expected '):
        built(arm, **{name: text})


def test_an_arm_takes_further_parameters_and_a_description(arm, tmp_path):
    (further := tmp_path / 'mine.yaml').write_text('/**/planner:\n  ros__parameters:\n    lead_s: 0.4\n')
    (urdf := tmp_path / 'arm.urdf').write_text('<robot name="a: b"/>')
    made = built(arm, params_file=str(further), robot_description_file=str(urdf))['planner_node']
    assert made['files'] == ['planner.yaml', 'mine.yaml'] and made['order'] == ['file', 'file', 'arguments']    # the last one holds
    assert made['parameters']['robot_description'] == '<robot name="a: b"/>'


def test_a_replay_is_a_planner_in_shadow_mode_and_a_player_that_ends_it(replay):
    context = context_of(replay, bag='/tmp/bag', rate='0.5', guidance_scale='2')
    planner, player = replay.nodes(context)
    made = parts_of(planner, context)
    assert made['files'] == ['planner.yaml'] and made['order'] == ['file', 'arguments']
    assert made['parameters'] == {'shadow': True, 'use_sim_time': True, 'autostart': True, 'camera_size': '640x480', 'model': 'models/panda_reach',
                                  'guidance_scale': 2.0}
    assert parts_of(player, context)['parameters'] == {'bag': '/tmp/bag', 'rate': 0.5, 'player': 'own'}
    assert name_of(player) == 'player_node' and player._ExecuteLocal__on_exit is not None and planner._ExecuteLocal__on_exit is None
    with pytest.raises(RuntimeError, match='^rviz:=true: expected package rviz2, which is not installed$'):
        built(replay, bag='/tmp/bag', rviz='true')


@pytest.mark.parametrize('given, said', [({}, '^bag:=: expected a rosbag2 folder'), ({'bag': '/nowhere'}, '^/nowhere: is not there, expected a rosbag2 folder'),
                                         ({'bag': '/nowhere', 'rate': '0'}, '^rate: got 0.0, expected 0.01 to 20'),
                                         ({'bag': '/nowhere', 'rate': 'fast'}, '^rate:=fast: expected a value of type float')])
def test_a_replay_refuses_what_cannot_be_played(monkeypatch, given, said):
    pytest.importorskip('rosbags')
    module = load('replay', monkeypatch)
    with pytest.raises(RuntimeError, match=said):
        module.nodes(context_of(module, **given))
