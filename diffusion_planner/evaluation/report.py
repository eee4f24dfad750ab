"""Episodes as people and programs read them: a table while they run, a summary, one JSON file."""
import json
import os
from pathlib import Path

import numpy as np

from diffusion_planner.evaluation.metrics import summarise

COLUMNS = ('episode', 'seed', 'success', 'time to target', 'contacts', 'plan p50 / p95', 'limits exceeded', 'deadlines missed')


def summarise_session(rows):
    """Summarise the episodes of a session: -> dict; rows as in metrics.summarise plus deadline_misses, chunks_rejected."""
    times = [row['time_to_target_s'] for row in rows if row['time_to_target_s'] is not None]
    return {**summarise(rows), 'time_to_target_median_s': float(np.median(times)) if times else None,
            'plans': sum(len(row['plan_ms']) for row in rows),
            'deadline_misses': sum(row.get('deadline_misses', 0) for row in rows),
            'chunks_rejected': sum(row.get('chunks_rejected', 0) for row in rows)} if rows else {'episodes': 0}


def write_report(path, settings, rows, video=None):
    """Replace a JSON file by what is measured so far; a reader never sees half of it."""
    report = {'settings': settings, 'episodes': rows, 'summary': summarise_session(rows), 'video': video and str(video)}
    part = Path(f'{path}.part')
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(report, indent=1) + '\n')
    os.replace(part, path)


def table(rows, running=None, title=None, last=None):
    """Lay out episodes as a rich table; `running` is the row of the one under way, `last` bounds how many are shown."""
    from rich.table import Table
    view = Table(*COLUMNS, title=title, title_justify='left')
    first = max(0, len(rows) - last) if last else 0
    for index, row in enumerate(rows[first:], first):
        view.add_row(str(index + 1), *cells(row))
    if running is not None:
        view.add_row(str(len(rows) + 1), *cells(running), style='dim')
    return view


def cells(row):
    """Write the figures of a row: -> texts in the order of COLUMNS, without the episode's number."""
    outcome = f'{row["elapsed_s"]:.1f} s' if not row.get('done', True) else '[green]yes[/]' if row['success'] else '[red]no[/]'
    return (str(row['seed']), outcome, number(row['time_to_target_s'], '{:.2f} s'), _alarm(row['contacts']),
            latency(row['plan_ms']), _alarm(row['limit_violations']), _alarm(row.get('deadline_misses', 0)))


def line(index, row):
    """Write a finished episode on one line, for logs."""
    outcome = f'target after {row["time_to_target_s"]:.2f} s' if row['success'] else 'target not reached'
    return (f'episode {index + 1}, seed {row["seed"]}: {outcome}, {row["contacts"]} contacts, plan {latency(row["plan_ms"])}, '
            f'{row["limit_violations"]} limits exceeded, {row.get("deadline_misses", 0)} deadlines missed' + (f'; no plan, {row["note"]}' if row.get('note') else ''))


def summary_lines(rows, video=None, json_path=None):
    """Write the summary: -> lines of text"""
    figures = summarise_session(rows)
    if not rows:
        return ['no episode was finished']
    low, high = figures['success_interval']
    reached = sum(bool(row['success']) for row in rows)
    lines = [('success', f'{reached} of {len(rows)} ({figures["success_rate"]:.0%}; 95 % interval {low:.0%} to {high:.0%})'),
             ('time to target', f'mean {number(figures["time_to_target_s"], "{:.2f} s")}, '
                                f'median {number(figures["time_to_target_median_s"], "{:.2f} s")}'),
             ('contacts', f'{figures["contacts"]}, in {figures["episodes_with_contact"]} of {len(rows)} episodes'),
             ('planning', f'p50 {number(figures["plan_ms_p50"], "{:.0f} ms")}, p95 {number(figures["plan_ms_p95"], "{:.0f} ms")}, '
                          f'{figures["plans"]} plans, {figures["deadline_misses"]} deadlines missed'),
             ('limits exceeded', f'{figures["limit_violations"]}'),
             ('no plan', next((f'in episode {index + 1}: {row["note"]}' for index, row in enumerate(rows) if row.get('note')), None)),
             ('video', video), ('results', json_path)]
    return [f'{name:<16} {text}' for name, text in lines if text]


def latency(plan_ms):
    """Write the median and the 95 % quantile of planning times."""
    return '-' if not plan_ms else f'{np.quantile(plan_ms, 0.5):.0f} / {np.quantile(plan_ms, 0.95):.0f} ms'


def number(value, pattern):
    """Write a figure, or a dash where there is none."""
    return '-' if value is None else pattern.format(value)


def _alarm(count):
    return f'[red]{count}[/]' if count else '0'


class View:
    """The live table on a terminal; elsewhere one line per finished episode."""

    def __init__(self, console, title):
        from rich.live import Live
        self.console, self.title, self.printed = console, title, 0
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self):
        if self.live:
            self.live.start()
        return self

    def show(self, rows, running=None):
        """Show finished episodes and the one under way; the terminal's height bounds how many."""
        if self.live:
            last = max(1, self.console.height - 8)
            self.live.update(table(rows, running, self.title, last), refresh=True)
        for index in range(self.printed, 0 if self.live else len(rows)):
            self.console.print(line(index, rows[index]), soft_wrap=True, highlight=False)
        self.printed = len(rows)

    def __exit__(self, *_):
        if self.live:
            self.live.stop()    # gives the cursor back, also after an error
