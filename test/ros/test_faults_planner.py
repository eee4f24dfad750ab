"""Faults of planner and backend, by the rows of the contract: what a plan may be, and what becomes of an arm without one."""
import re

import numpy as np
import pytest
from rigs import Pair, seconds


@pytest.fixture(scope='module')
def module_pair(module_bench):
    return Pair(module_bench, 'hang_timeout_s:=2.0')


@pytest.fixture
def pair(module_pair):
    module_pair.begin()
    yield module_pair
    module_pair.end()


def milliseconds(pair, stage):
    """Read a stage's figures off the diagnostics: -> [last, p50, p95, p99], none before the first plan"""
    return [float(word) for word in pair.fact(f'{stage} ms (last/p50/p95/p99)').split('/') if word]


def test_row_09_a_plan_that_fails_once_is_tried_again(pair):
    pair.order('once raise')
    pair.wait(lambda: 'planning failed, 1 in a row' in pair.planner.log.read_text())
    pair.wait_trajectories(3)
    assert pair.is_undisturbed() and 'planning failed, 2 in a row' not in pair.planner.log.read_text()


def test_row_09_a_backend_that_fails_falls_back_to_the_cpu_then_brakes(pair):
    pair.order('raise off the CPU')
    pair.wait(lambda: pair.heard('DEGRADED', 'running on the CPU since the backend failed: MemoryError: out of memory'))
    pair.wait_trajectories(3)
    pair.wait_moving()
    assert 'BRAKING' not in pair.states()
    pair.order('raise')
    pair.wait(lambda: pair.heard('FAULT', 'MemoryError: out of memory'))
    pair.wait_resting()
    assert pair.is_silent() and pair.planner.poll() is None
    pair.order('')
    pair.see.call('planner/reset')
    pair.wait_moving()
    pair.begin_anew()                                   # on the device that was asked for


def test_row_10_a_slow_planner_stops_and_goes(pair):
    pair.order('sleep 0.4')                             # the arm is to be taken over after 0.3 s
    pair.wait(lambda: int(pair.fact('deadline_misses') or 0) >= 2 and pair.heard('DEGRADED', 'deadline misses so far'))
    pair.order('sleep 1.0')
    pair.wait_resting()
    pair.wait_moving()
    pair.wait_resting()
    assert set(pair.states()) == {'DEGRADED'}


def test_row_11_a_planner_that_hangs_is_braked_once(pair):
    pair.order('hang')
    pair.wait(lambda: pair.heard('FAULT', 'a plan takes longer than 2 s'))
    pair.wait_resting()
    assert pair.is_silent()
    pair.order('')                                      # what comes out of it now is void
    assert pair.is_silent()


def test_row_12_a_slow_first_plan_is_in_no_statistics(pair):
    pair.order('slow at first')
    pair.begin_anew()
    pair.wait_trajectories(3)
    pair.wait(lambda: milliseconds(pair, 'turnaround'))
    assert float(pair.fact('warm-up ms').split('/')[0]) >= 1200 > milliseconds(pair, 'turnaround')[3]
    assert 'FAULT' not in pair.states()


@pytest.mark.parametrize('kind', ['not a number', 'infinite'])
def test_row_13_a_plan_that_is_not_finite_is_dropped_whole_three_brake(pair, kind):
    pair.order(f'once {kind}')
    pair.wait(lambda: pair.heard('DEGRADED', 'plan refused: not finite'))
    pair.wait_trajectories(2)
    assert 'BRAKING' not in pair.states()
    pair.order(kind)
    pair.wait(lambda: pair.heard('BRAKING', '3 plans in a row were dropped: not finite'))
    pair.wait_resting()
    assert pair.is_silent()
    assert all(np.isfinite(point.positions).all() for message in pair.see.trajectories for point in message.points)


@pytest.mark.parametrize('order, changed', [('too fast', 'stretched in time'), ('too far', "clamped to the joints' ranges")])
def test_row_14_a_plan_beyond_limits_is_stretched_or_clamped_and_reported(pair, order, changed):
    def count():
        return int((re.search(rf'(\d+) {changed}', pair.fact('changed')) or [0, 0])[1])
    before = count()          # now and then a plan of its own is
    pair.order(order)
    pair.wait(lambda: count() > before)
    pair.wait_trajectories(2)
    assert 'FAULT' not in pair.states()
    pair.check_trajectories()


def test_row_15_a_plan_that_starts_elsewhere_is_refused(pair):
    pair.order('elsewhere')
    pair.wait(lambda: pair.heard('BRAKING', '3 plans in a row were dropped: does not begin where the arm will be'))
    pair.wait_resting()
    assert pair.is_silent()


def test_row_15_a_plan_that_starts_a_little_off_is_blended(pair):
    pair.order('a little off')
    pair.wait_trajectories(3)
    assert pair.is_undisturbed()
    assert all(seconds(message.points[0].time_from_start) > 0 for message in pair.see.trajectories)


def test_row_16_without_a_safe_candidate_the_arm_comes_to_rest(pair):
    pair.order('refuse')
    pair.wait(lambda: pair.heard('DEGRADED', 'plan refused: no safe candidate: 3 contact'))
    pair.wait_resting()
    assert pair.is_silent()
