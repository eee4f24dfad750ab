"""Panels of the audit's page over the guidance scale: promises, behaviour, what held guidance back."""
from diffusion_planner.evaluation.audit_axes import (
    FACTORS, GAP, HOLLOW, MODES, PREDICTED, QUIET, entitle, far_axis, has, labelled, log_axis, of_mode, scale_axis, shares, triples)

FAR = 1000.0           # beyond this an axis is logarithmic; beyond its square a figure has diverged


def promises(report):
    """Predicted and realised reward of plans, a panel per mode."""
    return [lambda axis, mode=mode: _promise(axis, report, mode) for mode in MODES if of_mode(report, mode)]


def _promise(axis, report, mode):
    rows, (colour, marker, meaning) = of_mode(report, mode), MODES[mode]
    both = [row for row in rows if row.get('predicted_reward') and row.get('realised_reward')]
    said, came = (triples(both, name) for name in ('predicted_reward', 'realised_reward'))
    axis.fill_between(said[0], said[1], came[1], color=GAP, lw=0, zorder=0.5)
    for (scale, mean, low, high), shade, style in ((said, PREDICTED, {'ls': '--', **HOLLOW}), (came, colour, {'marker': marker})):
        axis.fill_between(scale, low, high, color=shade, alpha=0.22, lw=0)
        axis.plot(scale, mean, color=shade, **style)
    scale_axis(axis, report)
    shares(axis, 'plans before the first reward' if 'maze' in report else 'reward of a plan')
    _knee(axis, report, mode, colour)
    gap, at = max(((abs(p - r), scale) for scale, p, r in zip(said[0], said[1], came[1])), default=(None, None))
    entitle(axis, meaning[0].upper() + meaning[1:], 'no plans' if gap is None else f'predicted and realised at most {gap:.2f} apart, at {at:g}')


def _knee(axis, report, mode, colour):
    """Mark where success begins to fall, or say up to which scale it did not."""
    summary = report.get('summary', {})
    if summary.get(f'knee_{mode}') is not None:
        axis.axvline(summary[f'knee_{mode}'], color=colour, lw=1.4, ls=':', zorder=0)
    elif f'knee_{mode}' in summary:
        most = max(row['scale'] for row in of_mode(report, mode))
        axis.annotate(f'knee: not reached up to {most:g}', (0.98, 0.03), xycoords='axes fraction', ha='right', color=colour, fontsize=8.5)


def behaviour(report):
    """Whole episodes, contacts, typicality and following over the scale, all modes in a panel each."""
    yield lambda axis: _success(axis, report)
    for name, title, label, kind in (('contact', 'Episodes with a contact', 'share of episodes', 'share'),
                                     ('kept_first', 'First plans that came true in time', 'share of episodes', 'share'),
                                     ('late_s', 'How late the reward came', 'median, s; below 0: early', 'seconds'),
                                     ('wall', 'Plans that enter a wall', 'share of plans', 'share'),
                                     ('zone_entered', 'Episodes that enter a zone', 'share of episodes', 'share'),
                                     ('typicality', 'Typicality (lower: more like play)', '1: held-out 99 % quantile', 'typicality'),
                                     ('reach', 'Time enough for the way', 'reach, log-odds above its floor', 'reach'),
                                     ('apart_m', 'Planned to executed, cm', 'mean distance, cm', 'cm')):
        if has(report, name) and (name != 'zone_entered' or report.get('objective')):
            yield lambda axis, given=(name, title, label, kind): _figure(axis, report, *given)


def _lines(axis, report, name, factor=1.0):
    """Draw a figure over the scale for every mode, a little apart where scales are shared."""
    for index, (mode, (colour, marker, _)) in enumerate(MODES.items()):
        scale, mean, low, high = triples(of_mode(report, mode), name)
        if scale:
            mean, low, high = ([factor * value for value in column] for column in (mean, low, high))
            spread = [value * 1.05 ** (index - 1) for value in scale]
            axis.vlines(spread, low, high, color=colour, lw=1.8, alpha=0.55)
            axis.plot(spread, mean, color=colour, marker=marker)


def _success(axis, report):
    _lines(axis, report, 'success')
    for index, (mode, (colour, marker, _)) in enumerate(MODES.items()):
        scale, mean, _, _ = triples(of_mode(report, mode), 'predicted_success')
        axis.plot([value * 1.05 ** (index - 1) for value in scale], mean, marker, mfc='none', mec=colour, ms=9, mew=1.3, zorder=4)
    scale_axis(axis, report)
    shares(axis, 'share of episodes')
    entitle(axis, 'Success of whole episodes', _at_the_end(report, 'success', '{:.0%}'))


def _figure(axis, report, name, title, label, kind):
    factor = 100.0 if kind == 'cm' else 1.0
    _lines(axis, report, name, factor)
    scale_axis(axis, report)
    if kind == 'share':
        shares(axis, label)
    elif kind == 'typicality':
        axis.axhline(1.0, color='k', lw=1, ls=':')
        log_axis(axis, label)
    else:
        labelled(axis, label)
        if max(map(abs, axis.get_ylim())) > FAR:      # what diverges must not flatten all else
            far_axis(axis)
        if kind == 'cm':
            axis.set_ylim(bottom=0.0)
    entitle(axis, title, _at_the_end(report, name, {'share': '{:.0%}', 'typicality': '{:.2g}', 'seconds': '{:+.2f}'}.get(kind, '{:.3g}'), factor))


def _at_the_end(report, name, pattern, factor=1.0):
    """Say what a figure comes to at the largest scale of every mode."""
    last = [(mode, column[0][-1], _told(column[1][-1] * factor, pattern)) for mode in MODES
            if (column := triples(of_mode(report, mode), name))[0]]
    where = f'at {last[0][1]:g}' if len({scale for _, scale, _ in last}) == 1 else 'at the end'
    return f'{where}: ' + ', '.join(f'{mode} {value}' for mode, _, value in last)


def _told(value, pattern):
    return 'diverged' if abs(value) > FAR ** 2 else pattern.format(value).replace('%', ' %')


def restraint(report):
    """How much of the guidance that was asked for was in force, and what held it back."""
    if any(triples(of_mode(report, 'guarded'), 'in_force')[0]):
        yield lambda axis: _in_force(axis, report)
    if any(triples(of_mode(report, 'guarded'), name)[0] for name in FACTORS):
        yield lambda axis: _factors(axis, report)


def _in_force(axis, report):
    colour, marker, _ = MODES['guarded']
    scale, mean, low, high = (list(column) for column in zip(*[row for row in zip(*triples(of_mode(report, 'guarded'), 'in_force')) if row[0] > 0]))
    axis.plot(scale, scale, color=QUIET, lw=1, ls=':', label='nothing held back')
    axis.fill_between(scale, low, high, color=colour, alpha=0.22, lw=0)
    axis.plot(scale, mean, color=colour, marker=marker)
    scale_axis(axis, report)
    log_axis(axis, 'scale in force, mean')
    entitle(axis, 'Guidance in force', f'{mean[-1]:.2g} of {scale[-1]:g} requested')
    axis.legend(loc='best')


def _factors(axis, report):
    for name, (colour, marker) in FACTORS.items():
        scale, mean, low, high = triples(of_mode(report, 'guarded'), name)
        axis.fill_between(scale, low, high, color=colour, alpha=0.25, lw=0)
        axis.plot(scale, mean, color=colour, marker=marker, label=name)
    scale_axis(axis, report)
    log_axis(axis, 'mean factor; 1: not held back')
    least = min((value, name) for name in FACTORS for value in triples(of_mode(report, 'guarded'), name)[1])
    entitle(axis, 'What held it back', f'most: {least[1]}, down to {least[0]:.2g}')
    axis.legend(loc='best')
