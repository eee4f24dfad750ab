"""The planner node against a stand-in robot on the wall clock: what no row of the contract's faults is about."""
from rigs import Desk


def test_a_strange_scene_is_refused_by_name_and_recovered_from(bench):
    desk = Desk(bench, 'strange')
    desk.sensors.level = 200
    told = 'plan refused: scene unlike the play data: picture 3.1 times what play shows'
    desk.wait(lambda: desk.heard('DEGRADED', told) and desk.see.diagnostics and desk.see.diagnostics.message == f'DEGRADED: {told}')
    assert desk.is_silent(1.0) and desk.see.trajectories == [] and desk.see.statuses[-1] == 'DEGRADED'
    desk.sensors.level = 0
    desk.wait_status('NOMINAL')
    desk.wait(lambda: desk.see.trajectories)


def test_parameters_that_do_not_fit_each_other_are_refused_at_configure(bench):
    desk = Desk(bench, 'hold', 'min_lead_s:=0.5')
    desk.wait(lambda: desk.heard('FAULT', 'min_lead_s: got 0.5'))
    assert desk.process.poll() is None
