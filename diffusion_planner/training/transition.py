"""Stage: the transition head, from pairs of instants alone."""
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

HURRY = 2.5                       # made-up pairs claim up to so many times less time than the way took
SHAKE = 0.25                      # spread of the instants that are shaken about, network space
FLOOR_SHARE, FLOOR_MARGIN = 0.002, 0.5


class Pairs:
    """Draws pairs of instants from episodes of equal length: motion [E, N, 2J] in network space, sampled every period_s."""

    def __init__(self, motion, period_s, horizon_s):
        self.motion, self.period_s = motion, period_s
        self.longest = min(int(horizon_s / period_s), motion.shape[1] - 2)

    def _rows(self, count, random, stretch=1.0, shortest=1):
        """Draw instants a log-uniform gap apart, the second one `stretch` times as far away: -> near, far [N, 2J], gap_s [N]"""
        episodes, length = self.motion.shape[:2]
        gap = np.exp(random.uniform(np.log(shortest), np.log(self.longest), count)).round().astype(int)
        later = np.minimum(np.ceil(gap * stretch).astype(int), length - 2)
        episode, first = random.integers(0, episodes, count), (random.random(count) * (length - 1 - later)).astype(int)
        return self.motion[episode, first], self.motion[episode, first + later], torch.from_numpy(gap * self.period_s).float()

    def real(self, count, random):
        """-> near, far [N, 2J], gap_s [N]"""
        return self._rows(count, random)

    def made_up(self, count, random, generator):
        """The same of pairs that never were: half of them hurried, a quarter from elsewhere, a quarter shaken."""
        hurried = self._rows(count // 2, random, random.uniform(1.1, HURRY, count // 2), shortest=5)
        near, far, gap_s = self._rows(count // 4, random)
        elsewhere = near, far[torch.from_numpy(random.permutation(len(far)))], gap_s
        near, far, gap_s = self._rows(count - count // 2 - count // 4, random)
        spread = SHAKE * torch.rand(len(far), 1, generator=generator) ** 2
        shaken = near, far + spread * torch.randn(far.shape, generator=generator), gap_s
        return tuple(torch.cat(parts) for parts in zip(hurried, elsewhere, shaken))


class RaggedPairs(Pairs):
    """The same from episodes of unequal length end to end: motion [N, 2J], start [E + 1], only those of `episodes`."""

    def __init__(self, motion, start, episodes, period_s, horizon_s):
        self.motion, self.period_s = motion, period_s
        self.first, self.length = start[:-1][episodes], np.diff(start)[episodes]
        self.longest = int(horizon_s / period_s)

    def _rows(self, count, random, stretch=1.0, shortest=1):
        episode = random.integers(0, len(self.first), count)
        longest = np.minimum(self.longest, self.length[episode] - 2)
        gap = np.exp(random.uniform(np.log(shortest), np.log(longest), count)).round().astype(int)
        later = np.minimum(np.ceil(gap * stretch).astype(int), self.length[episode] - 2)
        first = self.first[episode] + (random.random(count) * (self.length[episode] - 1 - later)).astype(int)
        return self.motion[first], self.motion[first + later], torch.from_numpy(gap * self.period_s).float()

    def with_gaps(self, gap_s, random):
        """Draw real pairs as far apart as given, to the sampling period: gap_s [N] -> near, far [N, 2J], gap_s [N]"""
        gap = np.maximum(1, (gap_s.numpy() / self.period_s).round().astype(int))
        episode = random.integers(0, len(self.first), len(gap))
        gap = np.minimum(gap, self.length[episode] - 2)
        first = self.first[episode] + (random.random(len(gap)) * (self.length[episode] - 1 - gap)).astype(int)
        return self.motion[first], self.motion[first + gap], torch.from_numpy(gap * self.period_s).float()


def told_apart(head, real, made_up, own=slice(None)):
    """Tell two sets of pairs apart, each near, far [N, 2J], gap_s [N], in their rows `own`: -> loss [], share told right"""
    real, made_up = ([None if part is None else part[own] for part in parts] for parts in (real, made_up))
    logit = torch.cat([head(*real), head(*made_up)])
    target = torch.cat([torch.ones(len(real[0])), torch.zeros(len(made_up[0]))])
    return binary_cross_entropy_with_logits(logit, target), ((logit > 0) == (target > 0)).float().mean()


def transition_loss(head, pairs, batch, random, generator, own=slice(None)):
    """Tell pairs of play from made-up ones, in the rows `own` of a batch: -> loss [], share told right"""
    return told_apart(head, pairs.real(batch, random), pairs.made_up(batch, random, generator), own)


@torch.no_grad()
def fit_floor(head, pairs, random, count=50_000):
    """Set the head's floor so that nearly all held-out pairs are above it: -> floor"""
    head.floor.copy_(head(*pairs.real(count, random)).quantile(FLOOR_SHARE) - FLOOR_MARGIN)
    return head.floor.item()
