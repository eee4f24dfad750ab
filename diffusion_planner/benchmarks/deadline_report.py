"""The tables and the picture of plans under a deadline; see deadline.py for what is in a report."""
import json
from pathlib import Path

FONT = {'font.size': 12, 'axes.titlesize': 13, 'axes.titlelocation': 'left', 'legend.fontsize': 11, 'axes.spines.top': False,
        'axes.spines.right': False}
COLOURS = {'success': '#004488', 'time': '#d09a1e', 'kept': '#004488', 'far': '#bb5566', 'fill': '#d09a1e', 'noise': '#7f7f7f', 'refused': '#000000'}
GRID = '#e8e8e8'


def show(report):
    from rich.console import Console
    from rich.table import Table
    table = Table('deadline', 'success', '95 % interval', 'time to target', 'with contact', 'deadline kept', 'attempt p50 / p99', 'steps far / fill',
                  'noise left', 'refused', title=_title(report), title_justify='left')
    for row in report['summary']:
        low, high = row['success_interval']
        table.add_row(_name(row['deadline_ms']), f'{row["success_rate"]:.0%}', f'{low:.0%} to {high:.0%}', _or_dash(row['time_to_target_s'], '{:.2f} s'),
                      str(row['episodes_with_contact']), *_shown(row))
    Console(width=150).print(table)


def show_timed(report):
    from rich.console import Console
    from rich.table import Table
    table = Table('deadline', 'attempts', 'deadline kept', 'attempt p50 / p99', 'steps far / fill', 'noise left', 'refused', title=_title(report),
                  title_justify='left')
    for row in report['timed']:
        table.add_row(_name(row['deadline_ms']), str(row['attempts']), *_shown(row))
    Console(width=150).print(table)


def _shown(row):
    """Write what both tables end with."""
    steps = row.get('steps', {})
    return ('-' if row['deadline_ms'] is None or 'kept' not in row else f'{row["kept"]:.1%}',
            f'{_or_dash(row.get("plan_ms_p50"), "{:.1f}")} / {_or_dash(row.get("plan_ms_p99"), "{:.1f} ms")}',
            f'{_or_dash(steps.get("far"), "{:.1f}")} / {_or_dash(steps.get("fill"), "{:.1f}")}', _or_dash(row.get('noise_left'), '{:.2f}'),
            f'{row["refused"]} of {row["attempts"]}')


def draw(json_path, out):
    """Draw quality over the deadline, and what was done in that time: draw(json_path, out) -> path of the picture"""
    import matplotlib
    from matplotlib.figure import Figure
    report = json.loads(Path(json_path).read_text())
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(14.0, 5.6), dpi=90, layout='constrained')
        axes = figure.subplots(1, 3)
        for axis, panel in zip(axes, (_success, _time, _progress)):
            panel(axis, report['summary'])
            _deadlines(axis, report['summary'])
        figure.suptitle(_title(report), fontsize=12, fontweight='bold', x=0.01, ha='left')
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, pil_kwargs={'optimize': True})
    return Path(out)


def _success(axis, rows):
    shares, (low, high) = [row['success_rate'] for row in rows], zip(*(row['success_interval'] for row in rows))
    error = [[share - below for share, below in zip(shares, low)], [above - share for share, above in zip(shares, high)]]
    axis.errorbar(range(len(rows)), shares, error, color=COLOURS['success'], marker='o', capsize=4, label='success, with 95 % interval')
    axis.set(ylim=(-0.02, 1.04), title='Targets reached')
    axis.legend(frameon=False, loc='lower right')


def _time(axis, rows):
    axis.plot(range(len(rows)), [row['time_to_target_s'] or float('nan') for row in rows], color=COLOURS['time'], marker='o')
    axis.set(title='Mean time to target, where reached [s]')
    axis.set_ylim(bottom=0)


def _progress(axis, rows):
    places, most = range(len(rows)), (rows[-1].get('steps') or {})
    for stage, label in (('far', 'far tokens'), ('fill', 'fill-in')):
        axis.plot(places, [row['steps'][stage] / most[stage] if row.get('steps') and most else float('nan') for row in rows], color=COLOURS[stage],
                  marker='o', label=f'steps, {label}')
    refused = [row['refused'] / max(1, row['attempts']) for row in rows]
    axis.plot(places, refused, color=COLOURS['refused'], marker='o', ls='-.', label='attempts refused')
    axis.plot(places, [row.get('noise_left', float('nan')) for row in rows], color=COLOURS['noise'], marker='o', ls=':', label='noise left')
    timed = [(place, row['kept']) for place, row in enumerate(rows) if row['deadline_ms'] and 'kept' in row]
    axis.plot(*zip(*timed) if timed else ((), ()), color=COLOURS['kept'], marker='s', ls='--', label='deadlines kept')
    axis.set(ylim=(-0.02, 1.04), title='What was done in that time, shares')
    axis.legend(frameon=False, loc='upper center', bbox_to_anchor=(0.5, -0.16), ncols=3, columnspacing=1.0, handlelength=1.6)


def _deadlines(axis, rows):
    """The deadlines side by side, none at the right: their quality is to be read, not their spacing."""
    axis.set_xticks(range(len(rows)), [_name(row['deadline_ms']) for row in rows])
    axis.set_xlim(-0.3, len(rows) - 0.7)
    axis.set_xlabel('time that a plan has')
    axis.grid(axis='y', color=GRID, lw=0.7)


def _title(report):
    settings = report['settings']
    each = '' if settings['threads'] == 1 else f' of {settings["threads"]} threads'
    per = '1 process' if settings['workers'] == 1 else f'{settings["workers"]} processes'
    scenes = '' if 'timed' in report else f'{settings["episodes"]} scenes from {settings["seed"]} on, '
    planner = report['planner']
    work = f'{planner["arrivals"] * planner["samples"]} candidates, {planner["far_steps"]} + {planner["fill_steps"]} steps'
    return f'Plans under a deadline: {settings["backend"]} on {settings["device"]}, {work}, {scenes}{per}{each} on {report["cores"]} cores'


def _name(deadline_ms):
    return 'none' if deadline_ms is None else f'{deadline_ms:g} ms'


def _or_dash(value, pattern):
    return '-' if value is None else pattern.format(value)
