"""Axes of small charts as inline SVG: scales, ticks, a frame to draw in. Colours are classes, so that light and dark are style."""
import math
from dataclasses import dataclass
from functools import cached_property

from diffusion_planner.evaluation.bag_page_html import Markup, brief, join, known, tag

LETTER_PX, LINE_PX = 8.2, 19          # of the 15 px letters that the style sheet gives charts
TOP_PX, BOTTOM_PX, RIGHT_PX = 30, 44, 12


@dataclass(frozen=True)
class Axis:
    """One direction of a chart: its range, what stands at it, and where the ticks are."""

    low: float
    high: float
    label: str = ''
    ticks: tuple = ()
    log: bool = False
    texts: tuple = ()       # of the ticks; empty: the numbers themselves

    def share(self, value):
        """Say how far along the axis a value is, 0 to 1; beyond its ends, it is held there."""
        low, high, value = (math.log(max(item, 1e-12)) if self.log else item for item in (self.low, self.high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def written(self):
        return self.texts or tuple(brief(tick) for tick in self.ticks)


def axis(values, label, zero=False, count=5):
    """Fit a linear axis with round ticks to values: axis(values, label, zero=False: does it begin at 0) -> Axis"""
    values = [value for value in values if known(value)] or [0.0, 1.0]
    low, high = min(values), max(values)
    low = min(low, 0.0) if zero else low
    if high - low < 1e-12:
        low, high = (0.0, high or 1.0) if low >= 0 else (low, 0.0)
    step = _round_step((high - low) / count)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(low, high, label, tuple(round(low + index * step, 12) for index in range(round((high - low) / step) + 1)))


def tight(low, high, label, count=5):
    """Make an axis that begins and ends where it is told, with round ticks within, such as one of time."""
    if not high > low:
        high = low + 1.0
    step = _round_step((high - low) / count)
    first = math.ceil(low / step - 1e-9)
    return Axis(low, high, label, tuple(round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)))


def log_axis(values, label, ticks):
    """Make a logarithmic axis over positive values with the given ticks, and a little room at its ends."""
    values = [value for value in values if known(value) and value > 0] or [1.0, 10.0]
    low, high = min(values), max(values)
    room = (high / low) ** 0.04 if high > low else 1.2
    return Axis(low / room, high * room, label, tuple(ticks), True)


def _round_step(rough):
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


@dataclass(frozen=True)
class Frame:
    """Where a chart draws: a width and height in px of its own, and the two axes."""

    width: float
    height: float
    x: Axis
    y: Axis

    @cached_property
    def left(self):      # asked for with every point
        return 10 + LETTER_PX * max((len(text) for text in self.y.written()), default=0)

    def px(self, value):
        return round(self.left + self.x.share(value) * (self.width - self.left - RIGHT_PX), 1)

    def py(self, value):
        return round(self.height - BOTTOM_PX - self.y.share(value) * (self.height - BOTTOM_PX - TOP_PX), 1)

    def draw(self):
        """Draw grid, ticks and labels: -> Markup"""
        left, right, foot = self.left, self.width - RIGHT_PX, self.height - BOTTOM_PX
        parts = [line(left, self.py(tick), right, self.py(tick), 'grid') for tick in self.y.ticks]
        parts += [words(left - 6, self.py(tick) + 5, text, 'end') for tick, text in zip(self.y.ticks, self.y.written())]
        parts += [line(left, foot, right, foot, 'axis')]
        parts += [line(self.px(tick), foot, self.px(tick), foot + 5, 'axis') for tick in self.x.ticks]
        parts += self._x_texts(foot + LINE_PX + 1)
        parts += [words(4, 15, self.y.label, 'start', 'label'), words(right, self.height - 6, self.x.label, 'end', 'label')]
        return join(parts)

    def _x_texts(self, height):
        """Write the ticks' texts, those that have room: the last and the first are sure of it."""
        placed, texts = [], list(zip(self.x.ticks, self.x.written()))
        for tick, text in texts[-1:] + texts[:-1]:
            half = LETTER_PX * len(text) / 2
            middle = min(max(self.px(tick), half), self.width - half - 1)
            if all(abs(middle - other) >= half + width + 5 for other, width, _ in placed):
                placed.append((middle, half, text))
        return [words(middle, height, text, 'middle') for middle, _, text in placed]


def line(x1, y1, x2, y2, class_):
    return tag('line', x1=_short(x1), y1=_short(y1), x2=_short(x2), y2=_short(y2), class_=class_)


def words(x, y, text, anchor='start', class_=None):
    return tag('text', text, x=_short(x), y=_short(y), text_anchor=anchor, class_=class_)


def rectangle(x, y, width, height, class_, *children):
    return tag('rect', *children, x=_short(x), y=_short(y), width=_short(max(width, 0)), height=_short(max(height, 0)), class_=class_)


def path(points, class_, close=False):
    """Draw a line through points [(x, y)]; None among them breaks it."""
    steps, down = [], False
    for point in points:
        if point is not None:
            steps.append(f'{"L" if down else "M"}{_short(point[0])} {_short(point[1])}')
        down = point is not None
    return tag('path', d=''.join(steps) + 'Z' * close, class_=class_) if steps else Markup('')


MARKS = {'circle': 'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z', 'square': 'M-3.6-3.6h7.2v7.2h-7.2Z', 'triangle': 'M0-5L4.6 3.5H-4.6Z',
         'diamond': 'M0-5.2L5.2 0L0 5.2L-5.2 0Z', 'cross': 'M-4-4L4 4M4-4L-4 4', 'tick': 'M0-6V6'}


def dots(points, class_):
    """Draw many points [(x, y)] in one element."""
    return tag('path', d=''.join(f'M{_short(x)} {_short(y)}h0' for x, y in points), class_=f'dots {class_}') if points else Markup('')


def mark(x, y, kind, class_, tip=None):
    """Draw a mark; `tip` is what a pointer that rests on it is told."""
    return tag('path', *([tag('title', tip)] if tip else []), d=MARKS[kind], transform=f'translate({_short(x)} {_short(y)})', class_=f'mark {kind} {class_}')


def svg(name, width, height, title, description, *children):
    """Wrap a chart: `name` is unique on the page; title and description are read aloud."""
    return tag('svg', tag('title', title, id=f'{name}-t'), tag('desc', description, id=f'{name}-d'), *children, viewBox=f'0 0 {_short(width)} {_short(height)}',
               width=_short(width), height=_short(height), role='img', aria_labelledby=f'{name}-t {name}-d')


def _short(value):
    return f'{value:.1f}'.removesuffix('.0')
