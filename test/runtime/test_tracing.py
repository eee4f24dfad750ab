"""Graphs of torch functions: the same numbers at every size, gradients included, and what cannot be a graph is refused."""
import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from diffusion_planner.runtime.onnx_graphs import small_session
from diffusion_planner.runtime.tracing import OPSET, ExportError, trace, with_gradient

torch.set_num_threads(1)
TIES = torch.tensor([[3.0, 1.0, 1.0, 2.0, 1.0, 3.0], [0.0, -1.0, 0.0, -1.0, 5.0, -2.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]])


def run(model, *given):
    """Run a graph: -> [output]"""
    session = small_session(model.SerializeToString(), onnxruntime.SessionOptions())
    return session.run(None, {node.name: value.numpy() for node, value in zip(session.get_inputs(), given)})


def check(model, function, *given, tolerance=1e-5):
    expected = function(*given)
    for found, wanted in zip(run(model, *given), expected if isinstance(expected, tuple) else (expected,)):
        np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 60), nn.SiLU(), nn.LayerNorm(60), nn.Linear(60, 20), nn.GELU(), nn.Linear(20, 1)).eval()


@pytest.fixture(scope='module')
def value(network):
    return with_gradient(lambda tokens, shift: (network(tokens) + shift[:, None, None]).sum((1, 2)).square())


@pytest.fixture(scope='module')
def graph(value):
    example = {'tokens': torch.randn(3, 5, 20), 'shift': torch.randn(3)}
    return trace(value, example, ['value', 'gradient'], {'tokens': {0: 'B', 1: 'T'}, 'shift': {0: 'B'}})


@pytest.mark.parametrize('count, length', [(3, 5), (1, 5), (7, 2), (16, 1)])
def test_value_and_gradient_are_those_of_torch_at_every_size(graph, value, count, length):
    torch.manual_seed(count)
    check(graph, value, torch.randn(count, length, 20), torch.randn(count))


def test_the_gradient_is_that_of_autograd(value):
    tokens, shift = torch.randn(2, 3, 20, requires_grad=True), torch.randn(2)
    values, gradient = value(tokens, shift)
    step = 1e-2 * gradient / gradient.norm()
    rise = (value(tokens.detach() + step, shift)[0] - value(tokens.detach() - step, shift)[0]).sum() / 2
    assert rise.item() == pytest.approx(0.01 * gradient.norm().item(), rel=0.02) and values.shape == (2,)


def test_axes_are_called_by_their_letters(graph):
    shapes = {node.name: [axis.dim_param or axis.dim_value for axis in node.type.tensor_type.shape.dim] for node in (*graph.graph.input, *graph.graph.output)}
    assert shapes == {'tokens': ['B', 'T', 20], 'shift': ['B'], 'value': ['B'], 'gradient': ['B', 'T', 20]}
    assert [(part.domain, part.version) for part in graph.opset_import] == [('', OPSET)]


def test_weights_are_in_the_graph_once_with_the_bytes_they_have_in_torch(graph, network):
    stored = [onnx.numpy_helper.to_array(part).tobytes() for part in graph.graph.initializer]
    weights = [layer.weight for layer in network if isinstance(layer, nn.Linear) and layer.weight.numel() > 1024]
    assert [stored.count(weight.detach().numpy().tobytes()) for weight in weights] == [1, 1]
    assert sum(len(part) for part in stored if len(part) > 4096) == sum(4 * weight.numel() for weight in weights)


def rewritten(values, known):
    """Everything that ONNX has no operator for."""
    order = values.sort(dim=-1, stable=True)
    back = values.sort(dim=0, descending=True, stable=True)
    return (torch.searchsorted(known, values), torch.searchsorted(known, values, right=True), torch.searchsorted(known, values, side='right', out_int32=True),
            *values.cummin(-1), *values.cummin(0), *values.cummax(-1), values.logcumsumexp(-1), values.logcumsumexp(0),
            values.logsumexp(-1), values.logsumexp((0, 1), keepdim=True), torch.where(values > 0, values, 0).log().logsumexp(-1), *order, *back,
            values.argsort(dim=-1, descending=True, stable=True), values.gather(-1, values.argsort(-1)))


@pytest.mark.parametrize('kind', [torch.float32, torch.float64])
def test_what_onnx_lacks_is_what_torch_has_ties_included(kind):
    known = TIES.sort(-1).values.to(kind)[:, 1:].contiguous()
    names, letters = [f'output_{index}' for index in range(len(rewritten(TIES.to(kind), known)))], {name: {0: 'P'} for name in ('values', 'known')}
    model = trace(rewritten, {'values': TIES.to(kind), 'known': known}, names, letters)
    check(model, rewritten, TIES.to(kind), known, tolerance=1e-6)
    check(model, rewritten, -TIES.to(kind)[[1]], known[[1]], tolerance=1e-6)
    check(model, rewritten, -TIES.to(kind)[[2]], known[[2]], tolerance=1e-6)      # the logarithm of nothing but zeros
    far = TIES.to(kind) * 1e3
    check(model, rewritten, far, known, tolerance=1e-6)


def test_gradients_lead_through_what_onnx_lacks():
    def value(values):
        order = values.argsort(dim=-1, stable=True)
        return ((values.cummin(-1).values * values.logcumsumexp(-1)).sum(-1) + values.logsumexp(-1)
                + (values.gather(-1, order) * torch.arange(values.shape[1])).sum(-1)
                + values[:, 1] * values[:, -1] + values[:, 2:].square().sum(-1) - values[:, -3:-1].square().sum(-1) + (values[:, ::2] ** 3).sum(-1))
    both = with_gradient(value)
    model = trace(both, {'values': TIES}, ['value', 'gradient'], {'values': {0: 'B', 1: 'T'}})
    check(model, both, TIES)
    torch.manual_seed(0)
    check(model, both, torch.randn(2, 9))


SIZE = {'values': {0: 'B'}}


def test_small_numbers_are_not_taken_for_nothing():
    def value(values):
        return torch.stack([(values + 1e-9).sqrt(), values * 1.000004, values / 1.000004, values - 1e-9])
    model = trace(value, {'values': TIES.double() * 0}, ['value'], SIZE)
    for given in (torch.zeros(1, 6).double(), torch.ones(1, 6).double()):
        wanted, found = value(given).numpy(), run(model, given)[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-16)




@pytest.mark.parametrize('function, told', [
    (lambda values: torch.linalg.svdvals(values[:, :, None] * values[:, None]), 'operator aten._linalg_svd: has no counterpart in ONNX'),
    (lambda values: values * float(values.sum()), 'operator item or numpy'),
    (lambda values: values * values.numpy().sum(), 'operator item or numpy'),
    (lambda values: values if values.sum() > 0 else -values, 'operator item or numpy'),
    (lambda values: values + torch.ones(3, 1), 'an axis that has a letter is fixed at 3'),
    (with_gradient(lambda values: values.detach().sum(1)), 'not differentiable'),
    (with_gradient(lambda values: (values > 0).float().sum(1)), 'not differentiable'),
    (with_gradient(lambda values: torch.zeros(3, requires_grad=True) * 2), 'not differentiable'),
    (with_gradient(lambda values: torch.as_tensor(np.sin(values.detach().numpy())).sum(1)), 'operator item or numpy'),
    (lambda values: torch.func.grad(lambda given: torch.tensor([row.sum().item() for row in given]).sum())(values), 'operator item or numpy'),
    (lambda values: 1 / 0, 'ZeroDivisionError'),
])
def test_what_cannot_be_a_graph_is_refused_in_one_line(function, told):
    with pytest.raises(ExportError) as refusal:
        trace(function, {'values': TIES}, ['value'], SIZE)
    assert told in str(refusal.value) and '\n' not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize('shape, letters', [((3, 3), {0: 'B', 1: 'T'}), ((1, 3), {0: 'B'}), ((3, 4), {0: 'B', 1: 'B'})])
def test_examples_that_would_fix_a_size_are_refused(shape, letters):
    with pytest.raises(ValueError, match='in the example, expected one of at least 2 that no other letter has'):
        trace(lambda values: values, {'values': torch.zeros(shape)}, ['value'], {'values': letters})


def test_the_exporter_says_nothing(capfd, caplog, recwarn):
    def chatty(values):
        logging.getLogger('torch.onnx').error('this may be of use to somebody')
        warnings.warn('and this')
        return values * 2
    trace(chatty, {'values': TIES}, ['value'], SIZE)
    assert (*capfd.readouterr(), list(filter(None, caplog.messages)), len(recwarn), logging.root.manager.disable) == ('', '', [], 0, 0)
