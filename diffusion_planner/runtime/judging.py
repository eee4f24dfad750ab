"""What a backend in PyTorch says about imagined tokens, once they are imagined."""
import numpy as np
import torch

from diffusion_planner.diffusion.noise import add_noise
from diffusion_planner.objectives.terms import mismatch
from diffusion_planner.runtime import figures
from diffusion_planner.runtime.colours import Colours
from diffusion_planner.runtime.figures import PATH_POINTS
from diffusion_planner.runtime.frozen import PairHeads, for_pictures
from diffusion_planner.runtime.graphs import Strange
from diffusion_planner.runtime.pressure import restraints


WARM_UP = 3     # calls until a traced graph has settled


class Judging:
    """Judgements of one model; for a class that has network, planning, layout, config, device, denoise and pressure."""

    def prepare(self):
        """Trace what judges."""
        self.pairs = PairHeads(self.network, self.device)
        self.colours, self.seen = [], []
        for camera, strangeness in enumerate(self.network.strangenesses() if self.config.strangeness else ()):
            tables = {f'strangeness.{name}': value.cpu().numpy() for name, value in strangeness.state_dict().items()}
            size = self.config.picture_shape
            example = torch.zeros(1, *size, dtype=torch.uint8, device=self.device), torch.zeros(1, self.config.latent, device=self.device)
            self.colours.append(Colours(tables))
            self.seen.append(for_pictures(Strange(self.network, camera), *example))
            for _ in range(WARM_UP):
                self.seen[-1](*example)

    @torch.no_grad()
    def familiarity(self, context, tokens, offset_s, cubic=False):
        """How far the least familiar posture of each path is above the floor, or above where the arm stands if that is lower.

        familiarity(context, tokens [P, F + 1, D], offset_s [P, F + 1]) -> log-odds, numpy [P]; below 0: where play never went
        cubic: look along the cubic that meets the tokens' velocities instead of along straight lines.
        """
        path = torch.cat([context.origin[:, None].expand(len(tokens), -1, -1), tokens], 1)
        here = self.network.familiarity(path[:, 0, self.layout.position])
        lowest = self.network.familiarity(self._between(path, offset_s, cubic)).amin((0, 2))
        return (lowest - torch.minimum(here - 0.5, self.network.familiarity.floor)).cpu().numpy()

    def _between(self, path, offset_s, cubic):
        """Take PATH_POINTS postures per stretch: path [P, T, D], offset_s [P, T - 1] -> position [N, P, T - 1, J]"""
        own, normalizer = self.layout.position, self.network.normalizer
        position = path[..., own]
        start, way = position[:, :-1], position[:, 1:] - position[:, :-1]
        share = torch.linspace(0, 1, PATH_POINTS + 1, device=self.device)[1:, None, None, None]
        if not cubic:
            return start + share * way
        gap_s = torch.tensor(np.diff(offset_s, axis=1, prepend=0.0), dtype=torch.float32, device=self.device)[..., None]
        rate = normalizer.inverse(path)[..., self.layout.velocity] / normalizer.spread[own]     # network space per second
        return (start + share ** 2 * (3 - 2 * share) * way
                + gap_s * (share * (1 - share) ** 2 * rate[:, :-1] - share ** 2 * (1 - share) * rate[:, 1:]))

    @torch.no_grad()
    def judge_far(self, context, far, offset_s, seed, typicality=True):
        """Judge far tokens: -> numpy [B] each

        'reward' by the first head that guides, 'panel' and 'doubt' the mean and spread over all that guide, 'judge' by the head
        that does not guide; 'typicality', if wanted, in units of the held-out 99 % quantile; 'reach' is below 0 where there is too little
        time. Where guidance was guarded, also what held it back, see pressure.restraints.
        """
        position = far[:, 0, self.layout.position]
        said = torch.sigmoid(self.pressure.stack.logits(position, context.places, context.widths))
        place, width = context.judge
        judge = torch.sigmoid(self.network.judge_head.logit(position, torch.zeros(len(far), device=self.device), place, width))
        return {'reward': said[0].cpu().numpy(), 'panel': said.mean(0).cpu().numpy(), 'doubt': said.std(0, correction=0).cpu().numpy(),
                'judge': judge.cpu().numpy(),
                **({'typicality': self.typicality(context, far, offset_s, seed)} if typicality else {}),
                'reach': self._reach(context.origin.expand(len(far), -1), far[:, 0], offset_s),
                **self.pressure.asked_at_end(context, far), **restraints(context.pressure)}

    def _reach(self, near, far, gap_s):
        """How far transitions are above the floor of the transition head: -> numpy, 0 for models that have none"""
        if not self.config.transition:
            return np.zeros(far.shape[:-1])
        gap_s, own = torch.as_tensor(np.asarray(gap_s, np.float32), device=self.device), self.layout.motion
        return (self.pairs.odds('transition', near[..., own], far[..., own], gap_s) - self.network.transition.floor).cpu().numpy()

    @torch.no_grad()
    def steps(self, context, tokens, offset_s):
        """How far the least likely step of each path is above the floor of the transition head: -> numpy [P]"""
        path = torch.cat([context.origin[:, None].expand(len(tokens), -1, -1), tokens], 1)
        return self._reach(path[:, :-1], path[:, 1:], np.diff(offset_s, axis=1, prepend=0.0)).min(1)

    @torch.no_grad()
    def genuineness(self, context, tokens, offset_s):
        """How genuine the steps of each path are on average rather than imagined: -> log-odds, numpy [P], 0 for models that cannot tell"""
        if not self.config.genuineness:
            return np.zeros(len(tokens))
        own = self.layout.motion
        path = torch.cat([context.origin[:, None].expand(len(tokens), -1, -1), tokens], 1)[..., own]
        gap_s = torch.tensor(np.diff(offset_s, axis=1, prepend=0.0), dtype=torch.float32, device=self.device)
        return self.pairs.odds('genuineness', path[:, :-1], path[:, 1:], gap_s).mean(1).cpu().numpy()

    @torch.no_grad()
    def strange(self, context, observation):
        """Say how unlike those of play the newest pictures are: -> {in which way: in units of the limit}, {} for models that cannot tell

        Of several cameras the strangest counts, in each way; those that count for nothing are left out.
        """
        key = figures.newest_pictures(observation, self.layout.cameras if self.config.strangeness else 0)
        if not key:
            return {}
        if self.judged[0] != key:
            said = [self._strange(observation.pictures[-1][camera], (camera, stamp_s)) for camera, stamp_s in key]
            self.judged = key, figures.strangest(said)
        return self.judged[1]

    def _strange(self, picture, key):
        pixels = torch.from_numpy(np.ascontiguousarray(picture))[None].to(self.device)
        missed, distances = self.seen[key[0]](pixels, self._latent(picture, key)[None])
        return self.colours[key[0]].figures(np.asarray(picture), missed.item(), distances[0].cpu().numpy())

    @torch.no_grad()
    def typicality(self, context, far, offset_s, seed):
        """Denoising residual of far tokens given the context, in units of the held-out 99 % quantile: -> numpy [B]"""
        table, batch = self.planning['typicality'], len(offset_s)
        known, level, seconds = context.repeat(batch)
        noise = self.noise(seed + 1, batch, 1)
        far_level = torch.full((batch, 1), float(table['level']), device=self.device)
        estimate = self.denoise(torch.cat([known, add_noise(far, noise, far_level)], 1), torch.cat([level, far_level], 1),
                                        torch.cat([seconds, torch.tensor(offset_s, device=self.device)[:, None]], 1))
        residual = (estimate[:, -1] - far[:, 0])[:, self.layout.motion].square().mean(-1).sqrt().cpu().numpy()
        return figures.typicality(residual, offset_s, table)

    @torch.no_grad()
    def consistency(self, context, tokens, offset_s):
        """Compare the command that inverse dynamics infers with the path itself: -> mean difference in radians, numpy [P]"""
        origin = context.origin[:, None].expand(len(tokens), -1, -1)
        path = torch.cat([origin, tokens], 1)[..., self.layout.motion]
        gap_s = torch.tensor(np.diff(offset_s, axis=1, prepend=0.0), dtype=torch.float32, device=self.device)
        command = self.network.inverse_dynamics(path[:, :-1], path[:, 1:], gap_s)
        spread, mean = (getattr(self.network.normalizer, name)[self.layout.position] for name in ('spread', 'mean'))
        near = self.network.normalizer.inverse(torch.cat([origin, tokens], 1))[:, :-1]
        expected = near[..., self.layout.position] + 0.05 * near[..., self.layout.velocity]
        return (command * spread + mean - expected).abs().mean((1, 2)).cpu().numpy()

    @torch.no_grad()
    def mismatch(self, context, tokens, offset_s):
        """How far the worst step of each path is from what its velocities explain, in units of what play shows: -> numpy [P]

        Zero for models whose checkpoint says nothing about it.
        """
        table = self.planning.get('step_mismatch')
        if table is None:
            return np.zeros(len(tokens))
        path = self.network.normalizer.inverse(torch.cat([context.origin[:, None].expand(len(tokens), -1, -1), tokens], 1))
        gap_s = np.diff(offset_s, axis=1, prepend=0.0)
        missed = mismatch(path[..., self.layout.position], path[..., self.layout.velocity], torch.tensor(gap_s, dtype=torch.float32))
        missed = (missed / self.network.normalizer.spread[self.layout.position]).amax(-1).cpu().numpy()
        return figures.mismatch(missed, gap_s, table)
