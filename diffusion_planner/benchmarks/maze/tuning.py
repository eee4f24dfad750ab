"""The peers tuned as this planner was: on the same seeds, by the same scores. Resumable seed by seed."""
from itertools import product

import numpy as np

from diffusion_planner.benchmarks.maze import methods, run, tables
from diffusion_planner.benchmarks.maze.world import MAZES, find_maze

HORIZONS, EVERY = (1.0, 1.4), (30, 80)


def settings():
    """List what is tried: -> [(method, tuned)]"""
    found = [(name, {'steps': steps, 'horizon': horizon, 'every': None})
             for (name, steps), horizon in product((('full sequence', 256), ('few steps', 20)), HORIZONS)]
    found += [('pyramid', {'scale': scale, 'horizon': horizon, 'every': every})
              for scale, horizon, every in product((30.0, 100.0, 300.0), HORIZONS, EVERY)]
    return found + [('best of N', {'horizon': horizon, 'every': every}) for horizon, every in product(HORIZONS, EVERY)]


def tune(options):
    """Run every setting over the seeds of the options: -> report mapping; resumable like the benchmark itself."""
    run.check_seeds(options)
    folders, ledgers, jobs = run.check_folders(options), {}, []
    wanted = range(options.first_seed, options.first_seed + options.seeds)
    tried = [(name, tuned) for name, tuned in settings() if name in options.names]
    for (index, (name, tuned)), maze_name, goal in product(enumerate(tried), options.mazes, options.goals):
        mark = run.fingerprint(folders[maze_name], name, goal, methods.describe(name, tuned))
        ledger = run.Ledger(options.work / 'tuning' / f'{maze_name}-{goal}-{title(name, tuned)}.jsonl'.replace(' ', '_'), mark)
        ledgers.setdefault(index, []).append((maze_name, ledger))
        jobs += run.jobs_for(ledger, wanted, run.SIDE_BY_SIDE.get(name, 25), maze_name, folders[maze_name], name, goal == 'fixed',
                             None, 1.0, tuned['every'], tuned)
    if jobs:
        run.collect(jobs, options.workers, 'tuning')
    rows = [{'method': name, 'tuned': tuned, **_scores(ledgers[index], wanted)} for index, (name, tuned) in enumerate(tried)]
    return {'seeds': options.seeds, 'first_seed': options.first_seed, 'mazes': options.mazes, 'goals': options.goals, **run.made_by(),
            'rows': rows, 'best': best(rows)}


def title(name, tuned):
    """Name a setting: 'pyramid, scale 30, horizon 1.4, every 80'"""
    return ', '.join([name, *(f'{key} {value:g}' for key, value in tuned.items() if value is not None)])


def _scores(ledgers, wanted):
    """Average over mazes and goals, each counting alike: -> {'normalised', 'latched', 'success', 'mean', 'by_maze'}"""
    found = [(name, run.summary(find_maze(name), [ledger.results[seed] for seed in wanted])) for name, ledger in ledgers]
    figures = {score: float(np.mean([summary[score][0] for _, summary in found])) for score in ('normalised', 'latched', 'success')}
    by_maze = {maze: float(np.mean([(summary['latched'][0] + summary['normalised'][0]) / 2 for name, summary in found if name == maze]))
               for maze in MAZES if any(name == maze for name, _ in found)}
    return {**figures, 'mean': (figures['normalised'] + figures['latched']) / 2, 'by_maze': by_maze}


def best(rows):
    """Name the setting of every method with the best mean of latched and normalised: -> {method: tuned}; the first of equals"""
    found = {}
    for row in rows:
        if row['method'] not in found or row['mean'] > found[row['method']]['mean']:
            found[row['method']] = row
    return {name: row['tuned'] for name, row in found.items()}


def show(report):
    """Print the table and the best of every method, as methods.TUNED has it."""
    from rich.console import Console
    from rich.table import Table
    table = Table(title=f'peers tuned: {", ".join(report["mazes"])}; goal {", ".join(report["goals"])}; {report["seeds"]} seeds from {report["first_seed"]}')
    for column in ('setting', 'latched', 'normalised', 'mean of both', 'success', *(f'{name}, mean' for name in report['mazes'])):
        table.add_column(column)
    for row in report['rows']:
        chosen = report['best'][row['method']] == row['tuned']
        table.add_row(title(row['method'], row['tuned']), f'{row["latched"]:.1f}', f'{row["normalised"]:.1f}', f'{row["mean"]:.1f}',
                      f'{row["success"]:.0%}', *(f'{row["by_maze"][name]:.1f}' for name in report['mazes']), style='bold' if chosen else None)
    console = Console(width=tables.WIDTH, highlight=False)
    console.print(table)
    for name, tuned in report['best'].items():
        console.print(f'best: {title(name, tuned)}' + ('' if methods.TUNED[name] == tuned else '; methods.TUNED has another'))
