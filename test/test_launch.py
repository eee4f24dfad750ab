"""The launch file, where ROS 2's launch is installed: what the arguments become."""
import importlib.util
from pathlib import Path

import pytest

launch = pytest.importorskip('launch')
pytest.importorskip('launch_ros')

ROOT = Path(__file__).resolve().parent.parent
NAMES = 'model', 'scene_seed', 'guidance_scale', 'guard', 'objective', 'oddity', 'gui'


@pytest.fixture
def module(monkeypatch):
    spec = importlib.util.spec_from_file_location('sim_launch', ROOT / 'launch' / 'sim.launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'get_package_share_directory', lambda name: str(ROOT))
    return module


def context_of(**arguments):
    context = launch.LaunchContext()
    context.launch_configurations.update({**dict.fromkeys(NAMES, ''), **arguments})
    return context


def test_declares_its_arguments(module):
    declared = {argument.name for argument in module.generate_launch_description().get_launch_arguments()}
    assert declared == set(NAMES)


def test_arguments_are_parameters_of_the_nodes(module):
    from diffusion_planner.ros import parameters
    kinds = {name: kind for name, kind, _ in module.ARGUMENTS}
    for names, table in ((module.SIM, parameters.SIM), (module.PLANNER, parameters.PLANNER)):
        known = {entry.name: entry.kind for entry in table}
        assert {name: kinds[name] for name in names} == {name: known.get(name) for name in names}


def test_what_is_not_given_stays_as_configured(module):
    assert module.given(context_of()) == {}


def test_arguments_arrive_as_their_types(module):
    given = module.given(context_of(model='models/mine', scene_seed='3', guidance_scale='2', gui='False', guard='true', oddity='fog'))
    assert given == {'model': 'models/mine', 'scene_seed': 3, 'guidance_scale': 2.0, 'gui': False, 'guard': True, 'oddity': 'fog'}
    assert isinstance(given['guidance_scale'], float)   # an integer would be refused by a parameter of type double


@pytest.mark.parametrize('name, text', [('scene_seed', '1.5'), ('guidance_scale', 'strong'), ('guard', 'off'), ('gui', 'yes')])
def test_refuses_a_value_that_does_not_fit(module, name, text):
    with pytest.raises(RuntimeError, match=f'{name}:={text}: expected a value'):
        module.given(context_of(**{name: text}))


def test_a_window_needs_a_display(module, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    with pytest.raises(RuntimeError, match='DISPLAY is not set'):
        module.nodes(context_of(gui='true'))


def test_starts_both_nodes(module):
    executables = [node.node_executable for node in module.nodes(context_of(scene_seed='3'))]
    assert executables == ['sim_node', 'planner_node']


def test_stays_on_this_machine_unless_told_otherwise(module, monkeypatch):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE', raising=False)
    assert len(module.localhost_only()) == 1
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    assert module.localhost_only() == []


def test_text_arrives_as_text(module):
    # YAML text among the arguments must not become a mapping on its way to the node.
    text = '{formulas: [{name: low, formula: tip_z > 0}]}'
    _, planner = module.nodes(context := context_of(objective=text))
    parameters = planner._Node__parameters[-1]
    value = next(iter(value for value in parameters.values() if hasattr(value, 'evaluate') and value.value_type is str))
    assert value.evaluate(context) == text
