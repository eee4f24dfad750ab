"""Figures of an audit's episodes, each with its 95 % interval."""
import numpy as np

from diffusion_planner.evaluation.metrics import clustered_interval, clustered_share, mean_interval, wilson
from diffusion_planner.statistics import roc_area

FACTORS = 'curvature', 'ease', 'region'        # what holds guidance back


def summarise(rows):
    """Sum up the episodes of one setting: -> dict, every figure with its 95 % interval

    Intervals over plans are those of whole episodes: plans of one episode share its scene, and tell less than as many episodes.
    """
    judged = [row['judged'] for row in rows]
    came = [[plan for plan in plans if plan['came'] is not None] for plans in judged]
    return {'episodes': len(rows), 'plans': sum(map(len, judged)), 'refused': sum(len(row['refusals']) for row in rows),
            'success': share_interval([row['success'] for row in rows]), 'contact': share_interval([row['contacts'] > 0 for row in rows]),
            'zone_entered': share_interval([row.get('zone_entries', 0) > 0 for row in rows]),
            'realised_reward': clustered_share([[plan['came'] for plan in plans] for plans in came]),
            'predicted_reward': _over(came, 'reward'), 'judge': _over(came, 'judge'), 'predicted_success': _promised(rows),
            **{name: _over(judged, name) for name in ('typicality', 'apart_m', 'in_force', *FACTORS)},
            'plan_ms': clustered_interval([row['plan_ms'] for row in rows]), 'violated': violated(rows)}


def violated(rows):
    """The share of episodes whose executed motion breaks each term of an objective, see evaluation.executed: -> {name: [share, low, high]}"""
    names = dict.fromkeys(name for row in rows for name in row.get('executed') or ())
    return {name: share_interval([not (row.get('executed') or {}).get(name, 0.0) >= 0 for row in rows]) for name in names}


def _over(judged, name):
    """Average a judgement over the plans that have it: judged, a list of plans per episode -> [mean, low, high] or None"""
    return clustered_interval([[plan[name] for plan in plans if name in plan] for plans in judged])


def promises(rows):
    """What the first plans promised for their episodes: -> [N], 0 where there was no plan; None where no plan says it"""
    first = [row['judged'][0] for row in rows if row['judged']]
    if not any('success' in plan for plan in first):
        return None
    return np.array([row['judged'][0].get('success', 0.0) if row['judged'] else 0.0 for row in rows])


def _promised(rows):
    said = promises(rows)
    return None if said is None else mean_interval(said)


def promise_scores(rows):
    """How good the prediction of success is over episodes: -> {'success_brier', 'success_roc'}, None where nothing is said (or told apart)

    Brier's mean squared error of what is said (Brier 1950): 0 is perfect, and what always says the mean share p gets p (1 - p).
    """
    said, happened = promises(rows), np.array([bool(row['success']) for row in rows])
    if said is None:
        return {'success_brier': None, 'success_roc': None}
    return {'success_brier': float(np.mean((said - happened) ** 2)), 'success_roc': area(said, happened)}


def area(score, happened):
    """roc_area, or None where there is nothing to tell apart: JSON has no nan"""
    found = roc_area(score, happened)
    return None if np.isnan(found) else found


def share_interval(happened):
    """[share, low, high] of a list of bool, or None"""
    return [float(np.mean(happened)), *wilson(int(np.sum(happened)), len(happened))] if len(happened) else None
