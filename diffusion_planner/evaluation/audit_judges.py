"""The judges of plans, judged: plans that are followed alone to their end, and which judgement told what became of them."""
import numpy as np

from diffusion_planner.evaluation.audit_figures import area, share_interval
from diffusion_planner.evaluation.audit_run import run
from diffusion_planner.planning import forecast

LOOKS = (('guarded', 0.0), ('guarded', 0.5), ('guarded', 1.0), ('guarded', 8.0), ('damped', 1.0), ('damped', 8.0), ('free', 0.25))
NEEDED = ('reward', 'panel', 'doubt', 'judge', 'typicality', 'reach', 'steps', 'genuineness', 'familiarity', 'consistency_rad')
AFTERWARDS = 'typicality', 'steps', 'genuineness'     # measured of the plan that was chosen, see Planner.measure; choosing goes without


def looks(options, pairs=LOOKS, seed=None):
    """Follow single plans to their end, at several scales, guarded and not: -> [(settings, row, judgements of its plan)]"""
    jobs = [options.settings(mode, scale, alone=True) for mode, scale in pairs]
    found = run(options, jobs, 'one plan, followed alone', seed)
    return [(settings, row, row['judged'][0]) for settings, rows in found.items() for row in rows if row['judged']]


def came_true(row):
    """Whether a plan that was followed alone did what it was for: the target touched, and nothing else."""
    return bool(row['judged'][0]['came']) and row['contacts'] == 0


def separation(found):
    """How well each judgement tells plans that come true from those that do not: -> {name: {'all', 'with reward', 'guarded'}} of ROC areas"""
    table = {}
    happened = np.array([came_true(row) for _, row, _ in found])
    columns = forecast.features({name: np.array([plan.get(name, 0.0) for _, _, plan in found]) for name in NEEDED})
    columns = dict(zip(forecast.FEATURES, columns.T))
    if all('comes_true' in plan for _, _, plan in found):
        columns['combined judge'] = np.array([plan['comes_true'] for _, _, plan in found])
    kinds = {'all': np.ones(len(found), bool), 'with reward': np.array([settings.guidance_scale > 0 for settings, _, _ in found]),
             'guarded': np.array([settings.guard and settings.guidance_scale > 0 for settings, _, _ in found])}
    for name, column in columns.items():
        table[name] = {kind: area(column[inside], happened[inside]) for kind, inside in kinds.items()}
    table['plans that came true'] = {kind: f'{int(happened[inside].sum())} of {int(inside.sum())}' for kind, inside in kinds.items()}
    return table


def reliability(found, bins=8):
    """Reliability diagrams of the head that guides, the judge and the combined judge: -> {name: {'ece', 'diagram'}}"""
    if not found:
        return {}
    happened = np.array([came_true(row) for _, row, _ in found], float)
    table = {}
    for title, name in (('head that guides', 'reward'), ('judge', 'judge'), ('combined judge', 'comes_true')):
        if not all(name in plan for _, _, plan in found):
            continue
        said = np.array([plan[name] for _, _, plan in found])
        bin_of = np.minimum((said * bins).astype(int), bins - 1)
        diagram = [[float(said[bin_of == index].mean()), *share_interval(happened[bin_of == index]), int((bin_of == index).sum())]
                   for index in range(bins) if (bin_of == index).any()]
        table[title] = {'ece': float(sum(count * abs(mean - share) for mean, share, _, _, count in diagram) / len(said)), 'diagram': diagram}
    return table


def roc_curves(found, names=('reward', 'judge', 'comes_true')):
    """Receiver operating characteristics: -> {name: [[false positives, true positives], ...]} as shares"""
    happened, curves = np.array([came_true(row) for _, row, _ in found]), {}
    for name in names:
        if all(name in plan for _, _, plan in found) and 0 < happened.sum() < len(happened):
            order = np.argsort([-plan[name] for _, _, plan in found], kind='stable')
            hits = happened[order]
            curves[name] = np.stack([np.cumsum(~hits) / (~hits).sum(), np.cumsum(hits) / hits.sum()], 1).round(4).tolist()
    return curves
