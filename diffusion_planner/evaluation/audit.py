"""The audit: what guidance promises against what really happens, over its scale, with the guard and without."""
from dataclasses import replace

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation import refusal
from diffusion_planner.evaluation.audit_figures import promise_scores, summarise
from diffusion_planner.evaluation.audit_judges import looks, reliability, roc_curves, separation
from diffusion_planner.evaluation.audit_run import FAR_PAST, MODES, mode_of, run, shipped_scale, write_planning
from diffusion_planner.evaluation.audit_scale import recommend
from diffusion_planner.runtime import checkpoint

UNGUARDED = {'damped': (0.5,), 'free': (0.03, 0.06, 0.125, 0.25, 0.5, 1.0)}     # without the guard the fall comes early
OTHERS = 0.5                                   # of the episodes is enough for scales that nobody will use


def audit(options, write=True, choose=True, chosen_on=None):
    """Sweep, judge the judges, and sum up: -> report

    choose: name the scale to use, on these scenes, and write it into the checkpoint unless told not to. Otherwise the checkpoint's
    stays, which was chosen on other scenes, from seed chosen_on on, None if nobody knows.
    """
    if options.episodes < 1:
        raise ConfigError(f'--episodes: got {options.episodes}, expected at least 1')
    found = sweep(options)
    rows = [{'scale': settings.guidance_scale, 'mode': mode_of(settings), **summarise(part)} for settings, part in found.items()]
    current = shipped_scale(options.model)
    scales = recommend(rows, current)
    if not choose:
        scales['recommended_scale'] = current
    elif write:
        write_planning(options.model, {'recommended_scale': scales['recommended_scale']})
    summary = {**scales, 'chosen_on_seed': options.seed if choose else chosen_on, **summed_up(rows, shipped_scale(options.model)),
               **promise_scores([row for part in found.values() for row in part])}
    return {'summary': summary, **_about(options), 'sweep': rows, 'refusal': refusal.measure(options.model, seed=options.seed),
            **_judged(looks(options))}


def sweep(options):
    """Run the closed-loop sweep, the same scenes for every mode and scale: -> {LoopSettings: rows}"""
    wanted, shipped = {'guarded': options.scales, **UNGUARDED}, shipped_scale(options.model)
    extra = (shipped, FAR_PAST * shipped)     # whatever the sweep, these must be in it
    jobs = [options.settings(mode, scale) for mode, scales in wanted.items() for scale in sorted({*scales, *extra})]
    first = [settings for settings in jobs if settings.guidance_scale in extra]
    found = run(options, first, 'shipped scale and eight times that')
    fewer = replace(options, episodes=max(1, int(options.episodes * OTHERS)))
    found |= run(fewer, [settings for settings in jobs if settings not in first], 'the other scales')
    return {settings: found[settings] for settings in jobs}


def summed_up(rows, shipped):
    """What the sweep comes to at the shipped scale, and at eight times that: -> part of the report's summary"""
    at, *past = (next((row for row in rows if (row['mode'], row['scale']) == wanted), None)
                 for wanted in (('guarded', shipped), *((mode, FAR_PAST * shipped) for mode in MODES)))
    return {'shipped_scale': shipped, 'predicted_success': at and at['predicted_success'] and at['predicted_success'][0],
            'realised_success': at and at['success'][0],
            **{f'success_at_eight_times_{mode}': row['success'][0] for mode, row in zip(MODES, past) if row}}


def _about(options):
    return {'model': str(options.model), 'sha256': checkpoint.read_config(options.model)['sha256'], 'episodes': options.episodes,
            'first_seed': options.seed, 'objective': options.objective and str(options.objective), 'planted_flaw': options.flaw}


def _judged(single):
    return {'separation': separation(single), 'reliability': reliability(single), 'roc': roc_curves(single)}
