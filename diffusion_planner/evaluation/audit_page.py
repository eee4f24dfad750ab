"""The audit as a page of plots, drawn from its JSON alone: what guidance promised, beside what really happened."""
import json
import shlex
from pathlib import Path

from diffusion_planner.evaluation.audit_axes import GAP, HOLLOW, MODES, PREDICTED, QUIET, of_mode, shipped
from diffusion_planner.evaluation.audit_panels import behaviour, promises, restraint
from diffusion_planner.evaluation.audit_panels_judges import judges

COLUMNS, INCHES, HEAD, DPI = 3, (12.0, 3.3), 0.65, 150
FONT = {'font.size': 9.5, 'axes.titlesize': 10.5, 'axes.titlelocation': 'left', 'axes.titleweight': 'bold', 'legend.fontsize': 8.5,
        'legend.frameon': False, 'axes.spines.top': False, 'axes.spines.right': False, 'axes.titlepad': 19, 'lines.markersize': 5}


def draw(json_path, out):
    """Draw the page of plots from an audit's report: draw(json_path, out) -> path of the picture"""
    import matplotlib
    with matplotlib.rc_context(FONT):
        figure = page(json.loads(Path(json_path).read_text()))
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    return Path(out)


def page(report):
    """Lay out the page of a report: -> matplotlib Figure"""
    from matplotlib.figure import Figure
    report = {**report, 'sweep': sorted(report.get('sweep') or [], key=lambda row: row['scale'])}
    panels = [*promises(report), *behaviour(report), *restraint(report), *judges(report)]
    rows = max(1, -(-len(panels) // COLUMNS))
    tall = rows * INCHES[1] + 1.1
    figure = Figure(figsize=(INCHES[0], tall), dpi=DPI, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.09, rect=(0, 0, 1, 1 - HEAD / tall))
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axis, panel in zip(axes, panels):
        panel(axis)
    for axis in axes[len(panels):]:
        axis.set_axis_off()
    figure.text(0.01, 1 - 0.12 / tall, _headline(report), fontsize=13, va='top', fontweight='bold')
    figure.legend(handles=_legend(report), loc='upper left', bbox_to_anchor=(0, 1 - 0.36 / tall), ncols=7, handlelength=2.4, columnspacing=1.4)
    figure.supxlabel(_caption(report), fontsize=9, x=0.01, ha='left', color=PREDICTED)
    return figure


def _legend(report):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    return [Line2D([], [], color=PREDICTED, ls='--', **HOLLOW, label='predicted (hollow)'),
            *(Line2D([], [], color=colour, marker=marker, label=f'realised, {mode}') for mode, (colour, marker, _) in MODES.items()
              if of_mode(report, mode)),
            Patch(color=GAP, label='gap'), Line2D([], [], color=QUIET, lw=1, ls='--', label='shipped scale'),
            Line2D([], [], color=QUIET, lw=1.4, ls=':', label=f'knee: last before {"the latched score" if "maze" in report else "success"} falls')]


def _headline(report):
    summary = report.get('summary', {})
    name, *words = ('reward of a plan', 'promised', 'kept in time') if 'maze' in report else ('success', 'predicted', 'realised')
    said, came = (summary.get(f'{kind}_success') for kind in ('predicted', 'realised'))
    if said is None or came is None:
        return f'Guidance audit of {_subject(report)}'
    return f'Guidance audit of {_subject(report)}: at the shipped scale {shipped(report):g}, {name} {words[0]} {said:.2f}, {words[1]} {came:.2f}'


def _subject(report):
    return (f'maze {report["maze"]}' if 'maze' in report else Path(report.get('model') or 'model').name) + (
        ', planted flaw' if report.get('planted_flaw') else '') + (f', objective {Path(report["objective"]).stem}' if report.get('objective') else '')


def _caption(report):
    words = ['diffusion-planner', 'audit', *(['--maze', report['maze']] if 'maze' in report else [report.get('model') or '']),
             '--episodes', str(report.get('episodes')), '--seed', str(report.get('first_seed'))]
    words += ['--fit'] * bool(report.get('fitted')) + ['--planted-flaw'] * bool(report.get('planted_flaw')) + (['--objective', report['objective']] if report.get('objective') else [])
    weights = f' (sha256 {report["sha256"][:8]})' if report.get('sha256') else ''
    counts = sorted({row['episodes'] for row in report.get('sweep', []) if row.get('episodes')}) or [report.get('episodes')]
    return (f'{_subject(report)}{weights}, {" or ".join(map(str, counts))} episodes per setting, first seed {report.get("first_seed")}; '
            f'intervals and bands: 95 %.\nRemake: {shlex.join(words)}')
