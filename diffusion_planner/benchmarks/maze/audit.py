"""The audit of guidance in a maze, where walls make the price of pressure plain."""
from dataclasses import replace

from diffusion_planner.benchmarks.maze import methods, run
from diffusion_planner.benchmarks.maze.world import BenchmarkError, find_maze
from diffusion_planner.evaluation.audit_figures import area, share_interval
from diffusion_planner.evaluation.audit_run import MODES, shipped_scale, write_planning
from diffusion_planner.evaluation.audit_scale import recommend
from diffusion_planner.evaluation.metrics import clustered_interval, clustered_share, mean_interval
from diffusion_planner.runtime import checkpoint

SWEEP = {'guarded': (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0, 30.0), 'damped': (0.03, 0.1, 0.3, 1.0, 8.0), 'free': (0.001, 0.003, 0.01, 0.03, 1.0)}


def audit_maze(options, maze_name, write=True):
    """Sweep the guidance scale in a maze, guarded and free: -> report as of evaluation.audit; resumable episode by episode."""
    if options.seeds < 1:
        raise BenchmarkError(f'--episodes: got {options.seeds}, expected at least 1')
    maze, folder = find_maze(maze_name), run.model_folder(options.models, maze_name)
    run.load(maze_name, str(folder))
    wanted, ledgers, jobs = range(options.first_seed, options.first_seed + options.seeds), [], []
    for mode, scale in ((mode, scale) for mode, scales in SWEEP.items() for scale in scales):
        held = MODES[mode]
        settings = replace(methods.SETTINGS, guard=held['guard'], **dict(held.get('changes', ())))
        mark = run.fingerprint(folder, 'audit', settings, methods.WEIGHTS, scale)
        ledger = run.Ledger(options.work / f'audit-{maze_name}' / f'{mode}-{scale:g}.jsonl', mark)
        missing = [seed for seed in wanted if seed not in ledger.results]
        jobs += [(ledger, (maze_name, folder, 'ours', missing[start:start + 5], True, settings, scale, methods.REPLAN_STEPS['ours']))
                 for start in range(0, len(missing), 5)]
        ledgers.append((mode, scale, ledger))
    if jobs:
        run.collect(jobs, options.workers, f'audit {maze_name}')
    results = {(mode, scale): [ledger.results[seed] for seed in wanted] for mode, scale, ledger in ledgers}
    rows = [{'scale': scale, 'mode': mode, **summarise(maze, part)} for (mode, scale), part in results.items()]
    return _report(folder, maze_name, options, rows, results, write)


def summarise(maze, results):
    """Sum up episodes of one setting: -> dict, every figure with its 95 % interval; over plans that of whole episodes"""
    pairs = [[pair for pair in zip(result['promised'], result['kept']) if pair[1] is not None] for result in results]
    judged = [result['judged'] for result in results]
    return {'episodes': len(results), 'plans': sum(map(len, judged)), 'refused': sum(result['refused'] for result in results),
            'success': share_interval([result['first_reach'] is not None for result in results]),
            'predicted_reward': clustered_interval([[promised for promised, _ in part] for part in pairs]),
            'realised_reward': clustered_share([[kept for _, kept in part] for part in pairs]),
            'wall': clustered_share([[bool(plan['wall']) for plan in plans] for plans in judged]),
            **{name: clustered_interval([[plan[name] for plan in plans if name in plan] for plans in judged])
               for name in ('reach', 'familiarity', 'in_force')},
            'apart_m': clustered_interval([result['apart_m'] for result in results]),
            'latched': mean_interval([maze.normalised(result['latched']) for result in results])}


def _report(folder, maze_name, options, rows, results, write):
    # Success here is of whole episodes, in which a hundred replans hide much: the knee is that of the promises that come true.
    found = recommend([{**row, 'success': row['realised_reward'] or [0.0]} for row in rows if row['scale']], shipped_scale(folder))
    if write:
        write_planning(folder, {'recommended_scale': found['recommended_scale']})
    shipped = shipped_scale(folder)
    at = next((row for row in rows if (row['mode'], row['scale']) == ('guarded', shipped)), None)
    return {'summary': {**found, 'chosen_on_seed': options.first_seed, 'shipped_scale': shipped,
                        'predicted_success': at and at['predicted_reward'] and at['predicted_reward'][0],
                        'realised_success': at and at['realised_reward'] and at['realised_reward'][0]},
            'maze': maze_name, 'sha256': checkpoint.read_config(folder)['sha256'], 'episodes': options.seeds, 'first_seed': options.first_seed,
            'sweep': rows, 'separation': separation(results)}


def separation(results):
    """How well each judgement tells plans whose promise comes true: -> {name: {'all', 'guided'}} of ROC areas"""
    table = {}
    for kind, least in (('all', -1.0), ('guided', 0.0)):
        pairs = [(judged, kept) for (_, scale), part in results.items() if scale > least for result in part
                 for judged, kept in zip(result['judged'], result['kept']) if kept is not None]
        for name in ('reward', 'judge', 'reach', 'familiarity'):
            table.setdefault(name, {})[kind] = area([judged[name] for judged, _ in pairs], [bool(kept) for _, kept in pairs])
    return table
