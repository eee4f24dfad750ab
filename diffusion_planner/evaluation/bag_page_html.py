"""HTML and SVG as text, escaped unless marked as markup; figures written for people."""
import html
import math
import re

SIGNS = {'ok': '✓', 'warn': '!', 'bad': '✕', 'unknown': '?'}       # told apart without colour, too
WORDS = {'ok': 'fine', 'warn': 'warning', 'bad': 'failed', 'unknown': 'not known'}
UNITED = re.compile(r'(?<=\d) (?=%|(?:s|ms|rad|m|cm|mm|Hz|dB)\b)')      # a figure and its unit stay on one line
VOID = {'img', 'meta', 'br', 'col', 'link'}
FINER = {'m': (('mm', 1e-3, 1e-2), ('cm', 1e-2, 1.0)), 's': (('ms', 1e-3, 1.0),), 'share': (('%', 1e-2, math.inf),)}      # unit, its size, until


class Markup(str):
    """Text that is markup already."""

    def __add__(self, other):
        return Markup(str(self) + escaped(other))


def escaped(value):
    """Write a value as markup: text is escaped, Markup stays as it is, None is nothing."""
    if isinstance(value, Markup):
        return value
    return Markup('' if value is None else UNITED.sub('\u00a0', html.escape(str(value))))


def join(parts, between=''):
    """Join markup and texts: join(parts, between) -> Markup"""
    return Markup(escaped(between).join(escaped(part) for part in parts))


def tag(name, /, *children, **attributes):
    """Write an element; class_ is class, an underscore a hyphen, an attribute of None is left out, one of True has no value."""
    written = ''.join(f' {key.rstrip("_").replace("_", "-")}' + ('' if value is True else f'="{escaped(value)}"')
                      for key, value in attributes.items() if value is not None and value is not False)
    return Markup(f'<{name}{written}>' if name in VOID else f'<{name}{written}>{join(children)}</{name}>')


def dig(report, *keys, default=None):
    """Follow keys into what json.loads gave: -> the value there, `default` where a step is missing or leads to null"""
    for key in keys:
        if isinstance(report, dict):
            report = report.get(key)
        elif isinstance(report, list) and isinstance(key, int) and key < len(report):
            report = report[key]
        else:
            return default
    return default if report is None else report


def listed(report, *keys):
    """Follow keys to a list, [] where there is none."""
    found = dig(report, *keys)
    return found if isinstance(found, list) else []


def named(report, *keys):
    """Follow keys to an object, {} where there is none."""
    found = dig(report, *keys)
    return found if isinstance(found, dict) else {}


def worded(report, *keys):
    """Follow keys to a text, a dash where there is none."""
    found = dig(report, *keys)
    return '–' if found is None or isinstance(found, (dict, list)) else str(found)


def known(value):
    """Return whether a figure is there: a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value, digits=3):
    """Write a figure in as many digits as matter; a dash where there is none."""
    if isinstance(value, bool) or isinstance(value, str):
        return {True: 'yes', False: 'no'}.get(value, value)
    if not known(value):
        return '–'
    if value == 0 or isinstance(value, int) or float(value).is_integer() and abs(value) < 1e6:
        return f'{value:,.0f}'.replace(',', ' ').replace('-', '−')
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if not -3 <= places <= 6:
        return f'{value:.{digits - 1}e}'.replace('-', '−')
    return f'{value:,.{max(places, 0)}f}'.replace(',', ' ').replace('-', '−')


def brief(value, digits=3):
    """Write a figure as short as it is, for ticks: 0.5, not 0.500."""
    text = number(value, digits)
    return text.rstrip('0').rstrip('.') if '.' in text and 'e' not in text else text


def score(value):
    """Write a figure between 0 and 1, such as an error of calibration."""
    return f'{value:.3f}' if known(value) else '–'


def measure(value, unit='', digits=3):
    """Write a figure with its unit: shares as per cent, scores in three digits, small lengths in mm or cm, short times in ms."""
    return _joined([value], unit, digits)[0]


def ranged(triple, unit='', digits=3):
    """Write [value, low, high], a figure with its 95 % interval in one unit; a dash where there is none."""
    values = triple if isinstance(triple, list) and len(triple) == 3 else [triple]
    if len(values) == 1 or not all(map(known, values)):
        return measure(values[0], unit, digits)
    value, low, high = _joined(values, unit, digits)
    return f'{value} ({low} to {high})'


def _joined(values, unit, digits):
    """Write figures in the unit that suits the largest of them."""
    if unit == 'score':
        return [score(value) for value in values]
    most = max((abs(value) for value in values if known(value)), default=0)
    name, size = next(((finer, size) for finer, size, until in FINER.get(unit, ()) if most < until and (most or finer == '%')), (unit, 1.0))
    write = (lambda value: brief(value, 2 if most < 0.1 else digits)) if name == '%' else (lambda value: number(value, digits))
    return [f'{write(value / size)} {name}'.rstrip() if known(value) else '–' for value in values]


def duration(seconds):
    """Write a length of time as people do."""
    if not known(seconds):
        return '–'
    if seconds < 60:
        return measure(seconds, 's')
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'


def table(head, rows, caption):
    """Write a table that scrolls within its own box: table(head, rows of cells, caption) -> Markup"""
    cells = [tag('tr', *(tag('th', cell, scope='row') if index == 0 else tag('td', cell) for index, cell in enumerate(row))) for row in rows]
    written = tag('table', tag('thead', tag('tr', *(tag('th', cell, scope='col') for cell in head))), tag('tbody', *cells), aria_label=caption)
    box = tag('div', written, class_='scroll', tabindex='0', role='region', aria_label=caption)
    return tag('div', tag('p', caption, class_='caption'), box, class_='table')


def grid(*charts):
    """Set charts and tables side by side where there is room, those that are there."""
    return tag('div', *filter(None, charts), class_='charts') if any(charts) else Markup('')


def details(summary, *children):
    """Write what opens by a click."""
    return tag('details', tag('summary', summary), *children)


def note(text):
    """Write what is missing, or must be known, in words."""
    return tag('p', text, class_='note')


def about(section):
    """Write what a section of the report says of itself."""
    return tag('p', dig(section, 'about', default=''), class_='faint')


def sign(state):
    """Write a verdict as a symbol with a word for those who cannot see it."""
    state = state if state in SIGNS else 'unknown'
    return tag('span', tag('span', SIGNS[state], aria_hidden='true'), tag('span', WORDS[state], class_='hidden'), class_=f'sign {state}')
