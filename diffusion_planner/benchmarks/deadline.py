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
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.records import Goal
from diffusion_planner.runtime.checkpoint import read_config

DEADLINES_MS = (10.0, 15.0, 30.0, 100.0)
REFERENCE = ('arrivals', 'samples', 'far_steps', 'fill_steps', 'bend', 'fill_in', 'plans', 'sampler', 'guidance_form')
LOOKS = 20                # scenes that plans are timed in, so many in a row in each
KEPT = ('seed', 'deadline_ms', 'success', 'time_to_target_s', 'contacts', 'limit_violations', 'took_ms', 'plan_ms', 'steps', 'noise_left')
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
    header, rows = _header(options), []
    settings = LoopSettings(str(options.model), threads=options.threads, backend=options.backend, device=options.device)
    with Progress() as progress, multiprocessing.get_context('spawn').Pool(options.workers, _begin, (settings,)) as pool:
        bar = progress.add_task('episodes', total=len(work))
        for row in pool.imap_unordered(_episode, work):
            rows.append(row)
            progress.advance(bar)
            if json_path:
                write({**header, 'summary': summary(rows), 'episodes': rows}, json_path)
    return {**header, 'summary': summary(rows), 'episodes': rows}


def summary(rows):
    """Sum up episodes by deadline, none at last: -> list of figures"""
    found = []
    for deadline_ms in sorted({row['deadline_ms'] for row in rows}, key=_rank):
        part = [row for row in rows if row['deadline_ms'] == deadline_ms]
        took_ms = [took for row in part for took in row['took_ms']]
        plans = [plan for row in part for plan in zip(row['steps'], row['noise_left'])]
        found.append({'deadline_ms': deadline_ms, **summarise(part), **_pace(took_ms, plans, deadline_ms)})
    return found


def _pace(took_ms, plans, deadline_ms):
    """Sum up attempts: took_ms of all, refused ones too; (steps by stage, noise left) of those that became a plan: -> figures

    A deadline is kept or not by every attempt: those that are refused are not the quick ones.
    """
    found = {'attempts': len(took_ms), 'refused': len(took_ms) - len(plans)}
    if took_ms:
        kept = sum(took <= deadline_ms for took in took_ms) if deadline_ms else len(took_ms)
        found |= {'kept': kept / len(took_ms), 'kept_interval': wilson(kept, len(took_ms)), 'plan_ms_max': float(max(took_ms)),
                  **{f'plan_ms_p{share}': float(np.percentile(took_ms, share)) for share in (50, 95, 99)}}
    if plans:
        steps, noise = zip(*plans)
        found |= {'steps': {stage: float(np.mean([each[stage] for each in steps])) for stage in ('far', 'fill')}, 'noise_left': float(np.mean(noise))}
    return found


def timed(options, count, json_path=None):
    """Time `count` plans per deadline, the deadlines in turn in one scene after another: -> report

    The pictures of every plan are new to it. Plans that end in a refusal count too: they take their time all the same.
    """
    from diffusion_planner.sim.scene import default_robot
    header = _header(options)
    planner = load_planner(options.model, robot := default_robot(), backend=options.backend, threads=options.threads, device=options.device)
    goal = Goal(getattr(planner.backend, 'planning', {}).get('recommended_scale', 1.0))
    warm_up(planner, robot, goal)
    looks, plans = _looks(planner, robot, options.seed, min(count, LOOKS)), {deadline_ms: [] for deadline_ms in options.all_ms}
    for turn, look in enumerate(looks):
        for deadline_ms, made in plans.items():
            planner.reset()
            made += [_timed(planner, look, goal, seed, deadline_ms) for seed in range(turn, count, len(looks))]
    rows = [{'deadline_ms': deadline_ms, **_pace([took_ms for took_ms, _ in made], [_outcome(plan) for _, plan in made if plan], deadline_ms)}
            for deadline_ms, made in plans.items()]
    report = {**header, 'timed': rows}
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


def _outcome(plan):
    return plan.steps, float(plan.level.max())


def write(report, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(f'{path}.part')
    part.write_text(json.dumps(report, indent=1, default=float) + '\n')
    os.replace(part, path)


def _header(options):
    """Say what the figures depend on, so that no two reports are compared that must not be."""
    reference = PlannerSettings()
    return {'settings': {**asdict(options), 'model': str(options.model), 'deadlines_ms': options.all_ms},
            'planner': {name: getattr(reference, name) for name in REFERENCE}, 'model_sha256': read_config(options.model).get('sha256'),
            'graphs_sha256': read_config(options.model).get('onnx', {}).get('files') if options.backend == 'onnx' else None,
            'cores': os.cpu_count(), 'load': os.getloadavg()[0]}


def _rank(deadline_ms):
    return float('inf') if deadline_ms is None else deadline_ms
