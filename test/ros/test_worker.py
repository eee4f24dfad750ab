"""The planning thread step by step: when it plans, what it answers to faults, and that nobody's stop is overtaken."""
import time
from types import SimpleNamespace

import numpy as np
import planners
import pytest
import stepped

from diffusion_planner.ros.diagnostics import State
from diffusion_planner.ros.worker import UNUSABLE, Hooks, Laps, Worker


@pytest.fixture
def rig(monkeypatch):
    return lambda kind=planners.Swing, **values: stepped.Rig(monkeypatch, kind, **values).start()


class Flawed(planners.Swing):
    """Imagines NaN for as long as it is told to."""

    broken = True

    def plan(self, observation, goal, seed, deadline_s=None):
        plan = super().plan(observation, goal, seed, deadline_s)
        if self.broken and self.count > 4:
            plan.position_rad[3, 2] = np.nan
        return plan


def failing(engine):
    """Record what the thread says of a planner that fails."""
    told = []
    engine.worker.hooks = Hooks(**{**vars(engine.worker.hooks), 'failed': told.append})
    return told


def test_plans_are_made_on_a_grid_of_periods(rig):
    rig = rig(replan_period_s=0.25)         # which the test's 20 ms do not divide
    rig.turn(3.0)
    origins_s = np.array([chunk.origin_s for chunk in rig.sent])
    np.testing.assert_allclose(origins_s, origins_s[0] + 0.25 * np.arange(12), atol=0.021)
    assert [seed for _, _, seed in rig.reports] == list(range(12))


def test_a_period_that_was_missed_does_not_make_two_plans_at_once(rig):
    rig = rig()
    rig.turn(0.3)
    rig.now_s += 2.3
    rig.turn(0.4)
    assert len(rig.reports) == 2


def test_two_failures_in_a_row_are_reported_and_one_is_not(rig):
    rig = rig()
    told, plan, rig.planner = failing(rig.engine), rig.engine.planner.plan, rig.engine.planner
    for bad in ({1}, {4, 5}, {8, 10}):
        calls = []
        rig.planner.plan = lambda *given: calls.append(1) or (1 / 0 if len(calls) in bad else plan(*given))
        told.clear()
        rig.turn(0.5 * max(bad))
        assert told == ['ZeroDivisionError: division by zero'] * (bad == {4, 5})
    assert 'planning failed, 1 in a row' in rig.logged[0] and 'Traceback' in rig.logged[0]


def test_a_plan_that_failed_is_tried_again_at_once(rig):
    rig = rig()
    failing(rig.engine)
    calls, plan = [], rig.engine.planner.plan
    rig.engine.planner.plan = lambda *given: calls.append(rig.now_s) or (1 / 0 if len(calls) == 1 else plan(*given))
    rig.turn(0.1)
    assert np.diff(calls[:2]) == pytest.approx(0.02) and len(rig.sent) == 1


def test_plans_that_cannot_be_used_stop_the_arm_until_one_can(rig):
    rig = rig(Flawed)
    assert f'{UNUSABLE} plans in a row were dropped: not finite' in rig.until(State.BRAKING)
    stop = rig.sent[-1]
    assert rig.engine.cycle.running is stop and len(rig.sent) == 3          # two chunks and the brake, which is sent once
    rig.turn(1.0)
    assert len(rig.sent) == 3 and not rig.speed_rad_s()
    rig.engine.planner.broken = False
    rig.until(State.NOMINAL, 5.0)
    assert len(rig.sent) > 3


def test_what_is_waited_for_is_told_and_then_not(rig):
    rig = rig()
    rig.engine.history.clear()
    rig.unseen = {'camera'}
    assert rig.turn() == (State.DEGRADED, 'waiting for pictures of camera')
    rig.unseen = set()
    rig.turn(0.04)
    assert rig.engine.worker.waiting_for == ''


def test_a_chunk_that_comes_too_late_is_taken_back(rig):
    rig = rig()
    rig.turn(0.7)
    running, cycle = rig.engine.cycle.running, rig.engine.cycle
    shape, slow_s = cycle._shaped, [0.28]                  # of the 0.3 s that a plan has

    def shaped(*given):
        rig.now_s += slow_s.pop() if slow_s else 0.0
        return shape(*given)
    cycle._shaped = shaped
    for _ in range(25):
        slow_s and rig.turn()
    assert not slow_s and cycle.misses == 1 and cycle.running is running and rig.sent[-1] is running
    rig.turn()
    assert rig.sent[-1] is cycle.running is not running


def test_an_arm_that_is_held_is_given_way_to_once(rig):
    rig = rig()
    rig.turn(1.2)
    sent, rig.follows, rig.velocity_rad_s = len(rig.sent), False, np.zeros(7)
    held_rad = rig.position_rad
    assert rig.until(State.DEGRADED) == 'waiting for the arm to follow its chunk'
    while rig.engine.worker.waiting_for != 'the arm does not follow its chunk':
        rig.turn()
    chunks, way = rig.sent[sent:-1], rig.sent[-1]
    assert len(chunks) <= 1 and len(way.offset_s) == 1 and rig.engine.cycle.running is way
    np.testing.assert_array_equal(way.position_rad, [held_rad])
    while rig.now_s < way.end_s - 0.02:
        rig.turn()
        assert rig.sent[-1] is way
    rig.follows = True
    rig.until(State.NOMINAL, 2.0)
    rig.turn(0.1)
    np.testing.assert_array_equal(rig.sent[rig.sent.index(way) + 1].position_rad[0], held_rad)


def test_a_chunk_is_not_sent_by_a_clock_that_fell_behind_while_it_was_planned(rig):
    rig = rig(simulated=True)
    rig.turn(0.8)
    cycle, running, lags_s = rig.engine.cycle, rig.engine.cycle.running, [0.06]
    finish = cycle.finish

    def finished(*given):
        rig.engine.inputs.clock_lag_s = lags_s.pop() if lags_s else 0.0
        return finish(*given)
    cycle.finish = finished
    while lags_s:
        rig.turn()
    assert cycle.misses == 1 and cycle.running is running and rig.sent[-1] is running
    rig.turn()
    assert cycle.misses == 1 and rig.sent[-1] is cycle.running is not running


@pytest.mark.parametrize('stop', ['stop', 'end', 'fail', 'reset'])
@pytest.mark.parametrize('moment', ['begin', 'plan', 'finish'])
def test_no_chunk_follows_a_stop_from_the_other_thread(rig, moment, stop):
    rig = rig()
    rig.turn(0.8)
    engine, halting = rig.engine, [stop]
    worker, owner = engine.worker, engine.planner if moment == 'plan' else engine.cycle
    before = getattr(owner, moment)

    def interrupted(*given):
        """Stop before `begin` and `plan`, and between `finish` and sending."""
        outcome = before(*given) if moment == 'finish' else None
        if halting:
            getattr(engine, halting.pop())(*(['broken'] if stop == 'fail' else []))
        return outcome if moment == 'finish' else before(*given)
    setattr(owner, moment, interrupted)
    sent = len(rig.sent)
    while halting:
        rig.now_s += 0.02
        rig.see()
        worker.step()
    assert len(rig.sent) == sent + 1 and not rig.sent[-1].velocity_rad_s[-1].any()
    brake = rig.sent[-1]
    assert brake.end_s - brake.origin_s < 0.5              # and no whole chunk
    for _ in range(20):
        rig.now_s += 0.02
        rig.see()
        worker.step()
    assert stop == 'reset' or rig.sent[-1] is brake


def test_one_plan_at_a_time_while_stopped(rig):
    rig = rig()
    rig.turn(0.8)
    rig.engine.stop()
    rig.turn(1.0)
    sent = len(rig.sent)
    rig.engine.worker.plan_once()
    rig.turn(1.0)
    assert len(rig.sent) == sent + 1 and not rig.engine.worker.allowed


def test_beginning_again_counts_seeds_from_the_first_and_drops_what_was_asked_for(rig):
    rig = rig()
    rig.turn(1.2)
    worker = rig.engine.worker
    assert worker.seed == 3
    worker.plan_once()
    worker.begin_again()
    worker.allowed = False
    rig.turn(0.1)
    assert (worker.seed, rig.engine.planner.resets) == (0, 2) and len(rig.sent) == 3


def test_how_long_a_plan_takes_is_seen_from_outside(rig):
    rig = rig()
    busy, plan = [], rig.engine.planner.plan
    rig.engine.planner.plan = lambda *given: (time.sleep(0.01), busy.append(rig.engine.worker.busy_s()), plan(*given))[-1]
    rig.turn(0.1)
    assert busy[0] >= 0.01 and rig.engine.worker.busy_s() == 0.0


def test_times_of_the_stages_add_up():
    laps = Laps({'transport': 5.0, 'read': 2.0, 'wait': 100.0})
    for name in ('observe', 'inference', 'shape', 'publish'):
        laps.lap(name)
    laps._laps |= {'observe': 1.0, 'inference': 50.0, 'shape': 20.0, 'publish': 3.0}
    assert laps.stages() == {'transport': 5.0, 'read': 2.0, 'wait': 100.0, 'observe': 1.0, 'shape': 20.0, 'publish': 3.0,
                             'outside': 31.0, 'turnaround': 181.0}


def test_the_thread_ends_when_asked():
    def begin(_now_s):
        raise stepped.engine.config.ConfigError('a defect')
    cycle = SimpleNamespace(begin=begin)
    worker = Worker(None, cycle, Hooks(lambda: 1.0, None, None, lambda text: None, failed=lambda text: None), 0)
    worker.allowed = True
    worker.start()
    assert worker.end(10.0) and not worker.allowed and not worker.is_alive()


class Worried(planners.Swing):
    """Plans although something that is nearly always there cannot be seen."""

    def judged(self, goal):
        return {'strange_missing': 1.5, 'strange_picture': 0.9}


def test_doubt_is_said_before_anything_moves(rig):
    rig = rig(Worried)
    rig.turn(0.2)
    assert rig.sent and rig.warned[0] == ('scene unlike the play data: missing 1.5 times what play shows', 0)


def test_who_is_not_in_doubt_says_nothing(rig):
    rig = rig()
    rig.turn(0.2)
    assert rig.sent and not rig.warned
