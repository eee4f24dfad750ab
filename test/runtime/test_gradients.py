"""Gradients that are written out, against autograd through the modules that they stand for."""
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.functional import softplus

from diffusion_planner.nets.heads import FamiliarityHead, HeadStack, RewardHead, perceptron, pessimistic
from diffusion_planner.runtime.gradients import OfTokens, Perceptron, Shortfalls, known, unfamiliarity

torch.set_num_threads(1)
JOINTS = 3


def _random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _autograd(function, values):
    values = values.clone().requires_grad_()
    said = function(values)
    return said.detach(), torch.autograd.grad(said.sum(), values)[0]


def _familiarity(seed=0, octaves=0):
    torch.manual_seed(seed)
    head = FamiliarityHead(JOINTS, width=16, octaves=octaves)
    head.floor.fill_(0.3)
    return head.requires_grad_(False)


def _heads(count, seed=0):
    torch.manual_seed(seed)
    heads = [RewardHead(JOINTS, 4, width=16).requires_grad_(False) for _ in range(count)]
    stack = HeadStack(heads)
    places, widths = (torch.stack(column) for column in zip(*(head.places(torch.randn(1, 2, 4)) for head in heads)))
    return heads, stack, places, stack.sharpness(widths)


@pytest.mark.parametrize('depth', [1, 2, 3])
@pytest.mark.parametrize('count', [1, 3])
def test_perceptrons_and_what_they_pull_back(depth, count):
    torch.manual_seed(1)
    networks = [perceptron(JOINTS, 8, 2, depth).requires_grad_(False) for _ in range(count)]
    net, values, upstream = Perceptron(networks), _random(2, 5, JOINTS), _random(3, count, 5, 2)
    after, slopes = net(values)
    expected, gradient = _autograd(lambda values: (torch.stack([network(values) for network in networks]) * upstream).sum((0, 2)), values)
    torch.testing.assert_close(after, torch.stack([network(values) for network in networks]))
    torch.testing.assert_close((after * upstream).sum((0, 2)), expected)
    torch.testing.assert_close(net.pull_back(upstream, slopes), gradient)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 20), st.sampled_from([(7,), (2, 3)]), st.sampled_from([0, 1, 4]))
def test_unfamiliarity_is_that_of_its_head(seed, spread, shape, octaves):
    head, position = _familiarity(seed, octaves), spread * _random(seed, *shape, JOINTS)
    value, gradient = unfamiliarity(head, 1.0)(position)
    expected, slope = _autograd(lambda position: -softplus(head.floor + 1.0 - head(position)), position)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.floats(0, 3), st.sampled_from([(7,), (2, 3)]))
def test_shortfalls_are_those_of_the_heads_as_a_pessimist_combines_them(seed, count, caution, shape):
    heads, stack, places, sharpness = _heads(count, seed)
    position = _random(seed, *shape, JOINTS)

    def said(position):
        values = stack.shortfalls(position.reshape(-1, JOINTS), places, sharpness)
        return (pessimistic(values, caution) if count > 1 else values[0]).view(position.shape[:-1])
    value, gradient = Shortfalls(heads).compute(places, sharpness, caution)(position)
    expected, slope = _autograd(said, position)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4)


def test_heads_that_agree_have_a_gradient_too():
    """No spread, no division by it."""
    heads, _, places, sharpness = _heads(1)
    value, gradient = Shortfalls(heads * 3).compute(places.expand(3, -1, -1), sharpness.expand(3, -1), 2.0)(_random(4, 5, JOINTS))
    alone, slope = Shortfalls(heads).compute(places, sharpness, 0.0)(_random(4, 5, JOINTS))
    assert gradient.isfinite().all()
    torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4)


def test_a_known_objective_can_be_differentiated_like_any_other():
    head, position = _familiarity(), _random(5, 2, 4, JOINTS)
    function = known(unfamiliarity(head, 1.0))
    _, gradient = _autograd(lambda position: 3 * function(position * position), position)
    _, expected = _autograd(lambda position: -3 * softplus(head.floor + 1.0 - head(position * position)), position)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('tokens', [slice(-1, None), slice(2, -1)], ids=['far', 'between'])
def test_of_tokens_is_the_sum_over_tokens_and_objectives_and_nothing_else_has_a_gradient(tokens):
    heads, stack, places, sharpness = _heads(3)
    head, values = _familiarity(), _random(6, 4, 6, 8)
    objective = OfTokens([Shortfalls(heads).compute(places, sharpness, 1.0), unfamiliarity(head, 1.0)], tokens, slice(0, JOINTS))

    def said(values):
        position = values[:, tokens, :JOINTS]
        reward = pessimistic(stack.shortfalls(position.reshape(-1, JOINTS), places, sharpness), 1.0).view(position.shape[:-1])
        return (reward - softplus(head.floor + 1.0 - head(position))).sum(1)
    value, gradient = objective.value_and_gradient(values)
    expected, slope = _autograd(said, values)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    whole = torch.zeros_like(values)
    whole[:, tokens, :JOINTS] = gradient
    torch.testing.assert_close(whole, slope, rtol=1e-3, atol=1e-4)
    through, slope = _autograd(lambda values: objective(values, None), values)
    torch.testing.assert_close(through, value)
    torch.testing.assert_close(slope, whole)
