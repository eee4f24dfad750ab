"""One command, one table: every method on every maze, all ways of scoring, resumable seed by seed."""
import hashlib
import json
import math
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.maze import methods
from diffusion_planner.benchmarks.maze.episodes import run_episodes
from diffusion_planner.benchmarks.maze.world import BALL, MAZES, BenchmarkError, World, find_maze
from diffusion_planner.evaluation.ledger import Ledger
from diffusion_planner.evaluation.metrics import mean_interval, wilson

GOALS = ('fixed', 'resampled')
VERSION = 1                        # of episodes and scoring: older results are run again
SIDE_BY_SIDE = {'ours': 5, 'unguided': 5, 'best of N': 5}     # episodes per job; the others plan for many at once
DIFFERENCES = (
    'Environment: gymnasium-robotics PointMaze (MuJoCo), reward within 0.45 m (D4RL: 0.5 m), starts nearer to the goal than 0.5 m '
    'are drawn again (D4RL keeps them), start and goal vary by 0.25 m about their cells (D4RL: 0.1 m). Score ranges and episode '
    'lengths are those of D4RL.',
    'Data: our own random-waypoint play, at full speed for most of its ways and hardly ever touching a wall; it differs from D4RL\'s, '
    'and no method was trained on that.',
    'Methods: peers are their ways of planning on the same data with the same network and the same tracking controller, not their code.')


@dataclass(frozen=True)
class Options:
    """What to run."""

    mazes: tuple = tuple(MAZES)
    names: tuple = methods.NAMES
    goals: tuple = GOALS
    seeds: int = 100
    first_seed: int = 0
    models: Path = Path('models')
    work: Path = Path('runs/maze')
    workers: int = 2
    timed: int = 15


@lru_cache(maxsize=None)
def load(maze_name, folder):
    """Load the model of a maze: -> backend. Raises ModelError, or BenchmarkError for the model of another maze."""
    from diffusion_planner.runtime.checkpoint import read_config
    from diffusion_planner.runtime.torch_backend import load_backend
    trained_for = read_config(folder)['training'].get('maze')
    if trained_for != maze_name:
        raise BenchmarkError(f'{folder}: trained for maze {trained_for!r}, expected {maze_name!r}')
    return load_backend(folder, BALL, threads=1)


def model_folder(models, maze_name):
    """Return where the model of a maze lies; the package's own where `models` is left at its default."""
    from diffusion_planner.files import find
    folder = Path(models) / f'pointmaze_{maze_name}'
    return folder if folder.exists() or str(models) != 'models' else find(f'models/pointmaze_{maze_name}')


@lru_cache(maxsize=None)
def _worlds(maze_name, count):
    return [World(find_maze(maze_name)) for _ in range(count)]


def play(maze_name, folder, name, seeds, fixed_goal, settings=None, scale=1.0, replan_steps=0):
    """Run episodes of one method, in a worker: -> [mapping of a Result]"""
    backend = load(maze_name, str(folder))
    method = (methods.Ours(backend, settings, scale) if settings is not None
              else methods.methods(backend, find_maze(maze_name))[name])
    every = methods.REPLAN_STEPS[name] if replan_steps == 0 else replan_steps
    episodes = run_episodes(_worlds(maze_name, len(seeds)), method, seeds, fixed_goal, every)
    return [episode.result.mapping() for episode in episodes]


def fingerprint(folder, *parts):
    """Say what results depend on: the weights, the settings, and the version of this benchmark."""
    sha = json.loads((Path(folder) / 'config.json').read_text())['sha256']
    return hashlib.sha256(repr((VERSION, sha, parts)).encode()).hexdigest()[:16]


def collect(jobs, workers, title):
    """Run (ledger, play's arguments) jobs in worker processes, adding to the ledgers as they finish; shows progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[note]}'), TimeRemainingColumn()
    with Progress(*columns) as progress, ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        bar = progress.add_task(title, total=sum(len(arguments[3]) for _, arguments in jobs), note='')
        futures = {pool.submit(play, *arguments): (ledger, arguments) for ledger, arguments in jobs}
        try:
            for future in as_completed(futures):
                ledger, arguments = futures[future]
                ledger.add(future.result())
                progress.update(bar, advance=len(arguments[3]), note=f'{arguments[0]} {arguments[2]}')
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def bench(options):
    """Run what is missing, time single plans, and return the whole report as a mapping. Raises BenchmarkError."""
    if options.seeds < 1:
        raise BenchmarkError(f'--seeds: got {options.seeds}, expected at least 1')
    folders = {name: model_folder(options.models, find_maze(name).name) for name in options.mazes}
    for name, folder in folders.items():
        load(name, str(folder))     # complain before processes are started
        _worlds(name, 1)
    ledgers, jobs = {}, []
    wanted = range(options.first_seed, options.first_seed + options.seeds)
    for maze_name in options.mazes:
        for goal in options.goals:
            for name in options.names:
                mark = fingerprint(folders[maze_name], name, goal, methods.describe(name))
                ledger = Ledger(options.work / f'{maze_name}-{goal}-{name.replace(" ", "_")}.jsonl', mark)
                ledgers[maze_name, goal, name] = ledger
                missing = [seed for seed in wanted if seed not in ledger.results]
                size = SIDE_BY_SIDE.get(name, 25)
                jobs += [(ledger, (maze_name, folders[maze_name], name, missing[start:start + size], goal == 'fixed'))
                         for start in range(0, len(missing), size)]
    if jobs:
        collect(jobs, options.workers, 'maze')
    rows = [{'maze': maze_name, 'goal': goal, 'method': name, **summary(find_maze(maze_name), [ledger.results[seed] for seed in wanted])}
            for (maze_name, goal, name), ledger in ledgers.items()]
    return {'seeds': options.seeds, 'first_seed': options.first_seed, 'differences': list(DIFFERENCES), 'rows': rows,
            'timing': {name: timing(name, folders[name], options) for name in options.mazes}}


def summary(maze, results):
    """Summarise episodes under every convention; failures count as the whole episode for first reach: -> mapping"""
    reached = [result['first_reach'] is not None for result in results]
    plans, crossing = (sum(result[name] for result in results) for name in ('plans', 'crossing'))
    figures = {'normalised': maze.normalised([result['reward'] for result in results]),
               'latched': maze.normalised([result['latched'] for result in results]),
               'first_reach_steps': np.array([result['first_reach'] or maze.steps for result in results], float)}
    return {**{name: mean_interval(values) for name, values in figures.items()},
            'success': [float(np.mean(reached)), *wilson(sum(reached), len(reached))],
            'wall_crossing': [crossing / max(1, plans), *wilson(crossing, max(1, plans))],
            'plans': plans, 'refused': sum(result['refused'] for result in results)}


def timing(maze_name, folder, options):
    """Time single plans of every method in turn, on one thread, so that all meet the same machine: -> medians and ratios"""
    import torch
    backend, world = load(maze_name, str(folder)), _worlds(maze_name, 1)[0]
    threads, whole = torch.get_num_threads(), find_maze(maze_name).horizon_s
    torch.set_num_threads(1)       # as in every worker: two cores plan twice as much, by whatever method
    timed = {name: method for name, method in methods.methods(backend, world.maze).items() if name in options.names}
    for name, share in (('horizon', 1.0), ('horizon / 8', 1 / 8)):
        # Nothing is refused, so that both plan to the end: within an eighth of the horizon few goals can be reached.
        timed[name] = methods.Ours(backend, replace(methods.SETTINGS, longest_s=whole * share, reach_limit=-math.inf,
                                                    refuse_unfamiliar=False))
    seconds = {name: [] for name in timed}
    for index in range(options.timed + 1):
        for name, method in timed.items():
            seconds[name] += methods.time_plans(method, world, 1, options.first_seed + index)
    torch.set_num_threads(threads)
    medians = {name: float(np.median(taken[1:])) for name, taken in seconds.items()}    # the first warms up
    ratios = {f'{name} / ours': medians[name] / medians['ours'] for name in timed if name in options.names} if 'ours' in medians else {}
    return {'plans_per_second': {name: 1 / medians[name] for name in timed if name in options.names}, 'ratios': ratios,
            'eightfold_horizon': medians['horizon'] / medians['horizon / 8'], 'plans_timed': options.timed, 'threads': 1}


def write(report, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(report, indent=1) + '\n')
    os.replace(part, path)


def show(report):
    """Print the report as tables."""
    from rich.console import Console
    from rich.table import Table
    console = Console(width=150)
    for goal in dict.fromkeys(row['goal'] for row in report['rows']):
        table = Table(title=f'goal {goal}, {report["seeds"]} seeds from {report["first_seed"]}; 95 % intervals')
        for column in ('maze', 'method', 'normalised', 'latched', 'first reach, steps', 'success', 'plans in a wall', 'plans/s'):
            table.add_column(column)
        for row in report['rows']:
            if row['goal'] == goal:
                table.add_row(*cells(row, report['timing'][row['maze']]['plans_per_second'].get(row['method'])))
        console.print(table)
    for maze_name, figures in report['timing'].items():
        ratios = ', '.join(f'{name} {ratio:.1f}' for name, ratio in figures['ratios'].items() if name != 'ours / ours')
        console.print(f'{maze_name}: time per plan on one thread, {ratios or "not compared"}; eightfold horizon {figures["eightfold_horizon"]:.2f} times')
    for line in report['differences']:
        console.print(line)


def cells(row, rate):
    def spread(name, digits=1, factor=1.0):
        mean, low, high = (factor * value for value in row[name])
        return f'{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'
    return (row['maze'], row['method'], spread('normalised'), spread('latched'), spread('first_reach_steps', 0),
            spread('success', 0, 100) + ' %', spread('wall_crossing', 1, 100) + ' %', '' if rate is None else f'{rate:.1f}')
