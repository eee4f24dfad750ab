"""What every stage of training shares: a resumable loop with progress, TensorBoard, EMA and checkpoints."""
import copy
import math
import os
import time
from pathlib import Path

import torch


class Run:
    """One stage of training: step() is called until the budget is spent; state is kept on disk as it goes."""

    def __init__(self, name, folder, modules, stage, config, resume, device):
        self.name, self.stage, self.config, self.device = name, stage, config, device
        self.path = Path(folder) / f'{name}.pt'
        self.modules = torch.nn.ModuleDict(modules)
        self.average = copy.deepcopy(self.modules).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.modules.parameters(), lr=stage.learning_rate, weight_decay=1e-4)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.done, self.seconds = 0, 0.0     # steps and time spent, over every run that was resumed
        if resume and self.path.exists():
            self._load()

    def train(self, compute_loss, writer, probe=None, probe_every=500):
        """Call compute_loss(generator) -> (loss, numbers to log) until the budget is spent."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        columns = TextColumn(self.name), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[note]}'), TimeRemainingColumn()
        self._begun = time.monotonic()
        with Progress(*columns, refresh_per_second=1) as progress:
            bar = progress.add_task(self.name, total=self.stage.steps, completed=self.done, note='')
            while self.done < self.stage.steps:
                loss, numbers = compute_loss(self.generator)
                self._update(loss)
                if self.done % 20 == 0:
                    progress.update(bar, completed=self.done, note=' '.join(f'{key} {value:.4g}' for key, value in numbers.items()))
                    for key, value in numbers.items():
                        writer.add_scalar(f'{self.name}/{key}', value, self.done)
                if self.done % self.config.checkpoint_every == 0 or self.done == self.stage.steps:
                    self.save()
                if probe and (self.done % probe_every == 0 or self.done == self.stage.steps):
                    figures = probe(self.average)
                    progress.console.print(f'{self.name} step {self.done}: ' + ', '.join(f'{key} {value:.4g}' for key, value in figures.items()))
                    for key, value in figures.items():
                        writer.add_scalar(f'{self.name}/{key}', value, self.done)
        return self.average

    def _update(self, loss):
        for group in self.optimizer.param_groups:
            group['lr'] = self.stage.learning_rate * self._schedule()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        # A young average forgets faster, or it would remember the random start for thousands of steps.
        decay = min(self.config.ema_decay, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.modules.state_dict().values()):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)

    def _schedule(self):
        if self.done < self.stage.warmup:
            return (self.done + 1) / self.stage.warmup
        share = (self.done - self.stage.warmup) / max(1, self.stage.steps - self.stage.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share))) + 0.01

    def save(self):
        self.seconds, self._begun = self.seconds + time.monotonic() - self._begun, time.monotonic()
        part = self.path.with_suffix('.part')
        torch.save({'modules': self.modules.state_dict(), 'average': self.average.state_dict(), 'done': self.done,
                    'optimizer': self.optimizer.state_dict(), 'generator': self.generator.get_state(), 'seconds': self.seconds}, part)
        os.replace(part, self.path)

    def _load(self):
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.modules.load_state_dict(state['modules'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.generator.set_state(state['generator'].cpu())
        self.done, self.seconds = state['done'], state.get('seconds', 0.0)
