"""Values with their gradients written out: autograd spends ten times as long on networks this small as their arithmetic does.

Each function here is an objective of postures, position [..., J] -> [...], that autograd can differentiate once.
"""
import torch
from torch import nn
from torch.nn.functional import silu, softplus


class _Known(torch.autograd.Function):
    """A value whose gradient came with it."""

    @staticmethod
    def forward(context, position, compute):
        value, gradient = compute(position)
        context.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(context, upstream):
        gradient, = context.saved_tensors
        return upstream[..., None] * gradient, None


def known(compute):
    """Make an objective of compute(position [..., J]) -> value [...], gradient [..., J]: -> function position -> value"""
    return lambda position: _Known.apply(position, compute)


class OfTokens:
    """The sum of objectives of postures over some tokens, as an objective of tokens [B, T, D] -> [B] that knows its gradient.

    `block`: slices of T and of D, see diffusion.guidance.guide.
    """

    def __init__(self, computes, tokens, numbers):
        self.computes, self.block = computes, (tokens, numbers)

    def value_and_gradient(self, tokens):
        """-> value [B], gradient of the block"""
        position = tokens[:, self.block[0], self.block[1]]
        (value, gradient), *others = [compute(position) for compute in self.computes]
        for more, also in others:
            value, gradient = value + more, gradient + also
        return value.sum(1), gradient

    def __call__(self, tokens, _level):
        position = tokens[:, self.block[0], self.block[1]]
        return sum(known(compute)(position) for compute in self.computes).sum(1)


class Perceptron:
    """A trained perceptron with SiLUs, or M of one shape side by side: what nets.heads.perceptron builds.

    Their last layers may differ in width; the narrow ones give zeros beyond theirs.
    """

    def __init__(self, networks):
        layers = zip(*([layer for layer in network if isinstance(layer, nn.Linear)] for network in networks))
        stacked = [(_stack([part.weight for part in level]).detach(), _stack([part.bias for part in level])[:, None].detach())
                   for level in layers]
        self.back = [weight for weight, _ in stacked]                                        # [M, after, before]
        self.forth = [(weight.transpose(1, 2), bias) for weight, bias in stacked]      # a view: reading weights is most of the work

    def __call__(self, values):
        """values [N, before] -> after [M, N, after], and what `pull_back` needs"""
        entered, values = [], values.expand(len(self.back[0]), *values.shape)
        for weight, bias in self.forth[:-1]:
            entered.append(torch.baddbmm(bias, values, weight))
            values = silu(entered[-1])
        weight, bias = self.forth[-1]
        return torch.baddbmm(bias, values, weight), entered

    def pull_back(self, gradient, entered):
        """Bring a gradient from the output to the input, summed over the networks: gradient [M, N, after] -> [N, before]"""
        for weight, before in zip(self.back[:0:-1], reversed(entered)):
            gradient = torch.ops.aten.silu_backward(torch.bmm(gradient, weight), before)
        return torch.bmm(gradient, self.back[0]).sum(0)


def _stack(values):
    """Stack tensors whose first axes may differ in size: the shorter ones get zeros."""
    longest = max(len(value) for value in values)
    return torch.stack([nn.functional.pad(value, (*(0, 0) * (value.ndim - 1), 0, longest - len(value))) for value in values])


class Octaves:
    """The sines and cosines that a FamiliarityHead reads beside each joint, and their gradient; without octaves the joints alone."""

    def __init__(self, frequency, joints):
        self.frequency, self.joints = frequency, joints

    def __call__(self, position):
        """position [N, J] -> features [N, J (1 + 2 O)], and what `pull_back` needs"""
        if not len(self.frequency):
            return position, None
        angle = (position[..., None] * self.frequency).flatten(-2)
        sine, cosine = angle.sin(), angle.cos()
        return torch.cat([position, sine, cosine], -1), (sine, cosine)

    def pull_back(self, gradient, waves):
        """Bring a gradient from the features to the joints: gradient [N, J (1 + 2 O)] -> [N, J]"""
        if waves is None:
            return gradient
        own, of_sine, of_cosine = gradient.tensor_split((self.joints, self.joints * (1 + len(self.frequency))), -1)
        along = (of_sine * waves[1] - of_cosine * waves[0]).unflatten(-1, (self.joints, -1))
        return own + along @ self.frequency


def unfamiliarity(head, margin):
    """Log-probability, up to a margin, that postures are of a kind seen at play, by a FamiliarityHead: -> compute, see `known`"""
    net, threshold = Perceptron([head.net]), head.floor + margin

    def compute(position):
        octaves = Octaves(head.frequency, position.shape[-1])
        features, waves = octaves(position.reshape(-1, position.shape[-1]))
        odds, entered = net(features)
        lacking = threshold - odds[0, :, 0]
        gradient = octaves.pull_back(net.pull_back(lacking.sigmoid()[None, :, None], entered), waves)
        return -softplus(lacking).view(position.shape[:-1]), gradient.view(position.shape)
    return compute


class Shortfalls:
    """How far the log-odds of M reward heads are below their peaks, as a pessimist combines them; see nets.heads.pessimistic."""

    def __init__(self, heads):
        self.net, self.count = Perceptron([head.posture for head in heads]), len(heads)

    def compute(self, places, sharpness, caution):
        """places [M, 1, E], sharpness [M, 1], caution a number or a tensor of one -> compute, see `known`"""
        return lambda position: self(position, places, sharpness, caution)

    def __call__(self, position, places, sharpness, caution):
        """-> value [...], gradient [..., J] at positions [..., J]"""
        after, entered = self.net(position.reshape(-1, position.shape[-1]))
        away = after - places
        value, weight = self._combined(sharpness * away.square().sum(-1), sharpness, caution)
        gradient = self.net.pull_back(2 * weight[..., None] * away, entered)
        return value.view(position.shape[:-1]), gradient.view(position.shape)

    def _combined(self, values, sharpness, caution):
        """values [M, B], sharpness [M, 1] -> [B], and the slope of it by each squared distance [M, B] or [M, 1]"""
        if self.count == 1:
            return values[0], sharpness
        mean = values.mean(0)
        spread = (values.var(0, correction=0) + 1e-12).sqrt()
        return mean - caution * spread, sharpness * ((1 - caution * (values - mean) / spread) / self.count)
