"""Train a model from play data: representation, heads, denoiser, then what planning must know about the data."""
import functools
import time
from pathlib import Path

import numpy as np
import torch

from diffusion_planner import config as configuration
from diffusion_planner.data import store
from diffusion_planner.data.windows import Windows
from diffusion_planner.files import find
from diffusion_planner.nets.denoiser import parameter_count
from diffusion_planner.nets.encoders import encode_views
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.robot import Robot
from diffusion_planner.runtime import checkpoint
from diffusion_planner.training import calibration, curves, denoising, familiarity, identity, probes, representation
from diffusion_planner.training.batches import HeadBatches, RepresentationBatches
from diffusion_planner.training.config import TrainingConfig
from diffusion_planner.training.distributed import Processes, find_processes
from diffusion_planner.training.places import find_places
from diffusion_planner.training.run import Run, keep, spun_off


def train(config_path, data, out, resume=True, stage='all', device=None):
    """Train every stage that is not finished yet and write the model folder.

    Raises ConfigError for a bad configuration, StoreError for bad data, RunError for work in progress of another configuration or
    data, and ProcessesError for processes that cannot share it. Work in progress is kept in out/training.
    """
    settings = configuration.load(TrainingConfig, config_path)
    processes = find_processes(device)
    with processes.quiet():
        if stage == 'judges':
            from diffusion_planner.training.judges import train_judges
            train_judges(config_path, data, out, resume, processes)
        else:
            _train_stages(Job(settings, Path(data), Path(out), resume, processes.device, processes), stage)


def _train_stages(job, stage):
    """Train up to a stage; those that are finished take a moment."""
    stages = {'representation': job.representation, 'heads': job.heads, 'familiarity': job.familiarity,
              'denoiser': job.denoiser}
    if stage not in ('all', *stages):
        raise configuration.ConfigError(f'stage: got {stage!r}, expected one of all, {", ".join(stages)}, judges')
    for name, action in stages.items():
        started = time.monotonic()
        action()
        print(f'{name}: {(time.monotonic() - started) / 60:.1f} minutes')
        if stage == name:
            break
    if stage in ('all', 'denoiser') and job.processes.main:
        job.finish()
    job.processes.wait()


class Job:
    """One training run: the data, the model, and a method per stage."""

    def __init__(self, settings, data, out, resume, device, processes=None):
        from torch.utils.tensorboard import SummaryWriter
        self.processes = processes or Processes()
        torch.set_num_threads(max(1, settings.threads // self.processes.on_machine))
        torch.manual_seed(settings.seed)
        self.settings, self.out, self.resume, self.device = settings, out, resume, device
        self.work = out / 'training'
        self.work.mkdir(parents=True, exist_ok=True)
        self.robot = configuration.load(Robot, find(settings.robot))
        self.episodes = store.read(data)
        attributes, shape = self.episodes.attributes, settings.model
        if list(attributes['joint_names']) != list(self.robot.joint_names):
            raise configuration.ConfigError(f'{data}: joints {list(attributes["joint_names"])}, expected {list(self.robot.joint_names)}')
        self.tip_m = np.concatenate([self.robot.tip_m(part).astype(np.float32)
                                     for part in np.array_split(self.episodes.position_rad, 64)])
        self._split()
        self._check_reward()
        self.model = WorldModel(ModelConfig(
            tuple(map(str, attributes['joint_names'])), tuple(map(str, attributes['cameras'])),
            tuple(int(size) for size in attributes['picture_shape']), shape.context_offset_s, shape.horizon_s,
            shape.latent, shape.width, shape.depth, shape.heads,
            sensors=tuple((name, self.episodes.sensors[name].shape[1]) for name in sorted(self.episodes.sensors)))).to(device)
        for pictures in (self.model.encoder, self.model.decoder):
            pictures.to(memory_format=torch.channels_last)   # a quarter faster on a CPU
        self.writer = SummaryWriter(self.work / 'tensorboard') if self.processes.main else None
        self.random = np.random.default_rng(settings.seed)

    def _split(self):
        order = np.random.default_rng(self.settings.seed).permutation(len(self.episodes))
        held_out = int(len(order) * self.settings.held_out_share)
        self.held_out, self.train_set = np.sort(order[:held_out]), np.sort(order[held_out:])
        # The two reward heads are trained on different episodes, so that the judge is not sure of what the guide made up.
        self.halves = {'guide': self.train_set[::2], 'judge': self.train_set[1::2]}
        print(f'{len(order)} episodes, {held_out} held out; {self.episodes.frame_start[-1]} pictures; '
              f'{self.episodes.reward.mean():.1%} of instants rewarded')

    def _check_reward(self):
        rewarded = np.add.reduceat(self.episodes.reward > 0, self.episodes.joint_start[:-1]) > 0
        for name, part in (*self.halves.items(), ('held out', self.held_out)):
            if not rewarded[part].any():
                raise store.StoreError(f'{self.episodes.paths[0].parent}: reward: none in the {len(part)} episodes of the set {name!r}, '
                                       f'{rewarded.sum()} of {len(rewarded)} in all; expected some in each: record more, or raise held_out_share')

    @functools.cached_property
    def places(self):
        """Where the reward of each episode is; only probes and the labels of imagined postures ask."""
        places = find_places(self.episodes, self.tip_m)
        print(f'rewarded places: {places.origin}, {places.known.sum()} of {len(self.episodes)} episodes; within {places.radius_m * 100:.1f} cm, '
              f'which explains {places.explained:.1%} of the instants around')
        return places

    def _run(self, name, modules, stage, **more):
        """Begin or resume a stage; `more` is what it depends on beside settings and data."""
        return Run(name, self.work, modules, stage, self.settings, self.resume, self.device, self.processes,
                   identity.of_settings(self.settings, name) | self.data | more)

    @functools.cached_property
    def data(self):
        return identity.of_data(self.episodes)

    def representation(self):
        """Train encoder, decoder and both reward heads; the heads see different halves of the episodes."""
        parts = {'encoder': self.model.encoder, 'decoder': self.model.decoder,
                 'guide': self.model.guide_head, 'judge': self.model.judge_head}
        run = self._run('representation', parts, self.settings.representation)
        if run.done < run.stage.steps:
            wanted = np.zeros(len(self.episodes), bool)
            wanted[self.train_set] = True
            self.motion = self._motion_normalizer()
            batches = RepresentationBatches(self, representation.Pictures(self.episodes, wanted, self.settings.picture_stride))
            run.train(batches.loss, self.writer, lambda average: probes.representation(self, average), 500)
        for name, module in parts.items():
            module.load_state_dict(run.average[name].state_dict())
        self._encode_all()

    def _motion_normalizer(self):
        """Set the normaliser of joints and sensors before latents exist."""
        motion = torch.tensor(np.concatenate([self.episodes.position_rad, self.episodes.velocity_rad_s], 1))
        width = motion.shape[1]
        self.model.normalizer.mean[:width] = motion.mean(0)
        self.model.normalizer.spread[:width] = motion.std(0).clamp_min(1e-3)
        for number, (name, _) in enumerate(self.model.layout.sensors):
            self.model.normalizer.fit_part(self.model.layout.sensor_of(number), torch.as_tensor(self.episodes.sensors[name]))
        return self.model.normalizer.mean[:width], self.model.normalizer.spread[:width]

    def normal_position(self, rows):
        """Joint positions of rows in network space, as a tensor."""
        layout = self.model.layout
        position = torch.from_numpy(self.episodes.position_rad[rows]).to(self.device)
        return (position - self.model.normalizer.mean[layout.position]) / self.model.normalizer.spread[layout.position]

    @torch.no_grad()
    def _encode_all(self):
        """Encode every picture once; the latents of all stages to come."""
        self._motion_normalizer()
        path = self.work / 'latent.pt'
        if self.processes.main and not (path.exists() and path.stat().st_mtime > (self.work / 'representation.pt').stat().st_mtime):
            latents = []
            for shard in self.episodes.paths:
                pixels = torch.from_numpy(store.read_pictures(shard))
                latents += [encode_views(self.model.encoder, part.to(self.device)).cpu() for part in pixels.split(512)]
            keep(torch.cat(latents), path)
        self.processes.wait()
        self.latent = torch.load(path, weights_only=True)
        layout = self.model.layout
        self.model.normalizer.mean[layout.picture] = self.latent.mean(0).to(self.device)
        self.model.normalizer.spread[layout.picture] = self.latent.std(0).clamp_min(1e-3).to(self.device)

    def heads(self):
        """Train the heads on frozen latents, which is cheap; fit the reward heads' calibration on held-out episodes."""
        parts = {'inverse_dynamics': self.model.inverse_dynamics, 'terminal': self.model.terminal_head,
                 'guide': self.model.guide_head, 'judge': self.model.judge_head}
        run = self._run('heads', parts, self.settings.heads, encoder=identity.of_weights(self.model.encoder))
        self.windows = Windows(self.episodes, self.settings.model.context_offset_s, self.settings.model.horizon_s)
        self.window_tokens = denoising.WindowTokens(self.windows, self.model, self.latent, self.device)
        run.train(HeadBatches(self).loss, self.writer, lambda average: probes.rewarded_place(self, average['guide']), 500)
        for name, module in parts.items():
            module.load_state_dict(run.average[name].state_dict())
        self.reward_calibration = calibration.fit_reward_heads(self)

    def familiarity(self):
        """Train the head that tells postures of play from others, on the postures of the training episodes."""
        run = self._run('familiarity', {'familiarity': self.model.familiarity}, self.settings.familiarity)
        position_rad = torch.from_numpy(self.episodes.position_rad)
        owner = np.repeat(np.arange(len(self.episodes)), np.diff(self.episodes.joint_start))
        held_out = torch.from_numpy(np.isin(owner, self.held_out))
        known_rad = position_rad[~held_out]

        def normal(posture_rad):
            own = self.model.layout.position
            return (posture_rad.to(self.device) - self.model.normalizer.mean[own]) / self.model.normalizer.spread[own]

        def loss(generator):
            value, right = familiarity.familiarity_loss(run.modules['familiarity'], normal, known_rad,
                                                        run.stage.batch, generator, self.processes.own(run.stage.batch))
            return value, {'loss': value.item(), 'right': right.item()}

        run.train(loss, self.writer)
        self.model.familiarity.load_state_dict(run.average['familiarity'].state_dict())
        familiarity.fit_floor(self.model.familiarity, normal, position_rad[held_out])

    def denoiser(self):
        run = self._run('denoiser', {'denoiser': self.model.denoiser}, self.settings.denoiser, encoder=identity.of_weights(self.model.encoder))
        weight = denoising.token_weight(self.model.layout).to(self.device)
        context = len(self.settings.model.context_offset_s)
        own = self.processes.own(run.stage.batch)

        def loss(generator):
            random = spun_off(generator)
            fill = int(random.choice(self.settings.fill_in_counts))
            clean, offset_s, present = self.window_tokens.draw(self.train_set, run.stage.batch, fill, random)
            value = denoising.denoising_loss(run.modules['denoiser'], clean, offset_s, present, context, weight, generator, own)
            return value, {'loss': value.item(), 'fill': fill}

        run.train(loss, self.writer, lambda average: probes.denoiser(self, average['denoiser']), 1000)
        self.model.denoiser.load_state_dict(run.average['denoiser'].state_dict())

    def finish(self):
        """Measure what planning must know about the data and write the model folder."""
        self.model.requires_grad_(False).eval()
        planning = {'reward_calibration': self.reward_calibration, 'typicality': calibration.typicality(self),
                    'probe': probes.representation(self, None), 'rewarded_places': self.places.figures()}
        checkpoint.save(self.out, self.model, planning, {
            'settings': configuration.to_mapping(self.settings), 'episodes': len(self.episodes),
            'parameters': {name: parameter_count(module) for name, module in self.model.named_children()}})
        print(f'{self.out}: written; {curves.draw(self.work, self.work / "loss.png")}')
