"""Sections of the report about judgements: reward predicted and realised, typicality, scenes, guidance, refusals, pictures."""
from collections import Counter

import numpy as np

from diffusion_planner.evaluation.bag_imagined import KINDS, SHOWN_S
from diffusion_planner.evaluation.bag_statistics import blocks, interval, reliability, share, spread

HEADS = {'reward': 'the first head that guides', 'panel': 'the mean of the heads that guide', 'judge': 'the head that does not guide'}
SUCCESS_BINS = 5
FAR_FIGURES = 'reward', 'panel', 'judge', 'best_judge', 'typicality'
SECOND_BEST = 'predicted reward lower'      # of candidates that were not looked at any further: no reason to refuse


def _executed(steps, name):
    """Gather a judgement of what happened: -> [N, O], None where it is not known"""
    return [step.figures['executed'][name] for step in steps]


def _told(steps, head, index=None):
    """Pair what a head said of instants that happened with the reward there was: -> said [N], realised [N]"""
    pairs = [(said, real) for row, realised in zip(_executed(steps, head), _executed(steps, 'realised'))
             for number, (said, real) in enumerate(zip(row, realised)) if said is not None and real is not None and index in (None, number)]
    return tuple(np.array(pairs).reshape(-1, 2).T)


def reward(steps, measures):
    """Hold the reward that heads predict for what really happened against the reward there was."""
    realised = [step.figures['reward'] for step in steps if step.figures.get('reward') is not None]
    return {'about': 'Where the arm really was some seconds after a picture, judged as if it had been imagined at the time of that picture, against '
                     'the reward that the bag holds. Nothing that the model imagined is in this: it says whether the heads can tell reward here.',
            'units': {'said': 'probability', 'happened': 'share that was rewarded', 'ece': 'expected calibration error', 'roc_area': '0.5: chance, 1: perfect'},
            'known': bool(realised), 'rewarded_share': share([value > 0 for value in realised]),
            'heads': {name: {'name': text, 'all': reliability(*_told(steps, name)),
                             'by_offset': [_without_diagram(offset, reliability(*_told(steps, name, index))) for index, offset in enumerate(measures.judged_s)]}
                      for name, text in HEADS.items()}}


def _without_diagram(offset_s, found):
    return {'offset_s': offset_s, **{key: value for key, value in found.items() if key != 'diagram'}}


def success(steps):
    """Hold what plans promised against whether reward came by their arrival."""
    plans = [step for step in steps if step.plan is not None and step.figures.get('came') is not None]
    came = [step.figures['came'] for step in plans]
    names = [name for name in ('judge', 'reward', 'comes_true', 'success') if plans and name in plans[0].plan.breakdown]
    said = {name: [step.plan.breakdown[name] for step in plans] for name in names}
    return {'about': 'Whether reward came by the arrival of each guided plan, half a second late at most. It says something about the model only where '
                     'the motion in the bag followed plans of this planner; where somebody else moved the arm, it says how often they did what the plan '
                     'would have done. Plans whose arrival the recording does not reach count only where reward came.',
            'units': {'said': 'probability', 'happened': 'share of the plans by whose arrival reward had come'},
            'plans': len(plans), 'came': share(came), 'predictions': {name: reliability(values, came, SUCCESS_BINS) for name, values in said.items()}}


def typicality(steps, measures):
    """Sum up how usual motion is, in units of the held-out 99 % quantile of play: 1 is exceeded by one in a hundred there."""
    rows, block = _executed(steps, 'typicality'), blocks(steps)
    plans = {name: [plan.breakdown['typicality'] for plan in made if plan]
             for name, made in (('guided', [step.plan for step in steps]), ('unguided', [step.quiet for step in steps]))}
    table = np.array(rows, float).reshape(len(rows), len(measures.judged_s))      # None is nan
    by_offset = [{'offset_s': offset, 'n': int(np.isfinite(column).sum()), 'outside': interval(_outside(column), block), **(spread(column) or {})}
                 for offset, column in zip(measures.judged_s, table.T)]
    return {'about': 'How well the model can denoise what really happened, given what came before: below 1 for 99 % of its own play. Much more outside '
                     'means that this arm moves, or looks, unlike the recordings the model was trained on.',
            'units': {'typicality': '1 is the held-out 99 % quantile of play', 'outside': 'share above 1 [value, low, high]'}, 'limit': 1.0,
            'executed': {'by_offset': by_offset, 'outside': interval(_outside(table).flatten(), np.repeat(block, table.shape[1])),
                         'n': int(np.isfinite(table).sum()), 'spread': spread(table.flatten())},
            'plans': {name: spread(values) for name, values in plans.items()}}


def _outside(table):
    return np.where(np.isfinite(table), table > 1.0, np.nan)


def scene(steps, limit):
    """Sum up how unlike the play data the pictures are; above 1 is said, above `limit` refused."""
    found = [step.figures['strange'] for step in steps if step.figures.get('strange')]
    names = list(found[0]) if found else []
    return {'about': 'How unlike those of play the newest picture is, in units of what nearly every held-out picture stays below: above 1 the node says '
                     'so, above the limit it does not plan.',
            'units': {'figures': '1 is what nearly every held-out picture stays below'}, 'available': bool(found), 'limit': limit,
            'alarm': share([max(row.values()) > 1 for row in found]), 'figures': {name: spread([row[name] for row in found]) for name in names},
            'alarm_by': {name: share([row[name] > 1 for row in found]) for name in names}}


def guidance(steps, scale):
    """Sum up what guidance changes: far tokens from the same noise with and without, and the plans that came of it."""
    found, block = [step.figures['guidance'] for step in steps], blocks(steps)
    both = [step for step in steps if step.plan and step.quiet]
    table = {name: [interval([row[name][which] for row in found], block) for which in (0, 1)] for name in FAR_FIGURES}
    plans = {name: [interval([getattr(step, which).breakdown[name] for step in both], blocks(both)) for which in ('plan', 'quiet')]
             for name in ('reward', 'judge', 'typicality', 'arrival_s')}
    return {'about': 'The same context and the same noise, with guidance and without. far: all arrivals that are tried; plans: those that were chosen. '
                     'The judge does not guide: reward that it does not see was talked into existence.',
            'units': {'moved_m': 'm, mean way of the imagined fingertip', 'moved_rad': 'rad, rms over joints', 'arrival_s': 's', 'reward': 'probability'},
            'scale': scale, 'pairs': len(found),
            'far': {name: dict(zip(('guided', 'unguided'), values)) for name, values in table.items()},
            'plans': {'n': len(both), **{name: dict(zip(('guided', 'unguided'), values)) for name, values in plans.items()}},
            'moved_m': interval([row['moved_m'] for row in found], block), 'moved_rad': interval([row['moved_rad'] for row in found], block)}


def refusals(steps, waited_s):
    """Count the instants without a plan, by reason, and what candidates were rejected for."""
    without = [step for step in steps if step.plan is None]
    reasons, quiet, candidates = Counter(), Counter(), Counter()
    for step in without:
        counts = {reason: count for reason, count in step.reasons.items() if reason != SECOND_BEST}
        reasons[max(counts, key=counts.get) if counts else step.refusal] += 1
    for step in steps:
        quiet.update([step.quiet_refusal.split(':')[0]] if step.quiet is None and step.quiet_refusal else [])
        candidates.update({reason: count for reason, count in (step.plan.rejected.items() if step.plan else step.reasons.items()) if count})
    return {'about': 'Instants at which a plan was due and none was made, by the reason that most candidates were rejected for. waited: inputs were missing '
                     'or old.',
            'units': {'waited_s': 's', 'share': 'of the instants [value, low, high]'}, 'instants': len(steps), 'refused': len(without),
            'share': share([step.plan is None for step in steps]), 'by_reason': dict(reasons), 'unguided': dict(quiet), 'candidates': dict(candidates),
            'waited_s': dict(waited_s)}


def pictures(steps, saved):
    """Sum up how like the real pictures the imagined ones are, and list those that were saved."""
    rows = [row for step in steps for row in step.figures.get('pictures', ())]
    table = []
    for offset_s in SHOWN_S:
        for kind in KINDS:
            own = [row for row in rows if row['offset_s'] == offset_s and row['kind'] == kind]
            if own:
                table.append({'offset_s': offset_s, 'kind': kind, 'n': len(own), **{name: spread([row[name] for row in own]) for name in ('psnr_db', 'mae')}})
    return {'about': 'What the model thinks the cameras will see, decoded, against what they saw. decoded is the best that the decoder can do; a plan that '
                     'goes elsewhere than the arm did imagines another picture, and is not wrong for it.',
            'units': {'psnr_db': 'dB, higher is better', 'mae': 'levels of 255', 'offset_s': 's after the plan takes over'},
            'kinds': KINDS, 'table': table, 'saved': saved}
