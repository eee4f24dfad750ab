"""Sections of the page about reward: predicted against realised, promises of plans, and what guidance changes."""
from diffusion_planner.evaluation.bag_page_charts import Series, figure, reliability, timeline
from diffusion_planner.evaluation.bag_page_html import about, details, dig, grid, known, listed, measure, named, note, number, ranged, score, table, tag
from diffusion_planner.evaluation.bag_page_motion import TIME, curve, spans

# name in the report -> what it is called here, its colour and mark
HEADS = {'reward': ('first guiding head', 0), 'panel': ('mean of the guiding heads', 1), 'judge': ('judge, which does not guide', 3),
         'comes_true': ('combined judgement', 2), 'success': ('success of the plan', 4)}
WORDS = {'arrival_s': 'arrival', 'best_judge': 'judge, best arrival', 'typicality': 'typicality, 1 is the held-out 99 % quantile'}
COUNTED = 'judge'              # the head whose answers are counted beneath a diagram
SHORT = {'reward': 'first guiding', 'panel': 'guiding, mean', 'judge': 'judge', 'comes_true': 'combined', 'success': 'success'}
GAIN, SEEN = 0.1, 0.5          # a gain in predicted reward worth words, and the share of it that the judge ought to see


def called(name):
    """Say what a judgement is called on the page."""
    return HEADS[name][0] if name in HEADS else WORDS.get(name, name)


def reward(report, _):
    """Draw how honest the heads are about what really happened, and the judge along the bag."""
    found = named(report, 'reward')
    heads = {name: named(head, 'all') for name, head in named(found, 'heads').items()}
    diagram = _diagram('reward-reliability', 'Said and happened', heads, 'share that was rewarded', 10)
    if not diagram or dig(found, 'known') is False:
        return [note('Nobody says in this bag what was rewarded, so predictions of reward could not be checked.')] if found else []
    tables = [_offsets(listed(found, 'heads', name, 'by_offset'), called(name)) for name in heads]
    return [grid(diagram, _scores(heads, 'instants'), _along(report)), details('Figures by offset', about(found), *tables)]


def success(report, _):
    """Draw whether what plans promised came."""
    found = named(report, 'success')
    heads = named(found, 'predictions')
    diagram = _diagram('success-reliability', 'Promised and come', heads, 'share by whose arrival reward came', 5)
    if not diagram:
        return [note('No plan of this bag has an arrival that the recording still shows, or nobody says what was rewarded.')] if found else []
    came = f'Reward came by the arrival of {ranged(dig(found, "came"), "share")} of {number(dig(found, "plans"))} plans.'
    return [note(dig(found, 'about')), tag('p', came), grid(diagram, _scores(heads, 'plans'))]


def _diagram(name, title, heads, label, bins):
    """Draw a reliability diagram; the bars beneath count what one head said, in `bins` of probability."""
    curves = [curve for curve in (_reliability(head, heads[head]) for head in sorted(heads, key=_order)) if curve.points()]
    if not curves:
        return None
    rows = [row for row in listed(heads, COUNTED, 'diagram') if known(dig(row, 'said')) and known(dig(row, 'n'))]
    counts = [(index / bins, (index + 1) / bins, row['n']) for row in rows for index in [min(int(row['said'] * bins), bins - 1)]]
    said = '; '.join(f'{one.name}: ' + ', '.join(f'{number(x, 2)} came true in {number(y, 2)}' for x, y, *_ in one.points()) for one in curves)
    legend = [*curves, ('ideal', 'line', 'honest: says what happens'), ('count', 'area', f'how often: {called(COUNTED)}')]
    return figure(name, title, f'{label} over the probability that was predicted. {said}.', reliability(curves, 'predicted probability', label, counts),
                  legend, caption='whiskers: 95 %')


def _order(name):
    return list(HEADS).index(name) if name in HEADS else len(HEADS)


def _reliability(name, head):
    rows = listed(head, 'diagram')
    return Series(called(name), *(tuple(dig(row, key) for row in rows) for key in ('said', 'happened', 'low', 'high')), HEADS.get(name, ('', 2))[1])


def _along(report):
    """Draw what the judge says of what happened, and where reward really came, along the bag."""
    rows, later = listed(report, 'timeline', 'rows'), measure(dig(report, 'timeline', 'later_s'), 's')
    said = Series(f'judge, of what happened {later} later', *curve(rows, 'judge_executed'), style=3)
    if not said.points():
        return None
    came = [since for since, value in zip(*curve(rows, 'realised_later')) if value > 0]
    description = f'Probability of reward that the judge sees in what happened {later} later, with the instants that were rewarded.'
    return figure('reward-along', 'Along the bag', description,
                  timeline([said], spans(report), [('rewarded', 'good', 'tick', came)], TIME, 'predicted probability', height=220),
                  [said.entry(), ('good', 'tick', 'really rewarded then')], True, 'shades: episodes')


def _share(value):
    return measure(value, 'share')


def _scores(heads, unit):
    """Tabulate what was said and what came, a column per head."""
    heads = {name: heads[name] for name in sorted(heads, key=_order)}
    figures = (('said', 'said', _share), ('happened', 'happened', _share), ('calibration error', 'ece', score), ('ROC area', 'roc_area', score),
               ('Brier score', 'brier', score), (unit, 'n', number))
    rows = [(text, *(write(dig(head, key)) for head in heads.values())) for text, key, write in figures]
    return table(('head', *(SHORT.get(name, name) for name in heads)), rows, 'Calibration error: 0 is honest. ROC area: 0.5 is chance, 1 tells all apart.')


def _offsets(rows, name):
    cells = [(measure(dig(row, 'offset_s'), 's'), _share(dig(row, 'said')), _share(dig(row, 'happened')), score(dig(row, 'ece')),
              score(dig(row, 'roc_area')), number(dig(row, 'n'))) for row in rows]
    return table(('ahead', 'said', 'happened', 'calibration error', 'ROC area', 'instants'), cells, name)


def guidance(report, _):
    """Show guided beside unguided: what was promised, how usual it was, how far it moved."""
    found = named(report, 'guidance')
    plans, far = _pairs(named(found, 'plans')), _pairs(named(found, 'far'))
    if not plans and not far:
        return []
    head = ('mean', 'guided (95 %)', 'unguided (95 %)')
    moved = (f'Guidance at scale {number(dig(found, "scale"))} moved the imagined arrival of the fingertip by {ranged(dig(found, "moved_m"), "m")}, '
             f'the joints by {ranged(dig(found, "moved_rad"), "rad")}.')
    return [tag('p', moved), _gain(named(found, 'plans')), table(head, plans, f'The chosen plans, {number(dig(found, "plans", "n"))} of each'),
            details('All arrivals that were tried', about(found), table(head, far, f'All arrivals at {number(dig(found, "pairs"))} instants'))]


def _pairs(found):
    """Write what there is with guidance and without: -> rows"""
    return [(called(name), *(ranged(dig(pair, which), 's' if name.endswith('_s') else 'score') for which in ('guided', 'unguided')))
            for name, pair in found.items() if isinstance(pair, dict)]


def _gain(plans):
    """Say in words whether the reward that guidance promises is seen by the judge, too."""
    before, after, blind, seen = (dig(plans, head, which, 0) for head in ('reward', 'judge') for which in ('unguided', 'guided'))
    if not all(map(known, (before, after, blind, seen))):
        return ''
    said = (f'In the chosen plans, guidance lifts what the guiding head predicts from {number(before, 2)} to {number(after, 2)}, '
            f'and what the judge, which does not guide, predicts from {number(blind, 2)} to {number(seen, 2)}.')
    doubt = after - before > GAIN and seen - blind < SEEN * (after - before)
    return tag('p', said + ' The judge does not see most of the gain: it may have been talked into existence.' * doubt)
