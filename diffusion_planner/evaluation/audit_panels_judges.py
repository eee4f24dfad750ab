"""Panels of the audit's page about judges: whether they mean what they say, and tell what comes true."""
import math

from diffusion_planner.evaluation.audit_axes import CURVES, JUDGES, QUIET, entitle, shares


def judges(report):
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
    shares(axis, 'share that came true')
    best = min(tables, key=lambda name: tables[name]['ece'])
    entitle(axis, 'Reliability', f'marker size: plans; least error: {best}')
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
    shares(axis, 'share of good plans passed')
    entitle(axis, 'Receiver operating characteristic', 'all plans that were followed alone')
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
    entitle(axis, 'Which judgement tells', 'guided plans' + (f', {came} came true' if came else ''))
