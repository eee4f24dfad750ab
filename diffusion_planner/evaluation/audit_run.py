"""Episodes of an audit: what is audited, how guidance is held, and books that let an interrupted run go on."""
import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path

import numpy as np

from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.ledger import Ledger
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim import fanout
from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.scene import default_robot, sample_scene

VERSION = 2                                    # of episodes and scoring: older results are run again
# How guidance is held: by everything; only by what keeps the arithmetic stable; by nothing, as in plain classifier guidance.
MODES = {'guarded': {'guard': True}, 'damped': {'guard': False}, 'free': {'guard': False, 'changes': (('proximal', False),)}}
GUARDED = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)      # scales that are swept with the guard
FAR_PAST = 8                                   # times the shipped scale: what the guard must hold
PER_JOB = 5                                    # episodes that a worker runs with one planner


@dataclass(frozen=True)
class Options:
    """What is audited, on which scenes; `scales` are swept with the guard, and those of audit.UNGUARDED without."""

    model: Path
    episodes: int = 100
    seed: int = 1000
    scales: tuple = GUARDED
    objective: Path | None = None
    flaw: bool = False
    crossing: bool = False     # only scenes in which the arm starts on one side and the target lies on the other
    fitting: bool = False      # the combined judge is what is sought: whatever the checkpoint has of it is left out
    work: Path = Path('runs/audit')
    workers: int = 2
    ray: str | None = None     # see sim.fanout

    def settings(self, mode, scale, alone=False):
        return LoopSettings(str(self.model), float(scale), alone=alone, flaw=self.flaw, neutral=self.fitting,
                            objective=self.objective and str(self.objective), **MODES[mode])


def run(options, jobs, title='episodes', seed=None):
    """Run what is missing of these settings: [LoopSettings] -> {LoopSettings: rows in order of seed}

    Finished episodes are kept in options.work; an interrupted run goes on where it stopped.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    wanted = _scenes(options, options.seed if seed is None else seed)
    ledgers = {settings: Ledger(options.work / f'{fingerprint(settings)}.jsonl', fingerprint(settings)) for settings in jobs}
    work = [(settings, missing[start:start + PER_JOB]) for settings, ledger in ledgers.items()
            if (missing := [number for number in wanted if number not in ledger.results]) for start in range(0, len(missing), PER_JOB)]
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[note]}'), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=sum(len(seeds) for _, seeds in work), note='')
        for (settings, seeds), rows in fanout.run(episodes, work, options.workers, options.ray):
            ledgers[settings].add(rows)
            progress.update(bar, advance=len(seeds), note=describe(settings))
    return {settings: [ledger.results[number] for number in wanted] for settings, ledger in ledgers.items()}


def _scenes(options, first):
    """The scenes to run: -> seeds, as many as there are episodes"""
    if not options.crossing:
        return range(first, first + options.episodes)
    return list(islice((seed for seed in count(first) if _crosses(seed)), options.episodes))


@lru_cache(maxsize=None)
def _crosses(seed):
    scene = sample_scene(seed)
    return default_robot().tip_m(np.array(scene.start_rad))[1] * scene.target_m[1] < 0


@lru_cache(maxsize=None)
def _env():
    return ArmEnv()


@lru_cache(maxsize=2)
def _loop(settings):
    return Loop(settings, _env())


def episodes(work):
    """Run (settings, seeds) in a worker: -> rows"""
    settings, seeds = work
    return [_loop(settings).run(seed) for seed in seeds]


def describe(settings):
    return f'{"one plan alone, " if settings.alone else ""}{mode_of(settings)} {settings.guidance_scale:g}'


def mode_of(settings):
    """Name the mode of settings; those with other changes are of their guard's."""
    return next((name for name, given in MODES.items() if all(getattr(settings, key) == value for key, value in {'changes': (), **given}.items())),
                'guarded' if settings.guard else 'damped')


def fingerprint(settings):
    """Say what rows depend on: weights, what planning knows, settings, the version of this module."""
    config = checkpoint.read_config(settings.model)
    apart = ('recommended_scale', 'forecast') if settings.neutral else ('recommended_scale',)
    planning = {name: value for name, value in config['planning'].items() if name not in apart}
    asked = [Path(path).read_text() for path in (settings.objective, settings.watched) if isinstance(path, str)]
    if settings.flaw:
        asked.append(hashlib.sha256((Path(settings.model) / checkpoint.FLAW_FILE).read_bytes()).hexdigest())
    parts = VERSION, config['sha256'], json.dumps(planning, sort_keys=True), asked, repr(replace(settings, model=''))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def shipped_scale(model):
    """The guidance scale that a model's checkpoint recommends, 1 where it names none."""
    return checkpoint.read_config(model)['planning'].get('recommended_scale', 1.0)


def write_planning(model, changes):
    """Change what a checkpoint's planning table says: {name: value}"""
    config = checkpoint.read_config(model)
    checkpoint.write_config(model, {**config, 'planning': {**config['planning'], **changes}})


def write(report, path):
    """Write a report as a whole or not at all."""
    part = Path(f'{path}.part')
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(report, indent=1) + '\n')
    os.replace(part, path)


