"""The audit of guidance in a maze, where walls make the price of pressure plain."""
from dataclasses import replace

from diffusion_planner.benchmarks.maze import methods, promises, run, tables
from diffusion_planner.benchmarks.maze.world import find_maze
from diffusion_planner.evaluation.audit_figures import area, share_interval
from diffusion_planner.evaluation.audit_run import MODES, shipped_scale, write_planning
from diffusion_planner.evaluation.audit_scale import recommend
from diffusion_planner.evaluation.metrics import clustered_interval, clustered_share, mean_interval
from diffusion_planner.runtime import checkpoint

SWEEP = {'guarded': (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0, 30.0), 'damped': (0.03, 0.1, 0.3, 1.0, 8.0), 'free': (0.001, 0.003, 0.01, 0.03, 1.0)}


def audit_maze(options, maze_name, write=True):
    """Sweep the guidance scale in a maze, guarded and free: -> report as of evaluation.audit; resumable episode by episode."""
    run.check_seeds(options, '--episodes')
    maze, folder = find_maze(maze_name), run.model_folder(options.models, maze_name)
    run.load(maze_name, str(folder))
    wanted, ledgers, jobs = range(options.first_seed, options.first_seed + options.seeds), [], []
    for mode, scale in ((mode, scale) for mode, scales in SWEEP.items() for scale in scales):
        held = MODES[mode]
        settings = replace(methods.SETTINGS, guard=held['guard'], **dict(held.get('changes', ())))
        mark = run.fingerprint(folder, 'audit', settings, methods.WEIGHTS, scale, methods.REPLAN_STEPS['ours'])
        ledger = run.Ledger(options.work / f'audit-{maze_name}' / f'{mode}-{scale:g}.jsonl', mark)
        jobs += run.jobs_for(ledger, wanted, 5, maze_name, folder, 'ours', True, settings, scale, methods.REPLAN_STEPS['ours'])
        ledgers.append((mode, scale, ledger))
    if jobs:
        run.collect(jobs, options.workers, f'audit {maze_name}')
    results = {(mode, scale): [ledger.results[seed] for seed in wanted] for mode, scale, ledger in ledgers}
    rows = [{'scale': scale, 'mode': mode, **summarise(maze, part)} for (mode, scale), part in results.items()]
    return _report(folder, maze_name, options, rows, results, write)


def summarise(maze, results):
    """Sum up episodes of one setting: -> dict, every figure with its 95 % interval; over plans that of whole episodes

    predicted_reward, realised_reward: of plans made before the first reward, as promised and as kept in time; see promises.
    """
    kept = promises.summarise(results)
    judged = [result['judged'] for result in results]
    return {'episodes': len(results), 'plans': sum(map(len, judged)), 'refused': sum(result['refused'] for result in results),
            'success': share_interval([result['first_reach'] is not None for result in results]),
            'predicted_reward': kept['promised'], 'realised_reward': kept['kept'],
            **{name: kept[name] for name in ('kept_first', 'late_s', 'promises')},
            'wall': clustered_share([[bool(plan['wall']) for plan in plans] for plans in judged]),
            **{name: clustered_interval([[plan[name] for plan in plans if name in plan] for plans in judged])
               for name in ('reach', 'familiarity', 'in_force')},
            'apart_m': clustered_interval([result['apart_m'] for result in results]),
            'latched': mean_interval([maze.normalised(result['latched']) for result in results])}


def _report(folder, maze_name, options, rows, results, write):
    # Nearly every episode arrives, after a hundred replans: how soon is what tells scales apart. So the knee is that of the latched
    # score, as a share of the best; among scales within its tolerance the one whose promises are kept in time most often is named.
    best = max(1e-9, *(row['latched'][0] for row in rows))
    found = recommend([{**row, 'success': [row['latched'][0] / best]} for row in rows if row['scale']], shipped_scale(folder))
    if write:
        write_planning(folder, {'recommended_scale': found['recommended_scale']})
    shipped = shipped_scale(folder)
    at = next((row for row in rows if (row['mode'], row['scale']) == ('guarded', shipped)), None)
    return {'summary': {**found, 'chosen_on_seed': options.first_seed, 'shipped_scale': shipped,
                        'predicted_success': at and at['predicted_reward'] and at['predicted_reward'][0],
                        'realised_success': at and at['realised_reward'] and at['realised_reward'][0]},
            'maze': maze_name, **run.made_by(), 'sha256': checkpoint.read_config(folder)['sha256'], 'episodes': options.seeds, 'first_seed': options.first_seed,
            'sweep': rows, 'separation': separation(results)}


def separation(results):
    """How well each judgement tells plans made before the first reward whose promise is kept: -> {name: {'all', 'guided'}} of ROC areas"""
    table = {}
    for kind, least in (('all', -1.0), ('guided', 0.0)):
        pairs = [(judged, kept) for (_, scale), part in results.items() if scale > least for result in part
                 for judged, kept in zip(result['judged'], result['kept']) if kept is not None]
        for name in ('reward', 'judge', 'reach', 'familiarity'):
            table.setdefault(name, {})[kind] = area([judged[name] for judged, _ in pairs], [bool(kept) for _, kept in pairs])
    return table


def show(report):
    """Print the sweep and what it comes to."""
    from rich.console import Console
    from rich.table import Table
    console = Console(width=200, highlight=False)
    table = Table(title='promises: of plans made before the first reward, kept where it came by the promised time')
    for column in ('guidance', 'promised', 'kept in time', 'by first plans', 'late, s', 'success', 'plans in a wall', 'planned to executed',
                   'refused', 'in force'):
        table.add_column(column)
    for row in report['sweep']:
        figures = (('predicted_reward', 2, 1, ''), ('realised_reward', 2, 1, ''), ('kept_first', 2, 1, ''), ('late_s', 2, 1, ''),
                   ('success', 0, 100, ' %'), ('wall', 1, 100, ' %'), ('apart_m', 1, 100, ' cm'))
        table.add_row(f'{row["mode"]} {row["scale"]:g}', *(tables.spread(row[name], *how) for name, *how in figures), str(row['refused']),
                      '-' if row['in_force'] is None else f'{row["in_force"][0]:.2f}')
    console.print(table)
    table = Table('judge, ROC area', 'all', 'guided')
    for name, areas in report['separation'].items():
        table.add_row(name, *('-' if value is None else f'{value:.3f}' for value in areas.values()))
    console.print(table)
    console.print(', '.join(f'{name} {value if isinstance(value, int) else format(value, ".3g")}' for name, value in report['summary'].items() if value is not None))
