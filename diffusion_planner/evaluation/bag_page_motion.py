"""Sections of the page about motion: plans against what was executed, inverse dynamics, limits."""
from diffusion_planner.evaluation.bag_page_charts import Series, bars, figure, lines, timeline
from diffusion_planner.evaluation.bag_page_html import about, details, dig, grid, known, listed, measure, named, note, number, ranged, table, tag, worded

# name in the report -> what it is called here, its colour and mark, whether its line is dashed
STYLES = {'guided': ('guided plan', 0, False), 'unguided': ('unguided plan', 1, False), 'hold': ('standing still', 2, True),
          'constant_velocity': ('going on at constant velocity', 3, True), 'told': ('model, told where the arm went', 0, False),
          'smooth': ('smoothest curve, told the same', 3, True), 'model': ('model', 0, False)}
LIMITED = ('velocity', 'acceleration', 'jerk')
TIME, AHEAD = 'seconds since the bag began', 'seconds ahead'


def called(name):
    """Say what one way of foretelling is called on the page."""
    return STYLES[name][0] if name in STYLES else name


def motion(report, _):
    """Draw planned against executed motion by offset, the way to a known arrival, and the error along the bag."""
    found = named(report, 'motion')
    methods, told = named(found, 'methods'), named(found, 'told_arrival')
    ways = named(told, 'methods')
    charts = [_by_offset(methods, 'motion-joints', 'Joints', 'rms_rad', 'rms error, rad'),
              _by_offset(methods, 'motion-tip', 'Fingertip', 'tip_m', 'mean distance, m'),
              _by_offset(ways, 'motion-way', 'The way, when the arrival is known', 'rms_rad', 'rms error, rad')]
    ratios = listed(told, 'against_smooth')
    if charts[-1] and ratios:
        charts.append(_ratio_table(ratios, 'The way: error of the model over that of the smoothest curve; below 1, the model knows better'))
    charts.append(_along(report))
    if not any(charts):
        return []
    against = named(found, 'against_constant_velocity')
    parts = [grid(*charts), details('Figures by offset', about(found), *(_offset_table(method, called(name)) for name, method in methods.items()),
                                    *(_ratio_table(rows, f'{called(name)}: rms error over that of constant velocity') for name, rows in against.items()))]
    arrival = tag('p', f'The arrival is {measure(dig(told, "arrival_s"), "s")} ahead.', class_='faint')
    return [*parts, details('Figures of the way to a known arrival', about(told), arrival,
                            *(_offset_table(way, called(name)) for name, way in ways.items()))] if ways else parts


def series(methods, key):
    """Read curves by offset from {name: {'rows': [...]}}: -> list of Series in the order of STYLES, without empty ones"""
    found = []
    for name in sorted(methods, key=lambda name: list(STYLES).index(name) if name in STYLES else len(STYLES)):
        rows = [row for row in listed(methods, name, 'rows') if known(dig(row, 'offset_s')) and len(listed(row, key)) == 3]
        text, style, dashed = STYLES.get(name, (name, 4, False))
        if rows:
            found.append(Series(text, *zip(*((row['offset_s'], *row[key]) for row in rows)), style, dashed))
    return [one for one in found if one.points()]


def _by_offset(methods, name, title, key, label):
    curves = series(methods, key)
    if not curves:
        return None
    ticks = sorted({x for one in curves for x, *_ in one.points()})
    description = f'{label} over {AHEAD}. {"; ".join(one.told() for one in curves)}.'
    return figure(name, title, description, lines(curves, AHEAD, label, ticks), curves, caption=f'{label}; shaded: 95 %')


def _along(report):
    """Draw how far the planned fingertip was from the real one half a second on, along the bag."""
    rows = listed(report, 'timeline', 'rows')
    curves = [Series(called(name), *curve(rows, key), style=style)
              for name, key, style in (('guided', 'tip_error_m', 0), ('unguided', 'tip_error_unguided_m', 1))]
    curves = [one for one in curves if one.points()]
    if not curves:
        return None
    description = 'Distance of the planned from the real fingertip half a second after each plan took over, over the time of the bag.'
    return figure('motion-along', 'Fingertip along the bag', description,
                  timeline(curves, spans(report), (), TIME, 'distance at 0.5 s, m', height=230), [one.entry() for one in curves],
                  True, 'half a second after each plan took over; shades: episodes')


def curve(rows, key):
    """Read one figure along the bag: -> since_s [N], values [N], as Series takes them"""
    points = [(row['since_s'], row[key]) for row in rows if known(dig(row, 'since_s')) and known(dig(row, key))]
    return tuple(zip(*points)) if points else ((), ())


def spans(report):
    """List the episodes of the bag: -> [(begin_s, end_s, text)]"""
    rows = listed(report, 'bag', 'episodes')
    return [(row['begin_s'], row['end_s'], f'episode {number(dig(row, "episode"))}')
            for row in rows if known(dig(row, 'begin_s')) and known(dig(row, 'end_s'))]


def _offset_table(method, name):
    rows = [(measure(dig(row, 'offset_s'), 's'), ranged(dig(row, 'rms_rad'), 'rad'), measure(dig(row, 'median_rad'), 'rad'),
             ranged(dig(row, 'tip_m'), 'm'), measure(dig(row, 'tip_median_m'), 'm'), number(dig(row, 'n'))) for row in listed(method, 'rows')]
    return table(('ahead', 'joints, rms (95 %)', 'joints, median', 'fingertip, mean (95 %)', 'fingertip, median', 'plans'), rows, name)


def _ratio_table(rows, caption):
    rows = rows if isinstance(rows, list) else []
    cells = [(measure(dig(row, 'offset_s'), 's'), ranged(dig(row, 'ratio')), number(dig(row, 'n'))) for row in rows]
    return table(('ahead', 'ratio (95 %)', 'plans'), cells, caption)


def dynamics(report, _):
    """Draw the error of inferred commands beside that of guesses without a model."""
    found = named(report, 'inverse_dynamics')
    methods = {name: named(found, 'methods', name) for name in ('model', 'constant_velocity', 'hold') if listed(found, 'methods', name, 'mean_rad')}
    if not methods:
        return []
    rows = [(called(name), dig(method, 'mean_rad', 0), f'c{STYLES[name][1]}') for name, method in methods.items()]
    description = '; '.join(f'{text}: {measure(value, "rad")}' for text, value, _ in rows)
    chart = figure('dynamics-bars', 'Mean error of the next command', description, bars(rows, 'rad, mean over joints'))
    missing = [note('This model infers no commands; only the guesses without a model are shown.')] if dig(found, 'available') is False else []
    return [*missing, grid(chart), details('Figures by joint', about(found), *_dynamics_tables(methods))]


def _dynamics_tables(methods):
    heads, values = [called(name) for name in methods], list(methods.values())
    joints = list(dict.fromkeys(joint for method in values for joint in named(method, 'joints_rad')))
    sums = [('mean (95 %)', *(ranged(dig(method, 'mean_rad'), 'rad') for method in values)),
            ('95 % quantile', *(measure(dig(method, 'p95_rad'), 'rad') for method in values)),
            ('instants', *(number(dig(method, 'n')) for method in values))]
    rows = [(joint, *(measure(dig(method, 'joints_rad', joint), 'rad') for method in values)) for joint in joints]
    return [table(('figure', *heads), sums, 'Error of the next command'), table(('joint', *heads), rows, 'Mean error by joint')]


def limits(report, _):
    """Draw how much of the robot's limits chunks would have used, and say what went beyond."""
    found = named(report, 'limits')
    chunks, executed = named(found, 'chunks'), named(found, 'executed')
    used = [(name, dig(chunks, 'largest', name, 'largest')) for name in LIMITED]
    rows = [(f'{name}, largest of all', value, 'c0' if value <= 1 else 'alarm') for name, value in used if known(value)]
    if not rows and not executed:
        return []
    chart = rows and figure('limits-bars', 'Limits that chunks would use', '; '.join(f'{text}: {number(value)} of the limit' for text, value, _ in rows),
                            bars(rows, 'share of the limit', reference=1.0), [('limit', 'line', 'limit')])
    outside = dig(chunks, 'largest', 'position', 'largest')
    said = f'{number(dig(chunks, "beyond"))} of {number(dig(chunks, "count"))} chunks went beyond a limit.'
    said += f' Joints left their range by {measure(outside, "rad")} at most.' if known(outside) and outside > 0 else ''
    return [grid(chart), tag('p', said), details('Figures of limits', about(found), _executed_table(executed), _chunk_table(chunks))]


def _chunk_table(chunks):
    rows = [(f'{text}: {reason}', number(count)) for key, text in (('by_reason', 'beyond'), ('refused', 'refused'), ('changed', 'changed'))
            for reason, count in named(chunks, key).items()]
    return table(('reason', 'chunks'), rows or [('nothing to tell', '–')], 'Chunks')


def _executed_table(executed):
    rows = []
    for name, unit in (('position', 'rad beyond the range'), ('velocity', 'of the limit')):
        found = named(executed, name)
        joints = ', '.join(f'{joint} ({number(count)})' for joint, count in named(found, 'joints').items())
        rows.append((name, number(dig(found, 'beyond')), measure(dig(found, 'share'), 'share'), f'{number(dig(found, "largest"))} {unit}',
                     worded(found, 'largest_joint'), joints or 'none'))
    return table(('measured', 'beyond', 'share', 'largest', 'joint', 'joints beyond'), rows, f'Measured motion, {number(dig(executed, "readings"))} readings')
