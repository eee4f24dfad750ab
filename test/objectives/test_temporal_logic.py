"""Temporal logic over one joint whose position is the signal, by hand and by the laws of the logic."""
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.autograd import gradcheck

from diffusion_planner.objectives.motion import Kinematics, Motion
from diffusion_planner.objectives.temporal_logic import LONGEST, FormulaError, exclude, parse
from diffusion_planner.robot import JointFrame, Robot

NAMES = ('hinge', 'slide')
FRAME = JointFrame((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
KINEMATICS = Kinematics(Robot(
    'two', NAMES, (-9.0, -9.0), (9.0, 9.0), (9.0, 9.0), (9.0, 9.0), (9.0, 9.0), 0.01, (FRAME, FRAME),
    JointFrame((2.0, 0.0, 0.5), (0.0, 0.0, 0.0)), (0.0, 0.0)))


def motion(hinge, slide=None, offset_s=None, gradient=False):
    """One plan of T points: hinge [T], slide [T]; a point per second unless told"""
    hinge = torch.tensor(hinge, dtype=torch.float64) if not isinstance(hinge, torch.Tensor) else hinge
    slide = torch.zeros_like(hinge) if slide is None else torch.tensor(slide, dtype=torch.float64)
    offset_s = torch.arange(len(hinge), dtype=torch.float64) if offset_s is None else torch.tensor(offset_s, dtype=torch.float64)
    position = torch.stack([hinge, slide], -1)[None]
    return Motion(position, torch.zeros_like(position), offset_s[None], KINEMATICS)


def robustness(formula, path, temperature=None):
    return parse(formula, NAMES).robustness(path, temperature).item()


RAMP = motion([0.0, 1.0, 3.0, 2.0])      # the hinge at 0, 1, 2 and 3 s


@pytest.mark.parametrize('formula, expected', [
    ('hinge > 0.5', -0.5),                                # now: 0 - 0.5
    ('hinge < 0.5', 0.5), ('hinge >= -1', 1.0), ('hinge <= -1', -1.0),
    ('not hinge > 0.5', 0.5),
    ('hinge > -1 and hinge < 0.25', 0.25),                # min(1, 0.25)
    ('hinge > 2 or hinge < 0.25', 0.25),                  # max(-2, 0.25)
    ('hinge > -1 implies hinge > 3', -1.0),               # max(-1, -3)
    ('always hinge > -1', 1.0),                           # the least is 0: 0 + 1
    ('always[1, 3] hinge > 0', 1.0),                      # 1, 3, 2
    ('eventually hinge > 2', 1.0),                        # the most is 3
    ('eventually[0, 1] hinge > 2', -1.0),
    ('eventually[0.5, 1.5] hinge > 0', 2.0),              # lines between points: 0.5 at 0.5 s, 2 at 1.5 s
    ('always[1.25, 1.5] hinge > 0', 1.5),                 # no point inside: at 1.25 s 1.5
    ('always[10, 20] hinge > 0', 2.0),                    # beyond the end: the last state, 2
    ('always[2, 2] hinge > 0', 3.0),                      # one instant
    ('always[0, 9] hinge < 4', 1.0),
    ('eventually[0, 3] always[0, 1] hinge > 0', 2.0),     # from 2 s on: 3, 2; at the end 2
    ('always eventually[0, 1] hinge > 0', 1.0),           # from 0 s: 1; from 1 s on 3, 3, 2
    # At 1 s: hinge > 0.5 by 0.5, slide held until then by 1. At 2 s by 2.5, still 1: the best is 1.
    ('slide < 1 until[0, 2] hinge > 0.5', 1.0),
    ('hinge < 2 until hinge > 0', 1.0),                   # at 1 s: min(1, min(2, 1)) = 1; at 2 s held fails by 1
    ('hinge < 0.5 until[1, 2] hinge > 0', -0.5),          # at 1 s: min(1, min(0.5, -0.5)); later no better
    ('slide < 1 until[1.5, 1.75] hinge > 2', 0.5),        # at 1.75 s the hinge is at 2.5
    ('slide < 1 until[7, 8] hinge > 0', 1.0),             # beyond the end: the last state, 2, and slide by 1
    ('-hinge + 2 * (slide + 1) - 4 / 2 >= -hinge - 0.5', 0.5),
    ('abs(hinge - 3) < 1', -2.0),                         # 1 - 3
    ('min(hinge, 2, slide + 5) >= max(-1, hinge)', 0.0),
    ('eventually seconds > 2', 1.0),
    ('tip_x > 1', 1.0), ('tip_y < 0.1', 0.1), ('tip_z > 0', 0.5),      # the lever is 2 m long, 0.5 m up
    ('distance(2, 0, -0.5) < 3', 2.0),                    # straight below by 1
    ('tip_speed < 0.2', 0.2), ('hinge_speed < 0.3', 0.3),
    ('always (hinge > -1) and hinge < 0.5', 0.5),         # always binds to its parenthesis alone
    ('hinge > 5 and hinge > 5 or slide < 1', 1.0)])       # and binds tighter than or
def test_by_hand(formula, expected):
    assert robustness(formula, RAMP) == pytest.approx(expected)


def test_uneven_points_and_one_clock_per_plan():
    # The same positions, the second plan twice as slow: by 1 s it has come to where the first was at 0.5 s.
    position = torch.tensor([0.0, 1.0, 4.0]).double()[None, :, None].expand(2, 3, 2)
    offset_s = torch.tensor([[0.0, 1.0, 1.5], [0.0, 2.0, 3.0]]).double()
    both = Motion(position, torch.zeros_like(position), offset_s, KINEMATICS)
    assert parse('eventually[0, 1] hinge > 0', NAMES).robustness(both).tolist() == [1.0, 0.5]


def test_a_single_point_is_a_plan():
    for formula in ('always hinge > 1', 'eventually[1, 2] hinge > 1', 'slide < 9 until hinge > 1'):
        assert robustness(formula, motion([3.0])) == 2.0


SIGNAL = st.lists(st.floats(-3, 3), min_size=2, max_size=6)
INSTANT = st.floats(0, 6).map(lambda seconds: round(seconds, 3))
TEXTS = st.recursive(
    st.sampled_from(['hinge > 0.5', 'slide <= hinge', 'abs(slide) < 1']),
    lambda inner: st.one_of(
        st.builds('not ({})'.format, inner), st.builds('(({}) and ({}))'.format, inner, inner),
        st.builds('(({}) or ({}))'.format, inner, inner),
        st.builds(lambda a, b, f: f'always[{min(a, b)}, {max(a, b)}] ({f})', INSTANT, INSTANT, inner),
        st.builds(lambda a, b, f, g: f'(({f}) until[{min(a, b)}, {max(a, b)}] ({g}))', INSTANT, INSTANT, inner, inner)),
    max_leaves=4)


@settings(max_examples=60, deadline=None)
@given(SIGNAL, TEXTS, INSTANT, INSTANT)
def test_laws(hinge, text, one_s, other_s):
    path, span = motion(hinge, hinge[::-1]), f'[{min(one_s, other_s)}, {max(one_s, other_s)}]'
    assert robustness(f'not ({text})', path) == -robustness(text, path)
    always, eventually = [robustness(f'{word}{span} ({text})', path) for word in ('always', 'eventually')]
    assert always <= eventually
    assert always == robustness(f'not eventually{span} not ({text})', path)
    # Until something that always holds is eventually; what is until is also reached.
    reached = robustness(f'hinge < 99 until{span} ({text})', path)
    assert reached == pytest.approx(eventually)
    assert robustness(f'({text}) until{span} hinge < 99', path) <= robustness(text, path)


@settings(max_examples=60, deadline=None)
@given(SIGNAL, TEXTS)
def test_soft_tends_to_exact(hinge, text):
    path = motion(hinge, hinge[::-1])
    exact = robustness(text, path)
    # Each nested minimum is off by at most temperature * log of what it is taken over: here below 8 levels of log(64).
    for temperature in (0.1, 0.001, 1e-5):
        assert abs(robustness(text, path, temperature) - exact) <= temperature * 8 * math.log(64) + 1e-9


@pytest.mark.parametrize('formula', [
    'always[0, 2] hinge > 0.5', 'eventually[0.5, 2.2] hinge > 0.5', 'hinge < 2 until[0.3, 2] slide < hinge - 1',
    'always (abs(hinge) < 1 implies eventually[0, 1] tip_x > 1)', 'distance(1, 1, 1) < min(hinge, 0.3) or tip_y > 3'])
def test_soft_gradient_is_that_of_finite_differences_and_reaches_every_point_asked(formula):
    hinge = torch.tensor([0.1, 0.7, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    parsed = parse(formula, NAMES)
    assert gradcheck(lambda value: parsed.robustness(motion(value, [0.2, 0.1, -0.3, 0.4]), 0.1), hinge)
    gradient, = torch.autograd.grad(parsed.robustness(motion(hinge), 0.1).sum(), hinge)
    assert gradient.abs().max() > 1e-3
    if formula == 'always[0, 2] hinge > 0.5':
        assert (gradient[:3] > 0).all() and gradient[3] == 0


def test_soft_until_has_a_finite_gradient_at_low_temperature_in_float32():
    hinge = torch.tensor([0.1, 0.7, 0.3, 0.9], requires_grad=True)
    position = torch.stack([hinge, -hinge], -1)[None]
    path = Motion(position, torch.zeros_like(position), torch.arange(4.0)[None], KINEMATICS)
    gradient, = torch.autograd.grad(parse('slide < 1 until[0.5, 2] hinge > 2', NAMES).robustness(path, 1e-3).sum(), hinge)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0.5


@pytest.mark.parametrize('formula, present', [
    ('hinge < 1', ['hinge < 1']),
    ('always[0, 2] (hinge < 1 and slide > 0)', ['hinge < 1', 'slide > 0']),
    ('always[1, 2] hinge < 1', []), ('eventually hinge < 1', []),
    ('always (hinge < 1 or slide > 0)', ['hinge < 1 or slide > 0']),
    ('always hinge < 1 and always[0, 1] slide > 0', ['hinge < 1', 'slide > 0']),
    ('hinge < 1 until[1, 2] slide > 0', ['hinge < 1']),
    ('not eventually[0, 3] hinge > 1', ['not (hinge > 1)']),
    ('always (hinge < 1 implies eventually slide > 0)', [])])
def test_what_must_hold_at_present(formula, present):
    assert [part.text for part in parse(formula, NAMES).present()] == present


@pytest.mark.parametrize('one, other, apart', [
    ('tip_z < 0.2', 'tip_z > 0.3', True), ('tip_z < 0.3', 'tip_z > 0.2', False), ('tip_z < 0.2', 'tip_x > 0.3', False),
    # With h = 2 hinge - slide: h < 1 and 3 > 6 - 2 h, which is h > 1.5; then h < 1 and h > 0.5.
    ('2 * hinge - slide < 1', '3 > 2 * slide - 4 * hinge + 6', True), ('2 * hinge - slide < 1', '1 < 4 * hinge - 2 * slide', False),
    ('tip_z < 0.2', 'tip_z < 0.1', False), ('distance(0, 0, 1) < 0.2', 'distance(0, 0, 1) > 0.3', True),
    ('distance(0, 0, 1) < 0.2', 'distance(0, 0, 2) > 0.3', False), ('not tip_z >= 0.2', 'not tip_z <= 0.3', True)])
def test_what_excludes_what(one, other, apart):
    one, other = parse(one, NAMES), parse(other, NAMES)
    assert exclude(one, other) is exclude(other, one) is apart


@pytest.mark.parametrize('formula, column, said', [
    ('always[0,4] (tip_q > 0.2)', 14, "unknown quantity 'tip_q'; expected one of tip_x, tip_y, tip_z, tip_speed, seconds, hinge"),
    ('', 1, 'unexpected end'),
    ('tip_x', 6, "unexpected end; expected one of '+', '-', a comparison"),
    ('tip_x >', 8, 'unexpected end'),
    ('tip_x ? 3', 7, "unexpected '?'"),
    ('tip_x == 3', 7, "unexpected '='"),
    ('(tip_x > 1', 11, 'unexpected end'),
    ('tip_x > 1)', 10, "unexpected ')'"),
    ('tip_x > 1 foo', 11, "unexpected 'foo'"),
    ('0 < tip_x < 1', 11, "unexpected '<'"),
    ('always[4, 0] tip_x > 1', 7, 'interval from 4 to 0 s; expected its begin first'),
    ('always[-1, 2] tip_x > 1', 8, 'negative seconds -1'),
    ('always[0, -2] tip_x > 1', 11, 'negative seconds -2'),
    ('always[0, inf] tip_x > 1', 11, "unexpected 'inf'; expected one of '-', a number"),
    ('always[0] tip_x > 1', 9, "unexpected ']'; expected ','"),
    ('always[0, 1e999] tip_x > 1', 11, '1e999 is not finite'),
    ('tip_x > 1e999', 9, '1e999 is not finite'),
    ('tip_x > 1e308 * 1e308', 1, 'not finite'),
    ('tip_x > nan', 9, "unknown quantity 'nan'"),
    ('tip_x * tip_y > 1', 1, 'a product of two quantities'),
    ('tip_x / tip_y > 1', 1, 'a division'), ('tip_x / 0 > 1', 1, 'a division'),
    ('sin(tip_x) > 1', 1, "unknown function 'sin'; expected abs, min, max or distance"),
    ('abs(tip_x, 1) > 1', 1, 'abs of 2; expected one value'), ('distance(1, 2) > 1', 1, 'distance of 2; expected x, y, z'),
    ('distance(tip_x, 0, 0) > 1', 1, 'distance to a place that moves'),
    ('1 < 2', 1, 'no quantity is compared'), ('tip_x - tip_x > 0', 1, 'no quantity is compared'),
    ('not_known > 1', 1, "unknown quantity 'not_known'")])
def test_refuses_and_says_where(formula, column, said):
    with pytest.raises(FormulaError) as refused:
        parse(formula, NAMES)
    message = str(refused.value)
    assert f'at column {column}: ' in message and said in message and '\n' not in message
    assert f"'{formula[:column - 1]}^{formula[column - 1:]}'" in message


def test_a_formula_of_several_lines_is_one_line_in_the_message():
    with pytest.raises(FormulaError, match=r"^at column 18: 'tip_x > 0.1 and \(\^tip_q > 1\)': unknown"):
        parse('tip_x > 0.1\n   and\t(tip_q > 1)\n', NAMES)


@pytest.mark.parametrize('formula', ['-' * (LONGEST - 9) + 'tip_x > 1', 'tip_x > 1 ' + 'and tip_x > 1 ' * LONGEST])
def test_refuses_formulas_without_end(formula):
    with pytest.raises(FormulaError):
        parse(formula, NAMES)
