"""The charts of the page: lines with bands, a reliability diagram, a histogram, a timeline, bars. Each drawn for a phone and for a desk."""
from dataclasses import dataclass

from diffusion_planner.evaluation.bag_page_html import join, known, number, tag
from diffusion_planner.evaluation.bag_page_svg import RIGHT_PX, Axis, Frame, axis, dots, line, log_axis, mark, path, rectangle, svg, tight, words

# Within a card on a phone of 360 px, on half a desktop page; and for charts as wide as the page, on a phone, a tablet and a desk.
NARROW_PX, WIDE_PX = 296, 488
SIZES_PX = {'narrow': NARROW_PX, 'wide': WIDE_PX}
FULL_SIZES_PX = {'narrow': NARROW_PX, 'middle': 640, 'wide': 1016}
MARKS = ('circle', 'square', 'triangle', 'diamond')
LANE_PX = 24
ROOM_PX = 7      # for a mark of its own; closer together they are dots


@dataclass(frozen=True)
class Series:
    """One curve: x [N], y [N], low and high [N] its interval (None: without). `style` is its colour and its mark, `dashed` a second cue."""

    name: str
    x: tuple
    y: tuple
    low: tuple = ()
    high: tuple = ()
    style: int = 0
    dashed: bool = False

    @property
    def class_(self):
        return f'c{self.style}' + ' dashed' * self.dashed

    def points(self):
        """List what there is: -> (x, y, low | None, high | None)"""
        ends = zip(self.low or [None] * len(self.x), self.high or [None] * len(self.x))
        return [(x, y, *(end if all(map(known, end)) else (None, None))) for x, y, end in zip(self.x, self.y, ends) if known(x) and known(y)]

    def told(self):
        """Say where the curve begins and ends, for those who cannot see it."""
        points = self.points()
        return f'{self.name}: {number(points[0][1])} at {number(points[0][0])}, {number(points[-1][1])} at {number(points[-1][0])}' if points else ''

    def entry(self):
        """Explain the mark alone, as in a timeline."""
        return self.class_, MARKS[self.style % 4], self.name


def figure(name, title, description, draw, legend=(), full=False, caption=None):
    """Set a chart once for each kind of screen: figure(name, title, description, draw(width) -> (height, markup)) -> Markup"""
    drawn = []
    for kind, width in (FULL_SIZES_PX if full else SIZES_PX).items():
        height, markup = draw(width)
        drawn.append(tag('div', svg(f'{name}-{kind}', width, height, title, description, markup), class_=kind))
    head = tag('figcaption', tag('strong', title), *([' ', tag('span', caption)] if caption else []))
    return tag('figure', head, *([_legend(legend)] if legend else []), *drawn, class_='full' if full else None)


def _legend(entries):
    """Explain colours and marks: entries are Series or (class, mark, text)."""
    entries = [(entry.class_, f'line {MARKS[entry.style % 4]}', entry.name) if isinstance(entry, Series) else entry for entry in entries]
    items = [tag('li', tag('svg', *_sample(class_, kind), width=26, height=16, viewBox='0 0 26 16', aria_hidden='true'), text)
             for class_, kind, text in entries]
    return tag('ul', *items, class_='legend')


def _sample(class_, kind):
    """Draw what stands for a legend's entry: an area, a line, a mark, or a mark on its line."""
    if kind == 'area':
        return [rectangle(2, 2, 22, 12, class_)]
    if kind == 'line':
        return [line(0, 8, 26, 8, class_)]
    return [line(0, 8, 26, 8, f'line {class_}')] * kind.startswith('line ') + [mark(13, 8, kind.removeprefix('line '), class_)]


def lines(series, x_label, y_label, ticks, zero=True, height=250):
    """Draw curves with their intervals over a logarithmic x with the given ticks: -> draw(width)"""
    points = [point for one in series for point in one.points()]
    values = [value for point in points for value in point[1:] if value is not None]
    x_axis, y_axis = log_axis([point[0] for point in points], x_label, ticks), axis(values, y_label, zero)

    def draw(width):
        frame = Frame(width, height, x_axis, y_axis)
        return height, join([frame.draw(), *(_band(frame, one) for one in series), *(_curve(frame, one, y_label) for one in series)])
    return draw


def _band(frame, series):
    edge = [point for point in series.points() if point[2] is not None]
    if len(edge) == 1:      # one point has an interval, not a band
        return line(frame.px(edge[0][0]), frame.py(edge[0][2]), frame.px(edge[0][0]), frame.py(edge[0][3]), f'line {series.class_}')
    outline = [(frame.px(x), frame.py(high)) for x, _, _, high in edge] + [(frame.px(x), frame.py(low)) for x, _, low, _ in reversed(edge)]
    return path(outline, f'band {series.class_}', close=True)


def _curve(frame, series, label):
    points = series.points()
    marks = [mark(frame.px(x), frame.py(y), MARKS[series.style % 4], series.class_, f'{series.name}: {number(y)} at {number(x)} ({label})')
             for x, y, *_ in points]
    return join([path([(frame.px(x), frame.py(y)) for x, y, *_ in points], f'line {series.class_}'), *marks])


def reliability(series, x_label, y_label, counts=(), height=330):
    """Draw what was said against what came, both 0 to 1, on the diagonal where they agree; counts [(low, high, number)] stand below."""
    most = max((count for *_, count in counts), default=0)

    def draw(width):
        frame = Frame(width, height, Axis(0, 1, x_label, (0, .2, .4, .6, .8, 1)), Axis(0, 1, y_label, (0, .2, .4, .6, .8, 1)))
        parts = [frame.draw(), line(frame.px(0), frame.py(0), frame.px(1), frame.py(1), 'ideal')]
        for low, high, count in counts:
            tall = 0.22 * (frame.py(0) - frame.py(1)) * (count / most if most else 0)
            parts.append(rectangle(frame.px(low) + 1, frame.py(0) - tall, frame.px(high) - frame.px(low) - 2, tall, 'count',
                                   tag('title', f'{count} said {number(low)} to {number(high)}')))
        for one in series:
            parts += [line(frame.px(x), frame.py(low), frame.px(x), frame.py(high), f'whisker {one.class_}')
                      for x, _, low, high in one.points() if low is not None]
        return height, join([*parts, *(_curve(frame, one, y_label) for one in series)])
    return draw


def histogram(edges, counts, x_label, y_label, marks=(), height=240):
    """Draw counts [N] between edges [N + 1]; marks [(x, class)] are lines from top to foot."""
    reach = [edge for left, right, count in zip(edges, edges[1:], counts) if count for edge in (left, right)] + [x for x, _ in marks]
    low, high = (min(reach), max(reach)) if reach else (edges[0], edges[-1])
    x_axis = tight(min(low, 0) if low < 0.5 * high else low, high, x_label)

    def draw(width):
        frame = Frame(width, height, x_axis, axis([0, *counts], y_label, zero=True, count=4))
        parts = [frame.draw()]
        for left, right, count in zip(edges, edges[1:], counts):
            if count:
                parts.append(rectangle(frame.px(left) + 0.5, frame.py(count), max(frame.px(right) - frame.px(left) - 1, 1.5),
                                       frame.py(0) - frame.py(count), 'bar', tag('title', f'{number(left)} to {number(right)}: {count}')))
        parts += [line(frame.px(x), frame.py(frame.y.high), frame.px(x), frame.py(0), class_) for x, class_ in marks]
        return height, join(parts)
    return draw


def timeline(series, spans, lanes, x_label, y_label, threshold=None, height=260):
    """Draw curves over time: spans [(begin, end, text)] are episodes, lanes [(text, class, mark, stamps)] rows of instants beneath."""
    values = [y for one in series for _, y, *_ in one.points()] + ([] if threshold is None else [1.15 * threshold])
    ends = [x for one in series for x, *_ in one.points()] + [x for begin, end, _ in spans for x in (begin, end)] + [x for *_, at in lanes for x in at]
    y_axis = axis(values, y_label, zero=True)
    tall = height + LANE_PX * len(lanes)

    def draw(width):
        x_axis = tight(min(ends, default=0.0), max(ends, default=1.0), x_label, 4 if width < WIDE_PX else 10)
        frame = Lanes(width, tall, x_axis, y_axis, lanes=len(lanes))
        crowded = any(len(one.points()) > width / ROOM_PX for one in series)
        parts = [*_spans(frame, spans, tall), frame.draw(), *(_dots(frame, one, threshold, crowded) for one in series)]
        if threshold is not None:
            parts.append(line(frame.left, frame.py(threshold), width - RIGHT_PX, frame.py(threshold), 'limit'))
        for index, (text, class_, kind, stamps) in enumerate(lanes):
            middle = tall - 44 - LANE_PX * (len(lanes) - index) + LANE_PX / 2 + 4
            parts += [mark(frame.px(at), middle, kind, class_, f'{text}: {number(at, 4)} s') for at in _thinned(frame, stamps)]
            parts += [words(frame.left + 3, middle + 5, '' if stamps else f'{text}: none', 'start', 'halo faint')]
        return tall, join(parts)
    return draw


@dataclass(frozen=True)
class Lanes(Frame):
    """A frame with rows between the curves and the foot."""

    lanes: int = 0

    def py(self, value):
        room = self.height - 44 - 30
        return round(self.height - 44 - LANE_PX * self.lanes - self.y.share(value) * (room - LANE_PX * self.lanes), 1)


def _spans(frame, spans, tall):
    shades = [rectangle(frame.px(begin), 30, frame.px(end) - frame.px(begin), tall - 74, f'span{index % 2}', tag('title', text))
              for index, (begin, end, text) in enumerate(spans)]
    return shades


def _thinned(frame, stamps):
    """Leave out instants that would be drawn on the spot of another."""
    return [at for index, at in enumerate(stamps) if not index or round(frame.px(at)) != round(frame.px(stamps[index - 1]))]


def _dots(frame, series, threshold, crowded):
    """Draw a curve over time as marks; in a crowd as dots, the largest of each place."""
    places = {}
    for x, y, *_ in series.points():
        at = round(frame.px(x) / 2)
        places[at] = max(places.get(at, (x, y)), (x, y), key=lambda point: point[1])
    shown = [(frame.px(x), frame.py(y), threshold is not None and y > threshold, f'{series.name}: {number(y)} at {number(x, 4)} s') for x, y in places.values()]
    if not crowded:
        return join(mark(x, y, MARKS[series.style % 4], 'alarm' if beyond else series.class_, tip) for x, y, beyond, tip in shown)
    return join(dots([(x, y) for x, y, beyond, _ in shown if beyond == wanted], class_) for wanted, class_ in ((False, series.class_), (True, 'alarm')))


def bars(rows, x_label, reference=None):
    """Draw a bar per row [(text, value, class)], its text above it; `reference` is a line across."""
    most = max([value for _, value, _ in rows if known(value)] + [reference or 0], default=1) or 1
    tall = 44 * len(rows) + 8

    def draw(width):
        room = width - 74
        parts = [] if reference is None else [line(2 + reference / most * room, 0, 2 + reference / most * room, tall - 8, 'limit')]
        for index, (text, value, class_) in enumerate(rows):
            long = room * (min(value / most, 1) if known(value) else 0)
            parts += [rectangle(2, 44 * index + 22, long, 14, f'bar {class_ or ""}'), words(2, 44 * index + 16, text, 'start', 'halo'),
                      words(8 + long, 44 * index + 35, number(value), 'start', 'halo')]
        return tall + 18, join([*parts, words(width - 8, tall + 12, x_label, 'end', 'label')])
    return draw
