"""The picture of a latency report: where a plan's time goes, how it is spread, and what it depends on."""
import json
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.latency_accounting import KINDS, OVERHEAD
from diffusion_planner.benchmarks.latency_report import STAGE_NAMES, SWEEP_NAMES, percent

COLOURS = {'torch': '#004488', 'eager': '#bb5566', 'onnx': '#ddaa33', 'torch cuda': '#6699cc', 'eager cuda': '#ee99aa', 'onnx cuda': '#997700',
           'onnx tensorrt': '#228833'}
STAGE_COLOURS = dict(zip(STAGE_NAMES, ('#bbbbbb', '#88ccee', '#004488', '#6699cc', '#44aa99', '#ddaa33', '#aa4499', '#777777')))
KIND_COLOURS = dict(zip((*KINDS, OVERHEAD), ('#004488', '#88ccee', '#44aa99', '#999933', '#bb5566', '#ddaa33', '#dddddd')))
GRID = '#e8e8e8'
FONT = {'font.size': 10.5, 'axes.titlesize': 11.5, 'axes.titlelocation': 'left', 'axes.titleweight': 'bold', 'legend.fontsize': 9.5,
        'axes.spines.top': False, 'axes.spines.right': False}
INCHES, DPI = (15.0, 9.0), 90


def draw(json_path, out):
    """draw(json_path, out) -> path of the picture"""
    import matplotlib
    from matplotlib.figure import Figure
    report = json.loads(Path(json_path).read_text())
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1))
        wide, spread, spent = above.subplots(1, 3, width_ratios=(1.5, 1, 1))
        _stages(wide, report)
        _spread(spread, report)
        _spent(spent, report)
        for axis, sweep in zip(below.subplots(1, len(SWEEP_NAMES), sharey=True), SWEEP_NAMES):
            _sweep(axis, report, sweep)
        below.axes[0].set(ylabel='plan [ms]', ylim=(0, None))
        below.axes[0].legend(handles=_legend(report), loc='upper left', frameon=False)
        figure.suptitle(_headline(report), fontsize=13, fontweight='bold', x=0.01, ha='left')
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, pil_kwargs={'optimize': True})
    return Path(out)


def _headline(report):
    settings = report['settings']
    return (f'{settings["candidates"]} candidates, {settings["far_steps"]} + {settings["fill_steps"]} steps, {settings["fill_in"]} tokens filled in; '
            f'{settings["threads"]} thread{"s" * (settings["threads"] > 1)}, {report["machine"]["cpu"]}')


def _stages(axis, report):
    """Stack the medians of the stages, a bar per backend."""
    names = [*report['backends']][::-1]
    for row, name in enumerate(names):
        begin = 0.0
        for stage, taken in report['backends'][name]['stages_ms'].items():
            axis.barh(row, taken['p50'], left=begin, color=STAGE_COLOURS[stage], height=0.62)
            begin += taken['p50']
        axis.annotate(f'{begin:.1f}', (begin, row), xytext=(4, 0), textcoords='offset points', va='center')
    axis.set_yticks(range(len(names)), names)
    axis.set_title(f'Where the time goes: medians of {report["settings"]["plans"]} plans')
    axis.set_xlabel('from a picture to the bytes of a chunk [ms]')
    axis.margins(x=0.12)
    axis.legend(handles=_patches({STAGE_NAMES[stage]: colour for stage, colour in STAGE_COLOURS.items()}), loc='upper center',
                bbox_to_anchor=(0.45, -0.17), ncols=4, frameon=False)


def _spread(axis, report):
    """Draw how many plans took at most so long."""
    words = [('p50 / p99', '#000000')]
    for name, found in report['backends'].items():
        taken_ms = np.sort(found['plans_ms'])
        axis.step([*taken_ms, taken_ms[-1]], [*np.arange(len(taken_ms)) / len(taken_ms), 1.0], where='post', color=COLOURS[name], lw=1.8)
        words.append((f'{name} {found["plan_ms"]["p50"]:.1f} / {found["plan_ms"]["p99"]:.1f}', COLOURS[name]))
    for row, (said, colour) in enumerate(words):
        axis.annotate(said, (0, 1), xycoords='axes fraction', xytext=(6, -8 - 15 * row), textcoords='offset points', va='top', color=colour,
                      bbox={'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.8, 'pad': 0.5})
    axis.axvline(report['settings']['deadline_ms'], color='#7f7f7f', lw=1.0, ls=':')
    axis.annotate('deadline', (report['settings']['deadline_ms'], 0.02), xytext=(3, 0), textcoords='offset points', color='#7f7f7f', fontsize=9)
    axis.set_xscale('log')
    _plain(axis.xaxis)
    axis.set(ylim=(0, 1.02), xlabel='plan, encode to choose [ms]', ylabel='share of plans')
    axis.set_title('How it is spread')
    axis.grid(color=GRID, lw=0.7)


def _plain(axis):
    """Write numbers as people do, and few of them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    low, high = axis.get_view_interval()
    axis.set_major_locator(FixedLocator([value for power in (1, 10, 100, 1000) for value in (power, 2 * power, 5 * power) if low <= value <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))


def _spent(axis, report):
    """Stack the kinds of work in the denoiser as shares of its time, a bar per backend that has been profiled."""
    found = {name: row for name, row in report['roofline']['backends'].items() if row.get('spent_ms')}
    names = [*found][::-1]
    for row, name in enumerate(names):
        spent_ms, begin = found[name]['spent_ms'], 0.0
        for kind, colour in KIND_COLOURS.items():
            share = spent_ms.get(kind, 0.0) / sum(spent_ms.values())
            axis.barh(row, share, left=begin, color=colour, height=0.5)
            begin += share
        axis.annotate(f'{name}: {percent(found[name]["share"])} of the roofline', (0, row + 0.28), xytext=(0, 2), textcoords='offset points', va='bottom')
    axis.set(yticks=[], xlim=(0, 1), ylim=(-0.5, len(names) - 0.2), xlabel='share of the time, under a profiler')
    axis.set_title('What the denoiser spends it on')
    shown = {kind: colour for kind, colour in KIND_COLOURS.items() if any(row['spent_ms'].get(kind) for row in found.values())}
    axis.legend(handles=_patches(shown), loc='upper center', bbox_to_anchor=(0.5, -0.17), ncols=2, frameon=False)


def _sweep(axis, report, sweep):
    """Draw p50 as lines and p99 as dots above them."""
    points = report['sweeps'][sweep]
    for name in report['summary']:
        row = [(place, point[name]) for place, point in enumerate(points) if point.get(name)]
        places = [place for place, _ in row]
        axis.plot(places, [taken['p50'] for _, taken in row], color=COLOURS[name], lw=1.8, marker='o', ms=4)
        axis.plot(places, [taken['p99'] for _, taken in row], color=COLOURS[name], lw=0, marker='_', ms=9, mew=1.6)
    axis.set_xticks(range(len(points)), [point['at'] for point in points])
    axis.set_xlim(-0.4, len(points) - 0.6)
    axis.set_xlabel(SWEEP_NAMES[sweep])
    axis.grid(axis='y', color=GRID, lw=0.7)


def _legend(report):
    from matplotlib.lines import Line2D
    return [*(Line2D([], [], color=COLOURS[name], lw=1.8, marker='o', ms=4, label=name) for name in report['summary']),
            Line2D([], [], color='#7f7f7f', lw=0, marker='_', ms=9, mew=1.6, label='p99')]


def _patches(colours):
    from matplotlib.patches import Patch
    return [Patch(color=colour, label=words) for words, colour in colours.items()]
