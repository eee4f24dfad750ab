"""Simulator and planner for minutes or hours with faults at random, and a watcher that counts what must not happen."""
import itertools
import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.ros import soak_report
from diffusion_planner.ros.children import ChildDied
from diffusion_planner.ros.monitor import NoAnswer
from diffusion_planner.ros.soak_rig import pause, real_time, report_failure, rigged, until
from diffusion_planner.ros.session import Interrupted
from diffusion_planner.ros.soak_faults import Fault, Schedule

RECOVERY_S, LASTING_S = 20.0, 1.5     # to recover, before and after a reset; for how long it must last to count
PEACE_S = 1.0, 4.0                    # between faults
LOOK_S, SHOW_S, SAVE_S = 5.0, 0.5, 10.0


@dataclass(frozen=True)
class SoakOptions:
    """What `diffusion-planner soak` was asked for; None: no file, or a free domain."""

    model: Path
    minutes: float = 10.0
    seed: int = 0
    json: Path | None = None
    domain: int | None = None
    backend: str = 'torch'
    device: str = 'auto'


def run_soak(options, planner=None):
    """Soak, and print what came of it: -> exit status; `planner` is a command line in place of the shipped planner's.

    0 when nothing happened that must not, 1 when something did or a node failed, 128 + number after a signal. Raises ConfigError.
    """
    from rich.console import Console
    if options.json is not None and Path(options.json).is_dir():
        raise ConfigError(f'--json {options.json}: is a folder; expected the name of a file')
    soak, status, rig = Soak(options, Console()), 0, None
    try:
        lines = real_time(options.model, options.seed, 'inject:=true', f'inject_seed:={options.seed}', planner=planner,
                          backend=options.backend, device=options.device)
        with rigged(lines, options.domain) as rig:
            soak.run(rig)
    except Interrupted:
        status = 128 + rig.interrupts.number
    except (ChildDied, NoAnswer) as error:
        report_failure(error, rig.folder)
        soak.failure, status = str(error), 1
    summary = soak.save()
    if status != 1:
        shutil.rmtree(rig.folder, ignore_errors=True)      # logs are for failures
    soak_report.show(Console(width=140), summary, summary['elapsed_s'])
    return status or int(bool(soak_report.shortcomings(summary)))


class Soak:
    """The run: `events` is what was done to the planner and how it recovered."""

    def __init__(self, options, console):
        self.options, self.console, self.random = options, console, np.random.default_rng(options.seed)
        self.schedule, self.events, self.samples, self.failure = Schedule(self.random), [], [], ''
        self.ledger, self.memory, self.rig = soak_report.Ledger(), soak_report.Memory(), None
        self.fault, self.changing, self.begun_s, self.live, self._due_s = None, False, None, None, {}

    def elapsed_s(self):
        return 0.0 if self.begun_s is None else time.monotonic() - self.begun_s

    def run(self, rig):
        """Soak for the wanted time. Raises ChildDied, NoAnswer or Interrupted; what was counted until then is kept."""
        from rich.live import Live
        self.rig = rig
        rig.watcher.heard = self._hear
        rig.every_turn.append(self._look)
        self.console.print(f'{self.options.minutes:g} minutes, seed {self.options.seed}, ROS domain {rig.domain}', highlight=False)
        with Live(console=self.console, auto_refresh=False) if self.console.is_terminal else nullcontext() as self.live:
            rig.run(rig.ready())
            self.begun_s = time.monotonic()
            rig.run(self._faults(), self._scenes())

    def _hear(self, report):
        chunk = self.rig.watcher.chunk
        self.ledger.hear(report, self.fault.kind if self.fault else 'in peace', None if chunk is None else float(chunk.offset_s[0]))

    def _scenes(self):
        """Job: scene after scene, for ever."""
        for count in itertools.count():
            self.changing = True
            yield from self.rig.go_to(self.options.seed + count)
            self.changing = False
            yield from until(lambda: self.rig.is_over() and (self.fault is None or self.fault.scenes))

    def _faults(self):
        """Job: fault after fault, with peace between them, until time is up."""
        while self.elapsed_s() < 60 * self.options.minutes:
            yield from pause(self.random.uniform(*PEACE_S))
            yield from until(lambda: not self.changing)
            if self.rig.watcher.state() == 'FAULT':      # out of nothing
                yield from self._suffer(Fault('nothing', 0.0, lambda rig, seconds: pause(seconds)))
            yield from self._suffer(self.schedule.next(self.elapsed_s() / (60 * self.options.minutes)))

    def _suffer(self, fault):
        """Job: let a fault happen, and see how the planner recovers from it."""
        watcher, self.fault = self.rig.watcher, fault
        event = {'at_s': round(self.elapsed_s(), 2), 'fault': fault.kind, 'text': fault.text, 'seconds': round(fault.seconds, 2)}
        self.events.append(event)
        watcher.faulted = False
        watcher.said.clear()
        yield from fault.suffer(self.rig, fault.seconds)
        since_s = time.monotonic()
        event['recovered'] = yield from self._recover()
        event |= {'recovery_s': round(max(time.monotonic() - since_s - LASTING_S, 0.0), 2), 'status': watcher.status,
                  'said': [[round(said_s - self.begun_s, 2), text] for said_s, text in watcher.said]}
        self.fault = None
        if not self.live:
            self.console.print(f'{event["at_s"]:7.1f} s  {fault.text or fault.kind} for {fault.seconds:.1f} s: recovered {event["recovered"]} '
                               f'in {event["recovery_s"]:.1f} s', soft_wrap=True, highlight=False)

    def _recover(self):
        """Job: wait, reset as an operator would where the planner is in FAULT, wait again: -> one of soak_report.HOW"""
        watcher = self.rig.watcher
        fit = lasting(lambda since_s=time.monotonic(): watcher.is_fit(since_s), LASTING_S)
        recovered = yield from until(lambda: watcher.state() == 'FAULT' or fit(), RECOVERY_S)
        late = not recovered
        if late or watcher.state() == 'FAULT':      # too late counts as not recovered; the reset is for the faults to come
            yield from self.rig.ask('planner/reset', watcher.trigger('reset'))
            fit = lasting(lambda since_s=time.monotonic(): watcher.is_fit(since_s), LASTING_S)
            recovered = yield from until(fit, RECOVERY_S)
        return 'not' if late or not recovered else 'after reset' if watcher.faulted else 'by itself'

    def _look(self):
        """Look at memory, show how it stands and save it, each when due."""
        if self._is_due('look', LOOK_S):
            resident = self.rig.resident_bytes()
            for name, size in resident.items():
                self.memory.note(name, self.rig.lives[name], time.monotonic() - self.rig.begun_s[name], size)
            self.samples.append([round(self.elapsed_s(), 1), {name: size and round(size / 1e6, 1) for name, size in resident.items()}])
        if self.live and self._is_due('show', SHOW_S):
            self.live.update(self._view(), refresh=True)
        if self._is_due('save', SAVE_S):
            self.save()

    def _is_due(self, name, period_s):
        now_s = time.monotonic()
        due = now_s >= self._due_s.get(name, 0.0)
        if due:
            self._due_s[name] = now_s + period_s
        return due

    def _view(self):
        from rich.table import Table
        watcher, view = self.rig.watcher, Table.grid(padding=(0, 2))
        last = self.events[-1] if self.events else {'fault': '-'}
        memory = ', '.join(f'{name} {size:.0f} MB' for name, size in self.samples[-1][1].items() if size) if self.samples else '-'
        bad = watcher.exceeding + watcher.refused + sum(self.ledger.violations.values())
        for row in (('elapsed', f'{self.elapsed_s():.0f} s of {60 * self.options.minutes:.0f} s'), ('faults', str(len(self.events))),
                    ('last fault', last.get('text') or last['fault']), ('planner', watcher.status), ('chunks', str(watcher.sent)),
                    ('violations', str(bad)), ('memory', memory)):
            view.add_row(*row)
        return view

    def save(self):
        """Write the JSON file, where one is wanted: -> summary"""
        summary = {**soak_report.summarise(self.events, self.ledger, self.memory, self.rig.watcher), 'elapsed_s': self.elapsed_s(), 'failure': self.failure}
        if self.options.json:
            settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.options).items()}
            soak_report.write(self.options.json, settings, self.events, summary, self.samples)
        return summary


def lasting(condition, seconds):
    """Make a condition that holds once another has held for so long."""
    since_s = None

    def holds():
        nonlocal since_s
        if not condition():
            since_s = None
        elif since_s is None:
            since_s = time.monotonic()
        return since_s is not None and time.monotonic() - since_s >= seconds
    return holds
