"""What lost pictures cost: closed-loop episodes in which a share of the camera's pictures never arrives."""
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.metrics import summarise

SHARES = (0.0, 0.2, 0.5, 0.8)
_loop = None


def _begin(settings):
    global _loop
    _loop = Loop(settings)


def _episode(work):
    dropout, trust, seed = work
    _loop.settings = replace(_loop.settings, dropout=dropout, trust=trust)
    return {'dropout': dropout, 'trust': trust, **_loop.run(seed)}


def measure(model, episodes=100, seed=1000, json_path=None, workers=2, **planning):
    """Run the same scenes at every share, with noise levels raised by the age of pictures and without: -> report; planning: of LoopSettings, as backend

    Writes it to json_path after every episode.
    """
    from rich.progress import Progress
    work = [(dropout, trust, seed + index) for dropout in SHARES for trust in ((True, False) if dropout else (True,)) for index in range(episodes)]
    rows = []
    with Progress() as progress, multiprocessing.get_context('spawn').Pool(workers, _begin, (LoopSettings(str(model), **planning),)) as pool:
        bar = progress.add_task('episodes', total=len(work))
        for row in pool.imap_unordered(_episode, work):
            rows.append({name: value for name, value in row.items() if name not in ('judged', 'refusals')})
            progress.advance(bar)
            if json_path:
                _write(json_path, rows)
    return {'rows': rows, 'summary': _summary(rows)}


def _summary(rows):
    """-> list of figures, one per share and way"""
    found = []
    for key in sorted({(row['dropout'], not row['trust']) for row in rows}):
        part = [row for row in rows if (row['dropout'], not row['trust']) == key]
        ages_s = np.concatenate([row['picture_age_s'] for row in part])
        found.append({'dropout': key[0], 'levels_raised': not key[1], **summarise(part), 'age_p50_s': float(np.median(ages_s)),
                      'age_p95_s': float(np.quantile(ages_s, 0.95)), 'episodes_stopped': sum(row['blind'] > 0 for row in part)})
    return found


def _write(path, rows):
    part = Path(f'{path}.part')
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps({'summary': _summary(rows), 'rows': rows}, indent=1, default=float))
    os.replace(part, path)


def show(report):
    from rich.console import Console
    from rich.table import Table
    table = Table('pictures lost', 'noise levels', 'success', '95 % interval', 'time to target', 'age of the newest p50 / p95', 'episodes stopped', 'with contact')
    for row in report['summary']:
        low, high = row['success_interval']
        table.add_row(f'{row["dropout"]:.0%}', 'raised with age' if row['levels_raised'] else 'as if fresh', f'{row["success_rate"]:.0%}',
                      f'{low:.0%} to {high:.0%}', f'{row["time_to_target_s"] or float("nan"):.2f} s', f'{row["age_p50_s"]:.2f} / {row["age_p95_s"]:.2f} s',
                      str(row['episodes_stopped']), str(row['episodes_with_contact']))
    Console(width=150).print(table)
