"""The planner's backend in ONNX Runtime: networks as exported graphs, everything between them numpy. Never loads PyTorch."""
from collections import OrderedDict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from diffusion_planner.config import ConfigError, from_mapping
from diffusion_planner.layout import ModelConfig
from diffusion_planner.runtime import onnx_files, schedule
from diffusion_planner.runtime.checkpoint import ModelError
from diffusion_planner.runtime.onnx_graphs import Session
from diffusion_planner.runtime.colours import Colours
from diffusion_planner.runtime.onnx_judging import Judging, strange_graph
from diffusion_planner.runtime.onnx_pressure import Pressure
from diffusion_planner.runtime.onnx_rows import Rows

CACHED_PICTURES = 64
# Loaded at once, so that what cannot run is known before an arm moves; the other graphs serve measurements and pictures for people.
NEEDED = ('places', 'conditions', 'imagine', 'far', 'fill', 'judge_far', 'judge_paths')
WITH_CAMERAS = ('pictures',)     # where there are; and one per camera that says how strange its pictures are


class Context:
    """An encoded observation, as the backend in PyTorch has it: tokens [C, D], level [C], offset_s [C], origin [1, D], numpy all.

    read: what the heads read off it, by name, see graphs.Places.
    """

    def __init__(self, tokens, level, offset_s, origin, goal, read):
        self.tokens, self.level, self.offset_s, self.origin, self.goal, self.read = tokens, level, offset_s, origin, goal, read
        self.pressure = None    # what imagine_far did, for the figures


class OnnxBackend(Judging):
    """Runs the graphs of a model folder for the planner; see planning.planner.Backend for the shapes."""

    def __init__(self, graphs, config, weights):
        self.graphs, self.planning = graphs, config['planning']
        self.config = from_mapping(ModelConfig, config['model'], 'config.json: model')
        self.layout = self.config.layout
        self.mean, self.spread = weights['normalizer.mean'], weights['normalizer.spread']
        self.latents, self.judged, self.paths, self.identity = OrderedDict(), (None, {}), ((None,) * 3, {}), ''
        self.rows = Rows(graphs.conditions)
        self.colours = [Colours(weights, camera) for camera in range(self.layout.cameras if self.config.strangeness else 0)]
        self.pressure = Pressure(self)

    @property
    def device(self):
        return self.graphs.in_force

    def scales(self):
        """Mean and spread of the data: -> [D], [D], numpy"""
        return self.mean, self.spread

    def forget(self):
        self.latents.clear()
        self.judged = None, {}

    def plant(self, path):
        """Refuse to let another reward head guide: the gradient of the model's own is in the graphs. Raises ConfigError."""
        raise ConfigError(f'{path}: a planted head needs backend torch, got onnx, whose graphs hold the gradient of the heads they were exported with')

    def encode(self, observation, goal):
        """Encode the context and what is rewarded in it; every picture is encoded once in its life. -> Context"""
        latent = self._latents(observation)
        motion = np.concatenate([observation.position_rad, observation.velocity_rad_s], 1).astype(np.float32)
        tokens = (np.concatenate([motion, latent, schedule.readings(observation, self.layout.sensors)], 1) - self.mean) / self.spread
        origin, (known, level, doubt, distrust) = tokens[-1:].copy(), self._levels(observation)
        tokens = tokens * schedule.signal(level)[:, None]
        for camera in range(self.layout.cameras):
            tokens[:, self.layout.picture_of(camera)] *= schedule.signal(doubt[:, camera])[:, None]
        for number in range(len(self.layout.sensors)):
            tokens[:, self.layout.sensor_of(number)] *= schedule.signal(distrust[:, number])[:, None]
        if self.config.goal == 'position':
            told = {'told': self._normal_position(goal)}
        else:
            told = {'told': self._seen(latent, doubt), 'level': np.maximum(known, doubt.mean(-1))}
        read = {name: value.copy() for name, value in self.graphs.places(**told).items()}
        return Context(tokens, level, np.asarray(observation.offset_s, np.float32), origin, goal, read)

    def _levels(self, observation):
        """Read the noise levels of an observation's tokens: -> level without doubts [C], with them, doubts [C, V], [C, S]; see TorchBackend"""
        known = np.asarray(observation.level, np.float32)
        given = (observation.picture_level, self.layout.cameras), (observation.sensor_level, len(self.layout.sensors))
        doubts = [np.zeros((len(known), count), np.float32) if values is None or not count else np.asarray(values, np.float32)
                  for values, count in given]
        doubt = np.concatenate(doubts, -1)
        return known, np.maximum(known, schedule.PICTURES_ALONE * doubt.mean(-1)) if doubt.shape[-1] else known, *doubts

    def _seen(self, latent, doubt):
        """Put the mean of play's pictures for those that count for nothing: latent [C, V Z], doubt [C, V] -> [C, V Z]"""
        blind = np.repeat(doubt >= 1.0, self.layout.latent, -1)
        return np.where(blind, self.mean[self.layout.picture], latent)

    def _normal_position(self, goal):
        """Bring the goal to network space, once per context token, as places are read: -> [C, J]"""
        if goal.position_rad is None or np.shape(goal.position_rad) != (self.layout.joints,):
            raise ValueError(f'goal: got position {goal.position_rad}, expected {self.layout.joints} numbers; this model sees no goal by itself')
        own = self.layout.position
        return ((np.asarray(goal.position_rad, np.float32) - self.mean[own]) / self.spread[own])[None]

    def _latents(self, observation):
        """Encode the pictures of an observation, all new ones at once: -> [C, V Z]"""
        count = len(observation.offset_s)
        if not self.config.cameras:
            return np.zeros((count, 0), np.float32)
        keys = [[(camera, float(stamp)) for camera, stamp in enumerate(row)] for row in observation.picture_stamp_s]
        new = {key: pixels for row, pictures in zip(keys, observation.pictures) for key, pixels in zip(row, pictures) if key not in self.latents}
        if new:
            whose = {'camera': np.array([camera for camera, _ in new])} if self.layout.cameras > 1 else {}
            for key, latent in zip(new, self.graphs.pictures(pixels=np.stack(list(new.values())), **whose)['latent'].copy()):
                self.latents[key] = latent
        for key in (key for row in keys for key in row):
            self.latents.move_to_end(key)
        found = np.array([np.concatenate([self.latents[key] for key in row]) for row in keys])
        while len(self.latents) > CACHED_PICTURES:
            self.latents.popitem(last=False)
        return found

    def imagine_far(self, context, offset_s, goal, settings, seed, warm=None, stop=None):
        """Denoise a far token per arrival time, pulled towards reward: see TorchBackend.imagine_far -> far [B, 1, D]"""
        batch, far_s = len(offset_s), np.asarray(offset_s, np.float32)[:, None]
        noise, far_level = schedule.draw(seed, batch, 1, self.layout.width), np.ones((batch, 1), np.float32)
        if warm is not None:
            rows = slice(batch - settings.warm_samples, batch)
            far_level[rows] = settings.warm_level
            noise[rows] = schedule.add_noise(warm, noise[rows], far_level[rows])
        return self._sample(self.pressure.on_far(context, far_s, settings), context, noise, far_level, far_s,
                            settings, settings.far_steps, seed, stop)

    def fill_in(self, context, far, chosen, offset_s, settings, seed, warm=None, stop=None):
        """Denoise the tokens between the origin and each chosen far token: see TorchBackend.fill_in -> [P, F + 1, D]"""
        count, fill = len(chosen), settings.fill_in
        seconds = np.float32(offset_s)[chosen][:, None] * (np.arange(1, fill + 2, dtype=np.float32) / np.float32(fill + 1))
        level = np.concatenate([np.ones((count, fill), np.float32), np.zeros((count, 1), np.float32)], 1)
        noise = schedule.draw(seed + 2, count, fill, self.layout.width)
        if warm is not None:
            tokens, rows = warm
            level[rows, :fill] = settings.warm_level
            noise[rows] = schedule.add_noise(tokens, noise[rows], level[rows, :fill])
        return self._sample(self.pressure.on_path(context, seconds, settings), context, np.concatenate([noise, far[chosen]], 1), level, seconds,
                            settings, settings.fill_steps, seed + 2, stop)

    def _sample(self, step, context, noisy, start_level, offset_s, settings, steps, seed, stop):
        """Sample: step(noisy, plan, number, index) -> clean, noisy [B, F, D], start_level [B, F], offset_s [B, F] -> tokens [B, F, D]

        `stop` is asked after every step; a stage that it ends has the clean estimate for its result.
        """
        plan, last, random = schedule.lay_out(settings.sampler, start_level, steps, settings.bend), np.zeros_like(noisy), None
        index = self.index(context, plan.level[:-1], offset_s)
        if settings.sampler == 'ddpm':
            random = schedule.fresh(seed)
        for number in range(steps):
            clean = step(noisy, plan, number, index[number])
            if stop is not None and stop():
                return np.where(plan.level[number][..., None] > 0, clean, noisy)
            kept, aim, before, fresh = plan.weights[number]
            noisy = kept * noisy + aim * clean + before * last
            if random is not None:
                noisy += fresh * random(*noisy.shape)
            last = clean
        return noisy

    def index(self, context, level, offset_s):
        """Say which row is whose: level [S, B, F], offset_s [B, F] -> [S, B, C + F]"""
        steps, batch = level.shape[:2]
        # The context's too, each time: rows found in an earlier call may have given way to others since.
        level = np.concatenate([np.broadcast_to(context.level, (steps, batch, len(context.level))), level], 2)
        return self.rows.find(level, np.concatenate([np.broadcast_to(context.offset_s, (batch, len(context.offset_s))), offset_s], 1))

    def call(self, graph, context, noisy, index, fade, **more):
        """Call a graph that begins with graphs.Imagine: -> {name: array}, overwritten by the next call of these shapes"""
        slot = graph.slot(*noisy.shape[:2]).own(self.rows.tables, self.rows.version)
        return slot.put(known=context.tokens, noisy=noisy, index=index, fade=fade).put(**more).run()

    def network_tokens(self, position_rad, velocity_rad_s, latent):
        """Bring a decoded plan back to network space: position, velocity [T, J], latent [T, V Z + K] (network space) -> [T, D]"""
        own, motion = self.layout.motion, np.concatenate([position_rad, velocity_rad_s], 1).astype(np.float32)
        return np.concatenate([(motion - self.mean[own]) / self.spread[own], np.asarray(latent, np.float32)], 1)

    def decode(self, tokens):
        """Bring tokens to SI units: -> position_rad, velocity_rad_s [P, T, J], latent [P, T, V Z + K] (network space)"""
        values = tokens * self.spread + self.mean
        return values[..., self.layout.position], values[..., self.layout.velocity], tokens[..., self.layout.seen]

    def picture(self, latent):
        """Decode one latent [Z] in network space: -> pixels [Y, X, 3] uint8"""
        return self.graphs.picture(latent=np.asarray(latent, np.float32)[None])['pixels'][0].copy()


def load_backend(model_dir, robot, threads=1, provider='auto'):
    """Load the exported graphs of a model folder for a robot: -> OnnxBackend

    provider: 'auto' or the name of an ONNX Runtime provider. Raises ModelError for a folder without graphs that belong to its weights,
    and ConfigError for a robot whose joints are not the model's, or for a provider that is not there.
    """
    paths, config = onnx_files.read(model_dir)
    joints = config['model']['joint_names']
    if list(robot.joint_names) != joints:
        raise ConfigError(f'{model_dir}: trained for joints {joints}, the robot has {list(robot.joint_names)}')
    graphs = Session(paths, provider, threads)
    graphs.load((*NEEDED, *WITH_CAMERAS, *(strange_graph(camera) for camera in range(len(config['model']['cameras'])))))
    if 'pictures' in paths and (found := tuple(graphs.pictures.shape('pixels')[1:])) != tuple(config['model']['picture_shape']):
        raise ModelError(f'{paths["pictures"]}: exported for pictures of {found}, config.json says {tuple(config["model"]["picture_shape"])}; '
                         f'export it again: `{onnx_files.command(model_dir)}`')
    try:
        backend = OnnxBackend(graphs, config, load_file(Path(model_dir) / 'model.safetensors'))
    except KeyError as missing:
        raise ModelError(f'{model_dir}: has no {missing}, which planning needs; export it again: `{onnx_files.command(model_dir)}`') from None
    backend.identity = f'format {config["format"]}, sha256 {config["sha256"]}'
    return backend
