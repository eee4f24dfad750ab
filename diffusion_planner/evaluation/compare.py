"""Methods compared in closed loop on the same scenes."""
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.metrics import summarise
from diffusion_planner.sim import fanout

METHODS = {
    'guided': 'far token guided by the reward head',
    'unguided': 'guidance scale 0: the reward heads have no say',
    'best_of_n': 'unguided candidates, the reward heads choose',
    'line': 'straight joint-space line to an inverse-kinematics goal that is told the target',
}


@lru_cache(maxsize=1)
def _loop(settings):
    return Loop(settings)


def _episode(work):
    settings, seed, method = work
    return _loop(settings).run(seed, method)


def compare(model, episodes=100, seed=1000, json_path=None, workers=2, methods=tuple(METHODS), guidance_scale=None, guard=True,
            objective=None, ray=None, **planning):
    """Run every method on the same scenes and print one table: -> {method: summary}; ray: see sim.fanout; planning: of LoopSettings, as backend

    Writes rows and summaries to json_path after every episode, so that a kill loses nothing.
    """
    from rich.progress import Progress
    settings = LoopSettings(str(model), guidance_scale, guard=guard, objective=objective and str(objective), **planning)
    work = [(settings, seed + index, method) for method in methods for index in range(episodes)]
    rows = []
    with Progress() as progress:
        bar = progress.add_task('episodes', total=len(work))
        for _, row in fanout.run(_episode, work, workers, ray):
            rows.append(row)
            progress.advance(bar)
            if json_path:
                _write(json_path, settings, rows, methods)
    found = summaries(rows, methods)
    _print(found)
    return found


def summaries(rows, methods):
    """Sum up every method's episodes: -> {method: summary}, with 'plans' as of promises()"""
    own = {method: [row for row in rows if row['method'] == method] for method in methods}
    return {method: {**summarise(part), 'plans': promises(part)} for method, part in own.items()}


def promises(rows):
    """Compare what the combined judge said of plans with what became of them: -> {'count', 'comes_true', 'came'}, or None

    Over the plans whose fate is known; both are means over plans.
    """
    told = [plan for row in rows for plan in row.get('judged', ()) if plan['came'] is not None and 'comes_true' in plan]
    if not told:
        return None
    return {'count': len(told), **{name: float(np.mean([plan[name] for plan in told])) for name in ('comes_true', 'came')}}


def _write(path, settings, rows, methods):
    rows = sorted(rows, key=lambda row: (methods.index(row['method']), row['seed']))
    report = {'settings': vars(settings), 'episodes': rows, 'summary': summaries(rows, methods)}
    part = Path(f'{path}.part')
    part.write_text(json.dumps(report, indent=1))
    os.replace(part, path)


def _print(found):
    from rich.console import Console
    from rich.table import Table
    table = Table('method', 'success', '95 % interval', 'time to target', 'episodes with contact', 'limits exceeded', 'plan p50 / p95')
    for method, figures in found.items():
        low, high = figures['success_interval']
        table.add_row(method, f'{figures["success_rate"]:.0%}', f'{low:.0%} to {high:.0%}', _or_dash(figures['time_to_target_s'], '{:.2f} s'),
                      str(figures['episodes_with_contact']), str(figures['limit_violations']),
                      _or_dash(figures['plan_ms_p50'], '{:.0f}') + ' / ' + _or_dash(figures['plan_ms_p95'], '{:.0f} ms'))
    console = Console()
    console.print(table)
    for method, told in ((method, figures['plans']) for method, figures in found.items() if figures['plans']):
        console.print(f'{method}: of {told["count"]} plans {told["comes_true"]:.2f} were said to come true by themselves, {told["came"]:.2f} did',
                      highlight=False)


def _or_dash(value, pattern):
    return '-' if value is None else pattern.format(value)
