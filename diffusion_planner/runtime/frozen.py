"""Trained networks traced once: for networks this small much of a call is spent between its operators, in Python."""
import warnings

import torch


def frozen(module, *example):
    """Trace a module that will not change any more: -> module of the same tensors, whose first axes may have any size

    What it decides by the sizes of its other axes is fixed. Without gradients.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)   # it unpacks stacks of fixed length
        warnings.simplefilter('ignore', DeprecationWarning)
        return torch.jit.freeze(torch.jit.trace(module.eval(), example, check_trace=False))


def for_pictures(module, *example):
    """The same for convolutions, whose weights are laid out for the processor beforehand; on other devices as `frozen`."""
    traced = frozen(module, *example)
    if any(tensor.device.type != 'cpu' for tensor in example):
        return traced
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.jit.optimize_for_inference(traced)


class PairHeads:
    """The heads of a model that judge pairs of motions, each traced."""

    def __init__(self, network, device):
        width = network.layout.motion.stop - (network.layout.motion.start or 0)
        example = torch.zeros(2, width, device=device), torch.zeros(2, width, device=device), torch.ones(2, device=device)
        self.heads = {name: frozen(getattr(network, name), *example) for name in ('transition', 'genuineness') if getattr(network.config, name)}

    def odds(self, name, near, far, gap_s):
        """What one of them says: near, far [..., 2J], gap_s [...] -> log-odds [...]"""
        return self.heads[name](near.flatten(0, -2), far.flatten(0, -2), gap_s.flatten()).view(gap_s.shape)
