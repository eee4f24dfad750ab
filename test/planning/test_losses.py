"""Chunks that never reach the controller, and arms that do not do what their controller says: a controller and a cycle that must agree."""
import numpy as np
import pytest
from arms import ROBOT, Driven

from diffusion_planner.planning.cycle import CycleSettings
from diffusion_planner.planning.following import NotFollowing
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.playback import sample
from diffusion_planner.ros.conversions import to_joint_trajectory
from diffusion_planner.sim.acceptance import DISTRIBUTIONS, acceptance_errors

LOST = 'lost on its way to the controller'
SHARE = CycleSettings().acceleration_scale      # of the acceleration limits, which chunks and their seams keep to


def assert_executed(arm, chunk):
    """Check that the controller took a chunk over where that begins, and without a jump."""
    arm.wait(chunk.origin_s - arm.now_s + 0.5)
    taken = [command for command in arm.commands if chunk.origin_s <= command[0] <= chunk.origin_s + 0.4]
    for stamp_s, position_rad, velocity_rad_s, _ in taken:
        state = sample(chunk, stamp_s)
        np.testing.assert_allclose(position_rad, state.position_rad, atol=1e-6)
        np.testing.assert_allclose(velocity_rad_s, state.velocity_rad_s, atol=1e-5)
    assert len(taken) > 30 and arm.accelerations().max() <= SHARE


@pytest.mark.parametrize('lag_s', [0.0, 0.05, 0.08])
@pytest.mark.parametrize('sweep_rad_s', [-0.5, 0.3])
@pytest.mark.parametrize('in_a_row', [1, 2])
def test_chunks_that_are_lost_are_noticed_and_the_next_joins_on_what_is_executed(in_a_row, sweep_rad_s, lag_s):
    arm = Driven(lag_s=lag_s)
    for lost in (False, False, *[True] * in_a_row):
        arm.plan(lost=lost, sweep_rad_s=sweep_rad_s if lost else 0.5)
        arm.wait(0.4)
    chunk = arm.plan(sweep_rad_s=sweep_rad_s)
    assert arm.cycle.following.lost == in_a_row and arm.cycle.counters()['rejected'] == {LOST: in_a_row}
    assert_executed(arm, chunk)
    arm.cycle.begin(arm.now_s)
    assert arm.cycle.following.lost == 0            # this one arrived


@pytest.mark.parametrize('lag_s', [0.0, 0.05, 0.08])
def test_two_chunks_lost_in_quick_succession_are_noticed_at_once(lag_s):
    arm = Driven(lag_s=lag_s)
    executed = arm.plan()
    arm.wait(0.4)
    for _ in range(2):
        arm.plan(takes_s=0.04, lost=True, sweep_rad_s=-0.5)
        arm.wait(0.1)
    arm.wait(0.4)
    arm.cycle.begin(arm.now_s)
    assert arm.cycle.running is executed and arm.cycle.rejected == {LOST: 2}
    assert_executed(arm, arm.plan(takes_s=0.04))


def test_the_stop_after_a_lost_chunk_joins_on_what_is_executed():
    arm = Driven()
    arm.plan()
    arm.wait(0.4)
    arm.plan(lost=True, sweep_rad_s=-0.5)
    arm.wait(0.4)
    stop = arm.cycle.brake(arm.now_s)
    arm.send(stop)
    assert_executed(arm, stop)
    assert arm.cycle.rejected == {LOST: 1}


@pytest.mark.parametrize('lag_s', [0.05, 0.1])
@pytest.mark.parametrize('sweep_rad_s', [0.2, 0.5, 1.0])
def test_an_arm_that_lags_has_not_lost_its_chunks(sweep_rad_s, lag_s):
    arm = Driven(lag_s=lag_s)
    for index in range(8):
        chunk = arm.plan(sweep_rad_s=sweep_rad_s if index % 4 < 2 else -sweep_rad_s)
        arm.wait(0.4)
    assert_executed(arm, chunk)
    assert arm.cycle.counters() == {'plans': 8, 'chunks': 8, 'deadline_misses': 0, 'strays': 0, 'rejected': {}, 'changed': {}}


def test_an_arm_that_never_sets_out_gets_nothing_until_its_chunk_is_over():
    arm = Driven()
    for count in range(4):
        chunk = arm.plan(lost=True)
        np.testing.assert_array_equal(chunk.position_rad[0], ROBOT.home_rad)
        assert arm.cycle.following.unmoved == count
        arm.wait(chunk.origin_s + 0.2 - arm.now_s)
        while arm.now_s < chunk.end_s:
            with pytest.raises(NotReady, match='set out on its chunk') as waiting:
                arm.cycle.begin(arm.now_s)
            assert not isinstance(waiting.value, NotFollowing)
            arm.wait(0.02)
    assert arm.cycle.rejected == {} and arm.cycle.chunks == 4


def way_out(distribution, held, after_s, sweep_rad_s, joint):
    """Give way to an arm that stands at home, since something holds it or since its controller has nothing: -> arm, way, when it was sent"""
    arm = Driven(distribution=distribution)
    arm.held_rad = np.array(ROBOT.home_rad)
    arm.plan(sweep_rad_s=sweep_rad_s, joint=joint, lost=not held)
    arm.wait(after_s)
    begun_s, way = arm.now_s, arm.cycle.give_way(arm.now_s)
    arm.send(way)
    arm.wait(way.end_s - arm.now_s + 0.1)
    return arm, way, begun_s


@pytest.mark.parametrize('distribution', DISTRIBUTIONS)
@pytest.mark.parametrize('held', [True, False])
def test_the_way_back_is_gentle_for_a_controller_that_has_the_chunk_and_for_one_that_has_not(held, distribution):
    for sweep_rad_s, joint in ((0.5, 0), (-1.2, 1), (1.2, 5)):
        for after_s in (0.1, 0.4, 0.7, 1.1, 1.5, 1.8):
            arm, way, begun_s = way_out(distribution, held, after_s, sweep_rad_s, joint)
            message = to_joint_trajectory(way, ROBOT.joint_names, begun_s)
            assert len(message.points) == 1 and acceptance_errors(message, ROBOT.joint_names, 1.75e9, distribution) == []
            _, position_rad, velocity_rad_s, _ = arm.commands[-1]
            np.testing.assert_allclose(position_rad, arm.held_rad, atol=1e-9)
            assert not velocity_rad_s.any()
            assert arm.accelerations(begun_s).max() <= (0.9 if held else 0.0)
