"""The losses of the first two stages, batch by batch: each draws the whole batch and computes the rows of its own process."""
import numpy as np
import torch

from diffusion_planner.data import store
from diffusion_planner.diffusion.noise import add_noise
from diffusion_planner.training import representation
from diffusion_planner.training.run import spun_off


class RepresentationBatches:
    """Losses of stage one."""

    def __init__(self, job, pictures):
        self.job, self.pictures = job, pictures
        self.sampler = representation.PostureSampler(job.episodes)
        self.weights = representation.colour_weights(pictures.pixels).to(job.device)

    def loss(self, generator):
        job, modules = self.job, self.modules()
        random = spun_off(generator)
        total, numbers = 0.0, {}
        pictures = 2 if random.random() < representation.TWO_PICTURES else 1
        for name, candidates in job.halves.items():
            count = job.settings.representation.batch // 2 // pictures
            episode = representation.draw_episodes(self.sampler, candidates, random, count)
            value, figures = self._half(modules, name, episode, pictures, random)
            total, numbers = total + value, numbers | figures
        return total, numbers

    def modules(self):
        return {'encoder': self.job.model.encoder, 'decoder': self.job.model.decoder,
                'guide': self.job.model.guide_head, 'judge': self.job.model.judge_head}

    def _half(self, modules, name, episode, pictures, random):
        job, device = self.job, self.job.device
        pixels = torch.from_numpy(self.pictures.draw(episode, random, pictures)[job.processes.own(len(episode))]).to(device)
        views = pixels.flatten(0, 1).unbind(1)
        latents = [modules['encoder'](_channels(flat), camera) for camera, flat in enumerate(views)]
        judged, figures = reward_losses(job, self.sampler, name, modules[name], episode,
                                        torch.cat(latents, -1).view(len(pixels), pictures, -1), random)
        picture = sum(representation.picture_loss(modules['decoder'], latent[::4], flat[::4], self.weights, camera)
                      for camera, (latent, flat) in enumerate(zip(latents, views))) / len(views)
        return judged + 2 * picture, {**figures, 'picture': picture.item()}


def reward_losses(job, sampler, name, head, episode, latent, random):
    """Loss of a reward head: postures of episodes [B], clean and noisy, against pictures of other instants.

    latent [R, C, Z] and the loss are of this process's rows R of B alone.
    """
    rows, own = sampler.draw(episode, random, representation.POSTURES), job.processes.own(len(episode))
    level = np.where(random.random(rows.shape) < 0.5, 0, random.random(rows.shape)).astype(np.float32)
    noise = random.standard_normal((*rows.shape, job.model.layout.joints)).astype(np.float32)
    rows, level, noise = rows[own], *(torch.from_numpy(part[own]).to(job.device) for part in (level, noise))
    position = job.normal_position(rows)
    reward = torch.from_numpy(job.episodes.reward[rows]).to(job.device)
    judged, logit = representation.reward_loss(head, add_noise(position, noise, level), level, reward, latent)
    tip_m = torch.from_numpy(job.tip_m[rows]).to(job.device)
    tip = representation.tip_loss(head, position, tip_m)
    correct = ((logit > 0) == (reward > 0))[level == 0].float().mean()
    return judged + 2 * tip, {f'{name}_bce': judged.item(), f'{name}_tip': tip.item(), f'{name}_right': correct.item()}


def _channels(pixels):
    return pixels.permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)


class HeadBatches:
    """Losses of the small heads, on pairs of neighbouring tokens."""

    def __init__(self, job):
        self.job = job
        self.command_rad = torch.from_numpy(np.concatenate([store.read_column(path, 'command_rad') for path in job.episodes.paths]))
        self.sampler = representation.PostureSampler(job.episodes)

    def loss(self, generator):
        random = spun_off(generator)
        dynamics, figures = self._neighbours(random)
        for name, candidates in self.job.halves.items():
            value, more = self._reward(name, candidates, random)
            dynamics, figures = dynamics + value, figures | more
        return dynamics, figures

    def _reward(self, name, candidates, random):
        job = self.job
        episode = representation.draw_episodes(self.sampler, candidates, random, job.settings.heads.batch // 4)
        first, count = job.episodes.frame_start[episode], np.diff(job.episodes.frame_start)[episode]
        pictures = int(random.integers(1, 4))
        frames = first[:, None] + (random.random((len(episode), pictures)) * count[:, None]).astype(int)
        latent = job.latent[torch.from_numpy(frames[job.processes.own(len(frames))])].to(job.device)
        head = {'guide': job.model.guide_head, 'judge': job.model.judge_head}[name]
        return reward_losses(job, self.sampler, name, head, episode, latent, random)

    def _neighbours(self, random):
        job, layout, windows = self.job, self.job.model.layout, self.job.windows
        episode = random.choice(job.train_set, job.settings.heads.batch)
        last = (windows.joint_count[episode] - 1) * windows.period_s
        gap = np.minimum(random.uniform(windows.period_s, 0.5, len(episode)), last)
        now = random.random(len(episode)) * (last - gap)
        offset = np.stack([np.zeros_like(gap), gap], 1)
        own = job.processes.own(len(episode))
        joint, frame, sensor, offset_s, _ = (part[own] for part in windows.rows(episode, now, offset, np.zeros_like(offset)))
        tokens = job.model.normalizer(job.window_tokens.tokens(joint, frame, sensor).to(job.device))
        command = self.command_rad[torch.from_numpy(np.minimum(joint[:, 0] + 1, len(self.command_rad) - 1))].to(job.device)
        mean, spread = job.model.normalizer.mean[layout.position], job.model.normalizer.spread[layout.position]
        guess = job.model.inverse_dynamics(tokens[:, 0, layout.motion], tokens[:, 1, layout.motion],
                                           torch.from_numpy(offset_s[:, 1]).to(job.device))
        dynamics = torch.nn.functional.smooth_l1_loss(guess, (command - mean) / spread, beta=0.05)
        ended = torch.from_numpy(joint[:, 1] + 2 >= job.episodes.joint_start[episode[own] + 1]).float().to(job.device)
        terminal = torch.nn.functional.binary_cross_entropy_with_logits(job.model.terminal_head(tokens[:, 1])[:, 0], ended)
        return dynamics + 0.1 * terminal, {'dynamics': dynamics.item(), 'terminal': terminal.item()}

