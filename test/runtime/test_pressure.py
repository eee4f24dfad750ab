"""The guard on guidance, with heads whose embedding is the posture itself and a denoiser that is known exactly."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.diffusion.guidance import Restraint, guide
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.noise import sigma, signal
from diffusion_planner.diffusion.samplers import MultistepStep, sample
from diffusion_planner.nets.heads import FlawedHead, RewardHead, pessimistic
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.objectives.spec import load_objective
from diffusion_planner.planning.settings import PlannerSettings
from diffusion_planner.records import Goal
from diffusion_planner.robot import JointFrame, Robot
from diffusion_planner.runtime.pressure import PULL, Pressure, restraints

torch.set_num_threads(1)

TRUE, FLAW = (0.0, 0.0), (2.0, 0.0)
WIDTH = 4            # of a token: two positions, two velocities
SPREAD = {'level': [0.0, 0.5, 1.0], 'spread': [0.0, 0.1, 0.5]}
SETTINGS = PlannerSettings(ease_odds=0.0)


def _plain(head):
    """Make a head's embedding the posture itself and its log-odds 3 less the squared distance from the place, at width -3."""
    head.posture = torch.nn.Sequential(torch.nn.Linear(2, 2))
    head.posture[0].weight.data, head.posture[0].bias.data = torch.eye(2), torch.zeros(2)
    for part in (head.certainty[-1].weight, head.certainty[-1].bias):
        part.data.zero_()
    return head


def _flawed():
    head = _plain(FlawedHead(2, 2, embedding=2))
    head.patch.data, head.patch_width.data = torch.tensor(FLAW), torch.tensor(-3.0)
    return head


def _network(first=None, panel=3, familiar=10.0):
    """A model of two joints whose heads are plain, and to which every posture is familiar."""
    torch.manual_seed(0)
    network = WorldModel(ModelConfig(('one', 'two'), (), goal='position', width=16, depth=1, panel=panel))
    network.guide_head = first or _plain(RewardHead(2, 2, embedding=2))
    for index in range(panel):
        network.panel[index] = _plain(RewardHead(2, 2, embedding=2))
    network.familiarity.net[-1].weight.data.zero_()
    network.familiarity.net[-1].bias.data.fill_(familiar)
    return network.requires_grad_(False).eval()


def _context(places=(TRUE,) * 4, goal=Goal(1.0)):
    """A context of one token at 0 and what each head reads off it: a place, all equally wide."""
    return SimpleNamespace(tokens=torch.zeros(1, 1, WIDTH), level=torch.zeros(1, 1), offset_s=torch.zeros(1, 1), goal=goal, pressure=None,
                           places=torch.tensor(places)[:, None], widths=torch.full((len(places), 1), -3.0))


def _gaussian(mean, variance):
    """The exact denoiser of independent tokens about `mean` [2], with velocities about 0."""
    mean = torch.tensor([*mean, 0.0, 0.0])

    def denoise(noisy, level, offset_s):
        level = level.unsqueeze(-1)
        gain = signal(level) * variance / (signal(level) ** 2 * variance + sigma(level) ** 2)
        return mean + gain * (noisy - signal(level) * mean)
    return denoise


def _once(pressure, context, level=0.5, batch=5, **changes):
    """Ask the wrapped denoiser once, the last token at a level: -> shift of the last token [B, D]"""
    noisy = torch.randn(batch, 2, WIDTH, generator=torch.Generator().manual_seed(1))
    denoise, levels, offset_s = _gaussian((1.0, 1.0), 1.0), torch.tensor([[0.0, level]]).expand(batch, 2), torch.ones(batch, 2)
    wrapped = pressure.on_far(denoise, context, PlannerSettings(**{'ease_odds': 0.0, **changes}))
    return (wrapped(noisy, levels, offset_s) - denoise(noisy, levels, offset_s))[:, -1], denoise(noisy, levels, offset_s)[:, -1]


def _settle(pressure, context, mean, variance=0.3, steps=30, **changes):
    """Sample 64 far tokens of a Gaussian under pressure: -> positions [64, 2]"""
    noisy = torch.randn(64, 2, WIDTH, generator=torch.Generator().manual_seed(2))
    noisy[:, 0] = 0
    denoise = pressure.on_far(_gaussian(mean, variance), context, PlannerSettings(**{'ease_odds': 0.0, **changes}))
    return sample(denoise, noisy, scheduling_matrix(torch.tensor([0.0, 1.0]), steps), torch.ones(64, 2), MultistepStep())[:, -1, :2]


# Who pulls

def test_without_the_guard_one_head_pulls_and_nothing_bounds_it():
    # Squared distance 1 from the place: gradient 2 towards it, at level 1/2 gain 1/2, PULL x 10 = 1: a shift of the whole way.
    pressure, context = Pressure(_network(), {'spread': SPREAD}, 'cpu'), _context((TRUE, FLAW, FLAW, FLAW), Goal(10.0))
    shift, clean = _once(pressure, context, guard=False, proximal=False)
    torch.testing.assert_close(shift[:, :2], -clean[:, :2])
    assert (shift[:, 2:] == 0).all()                                  # velocities are not pulled
    far, _ = _once(pressure, _context(goal=Goal(1e6)), guard=False, proximal=False)
    assert far.abs().max() > 1e4 and context.pressure[1] is None      # not bounded, and no account kept


def test_with_the_guard_all_heads_pull_as_a_pessimist_combines_them():
    pressure, context = Pressure(_network(familiar=1.0), {}, 'cpu'), _context((TRUE, (0.5, 0.0), (0.0, 0.3), (-0.4, 0.0)))
    shift, clean = _once(pressure, context, proximal=False, caution=0.7, guidance_max_shift=1e9)

    def together(tokens, _level):
        position = tokens[:, -1, :2]
        values = -(position - context.places).square().sum(-1)
        return pessimistic(values, 0.7) + pressure.unfamiliar(position)
    expected = guide(lambda *_: clean[:, None], together, PULL, 'clean', max_shift=1e9)(clean[:, None], torch.full((5, 1), 0.5), None)[:, 0] - clean
    torch.testing.assert_close(shift[:, :2], expected[:, :2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('guard', [True, False])
@pytest.mark.parametrize('form', ['clean', 'through'])
def test_written_out_or_by_autograd_the_pull_is_the_same(form, guard):
    pressure, context = Pressure(_network(familiar=0.5), {'spread': SPREAD}, 'cpu'), _context((TRUE, FLAW, (0.0, 0.3), (-0.4, 0.0)))
    assert pressure.fast is not None
    written, _ = _once(pressure, context, guidance_form=form, guard=guard)
    pressure.fast = None
    slow, _ = _once(pressure, context, guidance_form=form, guard=guard)
    torch.testing.assert_close(written, slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('goal', [Goal(0.0), Goal(3.0, candidates_only=True)])
def test_without_guidance_nothing_is_pulled(goal):
    pressure, context = Pressure(_network(), {'spread': SPREAD}, 'cpu'), _context(goal=goal)
    denoise = _gaussian(TRUE, 1.0)
    assert pressure.on_far(denoise, context, SETTINGS) is denoise and restraints(context.pressure) == {}


# A flaw

def test_a_flaw_in_one_of_four_heads_takes_an_unguarded_plan_and_hardly_a_guarded_one():
    """The first head rewards (0, 0) and by a flaw (2, 0); the others know nothing of that. The prior is about (1.5, 0)."""
    pressure, context = Pressure(_network(_flawed()), {}, 'cpu'), _context(goal=Goal(200.0))
    assert pressure.fast is None                                      # a flaw has its own arithmetic
    free = _settle(pressure, context, (1.5, 0.0), guard=False)
    assert (free - torch.tensor(FLAW)).norm(dim=1).median() < 0.3
    held = _settle(pressure, context, (1.5, 0.0), guidance_max_shift=1e9)
    assert (held - torch.tensor(TRUE)).norm(dim=1).median() < 0.3


def test_where_all_agree_a_flaw_elsewhere_changes_nothing_by_hand():
    # At the true place the flawed head is as happy as the others: no shortfall, no spread. At the flaw its shortfall is 0, theirs is 4:
    # mean 3, spread sqrt(3) of 1 head in 4, so -3 - 1.73 in all.
    pressure, context = Pressure(_network(_flawed()), {}, 'cpu'), _context()
    values = pressure.stack.shortfalls(torch.tensor([TRUE, FLAW]), context.places, pressure.stack.sharpness(context.widths))
    torch.testing.assert_close(values, torch.tensor([[0.0, 0.0], [0.0, -4.0], [0.0, -4.0], [0.0, -4.0]]))
    assert pessimistic(values, 1.0).tolist() == pytest.approx([0.0, -3 - 3 ** 0.5], abs=1e-5)


@pytest.mark.parametrize('caution, reached', [(0.0, 0.5), (0.3, 0.5 * (1 + 0.3 * 3 ** 0.5)), (1.0, 1.0), (3.0, 1.0)])
def test_a_head_that_rewards_another_place_altogether_drags_the_optimum_to_half_way_at_most(caution, reached):
    # Three heads at 0 and one at f = 2: the mean of -x^2, three times, and -(x - f)^2 is best at f / 4. Left of the middle the odd one
    # doubts most and the spread is sqrt(3) / 4 (f^2 - 2 f x), so caution adds f sqrt(3) / 4 to that, up to f / 2, where all doubt alike.
    line = torch.stack([torch.linspace(-1, 3, 4001), torch.zeros(4001)], 1)
    pressure, context = Pressure(_network(), {}, 'cpu'), _context((FLAW, TRUE, TRUE, TRUE))
    values = pressure.stack.shortfalls(line, context.places, pressure.stack.sharpness(context.widths))
    assert line[pessimistic(values, caution).argmax(), 0].item() == pytest.approx(reached, abs=2e-3)


# What bounds it

@settings(max_examples=30, deadline=None)
@given(st.floats(0.02, 1.0), st.floats(0, 4), st.floats(1, 1e5), st.booleans())
def test_the_trust_region_follows_the_models_own_spread_at_the_level(level, trust, scale, proximal):
    pressure, context = Pressure(_network(), {'spread': SPREAD}, 'cpu'), _context(goal=Goal(scale))
    shift, _ = _once(pressure, context, level, proximal=proximal, trust=trust)
    length = shift[:, :2].square().mean(-1).sqrt()
    region = min(trust * np.interp(level, SPREAD['level'], SPREAD['spread']), 0.8)
    assert (length <= region * (1 + 1e-5) + 1e-7).all()


def test_the_region_by_hand():
    # Half way from level 0.5 to 1 the spread is half way from 0.1 to 0.5; two of them are 0.6, below the widest, 0.8. At level 1 two
    # spreads would be 1.0. A pull beyond all bounds reaches the edge.
    pressure, context = Pressure(_network(), {'spread': SPREAD}, 'cpu'), _context(goal=Goal(1e6))
    for level, region in ((0.25, 0.1), (0.5, 0.2), (0.75, 0.6), (0.999, 0.8)):
        shift, _ = _once(pressure, context, level, proximal=False)
        torch.testing.assert_close(shift[:, :2].square().mean(-1).sqrt(), torch.full((5,), region), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('planning, trust', [({}, 2.0), ({'spread': SPREAD}, float('inf'))])
def test_a_model_that_does_not_know_its_spread_has_the_widest_region(planning, trust):
    shift, _ = _once(Pressure(_network(), planning, 'cpu'), _context(goal=Goal(1e6)), 0.25, proximal=False, trust=trust)
    torch.testing.assert_close(shift[:, :2].square().mean(-1).sqrt(), torch.full((5,), 0.8))


def test_the_pull_is_eased_where_postures_are_not_those_of_play():
    # Familiarity says -1 everywhere, its floor is 0.5: 1.5 log-odds below; eased at 1 that is a factor of sigmoid(-0.5) = 0.3775.
    network = _network(familiar=-1.0)
    network.familiarity.floor.fill_(0.5)
    pressure, context = Pressure(network, {}, 'cpu'), _context()
    eased, _ = _once(pressure, context, ease_odds=1.0)
    full, _ = _once(pressure, context)
    torch.testing.assert_close(eased, 0.3775407 * full)
    unguarded, _ = _once(pressure, context, guard=False, ease_odds=1.0)
    torch.testing.assert_close(unguarded, _once(pressure, context, guard=False)[0])


def test_a_sharp_head_pulls_onto_its_peak_and_not_past_it():
    # Gradient 2 d, request k: the step 2 k d is damped by 1 / (1 + 2 k d 2 d / (2 d^2)) = 1 / (1 + 2 k), and d is what it tends to.
    pressure, context = Pressure(_network(), {}, 'cpu'), _context(goal=Goal(1e6))
    shift, clean = _once(pressure, context, guidance_max_shift=1e9)
    assert ((clean + shift)[:, :2].norm(dim=1) < 1e-3).all()
    past, clean = _once(pressure, context, proximal=False, guidance_max_shift=1e9)
    assert ((clean + past)[:, :2].norm(dim=1) > clean[:, :2].norm(dim=1)).all()


# The account

def test_restraints_by_hand():
    # Two steps: factors multiply within a step and are averaged over steps; the request was 4.
    # First candidate: 4 (1/2 1 1/2 + 1 1/2 1) / 2 = 4 (1/4 + 1/2) / 2 = 1.5; second: nothing held it back.
    restraint = Restraint([torch.tensor([0.5, 1.0]), torch.ones(2)], [torch.ones(2), torch.tensor([0.5, 1.0])],
                          [torch.tensor([0.5, 1.0]), torch.ones(2)])
    account = restraints((4.0, restraint))
    assert {name: column.tolist() for name, column in account.items()} == {
        'in_force': [1.5, 4.0], 'curvature': [0.75, 1.0], 'ease': [0.75, 1.0], 'region': [0.75, 1.0]}


def test_there_is_no_account_of_what_was_not_guarded_or_never_called():
    assert restraints(None) == restraints((1.0, None)) == restraints((1.0, Restraint())) == {}


def test_there_is_no_account_where_candidates_were_left_out_on_the_way():
    """With settings.guidance_negligible calls differ in length, and no mean over them means anything."""
    parts = [torch.ones(3), torch.ones(2)]
    assert restraints((1.0, Restraint(parts, parts, parts))) == {}


def test_the_more_is_asked_the_less_of_it_is_in_force():
    pressure, shares = Pressure(_network(), {'spread': SPREAD}, 'cpu'), []
    for scale in (0.1, 1.0, 10.0, 100.0):
        context = _context(goal=Goal(scale))
        _settle(pressure, context, (1.0, 0.0), steps=8)
        account = restraints(context.pressure)
        assert account['in_force'].shape == (64,) and (account['in_force'] <= scale + 1e-6).all()
        shares.append(account['in_force'].mean() / scale)
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.8 and shares[-1] < 0.3


# Paths

def test_paths_are_kept_to_postures_of_play_only_under_the_guard():
    network = _network()
    torch.manual_seed(3)
    network.familiarity = type(network.familiarity)(2).requires_grad_(False)
    network.familiarity.floor.fill_(3.0)                               # nothing is familiar enough
    pressure, context, denoise = Pressure(network, {}, 'cpu'), _context(), _gaussian(TRUE, 1.0)
    noisy, level = torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(4)), torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.0]]).expand(3, 5)
    offset_s = torch.ones(3, 4).cumsum(1)
    told = noisy, level, torch.zeros(3, 5)
    shift = pressure.on_path(denoise, context, offset_s, SETTINGS)(*told) - denoise(*told)
    assert (shift[:, 1:4, :2] != 0).all() and (shift[:, [0, 4]] == 0).all() and (shift[..., 2:] == 0).all()
    assert pressure.on_path(denoise, context, offset_s, PlannerSettings(guard=False)) is denoise


# What the user asks

POSE = 'goal_pose: {{position_rad: [0.4, -0.3], tolerance_rad: 0.1}}\n{}'


def _asked(more=''):
    frame = JointFrame((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    robot = Robot('two', ('one', 'two'), (-3.0,) * 2, (3.0,) * 2, (9.0,) * 2, (9.0,) * 2, (9.0,) * 2, 0.01, (frame, frame),
                  JointFrame((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)), (0.0, 0.0))
    return load_objective(POSE.format(more), robot)


@pytest.mark.parametrize('more, reached', [('weights: {reward: 0}', (0.4, -0.3)), ('', None)])
def test_a_goal_pose_pulls_the_far_token_and_alone_where_reward_weighs_nothing(more, reached):
    pressure, context = Pressure(_network(), {}, 'cpu'), _context(goal=Goal(20.0, objective=_asked(more)))
    ends = _settle(pressure, context, (0.0, 0.0), guidance_max_shift=1e9).median(0).values
    if reached:
        torch.testing.assert_close(ends, torch.tensor(reached), atol=0.06, rtol=0)
    else:                       # between the rewarded place, (0, 0), and the asked one
        assert 0.05 < ends[0] <= 0.46 and -0.36 <= ends[1] < -0.03


def test_what_is_asked_of_the_end_is_said_of_far_tokens_by_hand():
    # Minus the square of miss over tolerance: at the pose 0, one tolerance away -1, at the origin -(0.5 / 0.1)^2 = -25.
    pressure = Pressure(_network(), {}, 'cpu')
    far = torch.zeros(3, 1, WIDTH)
    far[:2, 0, :2] = torch.tensor([[0.4, -0.3], [0.5, -0.3]])
    said = pressure.asked_at_end(_context(goal=Goal(1.0, objective=_asked())), far)
    np.testing.assert_allclose(said['asked'], [0, -1, -25], atol=1e-4)
    assert pressure.asked_at_end(_context(), far) == {}
