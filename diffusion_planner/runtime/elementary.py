"""Operators that ONNX has no counterpart of, in ones that it has."""
import torch

aten = torch.ops.aten


def searchsorted(known, values, *, out_int32=False, right=False, side=None, sorter=None):
    """Count what is before each value: known [..., N], values [..., M] -> [..., M]"""
    if sorter is not None:
        known = known.gather(-1, sorter)
    before = known[..., None, :] <= values[..., None] if right or side == 'right' else known[..., None, :] < values[..., None]
    return before.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _so_far(values, dim):
    """Lay out what each place has seen: values -> values with `dim` last [..., 1, N], seen [N, N]"""
    values = values.movedim(dim, -1)
    place = torch.arange(values.shape[-1], device=values.device)
    return values[..., None, :], place <= place[:, None], place


def cummin(values, dim):
    """The least so far, and the last place where it was."""
    spread, seen, place = _so_far(values, dim)
    lowest = torch.where(seen, spread, float('inf')).amin(-1)
    where = torch.where(seen & (spread == lowest[..., None]), place, -1).amax(-1)
    return lowest.movedim(-1, dim), where.movedim(-1, dim)


def cummax(values, dim):
    """The greatest so far, and the last place where it was."""
    highest, where = cummin(-values, dim)
    return -highest, where


def logsumexp(values, dim, keepdim=False):
    """log sum exp, -inf of nothing but -inf."""
    highest = values.amax(dim, keepdim=True)
    highest = torch.where(highest.abs() == float('inf'), torch.zeros_like(highest), highest)
    total = (values - highest).exp().sum(dim, keepdim=True).log() + highest
    return total if keepdim else total.squeeze(dim)


def logcumsumexp(values, dim):
    """log sum exp of everything so far."""
    spread, seen, _ = _so_far(values, dim)
    return logsumexp(torch.where(seen, spread, -float('inf')), [-1]).movedim(-1, dim)


def sort(values, dim=-1, descending=False):
    """Order along a dimension; what is alike stays in its order."""
    return torch.topk(values, values.shape[dim], dim, largest=descending)


def sort_stable(values, *, stable=None, dim=-1, descending=False):
    return sort(values, dim, descending)


def select_backward(gradient, sizes, dim, index):
    """Zeros but for the row that was selected."""
    dim, count = dim % len(sizes), sizes[dim]
    index = index + count if index < 0 else index
    return _among_zeros(gradient.unsqueeze(dim), dim, len(sizes), index, count - index - 1)


def slice_backward(gradient, sizes, dim, start, end, step):
    """Zeros but for the rows of the slice."""
    if step != 1:
        return NotImplemented
    dim, count = dim % len(sizes), sizes[dim]
    start = start + count if start < 0 else start
    return _among_zeros(gradient, dim, len(sizes), start, count - start - gradient.shape[dim])


def _among_zeros(values, dim, dimensions, before, after):
    """Put zeros before and after values along a dimension."""
    return torch.constant_pad_nd(values, [0, 0] * (dimensions - 1 - dim) + [before, after])


ELEMENTARY = {aten.searchsorted.Tensor: searchsorted, aten.cummin.default: cummin, aten.cummax.default: cummax,
              aten.logcumsumexp.default: logcumsumexp, aten.logsumexp.default: logsumexp,
              aten.sort.default: sort, aten.sort.stable: sort_stable,
              aten.select_backward.default: select_backward, aten.slice_backward.default: slice_backward}
