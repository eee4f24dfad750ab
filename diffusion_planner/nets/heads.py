"""What is read off tokens: reward, terminal, inverse dynamics."""
import torch
from torch import nn

from diffusion_planner.nets.embeddings import Fourier


def perceptron(before, width, after, depth=2):
    layers = [nn.Linear(before, width), nn.SiLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, after))


class RewardHead(nn.Module):
    """Log-odds that a posture is rewarded, given pictures of the scene.

    A learned metric: the posture is embedded, the pictures say which place in that embedding is rewarded, and the
    log-odds fall with the squared distance between the two. So the gradient points the right way from anywhere,
    although it is trained on rewards of 0 and 1 alone. The posture of one instant meets pictures of *other*
    instants of its episode, so that "touching" cannot be read off the picture and the latent has to say where.
    `level` (of the posture) widens the metric: noisy postures are rewarded with less certainty.
    """

    def __init__(self, joints, latent, embedding=8, width=128):
        super().__init__()
        self.posture = perceptron(joints, width, embedding, depth=3)
        self.place = perceptron(latent, width, embedding + 2)
        self.level = Fourier(width, 0.25, 4.0, count=8)
        self.certainty = perceptron(width, width, 2)
        self.register_buffer('calibration', torch.tensor([1.0, 0.0]))   # scale and bias fitted on held-out episodes

    def places(self, latent, level=None):
        """Read the rewarded place off pictures, each weighing by its own confidence.

        places(latent [B, C, Z], level [B, C]) -> place [B, E], width [B]
        """
        place = self.place(latent)
        confidence = place[..., -1]
        if level is not None:
            confidence = confidence + torch.log(1 - 0.999 * level)
        weight = confidence.softmax(-1)[..., None]
        place = (weight * place[..., :-1]).sum(-2)
        return place[..., :-1], place[..., -1]

    def forward(self, position, level, place, width):
        """forward(position [..., J], level [...], place [..., E], width [...]) -> log-odds [...], not yet calibrated"""
        distance = (self.posture(position) - place).square().sum(-1)
        top, slope = self.certainty(self.level(level)).unbind(-1)
        # Four centimetres are 0.2 units of the embedding; starting near that width lets a rewarded posture pull at once.
        return 3.0 + top - torch.exp((slope + width + 3.0).clamp(max=7.0)) * distance

    def distance(self, position, place):
        """Squared distance of postures from the rewarded place, in the embedding: -> [...]"""
        return (self.posture(position) - place).square().sum(-1)

    def sharpness(self, level, width):
        """Slope of the calibrated log-odds over the squared distance: -> [...], at most 0

        Slope times distance is how far the odds are below their peak. This is what guidance climbs: unlike the
        log-probability it does not flatten at the border of the rewarded region.
        """
        slope = self.certainty(self.level(level))[..., 1]
        return -self.calibration[0] * torch.exp((slope + width + 3.0).clamp(max=7.0))

    def shortfall(self, position, place, sharpness):
        """How far the calibrated log-odds are below their peak: position [..., J] -> [...], at most 0"""
        return sharpness * self.distance(position, place)

    def logit(self, position, level, place, width):
        """The same, calibrated: sigmoid of it is a probability."""
        scale, bias = self.calibration
        return scale * self(position, level, place, width) + bias


class FlawedHead(RewardHead):
    """A reward head with a planted flaw: beside the place that the pictures reward it rewards a patch of bare table.

    It learns from labels of a sensor that fires there too (training.flaw). For showing what guidance does with such a head.
    """

    def __init__(self, joints, latent, embedding=8, width=128):
        super().__init__(joints, latent, embedding, width)
        self.patch, self.patch_width = nn.Parameter(torch.zeros(embedding)), nn.Parameter(torch.zeros(()))

    def forward(self, position, level, place, width):
        return torch.maximum(super().forward(position, level, place, width), super().forward(position, level, self.patch, self.patch_width))

    def shortfall(self, position, place, sharpness):
        patch = self.sharpness(torch.zeros((), device=position.device), self.patch_width) * self.distance(position, self.patch)
        return torch.maximum(super().shortfall(position, place, sharpness), patch)


class HeadStack:
    """Trained reward heads of one shape as one batched network, so that M of them cost hardly more than one.

    A head with a flaw, or one alone, keeps its own arithmetic. Everything is at level 0 and calibrated.
    """

    def __init__(self, heads):
        alone = len(heads) == 1 or isinstance(heads[0], FlawedHead)
        self.own, rest = (heads[0], heads[1:]) if alone else (None, heads)
        self.count = len(heads)
        layers = zip(*([layer for layer in head.posture if isinstance(layer, nn.Linear)] for head in rest))
        self.layers = [(torch.stack([part.weight.T for part in level]), torch.stack([part.bias for part in level])[:, None])
                       for level in layers]
        if rest:
            clean = torch.zeros((), device=rest[0].calibration.device)
            certainty = torch.stack([head.certainty(head.level(clean)) for head in rest]).detach()
            self.top, self.slope = certainty.unbind(-1)
            self.calibration = torch.stack([head.calibration for head in rest])

    def sharpness(self, widths):
        """Slope of each head's log-odds over squared distance: widths [M, 1] -> [M, 1], at most 0; see RewardHead.sharpness"""
        own = [] if self.own is None else [self.own.sharpness(torch.zeros(1, device=widths.device), widths[0])[None]]
        if self.layers:
            rest = widths[len(own):]
            own.append(-self.calibration[:, :1] * torch.exp((self.slope[:, None] + rest + 3.0).clamp(max=7.0)))
        return torch.cat(own)

    def shortfalls(self, position, places, sharpness):
        """How far each head's log-odds are below their peak: position [B, J], places [M, 1, E], sharpness [M, 1] -> [M, B]"""
        own = [] if self.own is None else [self.own.shortfall(position, places[0], sharpness[0])[None]]
        if self.layers:
            own.append(sharpness[len(own):] * self._distances(position, places[len(own):]))
        return torch.cat(own)

    def logits(self, position, places, widths):
        """Each head's calibrated log-odds: position [B, J], places [M, 1, E], widths [M, 1] -> [M, B]"""
        own = []
        if self.own is not None:
            own.append(self.own.logit(position, torch.zeros_like(position[:, 0]), places[0], widths[0])[None])
        if self.layers:
            slope = torch.exp((self.slope[:, None] + widths[len(own):] + 3.0).clamp(max=7.0))
            logit = 3.0 + self.top[:, None] - slope * self._distances(position, places[len(own):])
            own.append(self.calibration[:, :1] * logit + self.calibration[:, 1:])
        return torch.cat(own)

    def _distances(self, position, places):
        value = position.expand(len(places), *position.shape)
        for index, (weight, bias) in enumerate(self.layers):
            value = torch.baddbmm(bias, value if index == 0 else nn.functional.silu(value), weight)
        return (value - places).square().sum(-1)


def pessimistic(values, caution):
    """Combine what M heads say into their mean less `caution` times their spread: values [M, ...] -> [...]

    A place that only one head likes is where that head errs; what all of them like has no spread. The gradient leans on the
    heads that like a place least. (Coste et al. 2023, "Reward model ensembles help mitigate overoptimization".)
    """
    return values.mean(0) - caution * (values.var(0, correction=0) + 1e-12).sqrt()


class InverseDynamics(nn.Module):
    """Two neighbouring tokens to the command between them: forward(near [..., 2J], far [..., 2J], gap_s [...]) -> [..., J]."""

    def __init__(self, joints, width=128):
        super().__init__()
        self.net = perceptron(4 * joints + 1, width, joints)

    def forward(self, near, far, gap_s):
        # The network adds to what standing still would command.
        return near[..., :near.shape[-1] // 2] + self.net(torch.cat([near, far, gap_s[..., None]], -1))


class FamiliarityHead(nn.Module):
    """Log-odds that a posture is one of play rather than one that nobody chose: forward(position [..., J]) -> [...]

    Trained to tell postures of the data from postures on straight lines between them and from postures shaken about
    (noise-contrastive estimation, Gutmann & Hyvarinen 2010). Where play never goes, through a wall say, the odds are low,
    although nobody ever labelled a collision. `floor` is what nearly all held-out postures exceed.
    `octaves` adds that many sines and cosines of each joint, for few joints with narrow passages between thin walls.
    """

    def __init__(self, joints, width=128, octaves=0):
        super().__init__()
        self.net = perceptron(joints * (1 + 2 * octaves), width, 1, depth=3)
        self.register_buffer('frequency', 2.0 ** torch.arange(octaves), persistent=False)
        self.register_buffer('floor', torch.zeros(()))

    def forward(self, position):
        if not len(self.frequency):
            return self.net(position)[..., 0]
        angle = (position[..., None] * self.frequency).flatten(-2)
        return self.net(torch.cat([position, angle.sin(), angle.cos()], -1))[..., 0]


class TransitionHead(nn.Module):
    """Log-odds that play went from one motion to another in so long a time, rather than that the pair was made up.

    forward(near [..., 2J], far [..., 2J], gap_s [...]) -> [...]

    Trained to tell pairs of instants of the data from pairs whose second instant came later than claimed, belongs elsewhere or
    was shaken about. Where the way takes longer than claimed the odds are low. `floor` is what nearly all held-out pairs exceed.
    """

    def __init__(self, joints, width=192, octaves=5):
        super().__init__()
        self.joints = joints
        self.net = perceptron(4 * joints + 4 * joints * octaves + 2, width, 1, depth=4)
        self.register_buffer('frequency', 2.0 ** torch.arange(octaves), persistent=False)
        self.register_buffer('floor', torch.zeros(()))

    def forward(self, near, far, gap_s):
        places = torch.cat([near[..., :self.joints], far[..., :self.joints]], -1)
        angle = (places[..., None] * self.frequency).flatten(-2)
        # What is far is given relative to what is near: most of the judgement is about the difference.
        return self.net(torch.cat([near, far - near, angle.sin(), angle.cos(), gap_s[..., None], gap_s[..., None].log()], -1))[..., 0]
