"""HTML and SVG as text, escaped unless marked as markup; figures written for people."""
import html
import math

SIGNS = {'ok': '✓', 'warn': '!', 'bad': '✕', 'none': '–'}       # told apart without colour, too
WORDS = {'ok': 'fine', 'warn': 'look at this', 'bad': 'not good', 'none': 'not measured'}
VOID = {'img', 'meta', 'br', 'col', 'link'}
UNITS = (('_rad_s2', 'rad/s²'), ('_rad_s', 'rad/s'), ('_rad', 'rad'), ('_m_s', 'm/s'), ('_ms', 'ms'), ('_hz', 'Hz'), ('_px', 'px'), ('_db', 'dB'),
         ('_m', 'm'), ('_s', 's'))
FINER = {'m': (('mm', 1e-3), ('cm', 1e-2)), 's': (('ms', 1e-3),)}


class Markup(str):
    """Text that is markup already."""

    def __add__(self, other):
        return Markup(str(self) + escaped(other))


def escaped(value):
    """Write a value as markup: text is escaped, Markup stays as it is, None is nothing."""
    if isinstance(value, Markup):
        return value
    return Markup('' if value is None else html.escape(str(value)))


def join(parts, between=''):
    """Join markup and texts: join(parts, between) -> Markup"""
    return Markup(escaped(between).join(escaped(part) for part in parts))


def tag(name, *children, **attributes):
    """Write an element; class_ is class, an underscore a hyphen, an attribute of None is left out, one of True has no value."""
    written = ''.join(f' {key.rstrip("_").replace("_", "-")}' + ('' if value is True else f'="{escaped(value)}"')
                      for key, value in attributes.items() if value is not None and value is not False)
    return Markup(f'<{name}{written}>' if name in VOID else f'<{name}{written}>{join(children)}</{name}>')


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


def brief(value):
    """Write a figure as short as it is, for ticks: 0.5, not 0.500."""
    text = number(value)
    return text.rstrip('0').rstrip('.') if '.' in text and 'e' not in text else text


def measure(value, unit='', digits=3):
    """Write a figure with its unit: share as per cent, small lengths in mm or cm, short times in ms."""
    if not known(value):
        return '–'
    if unit == 'share':
        return f'{number(100 * value, 2 if abs(value) < 0.1 else 3)} %'
    for finer, size in FINER.get(unit, ()):
        if 0 < abs(value) < size * (100 if finer == 'cm' else 10 if finer == 'mm' else 1000) and abs(value) >= 1e-9:
            return f'{number(value / size, digits)} {finer}'
    return f'{number(value, digits)} {unit}'.rstrip()


def duration(seconds):
    """Write a length of time as people do."""
    if not known(seconds):
        return '–'
    if seconds < 60:
        return measure(seconds, 's')
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'


def table(head, rows, caption, units=None):
    """Write a table that scrolls within its own box: table(head, rows of cells, caption) -> Markup"""
    cells = [tag('tr', *(tag('th', cell, scope='row') if index == 0 else tag('td', cell) for index, cell in enumerate(row))) for row in rows]
    return tag('div', tag('table', tag('caption', caption), tag('thead', tag('tr', *(tag('th', cell, scope='col') for cell in head))),
                          tag('tbody', *cells)), class_='scroll', tabindex='0', role='region', aria_label=caption)


def details(summary, *children):
    """Write what opens by a click."""
    return tag('details', tag('summary', summary), *children)


def note(text):
    """Write what is missing, or must be known, in words."""
    return tag('p', text, class_='note')


def sign(state):
    """Write a verdict as a symbol with a word for those who cannot see it."""
    state = state if state in SIGNS else 'none'
    return tag('span', tag('span', SIGNS[state], aria_hidden='true'), tag('span', WORDS[state], class_='hidden'), class_=f'sign {state}')
