"""The top of the page: what was evaluated, and whether to trust the model on this arm."""
from diffusion_planner.evaluation.bag_page_html import (brief, details, dig, duration, known, listed, measure, named, note, number, ranged, sign, tag,
                                                        worded)

HEADLINES = {'ok': 'Nothing speaks against it', 'warn': 'Look closer first', 'bad': 'Do not run it', 'unknown': 'Not all could be checked'}
WORST_FIRST = ('bad', 'warn', 'unknown', 'ok')
SHA_DIGITS = 12


def facts(report):
    """Say what was evaluated: facts(report) -> title, list of markup"""
    walked, whole = dig(report, 'bag', 'walked_s'), dig(report, 'bag', 'duration_s')
    part = f', {duration(walked)} of it walked' if known(walked) and known(whole) and walked < whole - 1 else ''
    bag, model = worded(report, 'source', 'name'), worded(report, 'model', 'name')
    shown = {'Bag': bag, 'Length': duration(whole) + part, 'Episodes': number(len(listed(report, 'bag', 'episodes'))), 'Model': model,
             'Robot': worded(report, 'bag', 'robot'), 'Plans': f'{number(dig(report, "plans", "guided"))} of {number(dig(report, "plans", "due"))} due',
             'Guidance scale': number(dig(report, 'model', 'guidance_scale')), 'Plans every': measure(dig(report, 'settings', 'every_s'), 's')}
    lead = 'What this model would have planned along a recording, held against what the arm really did. Nothing moved for this.'
    return f'Bag {bag}, model {model}', [tag('p', lead, class_='lead'), _listed(shown)]


def _listed(shown):
    return tag('dl', *(tag('div', tag('dt', name), tag('dd', text)) for name, text in shown.items()), class_='facts')


def verdict(report):
    """Lay out the verdict with its checks, the worst first."""
    found = named(report, 'verdict')
    level = _level(found)
    checks = sorted(listed(found, 'checks'), key=lambda check: WORST_FIRST.index(_level(check)))
    said = tag('div', tag('p', HEADLINES[level]), tag('span', dig(found, 'sentence'), class_='said'))
    shown = tag('ol', *map(_check, checks), class_='checks') if checks else note('This report holds no checks.')
    return tag('section', tag('h2', 'Can it be trusted on this arm?', id='verdict-h'), tag('div', sign(level), said, class_=f'overall {level}'), shown,
               details('How it was made', _listed(_settings(report))), id='verdict', aria_labelledby='verdict-h')


def _level(found):
    level = dig(found, 'level')
    return level if level in HEADLINES else 'unknown'


def _check(check):
    value, unit = dig(check, 'value'), str(dig(check, 'unit', default=''))
    figure = tag('span', _figure(value, unit), _thresholds(check, unit), class_='figure faint') if known(value) else ''
    said = tag('div', tag('div', worded(check, 'title'), class_='what'), figure, tag('p', dig(check, 'sentence')))
    return tag('li', sign(_level(check)), said)


def _kind(unit):
    """Say what a unit such as 'share of the plans' or 's, 95 % quantile' begins with, and the rest."""
    head = 'share' if unit.startswith('share') else 's' if unit.partition(',')[0] == 's' else ''
    return head, unit.removeprefix(head)


def _figure(value, unit):
    """Write a figure with its unit; a share as per cent."""
    head, rest = _kind(unit)
    return f'{measure(value, head)}{rest}' if head else f'{number(value)} {rest}'.strip()


def _thresholds(check, unit):
    """Say beyond which values a check warns and fails."""
    warn, bad, head = dig(check, 'warn'), dig(check, 'bad'), _kind(unit)[0]
    if not known(warn) or not known(bad):
        return ''
    side = 'below' if dig(check, 'better') == 'higher' else 'above'
    warn, bad = (measure(value, head) if value and head else brief(value) for value in (warn, bad))
    return f' · fails {side} {bad}' if warn == bad else f' · warns {side} {warn}, fails {side} {bad}'


def _names(names):
    return ', '.join(str(name) for name in names if name is not None) or '–'


def _settings(report):
    """List how the report was made, beneath the verdict."""
    return {'Model weights (sha256)': worded(report, 'model', 'sha256')[:SHA_DIGITS],
            'Cameras': _names(listed(report, 'model', 'cameras')),
            'Joints': _names(listed(report, 'bag', 'joint_names')), 'Longest plan': measure(dig(report, 'model', 'horizon_s'), 's'),
            'Plans take over after': measure(dig(report, 'settings', 'lead_s'), 's'), 'Seed of the first plan': number(dig(report, 'settings', 'seed')),
            'With an objective': number(dig(report, 'settings', 'objective')), 'Intervals': '95 %, in brackets and as bands',
            'Rewarded share of the bag': ranged(dig(report, 'reward', 'rewarded_share'), 'share')}
