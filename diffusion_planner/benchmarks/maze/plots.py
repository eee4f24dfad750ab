"""The ablation as a page of plots, drawn from its JSON alone."""
import json
from pathlib import Path
from textwrap import fill

COLUMNS, INCHES, DPI, CURVES = 3, (16.0, 0.27), 100, 8      # width of the page and height of a row; rows that curves take
FORM_COLOURS = {'noisy': '#bb5566', 'clean': '#2f6690', 'through': '#1f9e89'}
SHOWN, DEFAULT, PROMISED, REACHED = '#2f6690', '#d1495b', '#d1495b', '#444444'
FAR = 60.0      # a mean this many points below the default is drawn as an arrow at the edge where it would squeeze the rest


def draw(json_path, out):
    """Draw the page: latched score of every variation, paired difference to the default, and promises over guidance scale."""
    from matplotlib.figure import Figure
    report = json.loads(Path(json_path).read_text())
    groups = {}
    for row in report['rows']:
        groups.setdefault(row['group'], []).append(row)
    default, = groups.pop('default')
    panels = [lambda axis, name=name, rows=rows: _group(axis, name, rows, default) for name, rows in groups.items()]
    panels += [lambda axis: _forms(axis, groups['guidance form and scale']), lambda axis: _promises(axis, groups['guidance scale'])]
    heights = [*map(len, groups.values()), CURVES, CURVES]
    tallest = [max(6, *heights[start:start + COLUMNS]) for start in range(0, len(panels), COLUMNS)]
    figure = Figure(figsize=(INCHES[0], INCHES[1] * sum(tallest) + 0.95 * len(tallest) + 0.6), layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, hspace=0.02)
    axes = figure.subplots(len(tallest), COLUMNS, squeeze=False, height_ratios=[rows + 3 for rows in tallest]).flat
    for axis, panel in zip(axes, panels):
        panel(axis)
    for axis in list(axes)[len(panels):]:
        axis.set_axis_off()
    figure.suptitle(f'{report["maze"]}, fixed goal, {report["seeds"]} seeds from {report["first_seed"]}: latched score (D4RL) with 95 % intervals; red line: '
                    'default. Right of each row: success, plans that enter a wall', fontsize=11)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DPI)
    print(out)


def window(rows, default):
    """Choose what a panel's axis shows: outliers far below the default are left to an arrow at its edge: -> low, high"""
    near = [row['latched'] for row in rows if row['latched'][0] > default['latched'][0] - FAR] + [default['latched']]
    low, high = min(triple[1] for triple in near), max(triple[2] for triple in near)
    room = max(0.08 * (high - low), 1.0)
    return low - 2 * room, high + room


def _group(axis, title, rows, default):
    low, high = window(rows, default)
    axis.axvline(default['latched'][0], color=DEFAULT, lw=1, zorder=0)
    for index, row in enumerate(rows):
        mean, *ends = row['latched']
        note = f'{row["success"][0]:.0%}, {row["wall_crossing"][0]:.1%}'.replace('%', ' %')
        if mean < low:
            axis.plot(low, index, '<', color=SHOWN, clip_on=False)
            note = f'{mean:.0f}; {note}'
        else:
            axis.plot([max(low, ends[0]), ends[1]], [index, index], color=SHOWN, lw=2)
            axis.plot(mean, index, 'o', ms=5, color=SHOWN, mfc='white' if row['default'] else SHOWN)
        axis.annotate(note, (1.0, index), xycoords=('axes fraction', 'data'), xytext=(6, 0), textcoords='offset points', va='center', fontsize=8)
    axis.set_yticks(range(len(rows)), [_named(row) for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(low, high)
    axis.locator_params(axis='x', nbins=5)
    axis.tick_params(axis='x', labelsize=8)
    axis.set_title(title, fontsize=10, loc='left', fontweight='bold')


def _named(row):
    return fill(row['name'] + (' (default)' if row['default'] else ''), 24)


def _forms(axis, rows):
    """Latched over guidance scale, a line per form."""
    for index, (form, colour) in enumerate(FORM_COLOURS.items()):
        found = sorted((row['scale'] * 1.06 ** (index - 1), *row['latched']) for row in rows if row['name'] == f'{form}, {row["scale"]:g}')
        scale, mean, low, high = zip(*found)
        axis.vlines(scale, low, high, color=colour, lw=2, alpha=0.5)
        axis.plot(scale, mean, 'o-', color=colour, label=form)
    _scale_axis(axis, sorted({row['scale'] for row in rows}))
    axis.legend(fontsize=8, loc='best')
    axis.set_ylabel('latched score', fontsize=8)
    axis.set_title('guidance form over scale', fontsize=10, loc='left', fontweight='bold')


def _promises(axis, rows):
    least = min(row['scale'] for row in rows if row['scale'])
    for name, style, colour, label in (('promised', 'o--', PROMISED, 'promised by plans before the first reward'),
                                       ('kept', 'o-', SHOWN, 'kept in time'), ('kept_first', 's-', FORM_COLOURS['through'], "kept in time by first plans"),
                                       ('success', '^:', REACHED, 'episodes that reached the goal')):
        found = sorted((row['scale'] or least / 3, row[name][0]) for row in rows if row[name] is not None)
        axis.plot(*zip(*found), style, ms=5, color=colour, label=label)
    _scale_axis(axis, sorted(row['scale'] for row in rows), least / 3)
    axis.set_ylim(-0.05, 1.05)
    axis.legend(fontsize=8, loc='upper center', bbox_to_anchor=(0.5, -0.2), frameon=False)
    axis.set_ylabel('share', fontsize=8)
    axis.set_title('promised against realised reward', fontsize=10, loc='left', fontweight='bold')


def _scale_axis(axis, scales, nought=None):
    """Lay out a logarithmic axis of guidance scales; 0 is drawn at `nought`, at its left end."""
    axis.set_xscale('log')
    axis.set_xticks([scale or nought for scale in scales], [f'{scale:g}'.removeprefix('0') or '0' for scale in scales], fontsize=8)
    axis.set_xticks([], minor=True)
    axis.tick_params(axis='y', labelsize=8)
    axis.set_xlabel('guidance scale', fontsize=8)
