"""The controller's doorman and its interpolation, row by row of what joint_trajectory_controller does."""
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from diffusion_planner.records import JointReading
from diffusion_planner.sim.acceptance import DISTRIBUTIONS
from diffusion_planner.sim.controller import AcceptanceOptions, TrajectoryController, acceptance_errors

NAMES = ('one', 'two')
PERIOD_S = 1 / 240
EVERY = pytest.mark.parametrize('distribution', DISTRIBUTIONS)


def clock(seconds):
    whole = int(np.floor(seconds))
    return SimpleNamespace(sec=whole, nanosec=round((seconds - whole) * 1e9))


def point(at_s, positions=(0.0, 0.0), velocities=(), accelerations=(), effort=()):
    return SimpleNamespace(positions=list(positions), velocities=list(velocities), accelerations=list(accelerations),
                           effort=list(effort), time_from_start=clock(at_s))


def message(points, names=NAMES, stamp_s=0.0):
    return SimpleNamespace(header=SimpleNamespace(stamp=clock(stamp_s)), joint_names=list(names), points=points)


def errors(trajectory, distribution, now_s=100.0, **options):
    return acceptance_errors(trajectory, NAMES, now_s, distribution, AcceptanceOptions(**options))


GOOD = dict(velocities=(0.0, 0.0), accelerations=(0.0, 0.0))
REFUSED_EVERYWHERE = {
    'no joints': (message([point(1.0)], names=()), 'joint names: the list is empty'),
    'too few joints': (message([point(1.0, (0.0,))], names=('one',)), 'got 1, expected 2'),
    'too many joints': (message([point(1.0, (0.0,) * 3)], names=('one', 'two', 'one')), 'got 3, expected 2'),
    'unknown joint': (message([point(1.0)], names=('one', 'three')), "'three' is not a joint"),
    'no points': (message([]), 'no points'),
    'equal times': (message([point(1.0), point(1.0)]), 'strictly increasing'),
    'falling times': (message([point(1.0), point(2.0), point(1.5)]), 'strictly increasing'),
    'already past': (message([point(1.0)], stamp_s=98.9), 'ended at 99.9'),
    'no positions': (message([point(1.0, (), (0.0, 0.0))]), 'got 0 positions, expected 2'),
    'positions too short': (message([point(1.0, (0.0,))]), 'got 1 positions, expected 2'),
    'velocities too short': (message([point(1.0, velocities=(0.0,))]), 'got 1 velocities, expected 2'),
    'accelerations too long': (message([point(1.0, accelerations=(0.0,) * 3)]), 'got 3 accelerations, expected 2'),
    'past by a nanosecond': (message([point(1.0)], stamp_s=98.999999999), 'ended at 99.999999999'),
    'effort': (message([point(1.0, effort=(0.0, 0.0))]), 'effort is given'),
}
TAKEN_EVERYWHERE = {
    'positions only': message([point(1.0), point(2.0)]),
    'everything': message([point(0.5, **GOOD), point(1.0, **GOOD)]),
    'other order': message([point(1.0)], names=('two', 'one')),
    'duplicate name': message([point(1.0)], names=('one', 'one')),
    'not a number': message([point(1.0, (np.nan, np.inf), (np.nan, np.nan), (np.nan, np.inf))]),
    'beyond any limit': message([point(0.001, (1e6, -1e6))]),
    'first time zero': message([point(0.0), point(1.0)]),
    'begun in the past': message([point(1.0), point(3.0)], stamp_s=98.0),
    'ends this instant': message([point(1.0)], stamp_s=99.0),
    'last velocity below epsilon': message([point(1.0, velocities=(1e-7, -1e-7))]),
    'last velocity not a number': message([point(1.0, velocities=(np.nan, 0.0))]),
    'first time negative': message([point(-0.5), point(1.0)]),
    'stamp of a nanosecond, not past': message([point(100.0)], stamp_s=1e-9),
}


@EVERY
@pytest.mark.parametrize('case', REFUSED_EVERYWHERE)
def test_every_distribution_refuses(distribution, case):
    trajectory, reason = REFUSED_EVERYWHERE[case]
    assert any(reason in error for error in errors(trajectory, distribution))


@EVERY
@pytest.mark.parametrize('case', TAKEN_EVERYWHERE)
def test_every_distribution_takes(distribution, case):
    assert errors(TAKEN_EVERYWHERE[case], distribution) == []


@EVERY
def test_only_humble_takes_a_moving_end(distribution):
    moving = message([point(1.0, velocities=(0.0, 2e-7))])
    assert (errors(moving, distribution) == []) == (distribution == 'humble')
    assert errors(moving, distribution, allow_nonzero_velocity_at_trajectory_end=True) == []
    assert errors(moving, distribution, allow_nonzero_velocity_at_trajectory_end=False) != []


@EVERY
def test_options(distribution):
    partial = message([point(1.0, (0.0,))], names=('two',))
    assert errors(partial, distribution, allow_partial_joints_goal=True) == []
    accelerations_only = message([point(1.0, (), (), (0.1, 0.1))])
    assert errors(accelerations_only, distribution, allow_integration_in_goal_trajectories=True) == []
    nothing = errors(message([point(1.0, ())]), distribution, allow_integration_in_goal_trajectories=True)
    assert nothing == ['point 0: no positions, velocities or accelerations']
    effort = message([point(1.0, effort=(0.0, 0.0))])
    assert (errors(effort, distribution, effort_interface=True) == []) == (distribution != 'humble')


def test_unknown_distribution_is_named():
    with pytest.raises(ValueError, match="'noetic'.*humble"):
        acceptance_errors(message([point(1.0)]), NAMES, 0.0, 'noetic')


def run(controller, begin, cycles):
    """Call the controller at cycles begin + 1 ... begin + cycles: -> position, velocity, acceleration [cycles, J]"""
    rows = [controller.reference((begin + 1 + cycle) * PERIOD_S) for cycle in range(cycles)]
    return tuple(np.array(part) for part in zip(*rows))


def resting(distribution='jazzy', **options):
    controller = TrajectoryController(NAMES, PERIOD_S, distribution, **options)
    controller.reset([0.0, 1.0])
    controller.reference(0.0)
    return controller


def test_holds_after_reset_and_after_a_refusal():
    controller = resting()
    assert controller.accept(message([]), 0.0) == ['no points: an empty trajectory is not a stop']
    position, velocity, _ = run(controller, 0, 10)
    assert np.all(position == [0.0, 1.0]) and not velocity.any()


def test_a_refusal_leaves_the_running_trajectory_going():
    controller, twin = resting(), resting()
    for one in (controller, twin):
        assert one.accept(message([point(0.5, (1.0, 0.0), **GOOD)]), 0.0) == []
        run(one, 0, 30)
    assert controller.accept(message([point(0.5, (9.0, 9.0), (1.0, 0.0))]), 30 * PERIOD_S)
    np.testing.assert_array_equal(run(controller, 30, 120), run(twin, 30, 120))


def test_positions_only_are_linear():
    # From 0 to 1 in half a second from the command of cycle 0 on: 2 rad/s, velocity steps at the knots.
    controller = resting()
    controller.accept(message([point(0.5 - PERIOD_S, (1.0, 1.0))]), 0.0)
    position, velocity, acceleration = run(controller, 0, 119)
    np.testing.assert_allclose(position[:, 0], 2.0 * PERIOD_S * np.arange(1, 120), atol=1e-7)
    np.testing.assert_allclose(velocity[:, 0], 2.0, atol=1e-6)
    assert not acceleration.any()


def test_velocities_make_it_cubic():
    # p = 3 u^2 - 2 u^3 from rest to rest: half way 0.5, at speed 1.5 / duration; acceleration begins at 6 / duration^2.
    controller = resting()
    controller.accept(message([point(1.0 - PERIOD_S, (1.0, 1.0), (0.0, 0.0))]), 0.0)
    position, velocity, acceleration = run(controller, 0, 240)
    assert position[119, 0] == pytest.approx(0.5) and velocity[119, 0] == pytest.approx(1.5)
    assert acceleration[0, 0] == pytest.approx(6.0 - 12.0 * PERIOD_S)


def test_accelerations_make_it_quintic():
    # p = 10 u^3 - 15 u^4 + 6 u^5: half way 0.5 at speed 1.875.
    controller = resting()
    controller.accept(message([point(1.0 - PERIOD_S, (1.0, 1.0), **GOOD)]), 0.0)
    position, velocity, acceleration = run(controller, 0, 241)
    assert position[119, 0] == pytest.approx(0.5) and velocity[119, 0] == pytest.approx(1.875)
    assert abs(acceleration[0, 0]) < 60 * PERIOD_S
    np.testing.assert_allclose(position[-1], [1.0, 1.0])


def test_accelerations_without_velocities_command_zeros():
    controller = resting()
    controller.accept(message([point(0.1, (0.5, 1.0), (), (0.0, 0.0)), point(0.2, (0.5, 1.0), (), (0.0, 0.0))]), 0.0)
    assert not run(controller, 0, 30)[0].any()


@EVERY
def test_a_stamp_in_the_future_waits_and_a_past_point_is_a_step(distribution):
    controller = resting(distribution)
    controller.accept(message([point(0.1, (1.0, 1.0), **GOOD)], stamp_s=1.0), 0.0)
    position = run(controller, 0, 300)[0][:, 0]
    assert 0.3 < position[130] < 0.7 and position[-1] == 1.0
    controller.accept(message([point(0.1, (2.0, 1.0), **GOOD), point(3.0, (2.0, 1.0), **GOOD)], stamp_s=1.0), 1.25)
    assert controller.reference(301 * PERIOD_S)[0][0] == 2.0


def test_after_the_end_the_last_velocity_stays():
    controller = resting('humble')
    assert controller.accept(message([point(0.1, (1.0, 1.0), (0.5, 0.0))]), 0.0) == []
    position, velocity, _ = run(controller, 0, 60)
    assert position[-1, 0] == 1.0 and velocity[-1, 0] == 0.5


def test_joint_order_and_duplicates():
    controller = resting()
    controller.accept(message([point(0.1, (2.0, 1.5))], names=('two', 'one')), 0.0)
    np.testing.assert_array_equal(run(controller, 0, 60)[0][-1], [1.5, 2.0])
    # Joint two is not named: it gets what the sorting buffer last held.
    controller.accept(message([point(0.1, (0.1, 0.2))], names=('one', 'one')), 60 * PERIOD_S)
    np.testing.assert_array_equal(run(controller, 60, 60)[0][-1], [0.2, 2.0])
    controller = resting()
    controller.accept(message([point(0.1, (0.1, 0.2))], names=('one', 'one')), 0.0)
    np.testing.assert_array_equal(run(controller, 0, 60)[0][-1], [0.2, 0.0])


def test_lead_in_from_the_measured_state():
    controller = resting(interpolate_from_desired_state=False)
    controller.accept(message([point(0.2, (1.0, 1.0), **GOOD)]), 0.0)
    with pytest.raises(ValueError, match='interpolate_from_desired_state is off'):
        controller.reference(PERIOD_S)
    reading = JointReading(PERIOD_S, np.array([0.3, 0.7]), np.array([0.1, 0.0]))
    position, velocity, _ = controller.reference(PERIOD_S, reading)
    np.testing.assert_allclose(position, [0.3, 0.7])
    np.testing.assert_allclose(velocity, [0.1, 0.0])


@EVERY
@settings(max_examples=15, deadline=None)
@given(cycle=some.integers(1, 110), target=some.floats(-1, 1), lead_cycles=some.integers(20, 60))
def test_replacement_is_smooth_from_the_desired_state(distribution, cycle, target, lead_cycles):
    controller = resting(distribution)
    controller.accept(message([point(0.5, (1.0, 1.0), **GOOD)]), 0.0)
    before = run(controller, 0, cycle)
    controller.accept(message([point(lead_cycles * PERIOD_S, (target, 1.0), **GOOD)]), cycle * PERIOD_S)
    after = run(controller, cycle, lead_cycles + 2)
    position, velocity = (np.concatenate([old, new])[:, 0] for old, new in zip(before[:2], after[:2]))
    # The sharpest quintic here goes 2 rad in 20 cycles: |a| < 5.8 * 2 / (20 / 240)^2 + start terms, times one period.
    assert np.abs(np.diff(velocity)).max() < 2 * 5.8 * 2 / (20 * PERIOD_S) ** 2 * PERIOD_S
    assert np.abs(np.diff(position)).max() < 2 * 2 * 2 / (20 * PERIOD_S) * PERIOD_S
    assert position[-1] == target and velocity[-1] == 0.0
