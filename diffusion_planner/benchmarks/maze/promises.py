"""Promises: whether the reward that a plan promised came by then, and how late it was.

Only plans that were made before the first reward promise anything: afterwards the ball sits in the goal, and reward comes anyway.
"""
import numpy as np

from diffusion_planner.evaluation.metrics import clustered_interval, clustered_share

GRACE_STEPS = 10                     # by which a promised reward may be late
DRAWS = 4000                         # of the bootstrap


def settle(made, due, first_reach, steps, period_s):
    """Judge the promises of one episode: settle(made [P], due [P], first_reach, steps, period_s) -> kept, late_s, lists of P

    made, due: the step at which a plan was made, and that of its promised arrival; first_reach: the first rewarded step, or None;
    steps: of the whole episode. kept: 1 or 0, None where the plan was made after the first reward or was due after the episode's end.
    late_s: seconds from the promised arrival to the first reward, below 0 where that came early; None where none came after the plan.
    """
    before = [first_reach is None or step < first_reach for step in made]
    kept = [int(first_reach is not None and first_reach <= step + GRACE_STEPS) if early and step + GRACE_STEPS <= steps else None
            for early, step in zip(before, due)]
    late_s = [round((first_reach - step) * period_s, 3) if early and first_reach is not None else None for early, step in zip(before, due)]
    return kept, late_s


def summarise(results):
    """Sum up the promises of episodes, intervals of 95 % over episodes: -> {name: [figure, low, high], or None where there is none}

    promised: mean reward predicted by the plans that are scored; kept: share of them whose reward came by the promised time;
    kept_first: the same of each episode's first plan; late_s: median lateness where reward did come; promises: how many are scored.
    """
    every = [list(zip(result['promised'], result['kept'])) for result in results]
    scored = [[pair for pair in pairs if pair[1] is not None] for pairs in every]
    first = [[came for _, came in pairs[:1] if came is not None] for pairs in every]
    late_s = [[value for value in result['late_s'] if value is not None] for result in results]
    return {'promised': clustered_interval([[said for said, _ in pairs] for pairs in scored]),
            'kept': clustered_share([[came for _, came in pairs] for pairs in scored]), 'kept_first': clustered_share(first),
            'late_s': clustered_median(late_s), 'promises': sum(map(len, scored))}


def clustered_median(groups):
    """Compute the median over all values and its 95 % interval by the bootstrap of whole groups: groups [[...], ...] -> [median, low, high] or None"""
    groups = [np.asarray(group, float) for group in groups if len(group)]
    if not groups:
        return None
    picked = np.random.default_rng(0).integers(0, len(groups), (DRAWS, len(groups)))
    medians = [np.median(np.concatenate([groups[index] for index in draw])) for draw in picked]
    return [float(np.median(np.concatenate(groups))), *(float(bound) for bound in np.quantile(medians, (0.025, 0.975)))]
