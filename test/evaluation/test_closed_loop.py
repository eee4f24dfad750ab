"""What the loop asks of its planner, without either of them."""
from dataclasses import dataclass, fields

from diffusion_planner.evaluation import closed_loop
from diffusion_planner.evaluation.audit_run import Options
from diffusion_planner.evaluation.closed_loop import LoopSettings, planner_settings
from diffusion_planner.planning.settings import PlannerSettings


@dataclass(frozen=True)
class Measuring(PlannerSettings):
    """Settings of a planner that measures typicality where it is told to."""

    measure_typicality: bool = False


def test_settings_reach_the_planner():
    told = planner_settings(LoopSettings('model', guard=False, changes=(('caution', 0.5),)))
    assert (told.guard, told.caution) == (False, 0.5) and told == PlannerSettings(guard=False, caution=0.5)


def test_typicality_is_measured_where_it_is_wanted(monkeypatch):
    monkeypatch.setattr(closed_loop, 'PlannerSettings', Measuring)
    assert planner_settings(LoopSettings('model', typicality=True)).measure_typicality
    assert not planner_settings(LoopSettings('model')).measure_typicality


def test_planners_that_do_not_know_the_setting_are_not_given_it(monkeypatch):
    @dataclass(frozen=True)
    class Older:
        guard: bool = True
    assert 'measure_typicality' not in {field.name for field in fields(Older)}
    monkeypatch.setattr(closed_loop, 'PlannerSettings', Older)
    assert planner_settings(LoopSettings('model', typicality=True)) == Older()


def test_audits_want_it():
    assert Options('model').settings('guarded', 1.0).typicality
