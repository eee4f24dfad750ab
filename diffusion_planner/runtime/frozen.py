"""Trained networks traced once: for networks this small much of a call is spent between its operators, in Python."""
import contextlib
import warnings

import torch


def traced(function, *example):
    """Trace a function of tensors, or a module: -> the same of the same tensors, whose first axes may have any size

    What it decides by the sizes of its other axes is fixed, and so are the tensors that it has from elsewhere. Without gradients.
    """
    with _quiet(), torch.no_grad():     # it unpacks stacks of fixed length
        return torch.jit.trace(function, example, check_trace=False)


def frozen(module, *example):
    """Trace a module that will not change any more, its weights as constants."""
    with _quiet():
        return torch.jit.freeze(traced(module.eval(), *example))


def for_pictures(module, *example):
    """The same for convolutions, whose weights are laid out for the processor beforehand; on other devices as `frozen`."""
    steady = frozen(module, *example)
    if any(tensor.device.type != 'cpu' for tensor in example):
        return steady
    with _quiet():
        return torch.jit.optimize_for_inference(steady)


@contextlib.contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        yield


class PairHeads:
    """The heads of a model that judge pairs of motions, each traced."""

    def __init__(self, network, device):
        width = network.layout.motion.stop - (network.layout.motion.start or 0)
        example = torch.zeros(2, width, device=device), torch.zeros(2, width, device=device), torch.ones(2, device=device)
        self.heads = {name: frozen(getattr(network, name), *example) for name in ('transition', 'genuineness') if getattr(network.config, name)}

    def odds(self, name, near, far, gap_s):
        """What one of them says: near, far [..., 2J], gap_s [...] -> log-odds [...]"""
        return self.heads[name](near.flatten(0, -2), far.flatten(0, -2), gap_s.flatten()).view(gap_s.shape)
