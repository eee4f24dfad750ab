"""Train one small model per maze from play data and relabelled sparse rewards. Resumable; the stages of the arm's training."""
import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from diffusion_planner import config as configuration
from diffusion_planner.benchmarks.maze.play import make_play, read_play
from diffusion_planner.benchmarks.maze.world import BALL, MAZES, PERIOD_S, REWARD_RADIUS_M
from diffusion_planner.data.windows import Windows
from diffusion_planner.nets.denoiser import parameter_count
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim import fanout
from diffusion_planner.training import calibration, denoising, familiarity, transition
from diffusion_planner.training.config import Stage
from diffusion_planner.training.run import Run, spun_off

PLAY_STEPS = {'umaze': 300_000, 'medium': 600_000, 'large': 1_000_000}
DENOISER_STEPS = {'umaze': 3500, 'medium': 4500, 'large': 8000}
COMMAND_S = 0.05       # what inverse dynamics infers: where the ball is so much later
SHAKE_M = 0.35         # spread of the places that are shaken about
FLOOR_MARGIN = 1.0     # log-odds are flat over free space and fall by five or more at a wall
OF_ALL_STAGES = 'held_out_share', 'ema_decay', 'width', 'depth', 'fill_in_counts'     # settings that a run cannot change on its way


@dataclass(frozen=True)
class MazeTraining:
    """What a run needs but the data. `batch` of the denoiser counts tokens, not windows."""

    heads: Stage = Stage(3000, 1024, 1e-3)
    familiarity: Stage = Stage(3000, 2048, 1e-3)
    transition: Stage = Stage(5000, 2048, 1e-3)
    denoiser: Stage = Stage(9000, 3000, 1e-3)
    width: int = 128
    depth: int = 4
    fill_in_counts: tuple[int, ...] = (0, 0, 0, 3, 11, 23, 23)
    held_out_share: float = 0.05
    ema_decay: float = 0.999
    checkpoint_every: int = 500
    seed: int = 0
    threads: int = 1


def train(maze, data, out, settings=MazeTraining(), resume=True):
    """Train the model of a maze from recorded play and write its folder; work in progress is kept in out/training.

    Raises BenchmarkError for bad play, and RunError for work in progress of another maze, other play or other settings.
    """
    job = MazeJob(maze, Path(data), Path(out), settings, resume)
    for stage in (job.heads, job.familiarity, job.transition, job.denoiser):
        stage()
        print(f'{maze.name} {stage.__name__}: {job.minutes()[stage.__name__]} minutes', flush=True)
    job.finish()


def train_mazes(names, data, models, workers=2, settings=MazeTraining()):
    """Record play and train a model per maze, several at once, sharing the threads of `workers`. Resumes what was cut off."""
    for name in names:
        _folder(models, name).mkdir(parents=True, exist_ok=True)     # before hours of work that nobody could keep
    for name in names:
        make_play(MAZES[name], _folder(data, name), PLAY_STEPS[name], workers)
    # The largest first: it takes longest. A maze alone gets the threads that others would have had.
    order, settings = sorted(names, key=lambda name: -PLAY_STEPS[name]), replace(settings, threads=max(settings.threads, workers // len(names)))
    for _ in fanout.run(partial(_train_named, data=data, models=models, settings=settings), order, workers):
        pass


def _train_named(name, data, models, settings):
    settings = replace(settings, denoiser=replace(settings.denoiser, steps=DENOISER_STEPS[name]))
    train(MAZES[name], _folder(data, name), _folder(models, name), settings)


def _folder(parent, name):
    return Path(parent) / f'pointmaze_{name}'


class MazeJob:
    """One training run, with the names that the shared stages of training look for."""

    device = torch.device('cpu')

    def __init__(self, maze, data, out, settings, resume):
        from torch.utils.tensorboard import SummaryWriter
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.maze, self.out, self.resume, self.runs = maze, out, resume, {}
        config = ModelConfig(BALL.joint_names, context_offset_s=(0.0,), horizon_s=maze.horizon_s, latent=0, width=settings.width,
                             depth=settings.depth, familiarity_octaves=5, transition=True, goal='position')
        self.settings, self.plain = SimpleNamespace(model=config), settings
        self.work = out / 'training'
        self.work.mkdir(parents=True, exist_ok=True)
        self.writer = SummaryWriter(self.work / 'tensorboard')
        self.model = WorldModel(config)
        self._take(*read_play(data))

    def _take(self, state, force):
        count, length = state.shape[:2]
        start = np.arange(count + 1) * length
        stamp_s = np.tile(np.arange(length) * PERIOD_S, count)
        flat = state.reshape(-1, 4)
        self.episodes = SimpleNamespace(position_rad=flat[:, :2], velocity_rad_s=flat[:, 2:], stamp_s=stamp_s, frame_stamp_s=stamp_s,
                                        joint_start=start, frame_start=start)
        order = np.random.default_rng(self.plain.seed).permutation(count)
        held_out = max(2, int(count * self.plain.held_out_share))
        self.held_out, self.train_set = np.sort(order[:held_out]), np.sort(order[held_out:])
        self.halves = {'guide': self.train_set[::2], 'judge': self.train_set[1::2]}
        self.model.normalizer.fit(torch.from_numpy(flat))
        self.windows = Windows(self.episodes, self.model.config.context_offset_s, self.model.config.horizon_s)
        self.window_tokens = denoising.WindowTokens(self.windows, self.model, torch.zeros(len(flat), 0), self.device)
        self.steps = len(flat)
        self.identity = {'maze': self.maze.name, 'horizon_s': self.maze.horizon_s, 'data.episodes': count,
                         'data.columns': hashlib.sha256(np.ascontiguousarray(state)).hexdigest()[:12],
                         **{key: getattr(self.plain, key) for key in OF_ALL_STAGES}}

    def normal(self, position_m):
        """Bring positions to network space: position_m [..., 2] -> [..., 2]"""
        own = self.model.layout.position
        return (torch.as_tensor(position_m) - self.model.normalizer.mean[own]) / self.model.normalizer.spread[own]

    def _run(self, name, modules, stage):
        self.runs[name] = Run(name, self.work, modules, stage, self.plain, self.resume, self.device, identity=self.identity,
                              title=f'{self.maze.name} {name}', instead='another --models')
        return self.runs[name]

    def minutes(self):
        """Say how long each stage took so far, resumed runs included."""
        return {name: round(run.seconds / 60, 1) for name, run in self.runs.items()}

    def _positions(self, episodes, count, random):
        length = self.episodes.joint_start[1]
        return self.episodes.position_rad[random.choice(episodes, count) * length + random.integers(0, length, count)]

    def relabel(self, episodes, count, random):
        """Draw places and goals, and the sparse reward the environment would give: -> place_m, goal_m [N, 2], reward [N]

        Goals are places of play too (hindsight relabelling, Andrychowicz et al. 2017); half of them are drawn near the place,
        or hardly any would be rewarded.
        """
        place, goal = self._positions(episodes, count, random), self._positions(episodes, count, random)
        angle, radius = random.uniform(0, 2 * np.pi, count), 1.2 * np.sqrt(random.random(count))
        beside = place + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
        goal = np.where(random.random((count, 1)) < 0.5, beside, goal).astype(np.float32)
        return place, goal, (np.linalg.norm(place - goal, axis=1) <= REWARD_RADIUS_M).astype(np.float32)

    def heads(self):
        """Train both reward heads, on different episodes, and inverse dynamics; fit the calibration on held-out episodes."""
        parts = {'guide': self.model.guide_head, 'judge': self.model.judge_head, 'inverse_dynamics': self.model.inverse_dynamics}
        run = self._run('heads', parts, self.plain.heads)

        def loss(generator):
            random = spun_off(generator)
            total, figures = self._dynamics_loss(run, random)
            for name, episodes in self.halves.items():
                value, right = self._reward_loss(run.modules[name], episodes, run.stage.batch // 2, random, generator)
                total, figures = total + value, figures | {f'{name}_right': right}
            return total, figures

        run.train(loss, self.writer)
        for name, module in parts.items():
            module.load_state_dict(run.average[name].state_dict())
        self.reward_calibration = calibration.fit_reward_heads(self, self._held_out_logits)

    def _reward_loss(self, head, episodes, count, random, generator):
        place, goal, reward = self.relabel(episodes, count, random)
        level = torch.rand(count, generator=generator) * (torch.rand(count, generator=generator) < 0.5)
        noise = torch.randn(count, 2, generator=generator)
        noisy = denoising.add_noise(self.normal(place), noise, level)
        wanted, width = head.places(self.normal(goal)[:, None])
        logit = head(noisy, level, wanted, width)
        reward = torch.from_numpy(reward)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, reward)
        return loss, ((logit > 0) == (reward > 0))[level == 0].float().mean().item()

    def _dynamics_loss(self, run, random):
        length, count = int(self.episodes.joint_start[1]), run.stage.batch
        gap = random.integers(1, 51, count)
        row = random.choice(self.train_set, count) * length + random.integers(0, length - 51, count)
        motion, own = self.window_tokens.motion, self.model.layout.motion
        near, far = (self.model.normalizer(motion[torch.from_numpy(rows)])[:, own] for rows in (row, row + gap))
        later = self.normal(self.episodes.position_rad[row + round(COMMAND_S / PERIOD_S)])
        guess = run.modules['inverse_dynamics'](near, far, torch.from_numpy(gap * PERIOD_S).float())
        loss = torch.nn.functional.smooth_l1_loss(guess, later, beta=0.05)
        return loss, {'dynamics': loss.item()}

    def _held_out_logits(self, _job, head):
        """Log-odds of held-out places drawn as play visits them, given goals of the environment: -> logit [N], reward [N]"""
        with torch.no_grad():
            place, goal, reward = self.relabel(self.held_out, 40_000, np.random.default_rng(3))
            wanted, width = head.places(self.normal(goal)[:, None])
            return head(self.normal(place), torch.zeros(len(place)), wanted, width), torch.from_numpy(reward)

    def familiarity(self):
        """Train the head that tells places of play from others; each place counts alike, however often it was visited."""
        run = self._run('familiarity', {'familiarity': self.model.familiarity}, self.plain.familiarity)
        place = torch.from_numpy(self.episodes.position_rad).view(-1, int(self.episodes.joint_start[1]), 2)
        known, held_out = (spread_evenly(place[torch.from_numpy(part)].reshape(-1, 2)) for part in (self.train_set, self.held_out))
        box = torch.stack([known.amin(0) - 1, known.amax(0) + 1])

        def loss(generator):
            value, right = familiarity.familiarity_loss(run.modules['familiarity'], self.normal, known, run.stage.batch,
                                                        generator, shake_rad=SHAKE_M, box_rad=box)
            return value, {'loss': value.item(), 'right': right.item()}

        run.train(loss, self.writer)
        self.model.familiarity.load_state_dict(run.average['familiarity'].state_dict())
        familiarity.fit_floor(self.model.familiarity, self.normal, held_out, FLOOR_MARGIN)

    def transition(self):
        """Train the head that tells transitions of play from made-up ones."""
        run = self._run('transition', {'transition': self.model.transition}, self.plain.transition)
        motion = self.model.normalizer(self.window_tokens.motion).view(-1, int(self.episodes.joint_start[1]), self.model.layout.width)
        known, held_out = (transition.Pairs(motion[torch.from_numpy(part)], PERIOD_S, self.maze.horizon_s)
                           for part in (self.train_set, self.held_out))

        def loss(generator):
            value, right = transition.transition_loss(run.modules['transition'], known, run.stage.batch, spun_off(generator), generator)
            return value, {'loss': value.item(), 'right': right.item()}

        run.train(loss, self.writer)
        self.model.transition.load_state_dict(run.average['transition'].state_dict())
        transition.fit_floor(self.model.transition, held_out, np.random.default_rng(5))

    def denoiser(self):
        """Train the denoiser by diffusion forcing; every batch has about as many tokens, whatever their number per window."""
        run = self._run('denoiser', {'denoiser': self.model.denoiser}, self.plain.denoiser)
        weight = denoising.token_weight(self.model.layout)

        def loss(generator):
            random = spun_off(generator)
            fill = int(random.choice(self.plain.fill_in_counts))
            clean, offset_s, present = self.window_tokens.draw(self.train_set, run.stage.batch // (fill + 2), fill, random)
            value = denoising.denoising_loss(run.modules['denoiser'], clean, offset_s, present, 1, weight, generator)
            return value, {'loss': value.item(), 'fill': fill}

        run.train(loss, self.writer)
        self.model.denoiser.load_state_dict(run.average['denoiser'].state_dict())

    def finish(self):
        """Measure what planning must know about the data and write the model folder."""
        self.model.requires_grad_(False).eval()
        planning = {'reward_calibration': self.reward_calibration, 'typicality': calibration.typicality(self),
                    'step_mismatch': calibration.step_mismatch(self)}
        checkpoint.save(self.out, self.model, planning, {
            'maze': self.maze.name, 'settings': configuration.to_mapping(self.plain), 'play_steps': self.steps,
            'minutes': self.minutes(), 'parameters': {name: parameter_count(module) for name, module in self.model.named_children()}},
            half=('denoiser.',))     # under 5 MB; rounding of 0.05 % is far below what a plan varies by from seed to seed
        print(f'{self.out}: written')


def spread_evenly(place_m, cell_m=0.05, most=8):
    """Keep at most so many places per square of so many metres: place_m [N, 2] -> [M, 2]"""
    square = torch.floor(place_m / cell_m).long()
    key = (square[:, 0] - square[:, 0].min()) * 100_000 + square[:, 1] - square[:, 1].min()
    order = torch.argsort(key, stable=True)
    ordered = key[order]
    first = torch.searchsorted(ordered, ordered)
    return place_m[order[torch.arange(len(key)) - first < most]]


def tiny(settings=MazeTraining()):
    """Return the settings of a run of about a minute, for tests: a planner that is better than none, no more."""
    return replace(settings, heads=Stage(300, 512, 2e-3, 50), familiarity=Stage(300, 1024, 2e-3, 50),
                   transition=Stage(300, 1024, 2e-3, 50),
                   denoiser=Stage(500, 1500, 2e-3, 50), width=64, depth=3, fill_in_counts=(0, 0, 11))
