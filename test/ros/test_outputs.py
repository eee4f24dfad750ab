"""What is said of how the planner stands, by two threads, each only where it is news."""
from types import SimpleNamespace

import pytest

from diffusion_planner.ros import outputs
from diffusion_planner.ros.diagnostics import State


@pytest.fixture
def standing(monkeypatch):
    said = []
    monkeypatch.setattr(outputs, 'publisher', lambda *_: SimpleNamespace(publish=lambda message: said.append(message.data)))
    quiet = SimpleNamespace(get_logger=lambda: SimpleNamespace(info=lambda text: None))
    return outputs.Standing(quiet), said


@pytest.mark.parametrize('state', [State.NOMINAL, State.DEGRADED])
def test_a_warning_degrades(standing, state):
    standing, said = standing
    standing.tell(state, '')
    standing.warn('a scene')
    standing.warn('a scene')
    assert said == [state.value, 'DEGRADED: a scene']


def test_a_warning_is_added_to_what_there_is_and_heard_of_at_the_next_look(standing):
    standing, said = standing
    assert standing.tell(State.NOMINAL, '') and not standing.tell(State.NOMINAL, '')
    standing.warn('a scene')
    assert standing.tell(State.DEGRADED, 'a scene') and said == ['NOMINAL', 'DEGRADED: a scene']      # diagnostics go with it
    standing.tell(State.DEGRADED, 'late')
    standing.warn('a scene')
    assert said[-1] == 'DEGRADED: late; a scene'


def test_who_looked_before_a_warning_does_not_take_it_back(standing):
    standing, said = standing
    asked = standing.warnings
    standing.warn('a scene')
    assert not standing.tell(State.NOMINAL, '', asked) and said == ['DEGRADED: a scene']
    assert standing.tell(State.NOMINAL, '', standing.warnings) and said[-1] == 'NOMINAL'


@pytest.mark.parametrize('state', [State.INACTIVE, State.BRAKING, State.FAULT])
def test_a_warning_hides_nothing_that_is_worse(standing, state):
    standing, said = standing
    standing.tell(state, 'for a reason')
    standing.warn('a scene')
    assert said == [f'{state.value}: for a reason'] and standing.said == (state, 'for a reason')
