"""Sampling steps as functions that are exported: the denoiser as planning calls it, and what pulls its tokens, gradients included."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.onnx.ops import attention

from diffusion_planner.runtime.gradients import Perceptron, unfamiliarity
from diffusion_planner.runtime.pressure import FAMILIAR_MARGIN
from diffusion_planner.runtime.tracing import with_gradient


class Conditions(nn.Module):
    """What each block makes of a token's level and second: level [N], offset_s [N] -> rows [K, N, E], K = 6 L + 3

    The scales among them are one more than the network says, as they are applied; the last row is the condition itself.
    """

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, level, offset_s):
        condition, blocks = self.denoiser._condition(level, offset_s), self.denoiser.transformer.blocks
        columns = [part + (index in (1, 4)) for block in blocks for index, part in enumerate(block.condition(condition).chunk(6, -1))]
        shift, scale = self.denoiser.condition(condition).chunk(2, -1)
        return torch.stack([*columns, shift, scale + 1, condition])


class Imagine(nn.Module):
    """The denoiser with its conditions made beforehand: known [C, D], noisy [B, F, D], index [B, C + F], fade, K rows [N, E] -> clean [B, F, D]

    index says which row is whose; fade [B, F, 2] are signal and sigma of the imagined tokens. What the last block would make of the
    context is not computed: nobody reads it. `fused`: attention as the one operator that ONNX has for it, which has no gradient.
    """

    def __init__(self, denoiser, fused=True):
        super().__init__()
        self.denoiser, self.fused = denoiser, fused

    def forward(self, known, noisy, index, fade, *rows):
        # All in two dimensions but attention: every other shape would cost operators that only rename axes.
        denoiser, width, (batch, count), fill = self.denoiser, self.denoiser.enter.out_features, index.shape, noisy.shape[1]
        entered = denoiser.enter(noisy.reshape(-1, noisy.shape[-1])).view(batch, fill, width)
        tokens = torch.cat([denoiser.enter(known).expand(batch, -1, -1), entered], 1).reshape(-1, width) + F.embedding(index.reshape(-1), rows[-1])
        blocks, all_of, own = denoiser.transformer.blocks, index.reshape(-1), index[:, count - fill:].reshape(-1)
        for block, number in zip(blocks[:-1], range(0, 6 * len(blocks), 6)):
            tokens = self._block(block, tokens, rows[number:number + 6], all_of, batch)
        tokens = self._last(blocks[-1], tokens, rows[-9:-3], all_of, own, batch, fill)
        shift, scale = (F.embedding(own, row) for row in rows[-3:-1])
        velocity = denoiser.leave(F.layer_norm(tokens, (width,)) * scale + shift).view(noisy.shape)
        return fade[..., :1] * noisy - fade[..., 1:] * velocity

    def _block(self, block, tokens, rows, index, batch):
        """One block of nets.transformer: tokens [B T, E], index [B T] -> [B T, E]"""
        width = tokens.shape[-1]
        read = F.layer_norm(tokens, (width,)) * F.embedding(index, rows[1]) + F.embedding(index, rows[0])
        query, key, value = block.qkv(read).view(batch, -1, 3 * width).chunk(3, -1)
        return self._onwards(block, tokens, self._attend(query, key, value, block.heads), rows, index)

    def _last(self, block, tokens, rows, index, own, batch, fill):
        """The last block, for the last tokens alone: tokens [B T, E], index [B T], own [B F] -> [B F, E]"""
        width, weight, bias = tokens.shape[-1], block.qkv.weight, block.qkv.bias
        read = F.layer_norm(tokens, (width,)) * F.embedding(index, rows[1]) + F.embedding(index, rows[0])
        key, value = F.linear(read, weight[width:], bias[width:]).view(batch, -1, 2 * width).chunk(2, -1)
        tokens, read = (part.view(batch, -1, width)[:, -fill:].reshape(-1, width) for part in (tokens, read))
        query = F.linear(read, weight[:width], bias[:width]).view(batch, fill, width)
        return self._onwards(block, tokens, self._attend(query, key, value, block.heads), rows, own)

    def _onwards(self, block, tokens, attended, rows, index):
        """The rest of a block: tokens [N, E], what attention read for them [B, W, E], index [N] -> [N, E]"""
        gate, shift, scale, gate_after = (F.embedding(index, row) for row in rows[2:])
        tokens = tokens + gate * block.mix(attended.reshape(tokens.shape))
        read = F.layer_norm(tokens, (tokens.shape[-1],)) * scale + shift
        return tokens + gate_after * block.mlp(read)

    def _attend(self, query, key, value, heads):
        """[B, T, E] each -> [B, T, E]"""
        if self.fused:
            return attention(query, key, value, q_num_heads=heads, kv_num_heads=heads)[0]
        query, key, value = (part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key, value))
        share = ((query @ key.transpose(-1, -2)) * key.shape[-1] ** -0.5).softmax(-1)
        return (share @ value).transpose(1, 2).reshape(query.shape[0], query.shape[2], -1)


class Pull(nn.Module):
    """What pulls a far token: position [B, J], places [M, 1, E], sharpness [M, 1], share [M], mix [3] -> value [B], gradient [B, J]

    The mean over the heads, each counted by its share, less mix[0] times their spread; mix[1] weighs that and mix[2] how unfamiliar
    the posture is. See runtime.pressure, where the same is asked of as many heads as count. Heads and familiarity are perceptrons
    of one shape but for the last layer: side by side their gradients, written out, cost little more than one.
    """

    def __init__(self, network):
        super().__init__()
        self.heads, self.familiarity = nn.ModuleList(network.guides()), network.familiarity
        self.plain = not network.config.familiarity_octaves

    def forward(self, position, places, sharpness, share, mix):
        # Stacked here, in the graph, not before: so no weight is stored twice.
        net = Perceptron([*(head.posture for head in self.heads), *[self.familiarity.net] * self.plain])
        after, slopes = net(position)
        away, count = after[:len(self.heads)] - places, len(self.heads)
        values = sharpness * away.square().sum(-1)
        mean = (share[:, None] * values).sum(0)
        doubt = ((share[:, None] * (values - mean).square()).sum(0) + 1e-12).sqrt()
        weight = share[:, None] * (1 - mix[0] * (values - mean) / doubt)
        upstream = (2 * mix[1]) * (weight * sharpness)[..., None] * away
        value = mix[1] * (mean - mix[0] * doubt)
        if not self.plain:
            strange, towards = with_gradient(lambda position: _unfamiliar(self.familiarity, position))(position)
            return value + mix[2] * strange, net.pull_back(upstream, slopes) + mix[2] * towards
        lacking = self.familiarity.floor + FAMILIAR_MARGIN - after[count:, :, :1]
        upstream = torch.cat([upstream, F.pad(mix[2] * lacking.sigmoid(), (0, after.shape[-1] - 1))])
        return value - mix[2] * F.softplus(lacking)[0, :, 0], net.pull_back(upstream, slopes)


def _unfamiliar(head, position):
    """Log-probability, up to a margin, that postures are of a kind seen at play: [..., J] -> [...]"""
    return -F.softplus(head.floor + FAMILIAR_MARGIN - head(position))


class Far(nn.Module):
    """One guided step of a far token but for its bounds: what Imagine takes, origin [1, D], far_s [B], what Pull takes

    -> clean [B, 1, D], value [B], gradient [B, J] of what pulls at the clean estimate, odds [B] of the transition.
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.layout = network, network.layout
        self.imagine, self.pull = Imagine(network.denoiser), Pull(network)

    def forward(self, known, noisy, index, fade, origin, far_s, places, sharpness, share, mix, *rows):
        clean = self.imagine(known, noisy, index, fade, *rows)
        value, gradient = self.pull(clean[:, 0, self.layout.position], places, sharpness, share, mix)
        return clean, value, gradient, self._odds(origin, clean[:, 0], far_s)

    def _odds(self, origin, far, far_s):
        """Log-odds above the floor that play could have come from the origin: -> [B]"""
        own, network = self.layout.motion, self.network
        if network.config.transition:
            return network.transition(origin[:, own].expand(far.shape[0], -1), far[:, own], far_s) - network.transition.floor
        return network.familiarity(far[:, self.layout.position]) - network.familiarity.floor


class PullBack(nn.Module):
    """A gradient brought back through the denoiser, for the form 'through': what Imagine takes, upstream [B, J] -> gradient [B, J]

    From the clean estimate's positions to the noisy token's; upstream may be the slope of any objective.
    """

    def __init__(self, network):
        super().__init__()
        self.imagine, self.own = Imagine(network.denoiser, fused=False), network.layout.position

    def forward(self, known, noisy, index, fade, upstream, *rows):
        def along(noisy):
            return (self.imagine(known, noisy, index, fade, *rows)[:, 0, self.own] * upstream).sum(1)
        return with_gradient(along)(noisy)[1][:, 0, self.own]


class AtLevel(nn.Module):
    """What pulls a noisy far token under the form 'noisy': position [B, J], level [B], place [1, E], width [1] -> value [B], gradient [B, J]"""

    def __init__(self, network):
        super().__init__()
        self.head, self.familiarity = network.guide_head, network.familiarity

    def forward(self, position, level, place, width):
        sharpness = self.head.sharpness(level, width)
        return with_gradient(lambda position: self.head.shortfall(position, place, sharpness) + _unfamiliar(self.familiarity, position))(position)


class Fill(nn.Module):
    """One step of fill-in tokens but for its bounds: what Imagine takes -> clean [P, F + 1, D], gradient [P, F, J] towards play"""

    def __init__(self, network):
        super().__init__()
        self.imagine, self.familiarity, self.own = Imagine(network.denoiser), network.familiarity, network.layout.position

    def forward(self, known, noisy, index, fade, *rows):
        clean = self.imagine(known, noisy, index, fade, *rows)
        position = clean[:, :-1, self.own]
        if len(self.familiarity.frequency):
            return clean, with_gradient(lambda position: _unfamiliar(self.familiarity, position).sum(1))(position)[1]
        return clean, unfamiliarity(self.familiarity, FAMILIAR_MARGIN)(position)[1]
