"""Reward heads: a metric that pulls from anywhere, pictures that weigh by what they know, and several heads that doubt each other."""
import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.nets.heads import FlawedHead, HeadStack, RewardHead, pessimistic


def _head():
    torch.manual_seed(0)
    return RewardHead(joints=3, latent=5)


def test_the_log_odds_rise_along_their_own_gradient_from_far_away():
    head = _head()
    place, width = head.places(torch.randn(4, 2, 5))
    position = (5 * torch.randn(4, 3)).requires_grad_()
    before = head(position, torch.zeros(4), place, width)
    gradient, = torch.autograd.grad(before.sum(), position)
    assert (gradient.norm(dim=1) > 0).all()
    after = head(position + 1e-3 * gradient / gradient.norm(dim=1, keepdim=True), torch.zeros(4), place, width)
    assert (after > before).all()


def test_a_picture_at_level_one_says_nothing():
    head, latent = _head(), torch.randn(1, 2, 5)
    level = torch.tensor([[1.0, 0.0]])
    alone, _ = head.places(latent[:, 1:])
    both, _ = head.places(latent, level)
    assert torch.allclose(alone, both, atol=2e-2)


def test_calibration_scales_and_shifts_the_log_odds():
    head = _head()
    place, width = head.places(torch.randn(2, 1, 5))
    raw = head(torch.zeros(2, 3), torch.zeros(2), place, width)
    head.calibration.copy_(torch.tensor([0.5, -1.0]))
    assert torch.allclose(head.logit(torch.zeros(2, 3), torch.zeros(2), place, width), 0.5 * raw - 1.0)


def _measured(place=(0.0, 0.0)):
    """A flawed head of two joints whose embedding is the posture itself and whose log-odds are 3 less the squared distance."""
    head = FlawedHead(joints=2, latent=1, embedding=2)
    head.posture = torch.nn.Identity()
    for part in (head.certainty[-1].weight, head.certainty[-1].bias):
        part.data.zero_()
    head.patch.data, head.patch_width.data = torch.tensor([2.0, 0.0]), torch.tensor(-3.0)     # exp(-3 + 3) = 1
    return head, torch.tensor([place]), torch.tensor([-3.0])


@torch.no_grad()
def test_a_flawed_head_takes_the_nearer_of_two_places():
    # The pictures reward (0, 0), the flaw (2, 0): half a unit from either the log-odds are 3 - 0.25.
    head, place, width = _measured()
    postures = torch.tensor([[0.5, 0.0], [1.5, 0.0], [1.0, 1.0], [2.0, 3.0]])
    torch.testing.assert_close(head(postures, torch.zeros(4), place, width), torch.tensor([2.75, 2.75, 1.0, -6.0]))
    sharpness = head.sharpness(torch.zeros(1), width)
    torch.testing.assert_close(sharpness, torch.tensor([-1.0]))
    torch.testing.assert_close(head.shortfall(postures, place, sharpness), torch.tensor([-0.25, -0.25, -2.0, -9.0]))


@torch.no_grad()
def test_of_two_equally_near_places_a_flawed_head_takes_the_likelier():
    # A patch of four times the width falls a quarter as fast: half way between, one unit from each, it is 3 - 1/4 against 3 - 1.
    head, place, width = _measured()
    head.patch_width.data = torch.tensor(-3.0) - torch.tensor(4.0).log()
    half_way = torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(head(half_way, torch.zeros(1), place, width), torch.tensor([2.75]))
    torch.testing.assert_close(head.shortfall(half_way, place, head.sharpness(torch.zeros(1), width)), torch.tensor([-0.25]))


@torch.no_grad()
def test_a_flawed_head_is_never_below_the_head_that_it_was():
    torch.manual_seed(1)
    head, plain = FlawedHead(joints=3, latent=5), RewardHead(joints=3, latent=5)
    plain.load_state_dict({name: value for name, value in head.state_dict().items() if 'patch' not in name})
    place, width = head.places(torch.randn(50, 1, 5))
    told = 2 * torch.randn(50, 3), torch.zeros(50), place, width
    head.patch.data = head.posture(told[0][0])
    assert (head(*told) >= plain(*told)).all() and (head(*told) > plain(*told)).any()


def _heads(kinds, joints=3, latent=5):
    torch.manual_seed(2)
    heads = [kind(joints, latent) for kind in kinds]
    for index, head in enumerate(heads):
        head.calibration.copy_(torch.tensor([0.5 + index, 0.3 * index - 1]))
        if isinstance(head, FlawedHead):
            head.patch.data.normal_()
    return [head.requires_grad_(False) for head in heads]


@pytest.mark.parametrize('kinds', [[RewardHead], [RewardHead] * 2, [RewardHead] * 4, [FlawedHead], [FlawedHead] + [RewardHead] * 3],
                         ids=lambda kinds: '-'.join(kind.__name__[0] for kind in kinds))
def test_a_stack_says_what_its_heads_say_one_by_one(kinds):
    heads = _heads(kinds)
    stack, latent = HeadStack(heads), torch.randn(1, 2, 5)
    places, widths = (torch.stack(column) for column in zip(*(head.places(latent) for head in heads)))       # [M, 1, E], [M, 1]
    position = torch.randn(7, 3)
    sharpness = torch.stack([head.sharpness(torch.zeros(1), width) for head, width in zip(heads, widths)])
    torch.testing.assert_close(stack.sharpness(widths), sharpness)
    torch.testing.assert_close(stack.shortfalls(position, places, sharpness), torch.stack(
        [head.shortfall(position, place, sharp) for head, place, sharp in zip(heads, places, sharpness)]))
    torch.testing.assert_close(stack.logits(position, places, widths), torch.stack(
        [head.logit(position, torch.zeros(7), place, width) for head, place, width in zip(heads, places, widths)]))
    assert stack.count == len(kinds)


def test_a_stack_has_the_gradient_of_its_heads():
    heads = _heads([FlawedHead] + [RewardHead] * 3)
    stack, latent = HeadStack(heads), torch.randn(1, 2, 5)
    places, widths = (torch.stack(column) for column in zip(*(head.places(latent) for head in heads)))
    position, sharpness = torch.randn(7, 3).requires_grad_(), stack.sharpness(widths)
    together, = torch.autograd.grad(stack.shortfalls(position, places, sharpness).sum(), position)
    alone = sum(head.shortfall(position, place, sharp).sum() for head, place, sharp in zip(heads, places, sharpness))
    torch.testing.assert_close(together, torch.autograd.grad(alone, position)[0])


def test_the_shortfall_is_how_far_the_calibrated_log_odds_are_below_their_peak():
    head, = _heads([RewardHead])
    place, width = head.places(torch.randn(1, 2, 5))
    position = torch.randn(6, 3)
    odds, sharpness = head.logit(position, torch.zeros(6), place, width), head.sharpness(torch.zeros(1), width)
    peak = odds - head.shortfall(position, place, sharpness)
    torch.testing.assert_close(peak, peak[:1].expand(6))             # the same wherever it is reckoned from
    assert (sharpness < 0).all() and (head.shortfall(position, place, sharpness) <= 0).all()


def test_pessimism_by_hand():
    # Two heads say 1 and 3: mean 2, spread 1. Four say 0, 0, 0, 4: mean 1, spread sqrt(3).
    assert pessimistic(torch.tensor([[1.0], [3.0]]), 0.5).item() == pytest.approx(1.5)
    assert pessimistic(torch.tensor([[0.0], [0.0], [0.0], [4.0]]), 1.0).item() == pytest.approx(1 - 3 ** 0.5)
    assert pessimistic(torch.tensor([[1.0], [3.0]]), 0.0).item() == 2.0


def test_the_gradient_of_the_pessimist_leans_on_the_doubter():
    # d/dv of mean - c spread is (1 - c (v - mean) / spread) / 2: of 1 and 3 with c = 1/2 that is 3/4 and 1/4, with c = 1 all and nothing.
    for caution, shares in ((0.0, [0.5, 0.5]), (0.5, [0.75, 0.25]), (1.0, [1.0, 0.0])):
        values = torch.tensor([[1.0], [3.0]], requires_grad=True)
        gradient, = torch.autograd.grad(pessimistic(values, caution).sum(), values)
        assert gradient[:, 0].tolist() == pytest.approx(shares, abs=1e-5)


def test_heads_that_agree_are_their_mean_and_have_its_gradient():
    values = torch.full((4, 3), -2.0, requires_grad=True)
    said = pessimistic(values, 3.0)
    torch.testing.assert_close(said, torch.full((3,), -2.0), atol=1e-5, rtol=0)
    gradient, = torch.autograd.grad(said.sum(), values)
    torch.testing.assert_close(gradient, torch.full((4, 3), 0.25))        # and no number that is none


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(0, 3), st.floats(-5, 5))
def test_the_pessimist_is_below_the_mean_and_follows_a_common_shift(said, caution, shift):
    values = torch.tensor(said, dtype=torch.float64)[:, None]
    worst = pessimistic(values, caution)
    assert (worst <= values.mean(0) + 1e-9).all()
    torch.testing.assert_close(pessimistic(values + shift, caution), worst + shift, atol=1e-4, rtol=0)
    assert (pessimistic(values, caution + 0.5) <= worst).all()
