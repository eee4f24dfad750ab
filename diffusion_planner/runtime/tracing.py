"""Torch functions as ONNX graphs, gradients included: a function may differentiate anything that autograd knows."""
import logging
import re
import warnings
from contextlib import contextmanager

import torch
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from diffusion_planner.runtime.elementary import ELEMENTARY

OPSET = 18           # what the exporter writes of itself; later ones only by a conversion
KEPT_WHOLE = 1024    # tensors of more numbers than this stay as they are: a weight is found again by its bytes


class ExportError(ValueError):
    """A function that cannot be written as a graph; the message names the operator, or says that it has no gradient."""


def trace(function, example, outputs, letters=None, opset=OPSET):
    """Write a function of tensors as a graph.

    trace(function(*tensors) -> tensor or tuple, {input name: example tensor}, [output name], {input name: {axis: letter}}) -> onnx.ModelProto

    Axes with a letter may have any size at run time, those with one letter the same; in the example each letter has a size of
    its own, of at least 2. All other sizes, and what the function decides by them, are fixed. Constants that the function keeps
    for later calls must be there already, or it keeps the tracer's. Raises ExportError.
    """
    letters = letters or {}
    _check_sizes(example, letters)
    with _quiet():
        traced = _trace(function, tuple(example.values()))
        shapes = tuple({axis: torch.export.Dim.DYNAMIC for axis in letters.get(name, {})} for name in example)
        try:
            program = torch.onnx.export(traced, tuple(example.values()), dynamo=True, dynamic_shapes=shapes, input_names=list(example),
                                        output_names=list(outputs), opset_version=opset, optimize=False, verbose=False)
        except Exception as error:
            raise ExportError(_refusal(error)) from None
        return _finish(program.model, letters)


def with_gradient(value):
    """Make value(x, *rest) -> [B] a function that gives its gradient too, for `trace`: -> function -> value [B], gradient like x

    What becomes of one row must not depend on another. The function raises ExportError where no gradient leads to x.
    """
    def both(first, *rest):
        with torch.enable_grad():
            first = first.detach().requires_grad_()
            values = value(first, *rest)
            if not values.requires_grad:
                raise ExportError('not differentiable: no gradient leads from its value to its first argument')
            # Not torch.func.grad, under which linear layers take the sizes of the example for the only ones.
            gradient, = torch.autograd.grad(values.sum(), first)
        return values.detach(), gradient
    return both


def _check_sizes(example, letters):
    sizes = {letter: {example[name].shape[axis] for name, axes in letters.items() for axis, other in axes.items() if other == letter}
             for axes in letters.values() for letter in axes.values()}
    for letter, found in sizes.items():
        if len(found) != 1 or min(found) < 2 or sum(found == other for other in sizes.values()) > 1:
            raise ValueError(f'{letter}: got sizes {sorted(found)} in the example, expected one of at least 2 that no other letter has')


def _trace(function, tensors):
    """Write down the elementary operations of a function: -> GraphModule"""
    backward = {operator: parts for operator, parts in core_aten_decompositions().items() if 'backward' in str(operator)}
    try:
        return make_fx(lambda *given: function(*given), decomposition_table=backward | ELEMENTARY, tracing_mode='symbolic',
                       _allow_non_fake_inputs=True)(*tensors)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(_refusal(error)) from None


def _refusal(error):
    """Say in one line what an exporter says in hundreds."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    told = [str(cause) for cause in causes]
    for text in told:
        if found := re.search(r"No ONNX function found for .*?op='([\w.]+)'", text):
            return f'operator {found[1]}: has no counterpart in ONNX; expected elementary operators'
        if found := re.search(r'inferred a static shape of (\d+)', text):
            return f'an axis that has a letter is fixed at {found[1]} by the function; expected one that may have any size'
    for text in told:
        if 'does not require grad' in text or 'have been used in the graph' in text:
            return 'not differentiable: no gradient leads from its value to its first argument'
        if 'data-dependent' in text or 'unbacked' in text or '.numpy()' in text:
            return f'operator item or numpy: makes numbers outside torch, which no graph can follow ({_shortened(text)})'
    return f'cannot be exported: {type(causes[-1]).__name__}: {_shortened(told[-1])}'


def _shortened(text):
    return ' '.join(text.split())[:200]


def _finish(model, letters):
    """Simplify a graph without touching weights, and name its axes: onnx_ir.Model -> onnx.ModelProto"""
    import onnx
    import onnx_ir
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants_ir
    common.InlinePass()(model)
    for _ in range(2):
        fold_constants_ir(model, onnx_shape_inference=True, should_fold=lambda node: False if any(map(_is_weight, node.inputs)) else None)
        common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _drop_ones(model.graph)
    onnx_ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.DeduplicateInitializersPass(), common.CommonSubexpressionEliminationPass(),
                              common.RemoveUnusedFunctionsPass(), common.RemoveUnusedOpsetsPass(), common.OutputFixPass(), common.NameFixPass())(model)
    proto = onnx_ir.to_proto(model)
    _name_axes(proto.graph, letters)
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.ClearField('metadata_props')
        node.ClearField('doc_string')
    onnx.checker.check_model(proto)
    return proto


def _drop_ones(graph):
    """Drop factors of exactly 1. The exporter's own simplification takes 1.000009 for 1, too, and adding 1e-9 for adding nothing."""
    from onnx_ir.convenience import replace_all_uses_with
    for node in graph:
        for factor, other in ((1, 0), (0, 1)) if node.op_type == 'Mul' else ((1, 0),) if node.op_type == 'Div' else ():
            value = _constant(node.inputs[factor])
            if value is not None and value.shape.rank() == 0 and value.numpy() == 1 and not node.outputs[0].is_graph_output():
                replace_all_uses_with(node.outputs[0], node.inputs[other])
                break


def _constant(value):
    return value.const_value if value is not None and value.is_initializer() else None


def _is_weight(value):
    return (constant := _constant(value)) is not None and constant.size > KEPT_WHOLE


def _name_axes(graph, letters):
    """Call the axes of inputs and outputs by their letters instead of by what the tracer called them."""
    names = {}
    for given in graph.input:
        for axis, letter in letters.get(given.name, {}).items():
            dimension = given.type.tensor_type.shape.dim[axis]
            if not dimension.dim_param:
                raise ExportError(f'{given.name}: axis {axis} ({letter}): fixed at {dimension.dim_value} by the function; expected any size')
            names[dimension.dim_param] = letter
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = names.get(dimension.dim_param, dimension.dim_param)


@contextmanager
def _quiet():
    """Silence the exporter, which tells of things that are none of the caller's business."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
