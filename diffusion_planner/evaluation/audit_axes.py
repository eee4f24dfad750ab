"""Axes of the audit's page: what a mode looks like, figures over the guidance scale, titles with a finding."""
import math

# Colour, marker and meaning, the same in every panel; Paul Tol's high contrast, told apart in grey too.
MODES = {'guarded': ('#004488', 'o', 'guarded: everything holds it back'), 'damped': ('#d09a1e', 's', 'damped: kept stable, no guard'),
         'free': ('#bb5566', '^', 'free: plain classifier guidance')}
JUDGES = {'head that guides': ('#7f7f7f', 'v'), 'judge': ('#228833', 'D'), 'combined judge': ('#222222', 'o')}
FACTORS = {'curvature': ('#44aa99', 'o'), 'ease': ('#882255', 's'), 'region': ('#999933', '^')}
CURVES = {'reward': 'head that guides', 'judge': 'judge', 'comes_true': 'combined judge'}      # names in 'roc' -> in 'reliability'
PREDICTED, GAP, QUIET, GRID = '#555555', '#f0e6cf', '#8c8c8c', '#e8e8e8'
LETTERS = 46           # of a finding, in ordinary size, go onto the width of a panel
ROOM = 0.095           # of the axis of scales, for the name of one
LINEAR = 10.0
HOLLOW = {'marker': 'o', 'mfc': 'none', 'ms': 8}


def shipped(report):
    return report.get('summary', {}).get('shipped_scale')


def triples(rows, name):
    """The rows that have a figure: -> scales, means, lows, highs"""
    found = [(row['scale'], *row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name][0])]
    return [list(column) for column in zip(*found)] or [[], [], [], []]


def has(report, name):
    return any(triples(of_mode(report, mode), name)[0] for mode in MODES)


def of_mode(report, mode):
    return [row for row in report['sweep'] if row['mode'] == mode]


def entitle(axis, name, finding=''):
    """Title a panel, and say below it what it shows: in letters as small as it takes to keep to the panel's width."""
    axis.set_title(name)
    note = axis.annotate(finding, (0, 1), xycoords='axes fraction', xytext=(0, 5), textcoords='offset points', color=PREDICTED,
                         fontsize=9 * min(1.0, LETTERS / max(1, len(finding))))
    note.set_in_layout(False)


def log_axis(axis, label):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
    axis.set_yscale('log')
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 50 * low else (1.0, 2.0, 5.0)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    labelled(axis, label)


def labelled(axis, label):
    axis.set_ylabel(label)
    axis.grid(axis='y', color=GRID, lw=0.7)
    axis.set_axisbelow(True)


def scale_axis(axis, report):
    """Lay out the axis of guidance scales, logarithmic but with a 0, and mark the scale that is shipped."""
    scales = sorted({row['scale'] for row in report['sweep']}) or [0.0]
    least, most = next((scale for scale in scales if scale > 0), 1.0), max(scales[-1], 1e-9)
    axis.set_xscale('symlog', linthresh=least, linscale=0.6)
    axis.set_xlim(-0.15 * least if scales[0] == 0 else 0.8 * least, 1.35 * max(most, least))
    named = _named(scales, least, most)
    axis.set_xticks(named, [f'{scale:g}'.removeprefix('0') or '0' for scale in named])
    axis.set_xticks([scale for scale in scales if scale not in named], minor=True)
    axis.set_xlabel('guidance scale')
    if shipped(report) is not None:
        axis.axvline(shipped(report), color=QUIET, lw=1, ls='--', zorder=0)


def _named(scales, least, most):
    """The scales that there is room to name: 0, the largest, and below it those far enough from the last one; or whole decades."""
    if most > 1000 * least:
        return [scale for scale in scales if scale in (0, most) or math.isclose(math.log10(scale) % 1, 0, abs_tol=1e-9)]
    named, room = [], ROOM * (math.log10(most / least) + 0.6)
    for scale in sorted((scale for scale in scales if scale > 0), reverse=True):
        if not named or math.log10(named[-1] / scale) >= room:
            named.append(scale)
    return [scale for scale in scales if scale == 0 or scale in named]


def far_axis(axis):
    """Lay out an axis of values that diverge: linear up to LINEAR, logarithmic beyond, a few ticks on either side."""
    low, high = axis.dataLim.intervaly
    reach = [int(math.log10(max(1.0, end))) for end in (-low, high)]
    every = max(1, -(-sum(reach) // 6))
    ticks = [*(-10.0 ** power for power in range(reach[0], every - 1, -every)), 0.0, *(10.0 ** power for power in range(reach[1], every - 1, -every))]
    axis.set_yscale('symlog', linthresh=LINEAR, linscale=0.6)
    axis.set_yticks(ticks, [f'{value:g}' for value in ticks])
    axis.set_yticks([], minor=True)
    axis.set_ylim(3 * min(low, 0.0), max(LINEAR, 3 * high))


def shares(axis, label):
    axis.set_ylim(-0.04, 1.04)
    labelled(axis, label)
