"""The table, the YAML files and what the nodes refuse must say the same."""
import pytest
import yaml

from diffusion_planner.files import find
from diffusion_planner.planning.cycle import CycleSettings
from diffusion_planner.ros import parameters
from diffusion_planner.ros.parameters import PLANNER, SIM, Entry


@pytest.mark.parametrize('name, table', [('planner', PLANNER), ('sim', SIM)])
def test_the_yaml_file_holds_every_default(name, table):
    given = yaml.safe_load(find(f'config/{name}.yaml').read_text())[f'/**/{name}']['ros__parameters']
    assert given == {entry.name: entry.default for entry in table}
    assert [type(value) for value in given.values()] == [entry.kind for entry in table]


@pytest.mark.parametrize('entry', [*PLANNER, *SIM], ids=lambda entry: entry.name)
def test_every_default_is_allowed(entry):
    assert entry.fault(entry.default) is None
    assert (entry.low is None) == (entry.kind in (str, bool))
    assert entry.description


def test_the_defaults_are_those_of_the_cycle():
    assert parameters.settings(CycleSettings, {entry.name: entry.default for entry in PLANNER}) == CycleSettings()


@pytest.mark.parametrize('value, said', [(0.5, None), (1, None), (2.5, '0 to 2 s'), (float('nan'), '0 to 2 s'), ('1', 'float'),
                                         (True, 'float')])
def test_values_are_checked(value, said):
    fault = Entry('lead_s', 0.3, 's', 'lead', 0.0, 2.0).fault(value)
    assert fault is None if said is None else fault == f'lead_s: got {value!r}, expected {said}'


def test_a_whole_number_is_whole():
    entry = Entry('threads', 1, '', 'threads', 1, 64)
    assert entry.fault(2.0) == 'threads: got 2.0, expected int'
    assert entry.fault(True) is not None
    assert entry.fault(64) is None


def test_the_descriptor_says_the_same():
    described = Entry('lead_s', 0.3, 's', 'lead', 0.0, 2.0, read_only=False).descriptor()
    assert (described.floating_point_range[0].from_value, described.floating_point_range[0].to_value) == (0.0, 2.0)
    assert not described.read_only
    assert described.description == 'lead [s]'


@pytest.mark.parametrize('table', [PLANNER, SIM], ids=['planner', 'sim'])
def test_the_readme_holds_the_table(table):
    text = parameters.markdown(table)
    assert all(f'| `{entry.name}` |' in text for entry in table)
    assert text in (find('config').parent / 'README.md').read_text()      # python -m diffusion_planner.ros.parameters prints it
