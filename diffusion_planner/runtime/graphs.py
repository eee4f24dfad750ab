"""The networks as planning calls them, cut into the functions that are exported: tensors in, tensors out, nothing kept between.

Those that sample are in graphs_guided. Every function computes what the backend in PyTorch does with modules of `nets`; what follows
from it without a network (noise, sampling steps, the bounds on guidance) is numpy, see runtime.schedule.
"""
import torch
from torch import nn

from diffusion_planner.nets.heads import HeadStack
from diffusion_planner.runtime.figures import PATH_POINTS


class Pictures(nn.Module):
    """pixels [N, Y, X, 3] uint8, number of their camera [N] where there are several -> latent [N, Z], not normalised"""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels, *camera):
        return self.network.encode_pictures(pixels, *camera)


class Picture(nn.Module):
    """latent [N, Z] in network space -> pixels [N, Y, X, 3] uint8"""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, latent):
        return self.network.decode_pictures(latent)


class Strange(nn.Module):
    """pixels [1, Y, X, 3] uint8, latent [1, Z] not normalised -> what of it networks say: missed [1], distances [1, 2], see nets.strangeness

    Of one camera's pictures.
    """

    def __init__(self, network, camera=0):
        super().__init__()
        self.network, self.camera = network, camera

    def forward(self, pixels, latent):
        head = self.network.strangenesses()[self.camera]
        missed = head.missed(self.network.decoder(latent, self.camera), pixels)
        return (missed / head.usual).mean((1, 2)), torch.stack([head._distance(name, latent) for name in ('all', 'hidden')], 1)


class Places(nn.Module):
    """What the heads read off a context: told [C, N], level [C] if pictures tell

    -> places [M, 1, E], sharpness [M, 1], widths [M, 1], the judge's place and width
    """

    def __init__(self, network):
        super().__init__()
        self.heads, self.judge = nn.ModuleList(network.guides()), network.judge_head

    def forward(self, told, *level):
        level = tuple(values[None] for values in level)
        guides = [head.places(told[None], *level) for head in self.heads]
        places, widths = (torch.stack(column) for column in zip(*guides))
        return (places, HeadStack(self.heads).sharpness(widths), widths, *self.judge.places(told[None], *level))


class JudgeFar(nn.Module):
    """What the heads say of far tokens: far [B, D], origin [1, D], far_s [B], places, widths, judge_place, judge_width

    -> said [M, B] and judge [B], probabilities, reach [B], log-odds above the floor of the transition head
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.layout = network, network.layout

    def forward(self, far, origin, far_s, places, widths, judge_place, judge_width):
        position, network, own = far[:, self.layout.position], self.network, self.layout.motion
        said = torch.sigmoid(HeadStack(network.guides()).logits(position, places, widths))
        judge = torch.sigmoid(network.judge_head.logit(position, torch.zeros_like(far_s), judge_place, judge_width))
        if not network.config.transition:
            return said, judge, torch.zeros_like(far_s)
        reach = network.transition(origin[:, own].expand(far.shape[0], -1), far[:, own], far_s) - network.transition.floor
        return said, judge, reach


class JudgePaths(nn.Module):
    """What is said of paths: tokens [P, T, D], offset_s [P, T], origin [1, D] -> [P] each, see runtime.judging

    familiarity on lines and on cubics, steps, genuineness, and consistency in radians.
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.layout = network, network.layout

    def forward(self, tokens, offset_s, origin):
        path = torch.cat([origin[:, None].expand(tokens.shape[0], -1, -1), tokens], 1)
        gap_s = offset_s - torch.cat([torch.zeros_like(offset_s[:, :1]), offset_s[:, :-1]], 1)
        near, far, none = path[:, :-1, self.layout.motion], path[:, 1:, self.layout.motion], torch.zeros_like(offset_s[:, 0])
        network, config = self.network, self.network.config
        steps = (network.transition(near, far, gap_s) - network.transition.floor).amin(1) if config.transition else none
        genuineness = network.genuineness(near, far, gap_s).mean(1) if config.genuineness else none
        return *self._familiarity(path, gap_s), steps, genuineness, self._consistency(path, near, far, gap_s)

    def _familiarity(self, path, gap_s):
        head, own = self.network.familiarity, self.layout.position
        here = torch.minimum(head(path[:, 0, own]) - 0.5, head.floor)
        start, way = path[:, :-1, own], path[:, 1:, own] - path[:, :-1, own]
        share = torch.linspace(0, 1, PATH_POINTS + 1)[1:, None, None, None]
        normalizer = self.network.normalizer
        rate = normalizer.inverse(path)[..., self.layout.velocity] / normalizer.spread[own]
        bent = (start + share ** 2 * (3 - 2 * share) * way
                + gap_s[..., None] * (share * (1 - share) ** 2 * rate[:, :-1] - share ** 2 * (1 - share) * rate[:, 1:]))
        return tuple(head(way).amin(2).amin(0) - here for way in (start + share * way, bent))

    def _consistency(self, path, near, far, gap_s):
        normalizer, own = self.network.normalizer, self.layout.position
        command = self.network.inverse_dynamics(near, far, gap_s) * normalizer.spread[own] + normalizer.mean[own]
        values = normalizer.inverse(path)[:, :-1]
        return (command - values[..., own] - 0.05 * values[..., self.layout.velocity]).abs().mean((1, 2))
