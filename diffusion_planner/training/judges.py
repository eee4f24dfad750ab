"""Train what guards guidance, on top of a finished model: nothing that imagines is changed.

A panel of reward heads that guide together, each on other episodes; a judge that guides nothing and has seen, besides play,
what guidance made up (training.imagined); a transition head and a genuineness head; what pictures of play look like; how far
the model's own estimates spread at each level of noise; and a reward head with a planted flaw, to show what all that is for.
"""
import copy
import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from diffusion_planner.data import store
from diffusion_planner.data.windows import Windows
from diffusion_planner.diffusion.noise import add_noise
from diffusion_planner.nets.encoders import encode_views
from diffusion_planner.nets.heads import FlawedHead
from diffusion_planner.nets.strangeness import Strangeness
from diffusion_planner.nets.world_model import WorldModel
from diffusion_planner.runtime import checkpoint
from diffusion_planner.training import calibration, curves, denoising, flaw, identity, imagined, transition
from diffusion_planner.training.batches import reward_losses
from diffusion_planner.training.distributed import Processes
from diffusion_planner.training.representation import PostureSampler, draw_episodes
from diffusion_planner.training.run import RunError, keep, spun_off
from diffusion_planner.training.trainer import Job

HARD_SHARE = 0.5       # weight of imagined postures in the loss of a head that learns from them
PANEL, TRANSITION_WIDTH = 3, 128
LEVELS = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
HALF = ('encoder.', 'decoder.', 'guide_head.', 'judge_head.', 'panel.', 'transition.net.', 'genuineness.net.', 'strangeness.usual',
        'familiarity.net.', 'inverse_dynamics.', 'terminal_head.')   # what keeps its precision: the denoiser, and every limit


def train_judges(config_path, data, out, resume=True, processes=None):
    """Train the guards of the model in `out` and write them into it. Raises ModelError, ConfigError, StoreError and RunError."""
    from diffusion_planner import config as configuration
    from diffusion_planner.training.config import TrainingConfig
    settings = configuration.load(TrainingConfig, config_path)
    job = JudgesJob(settings, Path(data), Path(out), resume, processes)
    job.imagine()
    job.panel()
    job.transition()
    job.genuineness()
    job.flaw()
    if job.processes.main:
        job.finish()
    job.processes.wait()


class JudgesJob(Job):
    """One run: the finished model with room for its guards, and a method per stage."""

    def __init__(self, settings, data, out, resume, processes=None):
        super().__init__(settings, data, out, resume, torch.device('cpu'), processes or Processes(device='cpu'))
        before, self.config = checkpoint.load(out)
        wanted = dataclasses.replace(before.config, panel=PANEL, transition=True, transition_width=TRANSITION_WIDTH,
                                     genuineness=True, strangeness=True)
        self.model = WorldModel(wanted)
        self.model.load_state_dict({name: value for name, value in before.state_dict().items()
                                    if name in (own := self.model.state_dict()) and own[name].shape == value.shape}, strict=False)
        self.model.eval()
        self._encode()
        self.windows = Windows(self.episodes, settings.model.context_offset_s, settings.model.horizon_s)
        self.window_tokens = denoising.WindowTokens(self.windows, self.model, self.latent, self.device)
        self.sampler, self.of_model = PostureSampler(self.episodes), identity.of_weights(self.model.denoiser)
        third = len(self.halves['guide']) // PANEL
        # Each member of the panel leaves out another third of what the first head saw; the judge's half stays its own.
        self.own = [np.delete(self.halves['guide'], slice(index * third, (index + 1) * third)) for index in range(PANEL)]

    @torch.no_grad()
    def _encode(self):
        """Encode every picture once and keep the latents beside the run's state, under the names of encoder and data."""
        path = self.work / f'latent_{identity.of_weights(self.model.encoder)}_{self.data["data.columns"]}_{self.data["data.bytes"]}.pt'
        if self.processes.main and not path.exists():
            from rich.progress import track
            parts = []
            for shard in track(self.episodes.paths, 'encoding pictures'):
                pixels = torch.from_numpy(store.read_pictures(shard))
                parts += [encode_views(self.model.encoder, part) for part in pixels.split(512)]
            keep(torch.cat(parts), path)
        self.processes.wait()
        self.latent = torch.load(path, weights_only=True)

    def _of(self):
        return {'denoiser': self.of_model, **self.data}

    def _run(self, name, modules, stage, **more):
        return super()._run(name, modules, stage, denoiser=self.of_model, **more)

    def imagine(self):
        """Make rollouts of both halves, and of held-out episodes for scoring."""
        from rich.progress import Progress
        path = self.work / 'imagined.pt'
        plan = {'guide': (self.halves['guide'], 80), 'judge': (self.halves['judge'], 80), 'held_out': (self.held_out, 40)}
        if self.processes.main and not (self.resume and path.exists()):
            with Progress() as progress:
                bar = progress.add_task('imagining', total=sum(rounds for _, rounds in plan.values()))
                made = {name: vars(imagined.imagine(self, self.model.guide_head, episodes, rounds, seed=index,
                                                    progress=lambda: progress.advance(bar)))
                        for index, (name, (episodes, rounds)) in enumerate(plan.items())}
            keep({'identity': self._of(), **made}, path)
        self.processes.wait()
        made = torch.load(path, weights_only=True)
        if changed := identity.difference(made.pop('identity', {}), self._of()):
            raise RunError(f'{path}: {changed} as when it was imagined; use --no-resume')
        self.imagined = {name: imagined.Rollouts(**parts) for name, parts in made.items()}
        for name, made in self.imagined.items():
            print(f'imagined, {name}: {len(made.far)} far tokens, {made.reward.mean():.1%} rewarded')

    def panel(self):
        """Train the panel and the judge on play and on what was imagined; the plain judge, for comparison, on play alone."""
        self.plain = self._kept_judge()
        heads = {**{f'panel{index}': head for index, head in enumerate(self.model.panel)}, 'judge': self.model.judge_head}
        run = self._run('panel', heads, self.settings.panel)
        if run.done == 0:
            for name in heads:
                run.modules[name].load_state_dict(self._fresh(name))

        def loss(generator):
            total, figures, random = 0.0, {}, spun_off(generator)
            for name, head in run.modules.items():
                half = 'judge' if name == 'judge' else 'guide'
                episodes = self.halves['judge'] if name == 'judge' else self.own[int(name[5:])]
                value, more = self._head_loss(name, head, episodes, self.imagined[half], random)
                total, figures = total + value, figures | more
            return total, figures
        run.train(loss, self.writer)
        for name, module in heads.items():
            module.load_state_dict(run.average[name].state_dict())

    def _kept_judge(self):
        """Keep the judge as it was before it saw anything imagined, as a yardstick; it is not shipped. -> RewardHead"""
        path, head = self.work / 'plain_judge.pt', copy.deepcopy(self.model.judge_head)
        known = path.exists() and torch.load(path, weights_only=True).get('denoiser', self.of_model) == self.of_model
        if self.processes.main and not known:      # a judge of a model that has been trained anew since is no yardstick
            keep({'denoiser': self.of_model, 'head': head.state_dict()}, path)
        self.processes.wait()
        kept = torch.load(path, weights_only=True)
        head.load_state_dict(kept.get('head', kept))
        return head

    def _fresh(self, name):
        """Where a head starts: the judge from what it is, the panel from random numbers of its own."""
        if name == 'judge':
            return self.plain.state_dict()
        torch.manual_seed(self.settings.seed + 100 + int(name[5:]))
        head = type(self.model.guide_head)(self.model.layout.joints, self.model.layout.cameras * self.model.config.latent)
        return head.state_dict()

    def _head_loss(self, name, head, episodes, made, random):
        """Loss on play, and on imagined postures of these episodes against pictures of other instants."""
        batch = self.settings.panel.batch // 4
        own, episode = self.processes.own(batch), draw_episodes(self.sampler, episodes, random, batch)
        value, figures = reward_losses(self, self.sampler, name, head, episode, self.pictures(episode, int(random.integers(1, 4)), random)[own], random)
        allowed = self._rows_of(name, episodes, made)
        rows = allowed[torch.from_numpy(random.integers(0, len(allowed), batch))]
        latent = self.pictures(made.episode[rows].numpy(), int(random.integers(1, 4)), random)
        hard = self._imagined_loss(head, latent[own], made.far[rows[own]], made.reward[rows[own]])
        return value + HARD_SHARE * hard, {f'{name}_bce': figures[f'{name}_bce'], f'{name}_hard': hard.item()}

    def _rows_of(self, name, episodes, made):
        if not hasattr(self, '_allowed'):
            self._allowed = {}
        if name not in self._allowed:
            self._allowed[name] = torch.from_numpy(np.flatnonzero(np.isin(made.episode.numpy(), episodes)))
        return self._allowed[name]

    def pictures(self, episode, count, random):
        """Latents of random pictures of episodes: -> [B, count, V Z]"""
        first, length = self.episodes.frame_start[episode], np.diff(self.episodes.frame_start)[episode]
        frames = first[:, None] + (random.random((len(episode), count)) * length[:, None]).astype(int)
        return self.latent[torch.from_numpy(frames)]

    def _imagined_loss(self, head, latent, far, target):
        place, width = head.places(latent)
        position = far[:, self.model.layout.position]
        logit = head(position, torch.zeros(len(far)), place, width)
        return binary_cross_entropy_with_logits(logit, target)

    def transition(self):
        """Train the head that says whether play ever went so far in so little time."""
        run = self._run('transition', {'transition': self.model.transition}, self.settings.transition)
        own = self.model.layout.motion
        motion = (self.window_tokens.motion - self.model.normalizer.mean[own]) / self.model.normalizer.spread[own]
        pairs = {name: transition.RaggedPairs(motion, self.episodes.joint_start, episodes, self.windows.period_s, self.settings.model.horizon_s)
                 for name, episodes in (('train', self.train_set), ('held_out', self.held_out))}

        def loss(generator):
            value, right = transition.transition_loss(run.modules['transition'], pairs['train'], run.stage.batch, spun_off(generator), generator,
                                                      self.processes.own(run.stage.batch))
            return value, {'loss': value.item(), 'right': right.item()}
        run.train(loss, self.writer)
        self.model.transition.load_state_dict(run.average['transition'].state_dict())
        transition.fit_floor(self.model.transition, pairs['held_out'], np.random.default_rng(5))
        self.pairs = pairs

    def genuineness(self):
        """Train the head that tells imagined steps from those of play: a discriminator (Goodfellow et al. 2014), after the fact."""
        run = self._run('genuineness', {'genuineness': self.model.genuineness}, self.settings.genuineness)
        fake = {name: self._steps(self.imagined[part]) for name, part in (('train', 'guide'), ('held_out', 'held_out'))}

        def pairs(part, count, random):
            near, far, gap_s = fake[part]
            rows = torch.from_numpy(random.integers(0, len(near), count))
            return self.pairs[part].with_gaps(gap_s[rows], random), (near[rows], far[rows], gap_s[rows])

        def loss(generator):
            real, made = pairs('train', run.stage.batch, spun_off(generator))
            value, right = transition.told_apart(run.modules['genuineness'], real, made, self.processes.own(run.stage.batch))
            return value, {'loss': value.item(), 'right': right.item()}
        run.train(loss, self.writer)
        self.model.genuineness.load_state_dict(run.average['genuineness'].state_dict())
        with torch.no_grad():
            _, right = transition.told_apart(self.model.genuineness, *pairs('held_out', 4096, np.random.default_rng(7)))
        self.told_apart = float(right)
        print(f'genuineness: {right:.1%} of held-out steps told apart')

    def _steps(self, made):
        """Neighbouring tokens of imagined paths: -> near [N, 2J], far [N, 2J], gap_s [N]"""
        own = self.model.layout.motion
        near, far = made.paths[:, :-1, own].flatten(0, 1), made.paths[:, 1:, own].flatten(0, 1)
        gap_s, kept = made.offset_s.diff(dim=1).flatten(), near.isfinite().all(1) & far.isfinite().all(1)
        # Far tokens that were pushed out of the world teach nothing about steps.
        kept &= (near.abs().amax(1) < 6) & (far.abs().amax(1) < 6)
        return near[kept], far[kept], gap_s[kept]

    def flaw(self):
        """Train the head with the planted flaw, on the guide's half."""
        torch.manual_seed(self.settings.seed + 200)
        self.flawed = FlawedHead(self.model.layout.joints, self.model.layout.cameras * self.model.config.latent)
        run = self._run('flaw', {'flawed': self.flawed}, self.settings.flaw)
        run.train(lambda generator: flaw.flaw_loss(self, run.modules['flawed'], self.halves['guide'], run.stage.batch, spun_off(generator)),
                  self.writer)
        self.flawed.load_state_dict(run.average['flawed'].state_dict())
        flaw.report(self, self.flawed)

    @torch.no_grad()
    def spread(self):
        """Measure how far estimates of held-out far tokens are from the truth at each level: -> {'level' [N], 'spread' [N]}

        RMS over positions, network space, horizons as planning asks for them: the model's own spread.
        """
        generator, random, count = torch.Generator().manual_seed(4), np.random.default_rng(4), len(self.settings.model.context_offset_s)
        clean, offset_s, present = self.window_tokens.draw(self.held_out, 2048, 0, random)
        table = {'level': [0.0], 'spread': [0.0]}
        for value in LEVELS:
            level = torch.where(present, torch.zeros_like(offset_s), torch.ones_like(offset_s))
            level[:, -1] = value
            noisy = add_noise(clean, torch.randn(clean.shape, generator=generator), level)
            error = (self.model.denoise(noisy, level, offset_s) - clean)[:, count:, self.model.layout.position]
            table['level'].append(value)
            table['spread'].append(float(error.square().mean().sqrt()))
        return table

    @torch.no_grad()
    def fit_strangeness(self):
        """Learn what pictures of play look like, and limits from held-out episodes

        -> share of their pictures beyond any limit, of the camera that has most of them
        """
        return max(self._learn_strangeness(strangeness, camera) for camera, strangeness in enumerate(self.model.strangenesses()))

    def _learn_strangeness(self, strangeness, camera):
        from rich.progress import track
        strangeness.load_state_dict(Strangeness(self.model.config.latent).state_dict())
        known = self.train_set[::4]
        strangeness.learn_colours(pixels for pixels, _ in track(self._pictures_of(known, camera), 'colours of play', total=len(self.episodes.paths)))
        told = [(strangeness.is_missing(pixels), latent) for pixels, latent in self._pictures_of(known, camera)]
        missing, latent = (torch.cat(column) for column in zip(*told))
        strangeness.learn_latents(latent, missing)
        pixels, latent = (torch.cat(column) for column in zip(*self._pictures_of(self.held_out, camera)))
        order = torch.from_numpy(np.random.default_rng(6).permutation(len(latent)))
        pixels, latent = pixels[order], latent[order]
        missed = torch.cat([strangeness.missed(self.model.decoder(part, camera), own) for part, own in zip(latent.split(256), pixels.split(256))])
        strangeness.fit_limits(pixels, missed, latent)
        return float((strangeness(pixels, missed, latent) > 1).any(1).float().mean())

    def _pictures_of(self, episodes, camera):
        """Go through one camera's pictures of episodes, shard by shard: -> pixels [N, Y, X, 3] uint8, latent [N, Z]"""
        size = self.model.config.latent
        latent = self.latent[:, camera * size:(camera + 1) * size]
        shard_start, wanted = 0, np.zeros(int(self.episodes.frame_start[-1]), bool)
        for episode in episodes:
            wanted[self.episodes.frame_start[episode]:self.episodes.frame_start[episode + 1]] = True
        for path in self.episodes.paths:
            count = store.frame_total(path)
            rows = np.flatnonzero(wanted[shard_start:shard_start + count])
            if len(rows):
                yield torch.from_numpy(store.read_pictures(path)[rows][:, camera]), latent[torch.from_numpy(rows + shard_start)]
            shard_start += count

    def finish(self):
        """Calibrate and score the heads, and write the model folder anew."""
        from safetensors.torch import save_file
        planning = dict(self.config['planning'])
        planning['reward_calibration'] = calibration.fit_panel(self)
        planning['spread'] = self.spread()
        planning['strange_share'] = self.fit_strangeness()
        planning['genuineness_told_apart'] = self.told_apart
        planning['rewarded_places'] = self.places.figures()
        for stale in ('forecast', 'audit', 'recommended_scale'):
            planning.pop(stale, None)   # they were of the model without these judges
        self.model.requires_grad_(False).eval()
        training = {**self.config['training'], 'judges': calibration.stages(self)}
        checkpoint.save(self.out, self.model, planning, training, half=HALF)
        path = self.out / checkpoint.FLAW_FILE
        save_file({name: value.half() if value.is_floating_point() else value for name, value in self.flawed.state_dict().items()}, path)
        path.chmod(0o644)   # safetensors writes for its owner alone
        print(f'{self.out}: judges written; {curves.draw(self.work, self.work / "loss.png")}')
