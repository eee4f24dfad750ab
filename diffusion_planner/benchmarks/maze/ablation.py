"""Which parts matter: one table of variations of the planner in one maze, one page of plots."""
import math
from dataclasses import replace

import numpy as np

from diffusion_planner.benchmarks.maze import methods, run
from diffusion_planner.benchmarks.maze.world import BenchmarkError, find_maze

ANY = math.inf     # a limit that nothing exceeds
OFF = {'arrival judged by transition head': {'reach_limit': -ANY},
       'familiarity floor': {'refuse_unfamiliar': False}, 'familiarity gradient': {'familiarity_scale': 0.0}}
ADDED = {'typicality of arrivals': {'typicality_limit': 1.0}, 'steps judged by transition head': {'step_limit': 0.0},
         'steps explained by their velocities': {'mismatch_limit': 3.0}}


def _judges(base):
    """List what is judged, switched off one by one and all together, and what could be judged besides: -> {name: changes}"""
    off = {f'without {name}': changes for name, changes in OFF.items()}
    none = {key: value for changes in OFF.values() for key, value in changes.items()}
    return {**off, 'without familiarity': {**OFF['familiarity floor'], **OFF['familiarity gradient']}, 'without any of them': none,
            **{f'with {name}': changes for name, changes in ADDED.items() if all(getattr(base, key) != value for key, value in changes.items())}}


def variations(maze):
    """List every variation: -> [(group, name, settings, guidance scale, replan steps)]"""
    base, every = methods.SETTINGS, methods.REPLAN_STEPS['ours']
    rows = [('default', 'default', base, 1.0, every)]
    rows += [('guidance scale', f'{scale:g}', base, scale, every) for scale in (0.0, 0.03, 0.1, 0.3, 3.0, 10.0, 100.0)]
    rows += [('guidance form', form, replace(base, guidance_form=form), 1.0, every) for form in ('noisy', 'through')]
    rows += [('guidance form', 'through, skipped when settled',
              replace(base, guidance_form='through', guidance_negligible=methods.NEGLIGIBLE), 1.0, every)]
    rows += [('arrival search', f'off, {share:g} of the horizon', replace(base, arrivals=1, samples=base.arrivals,
                                                                          longest_s=share * maze.horizon_s), 1.0, every) for share in (0.5, 1.0)]
    rows += [('arrival search', f'{count} arrivals', replace(base, arrivals=count), 1.0, every)
             for count in (6, 12, 24, 48) if count != base.arrivals]
    rows += [('judges', name, replace(base, **changes), 1.0, every) for name, changes in _judges(base).items()]
    rows += [('warm start', 'off', replace(base, warm_samples=0), 1.0, every)]
    rows += [('candidates filled in', f'{count}', replace(base, plans=count, plans_max=count), 1.0, every)
             for count in (1, 2, 4, 8, 16) if count != base.plans]
    rows += [('sampling steps per stage', f'{count}', replace(base, far_steps=count, fill_steps=count), 1.0, every)
             for count in (1, 2, 3, 4, 6, 10, 20) if (count, count) != (base.far_steps, base.fill_steps)]
    rows += [('sampler', name, replace(base, sampler=name), 1.0, every) for name in ('multistep', 'ddim', 'ddpm') if name != base.sampler]
    rows += [('sampler', 'steps of equal size', replace(base, bend=1.0), 1.0, every)]
    rows += [('fill-in tokens', f'{count}', replace(base, fill_in=count), 1.0, every) for count in (3, 7, 11, 17)]
    rows += [('replanning every', f'{count} steps', base, 1.0, count) for count in (5, 10, 20, 60, 100)]
    return rows


def ablate(options, maze_name):
    """Run every variation over the seeds of the options: -> report mapping; resumable like the benchmark itself."""
    maze = find_maze(maze_name)
    if options.seeds < 1:
        raise BenchmarkError(f'--seeds: got {options.seeds}, expected at least 1')
    folder, wanted = run.model_folder(options.models, maze_name), range(options.first_seed, options.first_seed + options.seeds)
    run.load(maze_name, str(folder))
    ledgers, jobs = [], []
    for group, name, settings, scale, every in variations(maze):
        mark = run.fingerprint(folder, settings, methods.WEIGHTS, scale, every)
        ledger = run.Ledger(options.work / f'ablation-{maze_name}' / f'{group}-{name}.jsonl'.replace(' ', '_'), mark)
        missing = [seed for seed in wanted if seed not in ledger.results]
        jobs += [(ledger, (maze_name, folder, 'ours', missing[start:start + 5], True, settings, scale, every))
                 for start in range(0, len(missing), 5)]
        ledgers.append((group, name, scale, ledger))
    if jobs:
        run.collect(jobs, options.workers, f'ablation {maze_name}')
    rows = []
    for group, name, scale, ledger in ledgers:
        results = [ledger.results[seed] for seed in wanted]
        rows.append({'group': group, 'name': name, 'scale': scale, **run.summary(maze, results), **promises(results),
                     'plan_ms': float(np.median([value for result in results for value in result['plan_ms']] or [0.0]))})
    return {'maze': maze_name, 'goal': 'fixed', 'seeds': options.seeds, 'first_seed': options.first_seed, 'rows': rows}


def promises(results):
    """Compare the reward that plans promised with whether it came by then: -> mapping of shares of plans"""
    pairs = [(promised, kept) for result in results for promised, kept in zip(result['promised'], result['kept']) if kept is not None]
    if not pairs:
        return {'promised': 0.0, 'kept': 0.0}
    return {'promised': float(np.mean([pair[0] for pair in pairs])), 'kept': float(np.mean([pair[1] for pair in pairs]))}


def show(report):
    """Print the ablation as one table."""
    from rich.console import Console
    from rich.table import Table
    table = Table(title=f'{report["maze"]}, goal fixed, {report["seeds"]} seeds from {report["first_seed"]}; 95 % intervals')
    for column in ('part', 'variation', 'success', 'latched', 'normalised', 'first reach, steps', 'plans in a wall', 'refused',
                   'promised', 'came true', 'ms per plan'):
        table.add_column(column)
    group = None
    for row in report['rows']:
        _, _, normalised, latched, first, success, wall, _ = run.cells({'maze': '', 'method': '', **row}, None)
        attempts = row['plans'] + row['refused']
        table.add_row(row['group'] if row['group'] != group else '', row['name'], success, latched, normalised, first, wall,
                      f'{row["refused"] / max(1, attempts):.0%}', f'{row["promised"]:.2f}', f'{row["kept"]:.2f}', f'{row["plan_ms"]:.0f}')
        group = row['group']
    Console(width=200).print(table)
