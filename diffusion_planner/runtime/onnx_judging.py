"""What exported graphs say about imagined tokens, once they are imagined; see runtime.judging for what each figure means."""
import numpy as np

from diffusion_planner.objectives.terms import mismatch
from diffusion_planner.runtime import figures, schedule



def strange_graph(camera):
    """Name the graph that says how strange pictures of a camera are: -> str"""
    return f'strange{camera or ""}'


class Judging:
    """Judgements of one model; for a class that has graphs, planning, layout, config, mean, spread, latents, judged, paths and pressure."""

    def judge_far(self, context, far, offset_s, seed, typicality=True):
        """Judge far tokens: see runtime.judging.Judging.judge_far -> {name: numpy [B]}"""
        read, tokens = context.read, far[:, 0]
        found = self.graphs.judge_far(far=tokens, origin=context.origin, far_s=np.asarray(offset_s, np.float32), places=read['places'],
                                      widths=read['widths'], judge_place=read['judge_place'], judge_width=read['judge_width'])
        said = found['said']
        scale, restraint = context.pressure or (0.0, None)
        return {'reward': said[0].copy(), 'panel': said.mean(0), 'doubt': said.std(0), 'judge': found['judge'].copy(),
                **({'typicality': self.typicality(context, far, offset_s, seed)} if typicality else {}),
                'reach': found['reach'].copy(), **self.pressure.asked_at_end(context, far),
                **({} if restraint is None else restraint.figures(scale))}

    def typicality(self, context, far, offset_s, seed):
        """Denoising residual of far tokens given the context, in units of the held-out 99 % quantile: -> numpy [B]"""
        table, offset_s = self.planning['typicality'], np.asarray(offset_s, np.float32)
        level = np.full((len(far), 1), float(table['level']), np.float32)
        noisy = schedule.add_noise(far, schedule.draw(seed + 1, len(far), 1, self.layout.width), level)
        index, fade = self.index(context, level[None], offset_s[:, None])[0], np.stack([schedule.signal(level), schedule.sigma(level)], -1)
        estimate = self.call(self.graphs.imagine, context, noisy, index, fade)['clean']
        residual = schedule.rms((estimate - far)[:, 0, self.layout.motion])
        return figures.typicality(residual, offset_s, table)

    def _judged(self, context, tokens, offset_s):
        """Ask everything about paths at once, and remember it while they are the same: -> {name: [P]}"""
        key = context, tokens, offset_s
        if any(one is not other for one, other in zip(key, self.paths[0])):
            found = self.graphs.judge_paths(tokens=tokens, offset_s=offset_s, origin=context.origin)
            self.paths = key, {name: value.copy() for name, value in found.items()}
        return self.paths[1]

    def familiarity(self, context, tokens, offset_s, cubic=False):
        return self._judged(context, tokens, offset_s)['familiarity_cubic' if cubic else 'familiarity']

    def steps(self, context, tokens, offset_s):
        return self._judged(context, tokens, offset_s)['steps']

    def genuineness(self, context, tokens, offset_s):
        return self._judged(context, tokens, offset_s)['genuineness']

    def consistency(self, context, tokens, offset_s):
        return self._judged(context, tokens, offset_s)['consistency_rad']

    def mismatch(self, context, tokens, offset_s):
        """How far the worst step of each path is from what its velocities explain: -> numpy [P], 0 for models that cannot tell"""
        table, own = self.planning.get('step_mismatch'), self.layout.position
        if table is None:
            return np.zeros(len(tokens))
        path = np.concatenate([np.broadcast_to(context.origin, (len(tokens), 1, tokens.shape[2])), tokens], 1)
        gap_s = np.diff(offset_s, axis=1, prepend=0.0)
        missed = mismatch(*self.pressure.motion(path), gap_s.astype(np.float32)) / self.spread[own]
        return figures.mismatch(missed.max(-1), gap_s, table)

    def strange(self, context, observation):
        """Say how unlike those of play the newest pictures are: see runtime.judging.Judging.strange"""
        key = figures.newest_pictures(observation, len(self.colours))
        if not key:
            return {}
        if self.judged[0] != key:
            self.judged = key, figures.strangest([self._strange(observation.pictures[-1][camera], (camera, stamp_s)) for camera, stamp_s in key])
        return self.judged[1]

    def _strange(self, pixels, key):
        colours, graph = self.colours[key[0]], getattr(self.graphs, strange_graph(key[0]))
        found = graph(pixels=pixels[None], latent=self.latents[key][None])
        return colours.figures(pixels, found['missed'][0], found['distances'][0])
