"""Which parts matter: one table of variations of the planner in one maze, every one paired seed by seed with the default."""
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.maze import methods, run, tables
from diffusion_planner.benchmarks.maze.world import find_maze
from diffusion_planner.evaluation.metrics import mean_interval

ANY = math.inf     # a limit that nothing exceeds
OFF = {'arrival judged by transition head': {'reach_limit': -ANY},
       'familiarity floor': {'refuse_unfamiliar': False}, 'familiarity gradient': {'familiarity_scale': 0.0}}
ADDED = {'typicality of arrivals': {'typicality_limit': 1.0}, 'steps judged by transition head': {'step_limit': 0.0},
         'steps explained by their velocities': {'mismatch_limit': 3.0}}
FORMS, FORM_SCALES = ('noisy', 'clean', 'through'), (0.3, 1.0, 10.0)
STEPS = (1, 2, 3, 4, 6, 10, 20)
COLUMNS = ('part', 'variation', 'success', 'latched', 'latched, more', 'normalised', 'normalised, more', 'plans in a wall', 'refused',
           'promised', 'kept in time', 'by first plans', 'late, s', 'ms per plan')
NOTES = ("*More*: than the default, on the same seeds. *Promised*: predicted reward on arrival, mean over the plans made before the episode's first "
         'reward; *kept in time*: the share of these whose reward came by the promised time (0.1 s of grace), and the same of the first plan of each '
         'episode; *late*: median seconds from the promised arrival to the first reward where that came, below 0 where it came early.')
FEW, MANY = 3, 10          # sampling steps that the aim is about, and those it is compared with besides the best


def _judges(base):
    """List what is judged, switched off one by one and all together, and what could be judged besides: -> {name: changes}"""
    off = {f'without {name}': changes for name, changes in OFF.items()}
    none = {key: value for changes in OFF.values() for key, value in changes.items()}
    return {**off, 'without familiarity': {**OFF['familiarity floor'], **OFF['familiarity gradient']}, 'without any of them': none,
            **{f'with {name}': changes for name, changes in ADDED.items() if all(getattr(base, key) != value for key, value in changes.items())}}


def variations(maze):
    """List every variation: -> [(group, name, settings, guidance scale, replan steps)]; what equals the default shares its episodes."""
    base, every = methods.SETTINGS, methods.REPLAN_STEPS['ours']

    def group(title, changes, scale=1.0, steps=every):
        return [(title, name, replace(base, **change), scale, steps) for name, change in changes.items()]

    rows = group('default', {'default': {}})
    rows += [row for scale in (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0) for row in group('guidance scale', {f'{scale:g}': {}}, scale)]
    rows += [row for form in FORMS for scale in FORM_SCALES
             for row in group('guidance form and scale', {f'{form}, {scale:g}': {'guidance_form': form}}, scale)]
    skipped = {'guidance_form': 'through', 'guidance_negligible': methods.NEGLIGIBLE}
    rows += group('guidance form and scale', {'through, 1, skipped when settled': skipped})
    rows += group('arrival search', {f'off, {share:g} of the horizon': {'arrivals': 1, 'samples': base.arrivals, 'longest_s': share * maze.horizon_s}
                                     for share in (0.5, 1.0)})
    rows += group('arrival search', {f'{count} arrivals': {'arrivals': count} for count in sorted({6, 12, 24, 48, base.arrivals})})
    rows += group('judges', _judges(base))
    rows += group('warm start', {'off': {'warm_samples': 0}, 'on': {'warm_samples': base.warm_samples or 1}})
    rows += group('candidates filled in', {f'{count}': {'plans': count, 'plans_max': count} for count in sorted({1, 2, 4, 8, 16, base.plans})})
    rows += group('sampling steps per stage', {f'{count}': {'far_steps': count, 'fill_steps': count} for count in STEPS})
    rows += group('sampler', {name: {'sampler': name} for name in ('multistep', 'ddim', 'ddpm')} | {'steps of equal size': {'bend': 1.0}})
    rows += group('fill-in tokens', {f'{count}': {'fill_in': count} for count in sorted({3, 7, 11, 17, base.fill_in})})
    return rows + [row for count in sorted({5, 10, 20, 60, 100, every}) for row in group('replanning every', {f'{count} steps': {}}, 1.0, count)]


def ablate(options, maze_name):
    """Run every variation over the seeds of the options: -> report mapping; resumable like the benchmark itself."""
    maze = find_maze(maze_name)
    run.check_seeds(options)
    folder, wanted = run.model_folder(options.models, maze_name), range(options.first_seed, options.first_seed + options.seeds)
    run.load(maze_name, str(folder))
    tried = variations(maze)
    found = _run(options, maze_name, folder, wanted, tried)
    rows = [{'group': group, 'name': name, 'scale': scale, 'default': (settings, scale, every) == tried[0][2:],
             **run.summary(maze, results), **paired(maze, results, found[0]),
             'plan_ms': float(np.median([value for result in results for value in result['plan_ms']] or [0.0]))}
            for (group, name, settings, scale, every), results in zip(tried, found)]
    by_steps = {name: results for (group, name, *_), results in zip(tried, found) if group.startswith('sampling steps')}
    return {'maze': maze_name, 'goal': 'fixed', 'seeds': options.seeds, 'first_seed': options.first_seed, **run.made_by(), 'rows': rows,
            'few_steps': few_steps(maze, by_steps)}


def _run(options, maze_name, folder, wanted, tried):
    """Run what is missing; equal settings share their episodes: -> [results of the seeds wanted] per variation"""
    marks, ledgers, jobs = [run.fingerprint(folder, *setting, methods.WEIGHTS) for _, _, *setting in tried], {}, []
    for mark, (group, name, settings, scale, every) in zip(marks, tried):
        if mark not in ledgers:
            ledgers[mark] = run.Ledger(options.work / f'ablation-{maze_name}' / f'{group}-{name}.jsonl'.replace(' ', '_'), mark)
            jobs += run.jobs_for(ledgers[mark], wanted, 5, maze_name, folder, 'ours', True, settings, scale, every)
    if jobs:
        run.collect(jobs, options.workers, f'ablation {maze_name}')
    return [[ledgers[mark].results[seed] for seed in wanted] for mark in marks]


def paired(maze, results, default):
    """Compare with the default seed by seed: -> {'normalised_more', 'latched_more': [mean difference, low, high]}, 95 % over seeds"""
    other = {result['seed']: result for result in default}
    pairs = [(result, other[result['seed']]) for result in results]
    return {f'{name}_more': mean_interval([float(maze.normalised(one[key]) - maze.normalised(two[key])) for one, two in pairs])
            for name, key in (('normalised', 'reward'), ('latched', 'latched'))}


def few_steps(maze, by_steps):
    """Compare few sampling steps with the best of all and with many, whatever the default is: by_steps {'3': results} -> mapping"""
    success = {int(name): float(np.mean([result['first_reach'] is not None for result in results])) for name, results in by_steps.items()}
    most = max(success.values())
    return {'steps': FEW, 'success': success[FEW], 'best_success': most, 'best_steps': [steps for steps, share in success.items() if share == most],
            'many': MANY, 'many_success': success[MANY], **paired(maze, by_steps[str(FEW)], by_steps[str(MANY)])}


def show(report):
    """Print the ablation as one table."""
    from rich.console import Console
    from rich.table import Table
    table = Table(title=f'{report["maze"]}, goal fixed, {report["seeds"]} seeds from {report["first_seed"]}; 95 % intervals; more: than the '
                        'default on the same seeds; promises: of plans made before the first reward')
    for column in COLUMNS:
        table.add_column(column)
    group = None
    for row in report['rows']:
        table.add_row(row['group'] if row['group'] != group else '', _named(row), *_cells(row))
        group = row['group']
    console = Console(width=265, highlight=False)
    console.print(table)
    console.print(few_steps_line(report['few_steps']))


def markdown(report, path):
    """Write the table as a document beside its page of plots, `ablation.png` in the same folder."""
    lines = [f'# What each part of the planner is worth in the {report["maze"].capitalize()} maze', '', '![The page of plots](ablation.png)', '',
             f'Goal fixed, seeds {report["first_seed"]} to {report["first_seed"] + report["seeds"] - 1}, 95 % intervals in brackets (`.venv/bin/'
             f'diffusion-planner bench ablate --maze {report["maze"]} --seeds {report["seeds"]} --first-seed {report["first_seed"]}`; source '
             f'{report["source"]}):', '', '| ' + ' | '.join(COLUMNS) + ' |', '|---' * len(COLUMNS) + '|']
    lines += ['| ' + ' | '.join((row['group'], _named(row), *_cells(row))) + ' |' for row in report['rows']]
    Path(path).write_text('\n'.join([*lines, '', few_steps_line(report['few_steps']) + '.', '', NOTES, '']))


def _named(row):
    return row['name'] + (' (default)' if row['default'] and row['group'] != 'default' else '')


def _cells(row):
    def figure(name, pattern='{:.2f}'):
        return '-' if row[name] is None else pattern.format(row[name][0])
    attempts = max(1, row['plans'] + row['refused'])
    more = ['' if row['default'] else tables.spread(row[f'{name}_more']) for name in ('latched', 'normalised')]
    return (figure('success', '{:.0%}'), tables.spread(row['latched']), more[0], figure('normalised', '{:.1f}'), more[1],
            figure('wall_crossing', '{:.1%}'), f'{row["refused"] / attempts:.0%}', figure('promised'), figure('kept'), figure('kept_first'),
            figure('late_s', '{:+.2f}'), f'{row["plan_ms"]:.0f}')


def few_steps_line(found):
    """Say how few sampling steps compare with the best and with many."""
    return (f'{found["steps"]} sampling steps per stage: success {found["success"]:.0%}; best of all tried {found["best_success"]:.0%} (at '
            f'{", ".join(map(str, found["best_steps"]))}); {found["many"]} steps {found["many_success"]:.0%}; {found["steps"]} against '
            f'{found["many"]} on the same seeds: latched {tables.spread(found["latched_more"])} more, normalised '
            f'{tables.spread(found["normalised_more"])} more')
