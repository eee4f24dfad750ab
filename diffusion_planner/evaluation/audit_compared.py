"""Settings compared on the same scenes: with an objective and without, with a planted flaw, with parts of the guard left out."""
from dataclasses import replace

from diffusion_planner.evaluation.audit_figures import summarise
from diffusion_planner.evaluation.audit_run import FAR_PAST, MODES, mode_of, run, shipped_scale
from diffusion_planner.evaluation.metrics import mean_interval
from diffusion_planner.sim.task import PATCH_M, PATCH_RADIUS_M

INF = float('inf')
PARTS = {'everything': (), 'no trust region': (('trust', INF), ('guidance_max_shift', INF)), 'no easing': (('ease_odds', 0.0),),
         'no damping': (('proximal', False),), 'heads averaged without caution': (('caution', 0.0),),
         'typicality limited as well': (('typicality_limit', 1.0),), 'no limit on how soon to arrive': (('reach_limit', -INF),),
         'unfamiliar postures not refused': (('refuse_unfamiliar', False),), 'paths not pulled to the familiar': (('familiarity_scale', 0.0),)}


def constrained(options):
    """Measure what an objective costs, and whether it is kept: the same scenes without it, only watched, and with it. -> report"""
    shipped = shipped_scale(options.model)
    told = options.settings('guarded', shipped)
    free = replace(told, objective=None, watched=told.objective)
    return {'objective': told.objective, **_compared(options, shipped, {'without': free, 'with': told})}


def flawed(options):
    """Let a head with a planted flaw guide, in every mode; 'zone_entered' is how often the fingertip went to the flaw. -> report"""
    shipped = shipped_scale(options.model)
    sound = {'guarded, no flaw': replace(options.settings('guarded', shipped), watched=(PATCH_M, PATCH_RADIUS_M), flaw=False)}
    options = replace(options, flaw=True)
    jobs = {**{mode: replace(options.settings(mode, shipped), watched=(PATCH_M, PATCH_RADIUS_M)) for mode in MODES}, **sound}
    return {'planted_flaw': True, **_compared(options, shipped, jobs)}


def parts(options):
    """Take the guard apart at eight times the shipped scale: one part left out at a time. -> report"""
    shipped = FAR_PAST * shipped_scale(options.model)
    told = options.settings('guarded', shipped)
    return {'parts': True, **_compared(options, shipped, {name: replace(told, changes=changes) for name, changes in PARTS.items()})}


def _compared(options, shipped, jobs):
    found = run(options, list(jobs.values()), 'closed loop')
    rows = [{'name': name, 'time_to_target_s': mean_interval([row['time_to_target_s'] or row['elapsed_s'] for row in found[settings]]),
             'scale': shipped, 'mode': mode_of(settings), **summarise(found[settings])} for name, settings in jobs.items()]
    return {'model': str(options.model), 'episodes': options.episodes, 'first_seed': options.seed, 'crossing': options.crossing,
            'scale': shipped, 'rows': rows}
