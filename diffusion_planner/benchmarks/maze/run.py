"""One command, one table: every method on every maze, all ways of scoring, resumable seed by seed."""
import json
import math
import os
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.maze import marks, methods, promises, published
from diffusion_planner.benchmarks.maze.episodes import run_episodes
from diffusion_planner.benchmarks.maze.marks import fingerprint
from diffusion_planner.benchmarks.maze.world import BALL, MAZES, BenchmarkError, World, find_maze
from diffusion_planner.evaluation.ledger import Ledger
from diffusion_planner.evaluation.metrics import mean_interval, wilson
from diffusion_planner.sim import fanout

GOALS = ('fixed', 'resampled')
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


def play(maze_name, folder, name, seeds, fixed_goal, settings=None, scale=1.0, replan_steps=0, tuned=None):
    """Run episodes of one method, in a worker: -> [mapping of a Result]

    settings: of this planner, with `scale`; tuned: of a peer; replan_steps 0: as the method is known for.
    """
    backend = load(maze_name, str(folder))
    method = (methods.Ours(backend, settings, scale) if settings is not None
              else methods.make(name, backend, find_maze(maze_name), tuned))
    every = methods.REPLAN_STEPS[name] if replan_steps == 0 else replan_steps
    episodes = run_episodes(_worlds(maze_name, len(seeds)), method, seeds, fixed_goal, every)
    return [episode.result.mapping() for episode in episodes]


def _numbered(item):
    index, arguments = item
    return index, play(*arguments)


def jobs_for(ledger, wanted, size, maze_name, folder, name, *rest):
    """List the jobs of what a ledger misses: -> [(ledger, play's arguments)] of at most `size` seeds each"""
    missing = [seed for seed in wanted if seed not in ledger.results]
    return [(ledger, (maze_name, folder, name, missing[start:start + size], *rest)) for start in range(0, len(missing), size)]


def collect(jobs, workers, title):
    """Run (ledger, play's arguments) jobs in worker processes, adding to the ledgers as they finish; shows progress.

    However this ends, no worker is left behind, and what was added stays.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[note]}'), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=sum(len(arguments[3]) for _, arguments in jobs), note='')
        with closing(fanout.run(_numbered, list(enumerate(arguments for _, arguments in jobs)), workers)) as finished:
            for (index, arguments), (_, results) in finished:
                jobs[index][0].add(results)
                progress.update(bar, advance=len(results), note=f'{arguments[0]} {arguments[2]}')


def check_seeds(options, option='--seeds'):
    """Raise BenchmarkError for no seeds at all."""
    if options.seeds < 1:
        raise BenchmarkError(f'{option}: got {options.seeds}, expected at least 1')


def check_untrained(mazes, models):
    """Refuse to train over a finished model that no training in its folder has made. Raises BenchmarkError."""
    for name in mazes:
        folder = Path(models) / f'pointmaze_{name}'
        if (folder / 'model.safetensors').exists() and not any((folder / 'training').glob('*.pt')):
            raise BenchmarkError(f'--train: {folder} has a model already and no training in progress; name a new folder with --models')


def check_folders(options):
    """Find and load the model of every maze, to complain before processes are started: -> {maze: folder}"""
    folders = {name: model_folder(options.models, find_maze(name).name) for name in options.mazes}
    for name, folder in folders.items():
        load(name, str(folder))
        _worlds(name, 1)
    return folders


def bench(options):
    """Run what is missing, time single plans, and return the whole report as a mapping. Raises BenchmarkError."""
    check_seeds(options)
    folders, ledgers, jobs = check_folders(options), {}, []
    wanted = range(options.first_seed, options.first_seed + options.seeds)
    for maze_name, goal, name in product(options.mazes, options.goals, options.names):
        mark = fingerprint(folders[maze_name], name, goal, methods.describe(name))
        ledger = Ledger(options.work / f'{maze_name}-{goal}-{name.replace(" ", "_")}.jsonl', mark)
        ledgers[maze_name, goal, name] = ledger
        jobs += jobs_for(ledger, wanted, SIDE_BY_SIDE.get(name, 25), maze_name, folders[maze_name], name, goal == 'fixed')
    if jobs:
        collect(jobs, options.workers, 'maze')
    rows = [{'maze': maze_name, 'goal': goal, 'method': name, **summary(find_maze(maze_name), [ledger.results[seed] for seed in wanted])}
            for (maze_name, goal, name), ledger in ledgers.items()]
    return {'seeds': options.seeds, 'first_seed': options.first_seed, **made_by(), 'differences': list(DIFFERENCES), 'rows': rows,
            'published': published.rows(), 'caveats': list(published.CAVEATS), 'tuned': methods.TUNED,
            'timing': {name: timing(name, folders[name], options) for name in options.mazes}}


def made_by():
    """Say what made a report: -> {'version', 'source': hash of the source that episodes depend on, 'packages': versions}"""
    return {'version': marks.version('diffusion_planner'), 'source': marks.source(), 'packages': marks.packages()}


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
            'plans': plans, 'refused': sum(result['refused'] for result in results), **promises.summarise(results)}


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
