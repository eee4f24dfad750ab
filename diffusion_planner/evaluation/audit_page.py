"""The audit as a page of plots, drawn from its JSON alone: what guidance promised, beside what really happened."""
import json
import math
import shlex
from pathlib import Path

# Colour, marker and meaning, the same in every panel; Paul Tol's high contrast, told apart in grey too.
MODES = {'guarded': ('#004488', 'o', 'guarded: everything holds it back'), 'damped': ('#d09a1e', 's', 'damped: kept stable, no guard'),
         'free': ('#bb5566', '^', 'free: plain classifier guidance')}
JUDGES = {'head that guides': ('#7f7f7f', 'v'), 'judge': ('#228833', 'D'), 'combined judge': ('#222222', 'o')}
FACTORS = {'curvature': ('#44aa99', 'o'), 'ease': ('#882255', 's'), 'region': ('#999933', '^')}
CURVES = {'reward': 'head that guides', 'judge': 'judge', 'comes_true': 'combined judge'}      # names in 'roc' -> in 'reliability'
PREDICTED, GAP, QUIET, GRID = '#555555', '#f0e6cf', '#8c8c8c', '#e8e8e8'
HOLLOW = {'marker': 'o', 'mfc': 'none', 'ms': 8}
COLUMNS, INCHES, HEAD, DPI = 3, (12.0, 3.3), 0.65, 150
FONT = {'font.size': 9.5, 'axes.titlesize': 10.5, 'axes.titlelocation': 'left', 'axes.titleweight': 'bold', 'legend.fontsize': 8.5,
        'legend.frameon': False, 'axes.spines.top': False, 'axes.spines.right': False, 'axes.titlepad': 19, 'lines.markersize': 5}


def draw(json_path, out):
    """Draw the page of plots from an audit's report: draw(json_path, out) -> path of the picture"""
    import matplotlib
    from matplotlib.figure import Figure
    report = json.loads(Path(json_path).read_text())
    report['sweep'] = sorted(report.get('sweep') or [], key=lambda row: row['scale'])
    panels = [*_promises(report), *_behaviour(report), *_restraint(report), *_judges(report)]
    rows = max(1, -(-len(panels) // COLUMNS))
    with matplotlib.rc_context(FONT):
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
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    return Path(out)


def _legend(report):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    return [Line2D([], [], color=PREDICTED, ls='--', **HOLLOW, label='predicted (hollow)'),
            *(Line2D([], [], color=colour, marker=marker, label=f'realised, {mode}') for mode, (colour, marker, _) in MODES.items()
              if _of(report, mode)),
            Patch(color=GAP, label='gap'), Line2D([], [], color=QUIET, lw=1, ls='--', label='shipped scale'),
            Line2D([], [], color=QUIET, lw=1.4, ls=':', label=f'knee: last before {"the share kept" if "maze" in report else "success"} falls')]


def _headline(report):
    summary = report.get('summary', {})
    name, *words = ('reward of a plan', 'promised', 'kept in time') if 'maze' in report else ('success', 'predicted', 'realised')
    said, came = (summary.get(f'{kind}_success') for kind in ('predicted', 'realised'))
    if said is None or came is None:
        return f'Guidance audit of {_subject(report)}'
    return f'Guidance audit of {_subject(report)}: at the shipped scale {_shipped(report):g}, {name} {words[0]} {said:.2f}, {words[1]} {came:.2f}'


def _subject(report):
    return (f'maze {report["maze"]}' if 'maze' in report else Path(report.get('model') or 'model').name) + (
        ', planted flaw' if report.get('planted_flaw') else '') + (f', objective {Path(report["objective"]).stem}' if report.get('objective') else '')


def _caption(report):
    words = ['diffusion-planner', 'audit', *(['--maze', report['maze']] if 'maze' in report else [report.get('model') or '']),
             '--episodes', str(report.get('episodes')), '--seed', str(report.get('first_seed'))]
    words += ['--planted-flaw'] * bool(report.get('planted_flaw')) + (['--objective', report['objective']] if report.get('objective') else [])
    weights = f' (sha256 {report["sha256"][:8]})' if report.get('sha256') else ''
    counts = sorted({row['episodes'] for row in report.get('sweep', []) if row.get('episodes')}) or [report.get('episodes')]
    return (f'{_subject(report)}{weights}, {" or ".join(map(str, counts))} episodes per setting, first seed {report.get("first_seed")}; '
            f'intervals and bands: 95 %.\nRemake: {shlex.join(words)}')


def _shipped(report):
    return report.get('summary', {}).get('shipped_scale')


def _triples(rows, name):
    """The rows that have a figure: -> scales, means, lows, highs"""
    found = [(row['scale'], *row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name][0])]
    return [list(column) for column in zip(*found)] or [[], [], [], []]


def _has(report, name):
    return any(_triples(_of(report, mode), name)[0] for mode in MODES)


def _of(report, mode):
    return [row for row in report['sweep'] if row['mode'] == mode]


def _title(axis, name, finding=''):
    axis.set_title(name)
    note = axis.annotate(finding, (0, 1), xycoords='axes fraction', xytext=(0, 5), textcoords='offset points', color=PREDICTED, fontsize=9)
    note.set_in_layout(False)


def _log_axis(axis, label):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
    axis.set_yscale('log')
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 50 * low else (1.0, 2.0, 5.0)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    _labelled(axis, label)


def _labelled(axis, label):
    axis.set_ylabel(label)
    axis.grid(axis='y', color=GRID, lw=0.7)
    axis.set_axisbelow(True)


def _scale_axis(axis, report):
    """Lay out the axis of guidance scales, logarithmic but with a 0, and mark the scale that is shipped."""
    scales = sorted({row['scale'] for row in report['sweep']}) or [0.0]
    least, most = next((scale for scale in scales if scale > 0), 1.0), max(scales[-1], 1e-9)
    axis.set_xscale('symlog', linthresh=least, linscale=0.6)
    axis.set_xlim(-0.15 * least if scales[0] == 0 else 0.8 * least, 1.35 * max(most, least))
    wide = most > 300 * least          # too many scales to name
    named = [scale for scale in scales if not wide or scale in (0, most) or math.isclose(math.log10(scale) % 1, 0, abs_tol=1e-9)]
    axis.set_xticks(named, [f'{scale:g}'.removeprefix('0') or '0' for scale in named])
    axis.set_xticks([scale for scale in scales if scale not in named], minor=True)
    axis.set_xlabel('guidance scale')
    if _shipped(report) is not None:
        axis.axvline(_shipped(report), color=QUIET, lw=1, ls='--', zorder=0)


def _shares(axis, label):
    axis.set_ylim(-0.04, 1.04)
    _labelled(axis, label)


def _promises(report):
    """Predicted and realised reward of plans, a panel per mode."""
    return [lambda axis, mode=mode: _promise(axis, report, mode) for mode in MODES if _of(report, mode)]


def _promise(axis, report, mode):
    rows, (colour, marker, meaning) = _of(report, mode), MODES[mode]
    both = [row for row in rows if row.get('predicted_reward') and row.get('realised_reward')]
    said, came = (_triples(both, name) for name in ('predicted_reward', 'realised_reward'))
    axis.fill_between(said[0], said[1], came[1], color=GAP, lw=0, zorder=0.5)
    for (scale, mean, low, high), shade, style in ((said, PREDICTED, {'ls': '--', **HOLLOW}), (came, colour, {'marker': marker})):
        axis.fill_between(scale, low, high, color=shade, alpha=0.22, lw=0)
        axis.plot(scale, mean, color=shade, **style)
    _scale_axis(axis, report)
    _shares(axis, 'plans before the first reward' if 'maze' in report else 'reward of a plan')
    knee = report.get('summary', {}).get(f'knee_{mode}')
    if knee is not None:
        axis.axvline(knee, color=colour, lw=1.4, ls=':', zorder=0)
    gap, at = max(((abs(p - r), scale) for scale, p, r in zip(said[0], said[1], came[1])), default=(None, None))
    _title(axis, meaning[0].upper() + meaning[1:], 'no plans' if gap is None else f'predicted and realised at most {gap:.2f} apart, at {at:g}')


def _behaviour(report):
    """Whole episodes, contacts, typicality and following over the scale, all modes in a panel each."""
    yield lambda axis: _success(axis, report)
    for name, title, label, kind in (('contact', 'Episodes with a contact', 'share of episodes', 'share'),
                                     ('kept_first', 'First plans that came true in time', 'share of episodes', 'share'),
                                     ('late_s', 'How late the reward came', 'median, s; below 0: early', 'seconds'),
                                     ('wall', 'Plans that enter a wall', 'share of plans', 'share'),
                                     ('zone_entered', 'Episodes that enter a zone', 'share of episodes', 'share'),
                                     ('typicality', 'Typicality (lower: more like play)', 'typicality; 1: held-out 99 % quantile', 'typicality'),
                                     ('reach', 'Time enough for the way', 'reach, log-odds above its floor', 'reach'),
                                     ('apart_m', 'Planned to executed, cm', 'mean distance, cm', 'cm')):
        if _has(report, name) and (name != 'zone_entered' or report.get('objective')):
            yield lambda axis, given=(name, title, label, kind): _figure(axis, report, *given)


def _lines(axis, report, name, factor=1.0):
    """Draw a figure over the scale for every mode, a little apart where scales are shared."""
    for index, (mode, (colour, marker, _)) in enumerate(MODES.items()):
        scale, mean, low, high = _triples(_of(report, mode), name)
        if scale:
            mean, low, high = ([factor * value for value in column] for column in (mean, low, high))
            spread = [value * 1.05 ** (index - 1) for value in scale]
            axis.vlines(spread, low, high, color=colour, lw=1.8, alpha=0.55)
            axis.plot(spread, mean, color=colour, marker=marker)


def _success(axis, report):
    _lines(axis, report, 'success')
    for index, (mode, (colour, marker, _)) in enumerate(MODES.items()):
        scale, mean, _, _ = _triples(_of(report, mode), 'predicted_success')
        axis.plot([value * 1.05 ** (index - 1) for value in scale], mean, marker, mfc='none', mec=colour, ms=9, mew=1.3, zorder=4)
    _scale_axis(axis, report)
    _shares(axis, 'share of episodes')
    _title(axis, 'Success of whole episodes', _at_the_end(report, 'success', '{:.0%}'))


def _figure(axis, report, name, title, label, kind):
    factor = 100.0 if kind == 'cm' else 1.0
    _lines(axis, report, name, factor)
    _scale_axis(axis, report)
    if kind == 'share':
        _shares(axis, label)
    elif kind == 'typicality':
        axis.axhline(1.0, color='k', lw=1, ls=':')
        _log_axis(axis, label)
    else:
        _labelled(axis, label)
        if max(map(abs, axis.get_ylim())) > 1000:      # what diverges must not flatten all else
            axis.set_yscale('symlog', linthresh=10.0)
            axis.yaxis.get_major_locator().set_params(numticks=7)
        axis.set_ylim(bottom=0.0 if kind == 'cm' else None)
    _title(axis, title, _at_the_end(report, name, {'share': '{:.0%}', 'cm': '{:.2g}', 'seconds': '{:+.2f}'}.get(kind, '{:.2g}'), factor))


def _at_the_end(report, name, pattern, factor=1.0):
    """Say what a figure comes to at the largest scale of every mode."""
    last = [(mode, column[0][-1], _short(pattern.format(column[1][-1] * factor))) for mode in MODES
            if (column := _triples(_of(report, mode), name))[0]]
    if len({scale for _, scale, _ in last}) == 1:
        return f'at {last[0][1]:g}: ' + ', '.join(f'{mode} {value}' for mode, _, value in last)
    return ', '.join(f'{mode} {value} at {scale:g}' for mode, scale, value in last)


def _short(text):
    """Write a number short enough for a line of three: '-4e+02' -> '-400', '1e+11' -> '1e11', '5%' -> '5 %'"""
    if 'e+' in text:
        digits, power = text.split('e+')
        text = f'{float(text):.0f}' if int(power) < 5 else f'{float(digits):.1g}e{int(power)}'
    return text.replace('%', ' %')


def _restraint(report):
    """How much of the guidance that was asked for was in force, and what held it back."""
    if any(_triples(_of(report, 'guarded'), 'in_force')[0]):
        yield lambda axis: _in_force(axis, report)
    if any(_triples(_of(report, 'guarded'), name)[0] for name in FACTORS):
        yield lambda axis: _factors(axis, report)


def _in_force(axis, report):
    colour, marker, _ = MODES['guarded']
    scale, mean, low, high = (list(column) for column in zip(*[row for row in zip(*_triples(_of(report, 'guarded'), 'in_force')) if row[0] > 0]))
    axis.plot(scale, scale, color=QUIET, lw=1, ls=':', label='nothing held back')
    axis.fill_between(scale, low, high, color=colour, alpha=0.22, lw=0)
    axis.plot(scale, mean, color=colour, marker=marker)
    _scale_axis(axis, report)
    _log_axis(axis, 'scale in force, mean')
    _title(axis, 'Guidance in force', f'{mean[-1]:.2g} of {scale[-1]:g} requested')
    axis.legend(loc='best')


def _factors(axis, report):
    for name, (colour, marker) in FACTORS.items():
        scale, mean, low, high = _triples(_of(report, 'guarded'), name)
        axis.fill_between(scale, low, high, color=colour, alpha=0.25, lw=0)
        axis.plot(scale, mean, color=colour, marker=marker, label=name)
    _scale_axis(axis, report)
    _log_axis(axis, 'mean factor; 1: not held back')
    least = min((value, name) for name in FACTORS for value in _triples(_of(report, 'guarded'), name)[1])
    _title(axis, 'What held it back', f'most: {least[1]}, down to {least[0]:.2g}')
    axis.legend(loc='best')


def _judges(report):
    """Whether judgements mean what they say, and tell plans that come true from those that do not."""
    tables = {name: table for name, table in (report.get('reliability') or {}).items() if table['diagram']}
    if tables:
        yield lambda axis: _reliability(axis, tables)
    if report.get('roc'):
        yield lambda axis: _roc(axis, report)
    if _areas(report):
        yield lambda axis: _bars(axis, report)


def _reliability(axis, tables):
    axis.plot([0, 1], [0, 1], color=QUIET, lw=1, ls=':')
    most = max((row[4] for table in tables.values() for row in table['diagram']), default=1)
    for name, table in tables.items():
        colour, marker = JUDGES.get(name, (QUIET, 'o'))
        said, share, low, high, count = zip(*table['diagram'])
        axis.vlines(said, low, high, color=colour, lw=1.2, alpha=0.5)
        axis.plot(said, share, color=colour, lw=1, alpha=0.7)
        axis.scatter(said, share, [12 + 110 * number / most for number in count], color=colour, marker=marker, alpha=0.85, lw=0, zorder=3)
        axis.plot([], [], color=colour, marker=marker, label=f'{name}, ECE {table["ece"]:.2f}')
    axis.set_xlim(-0.04, 1.04)
    axis.set_xlabel('predicted chance that the plan comes true')
    _shares(axis, 'share that came true')
    best = min(tables, key=lambda name: tables[name]['ece'])
    _title(axis, 'Reliability', f'marker size: number of plans; least error: {best}')
    axis.legend(loc='lower right')


def _roc(axis, report):
    axis.plot([0, 1], [0, 1], color=QUIET, lw=1, ls=':')
    for key, curve in report['roc'].items():
        name = CURVES.get(key, key)
        area = (report.get('separation', {}).get('reward' if key == 'reward' else name) or {}).get('all')
        axis.plot(*zip([0.0, 0.0], *curve), color=JUDGES.get(name, (QUIET,))[0], lw=1.8,
                  label=name + ('' if area is None or math.isnan(area) else f', area {area:.2f}'))
    axis.set_xlim(-0.04, 1.04)
    axis.set_xlabel('share of failing plans that are passed')
    _shares(axis, 'share of good plans passed')
    _title(axis, 'Receiver operating characteristic', 'all plans that were followed alone')
    axis.legend(loc='lower right')


def _areas(report):
    """ROC areas of plans that guidance had a say in: -> {judgement: area}, the largest first"""
    found = {name: kinds.get('with reward', kinds.get('guided')) for name, kinds in (report.get('separation') or {}).items()}
    found = {name: area for name, area in found.items() if isinstance(area, float) and math.isfinite(area)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _bars(axis, report):
    areas = _areas(report)
    names = ['head that guides' if name == 'reward' else name for name in areas]
    shades = [JUDGES.get(name, ('#b8b8b8',))[0] for name in names]
    axis.barh(range(len(areas)), [area - 0.5 for area in areas.values()], left=0.5, color=shades, height=0.7)
    for index, (name, area) in enumerate(zip(names, areas.values())):
        axis.annotate(f'{area:.2f}', (max(area, 0.5), index), xytext=(3, 0), textcoords='offset points', va='center', fontsize=8)
        axis.annotate(name, (min(area, 0.5), index), xytext=(-4, 0), textcoords='offset points', va='center', ha='right', fontsize=9)
    axis.axvline(0.5, color='k', lw=1)
    axis.set_yticks([])
    axis.spines['left'].set_visible(False)
    axis.invert_yaxis()
    axis.set_xlim(0.2, 1.05)
    axis.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    axis.set_xlabel('ROC area; 0.5: chance, 1: tells all apart')
    came = (report['separation'].get('plans that came true') or {}).get('with reward')
    _title(axis, 'Which judgement tells', 'guided plans' + (f', {came} came true' if came else ''))
