"""Limits on motions of a fingertip that moves along lines, by hand."""
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.autograd import gradcheck

from diffusion_planner.objectives.limits import Person, Zone, joint_margins, keep_out, slow_near

BOX = Zone('box', (0.5, 0.0, 0.3), half_m=(0.1, 0.2, 0.3))
BALL = Zone('ball', (0.5, 0.0, 0.3), radius_m=0.1)
COORDINATE = st.floats(-1, 1)


@dataclass
class Tip:
    """A motion of which only the fingertip matters."""

    tip_m: torch.Tensor
    tip_speed_m_s: torch.Tensor | None = None


def at(*places_m, gradient=False):
    return Tip(torch.tensor([places_m], dtype=torch.float64, requires_grad=gradient))


@pytest.mark.parametrize('place_m, distance_m', [
    ((0.9, 0.0, 0.3), 0.3),           # 0.4 from the centre along x, half of the box is 0.1
    ((0.9, 0.6, 0.3), 0.5),           # beyond an edge by 0.3 and 0.4: 0.5
    ((0.5, 0.0, 0.3), -0.1),          # at the centre the nearest face is 0.1 away, along x
    ((0.5, 0.15, 0.3), -0.05),        # 0.2 - 0.15 from the face along y
    ((0.6, 0.0, 0.3), 0.0)])
def test_box_by_hand(place_m, distance_m):
    assert keep_out(at(place_m), BOX).item() == pytest.approx(distance_m)


def test_ball_and_margin_by_hand():
    # 0.3 and 0.4 from the centre: 0.5 - 0.1 radius - 0.05 margin; at the centre -0.1 - 0.05.
    zone = Zone('ball', BALL.centre_m, radius_m=0.1, margin_m=0.05)
    assert keep_out(at((0.8, 0.4, 0.3)), zone).item() == pytest.approx(0.35)
    assert keep_out(at(BALL.centre_m), zone).item() == pytest.approx(-0.15, abs=1e-5)


def test_the_nearest_instant_counts():
    assert keep_out(at((0.9, 0.0, 0.3), (0.7, 0.0, 0.3), (0.8, 0.0, 0.3)), BOX).item() == pytest.approx(0.1)


@settings(max_examples=100, deadline=None)
@given(COORDINATE, COORDINATE, COORDINATE, st.sampled_from([BOX, BALL]))
def test_a_step_up_the_gradient_leads_out(x, y, z, zone):
    motion = at((x, y, z), gradient=True)
    distance_m = keep_out(motion, zone)
    gradient, = torch.autograd.grad(distance_m.sum(), motion.tip_m)
    assert 0.5 < gradient.norm() < 1.01       # a distance grows by one per metre; on an edge inside by 1 / sqrt(2) or 1 / sqrt(3)
    moved = keep_out(Tip(motion.tip_m.detach() + 1e-4 * gradient), zone)
    assert moved > distance_m


@pytest.mark.parametrize('zone', [BOX, BALL])
def test_there_is_a_way_out_of_the_very_centre(zone):
    motion = at(zone.centre_m, gradient=True)
    gradient, = torch.autograd.grad(keep_out(motion, zone, 0.01).sum(), motion.tip_m)
    assert gradient.norm() == pytest.approx(1.0)


@pytest.mark.parametrize('zone', [BOX, BALL])
@pytest.mark.parametrize('temperature', [None, 0.02])
def test_keep_out_gradient_is_that_of_finite_differences(zone, temperature):
    places_m = torch.tensor([[[0.9, 0.1, 0.3], [0.52, 0.03, 0.37], [0.75, 0.3, 0.8]]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda tip_m: keep_out(Tip(tip_m), zone, temperature), places_m)


def test_soft_keep_out_tends_to_the_exact_one_from_below():
    motion = at((0.9, 0.0, 0.3), (0.7, 0.0, 0.3), (0.8, 0.0, 0.3))
    gaps_m = [(keep_out(motion, BOX) - keep_out(motion, BOX, temperature)).item() for temperature in (0.1, 0.01, 0.001)]
    assert gaps_m[0] > gaps_m[1] > gaps_m[2] >= 0
    assert all(gap_m <= temperature * math.log(3) for gap_m, temperature in zip(gaps_m, (0.1, 0.01, 0.001)))


def test_joint_margins_by_hand():
    # Limits -1..1 and 0..2. Joint 0 comes to 0.7, which leaves 0.3, wanted 0.25: 0.05 to spare. Joint 1 comes to 0.1, which
    # leaves 0.1, wanted 0.25: short by 0.15. Without a wish for joint 1, 0.05 is the least.
    robot = SimpleNamespace(position_min_rad=(-1.0, 0.0), position_max_rad=(1.0, 2.0))
    motion = SimpleNamespace(position_rad=torch.tensor([[[0.0, 1.0], [0.7, 0.1]], [[0.0, 1.0], [0.0, 1.0]]]))
    assert joint_margins(motion, robot, (0.25, 0.25)).tolist() == pytest.approx([-0.15, 0.75])
    assert joint_margins(motion, robot, (0.25, -math.inf)).tolist() == pytest.approx([0.05, 0.75])


def test_joint_margins_gradient_is_that_of_finite_differences():
    robot = SimpleNamespace(position_min_rad=(-1.0, 0.0), position_max_rad=(1.0, 2.0))
    position_rad = torch.tensor([[[0.1, 1.2], [0.7, 0.1]]], dtype=torch.float64, requires_grad=True)
    for temperature in (None, 0.1):
        assert gradcheck(lambda value: joint_margins(SimpleNamespace(position_rad=value), robot, (0.2, -math.inf), temperature),
                         position_rad)


def passing(speeds_m_s):
    """Three points on the x axis, at 0, 0.5 and 1 m."""
    tip_m = torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    return Tip(tip_m, torch.tensor([speeds_m_s], dtype=torch.float64))


def test_slow_near_by_hand():
    person = Person('operator', (0.5, 0.3, 0.0), radius_m=0.4, speed_m_s=0.15)
    # Only the second point is within 0.4 m (0.3; the others sqrt(0.25 + 0.09) = 0.58): 0.15 - 0.1, then 0.15 - 0.4.
    assert slow_near(passing([1.0, 0.1, 1.0]), person).item() == pytest.approx(0.05)
    assert slow_near(passing([1.0, 0.4, 1.0]), person).item() == pytest.approx(-0.25)
    # Never near: the allowed speed itself.
    assert slow_near(passing([1.0, 1.0, 1.0]), Person('far', (9.0, 9.0, 9.0), 0.4, 0.15)).item() == pytest.approx(0.15)


def test_slow_near_has_two_ways_out():
    person = Person('operator', (0.5, 0.3, 0.0), radius_m=0.4, speed_m_s=0.15)
    motion = passing([1.0, 0.4, 1.0])
    tip_m, speed = motion.tip_m.requires_grad_(), motion.tip_speed_m_s.requires_grad_()
    assert gradcheck(lambda tip_m, speed: slow_near(Tip(tip_m, speed), person, 0.05), (tip_m, speed))
    moves, slows = torch.autograd.grad(slow_near(motion, person, 0.05).sum(), (tip_m, speed))
    assert slows[0, 1] < 0 and moves[0, 1, 1] < 0      # slower is better, and so is farther from the person, who is at +y
    assert slow_near(motion, person, 1e-4).item() == pytest.approx(-0.25, abs=1e-3)


@pytest.mark.parametrize('kind, values, said', [
    (Zone, {'name': 'z', 'centre_m': (0.0, 0.0, 0.0)}, 'neither of half_m and radius_m'),
    (Zone, {'name': 'z', 'centre_m': (0.0, 0.0, 0.0), 'radius_m': 1.0, 'half_m': (1.0, 1.0, 1.0)}, 'both of half_m and radius_m'),
    (Zone, {'name': 'z', 'centre_m': (0.0, 0.0, 0.0), 'radius_m': -1.0}, 'radius_m: got -1.0, expected a number above 0'),
    (Zone, {'name': 'z', 'centre_m': (0.0, 0.0, 0.0), 'half_m': (1.0, 0.0, 1.0)}, 'half_m: got 0.0'),
    (Zone, {'name': 'z', 'centre_m': (0.0, math.nan, 0.0), 'radius_m': 1.0}, 'centre_m: got nan, expected a finite number'),
    (Zone, {'name': 'z', 'centre_m': (0.0, 0.0, 0.0), 'radius_m': 1.0, 'margin_m': -0.1}, 'margin_m: got -0.1'),
    (Person, {'name': 'p', 'centre_m': (0.0, 0.0, 0.0), 'radius_m': math.inf, 'speed_m_s': 1.0}, 'radius_m: got inf'),
    (Person, {'name': 'p', 'centre_m': (0.0, 0.0, 0.0), 'radius_m': 1.0, 'speed_m_s': 0.0}, 'speed_m_s: got 0.0')])
def test_refuses(kind, values, said):
    with pytest.raises(ValueError) as refused:
        kind(**values)
    assert said in str(refused.value) and '\n' not in str(refused.value)
