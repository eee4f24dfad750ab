"""What every stage of training shares: a resumable loop with progress, curves, EMA and checkpoints, in one process or several."""
import contextlib
import copy
import math
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import numpy as np
import torch

from diffusion_planner.training.curves import Curve
from diffusion_planner.training.distributed import Processes
from diffusion_planner.training.identity import difference

LOG_EVERY = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunError(ValueError):
    """A checkpoint of training that cannot be resumed; the message names the file and what was expected."""


def spun_off(generator):
    """Make a numpy generator of the next number of a torch one, so that a checkpoint that keeps this one covers both."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))


def keep(value, path):
    """Save with torch, whole or not at all."""
    part = Path(path).with_suffix('.part')
    torch.save(value, part)
    os.replace(part, path)


@contextlib.contextmanager
def interruptions():
    """Collect SIGINT and SIGTERM instead of dying of them: -> list of those that came"""
    came = []
    if threading.current_thread() is not threading.main_thread():     # where Python lets nobody take signals
        yield came
        return
    before = {number: signal.signal(number, lambda got, _frame: came.append(got)) for number in SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """One stage of training: step() is called until the budget is spent; state is kept on disk as it goes.

    `identity` says what the stage depends on beside its own budget: a checkpoint of something else is refused with RunError, which
    tells to use `instead`. `title` is what users see in place of the name.
    """

    def __init__(self, name, folder, modules, stage, config, resume, device, processes=None, identity=None, title=None,
                 instead='--no-resume or another --out'):
        self.name, self.stage, self.config, self.device = name, stage, config, device
        self.title, self.instead = title or name, instead
        self.processes = processes or Processes()
        self.processes.check_batch(name, stage.batch)
        self.path = Path(folder) / f'{name}.pt'
        self.modules = torch.nn.ModuleDict(modules)
        self.average = copy.deepcopy(self.modules).requires_grad_(False)
        self.optimizer = self.processes.prepare(torch.optim.AdamW(self.modules.parameters(), lr=stage.learning_rate, weight_decay=1e-4))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.identity = {f'{name}.{key}': value for key, value in vars(stage).items()} | {'seed': config.seed} | (identity or {})
        self.done, self.seconds = 0, 0.0     # steps and time spent, over every run that was resumed
        if resume and self.path.exists():
            self._load()

    def train(self, compute_loss, writer, probe=None, probe_every=500):
        """Call compute_loss(generator) -> (loss, numbers to log) until the budget is spent.

        All that is random in it must come from the generator, see spun_off: so a resumed run ends as one that was never stopped.
        SIGINT and SIGTERM end the process with 128 + their number, once a checkpoint of the step at hand is written.
        """
        self._begin()
        with interruptions() as came, self._progress() as progress:
            bar = progress.add_task(self.name, total=self.stage.steps, completed=self.done, note='')
            while self.done < self.stage.steps:
                with self.processes.autocast():
                    loss, numbers = compute_loss(self.generator)
                stop, last = self._update(loss, bool(came)), self.done == self.stage.steps
                if self.done % LOG_EVERY == 0 or last:
                    numbers = self.processes.mean(numbers)
                    progress.update(bar, completed=self.done, note=' '.join(f'{key} {value:.4g}' for key, value in numbers.items()))
                    self._log(numbers, writer)
                if self.done % self.config.checkpoint_every == 0 or last or stop:
                    self.save()
                if stop:
                    progress.console.print(f'{self.title}: stopped at step {self.done} of {self.stage.steps}; the same command goes on from there')
                    raise SystemExit(128 + (came or SIGNALS[1:])[0])
                if probe and self.processes.main and (self.done % probe_every == 0 or last):
                    figures = probe(self.average)
                    progress.console.print(f'{self.name} step {self.done}: ' + ', '.join(f'{key} {value:.4g}' for key, value in figures.items()))
                    self._log(figures, writer)
        if came:     # while the last step was kept and probed
            raise SystemExit(128 + came[0])
        self.processes.agree(self.average.state_dict().values())
        return self.average

    def _begin(self):
        self.processes.check_same(self.path, f'step {self.done} of {self.identity}')
        self.processes.agree([*self.modules.state_dict().values(), *self.average.state_dict().values()])
        self._begun = time.monotonic()
        self.curve = Curve(self.path.with_suffix('.csv'), self.done) if self.processes.main else None

    def _progress(self):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        return Progress(TextColumn(self.title), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[note]}'), TimeRemainingColumn(),
                        refresh_per_second=1, disable=not self.processes.main)

    def _log(self, figures, writer):
        if self.processes.main:
            self.curve.add(self.done, figures)
            for key, value in figures.items():
                writer.add_scalar(f'{self.name}/{key}', value, self.done)

    def _update(self, loss, stop):
        """Take one step, and say whether any process was asked to stop: -> bool"""
        for group in self.optimizer.param_groups:
            group['lr'] = self.stage.learning_rate * self._schedule()
        self.optimizer.zero_grad(set_to_none=True)
        self.processes.backward(loss)
        stop = self.processes.average_gradients(self.modules.parameters(), stop)
        self.processes.clip(self.modules.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        # A young average forgets faster, or it would remember the random start for thousands of steps.
        decay = min(self.config.ema_decay, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.modules.state_dict().values()):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
        return stop

    def _schedule(self):
        if self.done < self.stage.warmup:
            return (self.done + 1) / self.stage.warmup
        share = (self.done - self.stage.warmup) / max(1, self.stage.steps - self.stage.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share))) + 0.01

    def save(self):
        self.seconds, self._begun = self.seconds + time.monotonic() - self._begun, time.monotonic()
        if self.processes.main:
            keep({'modules': self.modules.state_dict(), 'average': self.average.state_dict(), 'done': self.done,
                  'optimizer': self.optimizer.state_dict(), 'generator': self.generator.get_state(), 'seconds': self.seconds,
                  'identity': self.identity, 'scaler': self.processes.scaler_state()}, self.path)

    def _load(self):
        try:
            state = torch.load(self.path, map_location=self.device, weights_only=True)
            before = state.get('identity')
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, pickle.UnpicklingError) as error:
            raise self._unreadable(error) from None
        if before is None:
            print(f'{self.path}: older than the checks of what a run belongs to; taken as it is')
        elif changed := difference(before, self.identity):
            raise RunError(f'{self.path}: {changed} as in the run so far; use {self.instead}')
        try:
            self.modules.load_state_dict(state['modules'])
            self.average.load_state_dict(state['average'])
            self.optimizer.load_state_dict(state['optimizer'])
            self.generator.set_state(state['generator'].cpu())
        except (RuntimeError, ValueError, KeyError) as error:
            raise self._unreadable(error) from None
        self.processes.restore_scaler(state.get('scaler'))
        self.done, self.seconds = state['done'], state.get('seconds', 0.0)

    def _unreadable(self, error):
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        return RunError(f'{self.path}: no checkpoint of this stage ({reason}); delete it or use {self.instead}')
