"""The combined judge, fitted on scenes of its own, and the scale that is chosen on them."""
from dataclasses import replace

import numpy as np

from diffusion_planner.evaluation.audit_figures import summarise
from diffusion_planner.evaluation.audit_judges import AFTERWARDS, NEEDED, came_true, looks
from diffusion_planner.evaluation.audit_run import mode_of, run, write_planning
from diffusion_planner.evaluation.audit_scale import recommend
from diffusion_planner.planning import forecast

LOOPS = (*(('guarded', scale) for scale in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)), ('damped', 1.0), ('free', 0.25), ('free', 0.5))
# What the planner knows when it asks the combined judge: a weight on anything else would be one on 0.
KNOWN = tuple(name for name in NEEDED if name not in AFTERWARDS)


def fit(options, seed, write=True):
    """Fit the combined judge on scenes of its own, and name the scale to use on them: -> {'recommended_scale', 'forecast'}

    First to single plans that were followed alone, then curves from its log-odds to whether episodes succeed. Both are written into
    the checkpoint unless told not to.
    """
    options = replace(options, flaw=False, objective=None, fitting=True)
    found = looks(options, seed=seed)
    rows = forecast.features({name: np.array([plan.get(name, 0.0) for _, _, plan in found]) for name in KNOWN})
    fitted = forecast.fit(rows, [came_true(row) for _, row, _ in found])
    closed = run(options, [options.settings(mode, scale) for mode, scale in LOOPS], 'closed loop', seed)
    fitted = replace(fitted, episode=tuple(curve(fitted, closed, guarded) for guarded in (True, False)))
    scales = recommend([{'scale': settings.guidance_scale, 'mode': mode_of(settings), **summarise(part)} for settings, part in closed.items()])
    chosen = {'recommended_scale': scales['recommended_scale'],
              'forecast': {**fitted.table(), 'plans': len(found), 'episodes': sum(map(len, closed.values())), 'first_seed': seed,
                           'scenes': options.episodes}}
    if write:
        write_planning(options.model, chosen)
    return chosen


def curve(fitted, closed, guarded):
    """Fit the curve from the log-odds of first plans to the success of their episodes: {LoopSettings: rows} -> see forecast.fit_curve

    Under guard without reward hardly an episode succeeds, and nearly all others do: without those failures the guarded curve would have
    seen no hopeless plan that stayed hopeless.
    """
    rows = [row for settings, part in closed.items() if settings.guard == guarded for row in part if row['judged']]
    odds = [fitted.odds({name: np.array([row['judged'][0].get(name, 0.0)]) for name in KNOWN})[0] for row in rows]
    return forecast.fit_curve(odds, [row['success'] for row in rows])
