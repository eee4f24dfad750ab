"""What a deadline costs: the same scenes in closed loop, with plans that end when their time is up, and how often they end in time.

Deadlines are of the wall clock. The delay from observation to controller is simulated and the same for all, so that what differs is
how well was planned.
"""
import json
import multiprocessing
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from diffusion_planner.evaluation.assembly import load_planner, warm_up
from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.metrics import summarise, wilson
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.records import Goal

DEADLINES_MS = (10.0, 15.0, 30.0, 100.0)
LOOKS = 20                # scenes that plans are timed in, so many in a row in each
KEPT = ('seed', 'deadline_ms', 'success', 'time_to_target_s', 'contacts', 'limit_violations', 'attempts', 'plan_ms', 'steps', 'noise_left')
_loop = None


@dataclass(frozen=True)
class Options:
    """What `bench deadline` was asked for; no deadline at all comes after the others."""

    model: Path
    deadlines_ms: tuple = DEADLINES_MS
    episodes: int = 100
    seed: int = 1000
    workers: int = 1
    backend: str = 'torch'
    device: str = 'cpu'
    threads: int = 1

    @property
    def all_ms(self):
        return (*sorted(set(self.deadlines_ms)), None)


def _begin(settings):
    global _loop
    _loop = Loop(settings)
    warm_up(_loop.planner, _loop.robot, _loop.goal())


def _episode(work):
    seed, deadline_ms = work
    _loop.settings = replace(_loop.settings, deadline_ms=deadline_ms)
    row = {**_loop.run(seed), 'deadline_ms': deadline_ms}
    return {name: row[name] for name in KEPT}


def measure(options, json_path=None):
    """Run every scene under every deadline in turn: -> report; it is written to json_path after every episode."""
    from rich.progress import Progress
    work = [(options.seed + index, deadline_ms) for index in range(options.episodes) for deadline_ms in options.all_ms]
    settings, rows = LoopSettings(str(options.model), threads=options.threads, backend=options.backend, device=options.device), []
    with Progress() as progress, multiprocessing.get_context('spawn').Pool(options.workers, _begin, (settings,)) as pool:
        bar = progress.add_task('episodes', total=len(work))
        for row in pool.imap_unordered(_episode, work):
            rows.append(row)
            progress.advance(bar)
            if json_path:
                write({**_header(options), 'summary': summary(rows), 'episodes': rows}, json_path)
    return {**_header(options), 'summary': summary(rows), 'episodes': rows}


def summary(rows):
    """Sum up episodes by deadline, none at last: -> list of figures"""
    found = []
    for deadline_ms in sorted({row['deadline_ms'] for row in rows}, key=_rank):
        part = [row for row in rows if row['deadline_ms'] == deadline_ms]
        plans = [plan for row in part for plan in zip(row['plan_ms'], row['steps'], row['noise_left'])]
        found.append({'deadline_ms': deadline_ms, **summarise(part), 'refused': sum(row['attempts'] for row in part) - len(plans), **_pace(plans, deadline_ms)})
    return found


def _pace(plans, deadline_ms):
    """Sum up plans (milliseconds, steps by stage, noise left): -> how many were in time, and how far they came"""
    if not plans:
        return {'plans': 0}
    took_ms, steps, noise = zip(*plans)
    kept = sum(took <= deadline_ms for took in took_ms) if deadline_ms else len(plans)
    return {'plans': len(plans), 'kept': kept / len(plans), 'kept_interval': wilson(kept, len(plans)), 'plan_ms_p99': float(np.quantile(took_ms, 0.99)),
            'plan_ms_max': float(max(took_ms)), 'steps': {stage: float(np.mean([each[stage] for each in steps])) for stage in steps[0]},
            'noise_left': float(np.mean(noise))}


def timed(options, count, json_path=None):
    """Time `count` plans per deadline, the deadlines in turn in one scene after another: -> report

    The pictures of every plan are new to it. Plans that end in a refusal count too: they take their time all the same.
    """
    from diffusion_planner.sim.scene import default_robot
    planner = load_planner(options.model, robot := default_robot(), backend=options.backend, threads=options.threads, device=options.device)
    goal = Goal(getattr(planner.backend, 'planning', {}).get('recommended_scale', 1.0))
    warm_up(planner, robot, goal)
    looks, plans = _looks(planner, robot, options.seed, min(count, LOOKS)), {deadline_ms: [] for deadline_ms in options.all_ms}
    for turn, look in enumerate(looks):
        for deadline_ms, made in plans.items():
            planner.reset()
            made += [_timed(planner, look, goal, seed, deadline_ms) for seed in range(turn, count, len(looks))]
    rows = [{'deadline_ms': deadline_ms, **_row(made, deadline_ms)} for deadline_ms, made in plans.items()]
    report = {**_header(options), 'timed': rows}
    if json_path:
        write(report, json_path)
    return report


def _looks(planner, robot, seed, count):
    from diffusion_planner.evaluation.offline import standing
    from diffusion_planner.sim.scene import draw_scene
    from diffusion_planner.sim.world import World
    world = World()
    looks = [standing(planner, world, draw_scene(world, robot, seed + index)) for index in range(count)]
    world.close()
    # Of an arm that moves, each row of the context has a picture of its own.
    return [replace(look, picture_stamp_s=look.picture_stamp_s + 0.1 * np.arange(len(look.offset_s))[:, None]) for look in looks]


def _timed(planner, look, goal, seed, deadline_ms):
    """-> milliseconds, the plan or None where it was refused"""
    planner.backend.forget()
    begun_s = time.perf_counter()
    try:
        plan = planner.plan(look, goal, seed, deadline_ms and deadline_ms / 1000)
    except NoSafeCandidate:
        plan = None
    return 1000 * (time.perf_counter() - begun_s), plan


def _row(made, deadline_ms):
    pace = _pace([(took_ms, plan.steps, float(plan.level.max())) for took_ms, plan in made if plan], deadline_ms)
    took_ms = [took for took, _ in made]
    kept = sum(took <= deadline_ms for took in took_ms) if deadline_ms else len(made)
    return {**pace, 'plans': len(made), 'refused': sum(plan is None for _, plan in made), 'kept': kept / len(made), 'kept_interval': wilson(kept, len(made)),
            **{f'plan_ms_p{share}': float(np.percentile(took_ms, share)) for share in (50, 95, 99)}, 'plan_ms_max': max(took_ms)}


def write(report, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(f'{path}.part')
    part.write_text(json.dumps(report, indent=1, default=float) + '\n')
    os.replace(part, path)


def _header(options):
    return {'settings': {**asdict(options), 'model': str(options.model), 'deadlines_ms': options.all_ms}, 'cores': os.cpu_count()}


def _rank(deadline_ms):
    return float('inf') if deadline_ms is None else deadline_ms
