"""Which guidance scale to use, of a sweep's rows."""
from diffusion_planner.evaluation.audit_run import MODES

TOLERANCE = 0.02                               # a scale this near the best success is as good


def recommend(rows, current=None):
    """Name the knee and the scale to use, of a sweep's rows: -> {'recommended_scale', 'knee_<mode>'}

    The knee is the largest scale up to which success stays within TOLERANCE of the best; None where it stays so up to the largest of
    the sweep: the knee lies beyond. What is recommended is, among the guarded scales that do, the one whose plans come true most
    often, the smaller of two that are within TOLERANCE; and the one that is in use stays where none is better than it by more than that.
    """
    found = {}
    for mode in MODES:
        part = sorted((row for row in rows if row['mode'] == mode), key=lambda row: row['scale'])
        if part:
            best = max(row['success'][0] for row in part)
            good = [row for row in part if row['success'][0] >= best - TOLERANCE]
            found[f'knee_{mode}'] = _knee([row['scale'] for row in part], [row['scale'] for row in good])
            if mode == 'guarded':
                found['recommended_scale'] = _best(good, current)
    return found


def _best(good, current):
    kept = {row['scale']: (row['realised_reward'] or [0.0])[0] for row in good}
    as_good = [scale for scale, share in kept.items() if share >= max(kept.values()) - TOLERANCE]
    return current if current in as_good else min(as_good)


def _knee(scales, good):
    """The last scale of the run of good ones that begins with the first, or None where that run ends with the sweep."""
    last = good[0]
    for scale in scales[scales.index(last):]:
        if scale not in good:
            return last
        last = scale
    return None
