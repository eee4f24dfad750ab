"""Sections of the page about running: typicality and scenes over time, refusals, latency, health of the data."""
from diffusion_planner.evaluation.bag_page_charts import Series, bars, figure, histogram, timeline
from diffusion_planner.evaluation.bag_page_html import (about, details, dig, duration, grid, known, listed, measure, named, note, number, ranged,
                                                        table, tag, worded)
from diffusion_planner.evaluation.bag_page_motion import TIME, curve, spans

SPREAD = {'median': 'median', 'p05': '5 %', 'p95': '95 %', 'largest': 'largest', 'n': 'n'}
STAGE = {'p50': 'median, ms', 'p95': '95 %, ms', 'p99': '99 %, ms', 'max': 'largest, ms', 'plans': 'plans'}
WARNINGS = 20          # that are written out


def _cells(row, heads):
    return [number(dig(row, key)) for key in heads]


def typicality(report, _):
    """Draw how usual the executed motion and the plans are over time, with rewarded and refused instants, and the scene beneath."""
    found, scene = named(report, 'typicality'), named(report, 'scene')
    charts = [_typical(report, dig(found, 'limit', default=1.0)), _scenes(report)]
    if not any(charts):
        return []
    executed = [(measure(dig(row, 'offset_s'), 's'), ranged(dig(row, 'outside'), 'share'), *_cells(row, SPREAD))
                for row in listed(found, 'executed', 'by_offset')]
    plans = [(f'{name} plans', *_cells(row, SPREAD)) for name, row in named(found, 'plans').items()]
    strange = [(name, ranged(dig(scene, 'alarm_by', name), 'share'), *_cells(row, SPREAD)) for name, row in named(scene, 'figures').items()]
    said = f'Outside what is typical: {ranged(dig(found, "executed", "outside"), "share")} of the executed motion that could be judged.'
    return [tag('p', said), grid(*charts),
            details('Figures of typicality', about(found), table(('ahead', 'outside (95 %)', *SPREAD.values()), executed, 'Executed motion'),
                    table(('of', *SPREAD.values()), plans, 'Chosen plans')),
            details('Figures of the scene', about(scene), table(('by', 'alarm (95 %)', *SPREAD.values()), strange, 'Strangeness of the newest picture'))]


def _lanes(rows):
    """List what stands beneath the curves: rewarded, refused and chunk-refused instants, if there are any."""
    told = (('rewarded', 'good', 'tick', [since for since, value in zip(*curve(rows, 'reward')) if value > 0]),
            ('no plan', 'alarm', 'cross', [row['since_s'] for row in rows if known(dig(row, 'since_s')) and dig(row, 'refused')]),
            ('chunk refused', 'c4', 'cross', [row['since_s'] for row in rows if known(dig(row, 'since_s')) and dig(row, 'chunk_refused')]))
    return [lane for lane in told if lane[3]]


def _typical(report, limit):
    rows, later = listed(report, 'timeline', 'rows'), measure(dig(report, 'timeline', 'later_s'), 's')
    curves = [Series(f'what happened {later} later', *curve(rows, 'typicality_executed'), style=0),
              Series('the chosen plan', *curve(rows, 'typicality_plan'), style=1)]
    curves, lanes = [one for one in curves if one.points()], _lanes(rows)
    if not curves:
        return None
    beyond = '; '.join(f'{one.name}: {sum(y > limit for _, y, *_ in one.points())} of {len(one.points())} instants outside' for one in curves)
    legend = [*(one.entry() for one in curves), ('alarm', 'circle', 'outside'), ('limit', 'line', 'held-out 99 % quantile'),
              *((class_, kind, text) for text, class_, kind, _ in lanes)]
    return figure('typicality-along', 'Typicality', f'Typicality over the time of the bag. {beyond}.',
                  timeline(curves, spans(report), lanes, TIME, 'typicality', limit), legend, True, 'shades: episodes')


def _scenes(report):
    strange = Series('newest picture', *curve(listed(report, 'timeline', 'rows'), 'strangeness'), style=4)
    if not strange.points():
        return None
    share, limit = ranged(dig(report, 'scene', 'alarm'), 'share'), dig(report, 'scene', 'limit')
    caption = f'{share} raise the alarm' + (f'; above {number(limit)}, there is no plan' if known(limit) else '')
    description = f'How unlike those of training the pictures are over the time of the bag; {share} raise the alarm.'
    return figure('scene-along', 'Strangeness of the scene', description,
                  timeline([strange], spans(report), (), TIME, 'strangeness', 1.0, height=200),
                  [strange.entry(), ('alarm', 'circle', 'alarm'), ('limit', 'line', 'alarm above 1')], True, caption)


def refusals(report, _):
    """Draw why there was no plan, and what candidates were rejected for."""
    found = named(report, 'refusals')
    if not known(dig(found, 'instants')):
        return []
    charts = [_counted(found, 'by_reason', 'Instants without a plan, by reason', 'instants', 'alarm'),
              _counted(found, 'candidates', 'Candidates rejected', 'candidates', 'c0')]
    waited = [(reason, duration(seconds)) for reason, seconds in named(found, 'waited_s').items()]
    unguided = [(reason, number(count)) for reason, count in named(found, 'unguided').items()]
    said = f'{number(dig(found, "refused"))} of {number(dig(found, "instants"))} instants had no plan: {ranged(dig(found, "share"), "share")}.'
    return [tag('p', said), grid(*charts),
            details('Waiting and unguided refusals', about(found),
                    table(('waited for', 'time'), waited or [('nothing', '–')], 'Inputs that were missing or old'),
                    table(('reason', 'instants'), unguided or [('none', '–')], 'Without a plan when unguided'))]


def _counted(found, key, title, unit, class_):
    rows = [(reason, count, class_) for reason, count in named(found, key).items() if known(count) and count]
    rows.sort(key=lambda row: -row[1])
    return figure(f'refusals-{key}', title, '; '.join(f'{reason}: {count}' for reason, count, _ in rows), bars(rows, unit)) if rows else None


def latency(report, _):
    """Draw how long plans took, against the time there is for one."""
    found = named(report, 'timing')
    shown = named(found, 'histogram')
    beyond = dig(shown, 'beyond') or 0
    marks = [(value, text, class_) for value, text, class_ in (
        (dig(found, 'stages', 'total', 'p50'), 'median', 'marker'), (dig(found, 'stages', 'total', 'p95'), '95 % quantile', 'marker late'),
        (dig(found, 'deadline_ms'), 'time there is for a plan', 'limit')) if known(value)]
    if not _drawable(shown):
        return []
    caption = f'{number(beyond)} took longer than is shown' if beyond else None
    said = '; '.join([*(f'{text}: {number(value)} ms' for value, text, _ in marks), *filter(None, [caption])])
    chart = figure('latency-histogram', 'Time to plan', f'Number of plans by how long they took. {said}.',
                   histogram(shown['edges'], shown['counts'], 'ms', 'plans', [(value, class_) for value, _, class_ in marks]),
                   [(class_, 'line', f'{text}: {number(value)} ms') for value, text, class_ in marks], True, caption)
    rows = [(stage, *_cells(row, STAGE)) for stage, row in named(found, 'stages').items()]
    return [grid(chart), details('Times by stage', about(found), table(('stage', *STAGE.values()), rows, 'Stages of a plan'))]


def _drawable(shown):
    edges, counts = listed(shown, 'edges'), listed(shown, 'counts')
    return len(edges) == len(counts) + 1 and any(counts)


def health(report, _):
    """Tell how the topics were recorded, and how old pictures were when plans were made."""
    found = named(report, 'health')
    topics, warnings = listed(found, 'topics'), listed(found, 'warnings')
    if not topics:
        return []
    rejected = sum(dig(row, 'rejected_total') or 0 for row in topics)
    charts = [_ages(index, *shown) for index, shown in enumerate(named(found, 'picture_age_histogram').items())]
    notes = [tag('li', text) for text in (*listed(report, 'source', 'notes'), *warnings[:WARNINGS])]
    more = note(f'{len(warnings) - WARNINGS} more warnings are in report.json.') if len(warnings) > WARNINGS else ''
    said = f'{len(topics)} topics were used; {number(rejected)} messages were rejected, {number(dig(found, "jumps"))} jumps of the arm were seen.'
    return [tag('p', said), _topics(topics), grid(*charts), tag('ul', *notes) if notes else '', more,
            details('Stamps, clocks and rejected messages', about(found), _clocks(topics), _rejected(topics))]


def _topics(topics):
    rows = [(worded(row, 'topic'), worded(row, 'role'), number(dig(row, 'messages')), measure(dig(row, 'rate_hz'), 'Hz'),
             measure(dig(row, 'usual_gap_s'), 's'), measure(dig(row, 'largest_gap_s'), 's'), number(dig(row, 'rejected_total'))) for row in topics]
    return table(('topic', 'used as', 'messages', 'rate', 'usual gap', 'largest gap', 'rejected'), rows, 'Topics')


def _clocks(topics):
    rows = [(worded(row, 'topic'), worded(row, 'type'), worded(row, 'dated_by'), number(dig(row, 'out_of_order')), number(dig(row, 'repeated_stamps')),
             number(dig(row, 'unstamped')), measure(dig(row, 'clock_offset_s'), 's', 10), measure(dig(row, 'clock_offset_spread_s'), 's')) for row in topics]
    head = ('topic', 'type', 'dated by', 'out of order', 'repeated stamps', 'without a stamp', 'reception less stamp', 'spread of that')
    return table(head, rows, 'Stamps and clocks')


def _rejected(topics):
    rows = [(f'{worded(row, "topic")}: {reason}', number(count)) for row in topics for reason, count in named(row, 'rejected').items()]
    return table(('reason', 'messages'), rows or [('none', '–')], 'Rejected messages')


def _ages(index, camera, shown):
    if not _drawable(shown):
        return None
    return figure(f'age-{index}', f'Age of the newest picture: {camera}', f'Number of plans by the age of the newest picture of {camera}.',
                  histogram([1000 * edge for edge in shown['edges']], shown['counts'], 'ms', 'plans', height=210))
