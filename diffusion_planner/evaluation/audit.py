"""The audit: what guidance promises against what really happens, over its scale, with the guard and without."""
import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation import refusal
from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.ledger import Ledger
from diffusion_planner.evaluation.metrics import mean_interval, wilson
from diffusion_planner.planning import forecast
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim import fanout
from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.scene import default_robot, sample_scene
from diffusion_planner.sim.task import PATCH_M, PATCH_RADIUS_M
from diffusion_planner.statistics import roc_area

VERSION = 1                                    # of episodes and scoring: older results are run again
# How guidance is held: by everything; only by what keeps the arithmetic stable; by nothing, as in plain classifier guidance.
MODES = {'guarded': {'guard': True}, 'damped': {'guard': False}, 'free': {'guard': False, 'changes': (('proximal', False),)}}
SWEEP = {'guarded': (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), 'damped': (0.5,),
         'free': (0.125, 0.25, 0.5, 1.0)}     # without the guard the fall comes early
LOOKS = (('guarded', 0.0), ('guarded', 0.5), ('guarded', 1.0), ('guarded', 8.0), ('damped', 1.0), ('damped', 8.0), ('free', 0.25))
LOOPS = (*(('guarded', scale) for scale in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)), ('damped', 1.0), ('free', 0.25), ('free', 0.5))
OTHERS = 0.5                                   # of the episodes is enough for scales that nobody will use
FAR_PAST = 8                                   # times the shipped scale: what the guard must hold
TOLERANCE = 0.02                               # a scale this near the best success is as good
PER_JOB = 5                                    # episodes that a worker runs with one planner


@dataclass(frozen=True)
class Options:
    """What is audited, on which scenes; `scales` are swept with the guard, and as in SWEEP without."""

    model: Path
    episodes: int = 100
    seed: int = 1000
    scales: tuple = SWEEP['guarded']
    objective: Path | None = None
    flaw: bool = False
    crossing: bool = False     # only scenes in which the arm starts on one side and the target lies on the other
    fitting: bool = False      # the combined judge is what is sought: whatever the checkpoint has of it is left out
    work: Path = Path('runs/audit')
    workers: int = 2
    ray: str | None = None     # see sim.fanout

    def settings(self, mode, scale, alone=False):
        return LoopSettings(str(self.model), float(scale), alone=alone, flaw=self.flaw, neutral=self.fitting, objective=self.objective and str(self.objective),
                            **MODES[mode])


def run(options, jobs, title='episodes', seed=None):
    """Run what is missing of these settings: [LoopSettings] -> {LoopSettings: rows in order of seed}

    Finished episodes are kept in options.work; an interrupted run goes on where it stopped.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    wanted = _scenes(options, options.seed if seed is None else seed)
    ledgers = {settings: Ledger(options.work / f'{_mark(settings)}.jsonl', _mark(settings)) for settings in jobs}
    work = [(settings, missing[start:start + PER_JOB]) for settings, ledger in ledgers.items()
            if (missing := [number for number in wanted if number not in ledger.results]) for start in range(0, len(missing), PER_JOB)]
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[note]}'), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=sum(len(seeds) for _, seeds in work), note='')
        for (settings, seeds), rows in fanout.run(episodes, work, options.workers, options.ray):
            ledgers[settings].add(rows)
            progress.update(bar, advance=len(seeds), note=describe(settings))
    return {settings: [ledger.results[number] for number in wanted] for settings, ledger in ledgers.items()}


def _scenes(options, first):
    """The scenes to run: -> seeds, as many as there are episodes"""
    if not options.crossing:
        return range(first, first + options.episodes)
    return list(islice((seed for seed in count(first) if _crosses(seed)), options.episodes))


@lru_cache(maxsize=None)
def _crosses(seed):
    scene = sample_scene(seed)
    return default_robot().tip_m(np.array(scene.start_rad))[1] * scene.target_m[1] < 0


@lru_cache(maxsize=None)
def _env():
    return ArmEnv()


@lru_cache(maxsize=2)
def _loop(settings):
    return Loop(settings, _env())


def episodes(work):
    """Run (settings, seeds) in a worker: -> rows"""
    settings, seeds = work
    return [_loop(settings).run(seed) for seed in seeds]


def describe(settings):
    return f'{"one plan alone, " if settings.alone else ""}{mode_of(settings)} {settings.guidance_scale:g}'


def mode_of(settings):
    """Name the mode of settings; those with other changes are of their guard's."""
    return next((name for name, given in MODES.items() if all(getattr(settings, key) == value for key, value in {'changes': (), **given}.items())),
                'guarded' if settings.guard else 'damped')


def _mark(settings):
    """Say what rows depend on: weights, what planning knows, settings, the version of this module."""
    config = checkpoint.read_config(settings.model)
    apart = ('recommended_scale', 'forecast') if settings.neutral else ('recommended_scale',)
    planning = {name: value for name, value in config['planning'].items() if name not in apart}
    asked = [Path(path).read_text() for path in (settings.objective, settings.watched) if isinstance(path, str)]
    if settings.flaw:
        asked.append(hashlib.sha256((Path(settings.model) / checkpoint.FLAW_FILE).read_bytes()).hexdigest())
    parts = VERSION, config['sha256'], json.dumps(planning, sort_keys=True), asked, repr(replace(settings, model=''))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def summarise(rows):
    """Sum up the episodes of one setting: -> dict, every figure with its 95 % interval"""
    judged = [plan for row in rows for plan in row['judged']]
    first = [row['judged'][0] for row in rows if row['judged']]
    came = [plan for plan in judged if plan['came'] is not None]
    figures = {'episodes': len(rows), 'plans': len(judged), 'refused': sum(len(row['refusals']) for row in rows),
               'success': _share([row['success'] for row in rows]), 'contact': _share([row['contacts'] > 0 for row in rows]),
               'realised_reward': _share([plan['came'] for plan in came]),
               'zone_entered': _share([row.get('zone_entries', 0) > 0 for row in rows])}
    for name, column in {'predicted_reward': [plan['reward'] for plan in came], 'judge': [plan['judge'] for plan in came],
                         'predicted_success': [plan['success'] for plan in first if 'success' in plan],
                         'typicality': [plan['typicality'] for plan in judged], 'apart_m': [plan['apart_m'] for plan in judged if 'apart_m' in plan],
                         'in_force': [plan['in_force'] for plan in judged if 'in_force' in plan],
                         **{factor: [plan[factor] for plan in judged if factor in plan] for factor in ('curvature', 'ease', 'region')},
                         'plan_ms': [value for row in rows for value in row['plan_ms']]}.items():
        figures[name] = mean_interval(column) if column else None
    # An episode without any plan promised nothing.
    if figures['predicted_success'] and len(first) < len(rows):
        figures['predicted_success'] = [value * len(first) / len(rows) for value in figures['predicted_success']]
    return figures


def _share(happened):
    """[share, low, high] of a list of bool, or None"""
    return [float(np.mean(happened)), *wilson(int(np.sum(happened)), len(happened))] if len(happened) else None


def sweep(options):
    """Run the closed-loop sweep: -> rows of figures, one per mode and scale"""
    wanted = {**SWEEP, 'guarded': options.scales}
    shipped = checkpoint.read_config(options.model)['planning'].get('recommended_scale', 1.0)
    extra = (shipped, FAR_PAST * shipped)     # whatever the sweep, these must be in it
    jobs = [options.settings(mode, scale) for mode, scales in wanted.items() for scale in sorted({*scales, *extra})]
    first = [settings for settings in jobs if settings.guidance_scale in extra]
    found = run(options, first, 'shipped scale and eight times that')
    fewer = replace(options, episodes=max(1, int(options.episodes * OTHERS)))
    found |= run(fewer, [settings for settings in jobs if settings not in first], 'the other scales')
    return [{'scale': settings.guidance_scale, 'mode': mode_of(settings), **summarise(found[settings])} for settings in jobs]


def recommend(rows, current=None):
    """Name the knee and the scale to use, of a sweep's rows: -> {'recommended_scale', 'knee_<mode>'}

    The knee is the largest scale up to which success stays within TOLERANCE of the best. What is recommended is, among the guarded
    scales that do, the one whose plans come true most often, the smaller of two that are within TOLERANCE; and the one that is in
    use stays where none is better than it by more than that.
    """
    found = {}
    for mode in MODES:
        part = sorted((row['scale'], row['success'][0]) for row in rows if row['mode'] == mode)
        if part:
            best = max(success for _, success in part)
            good = [scale for scale, success in part if success >= best - TOLERANCE]
            found[f'knee_{mode}'] = _last_in_a_row([scale for scale, _ in part], good)
            if mode == 'guarded':
                kept = {row['scale']: (row['realised_reward'] or [0.0])[0] for row in rows if row['mode'] == mode and row['scale'] in good}
                as_good = [scale for scale, share in kept.items() if share >= max(kept.values()) - TOLERANCE]
                found['recommended_scale'] = current if current in as_good else min(as_good)
    return found


def _last_in_a_row(scales, good):
    """The last scale of the run of good ones that begins with the first."""
    last = good[0]
    for scale in scales[scales.index(last):]:
        if scale not in good:
            break
        last = scale
    return last


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
    columns = forecast.features({name: np.array([plan.get(name, 0.0) for _, _, plan in found]) for name in _NEEDED})
    columns = dict(zip(forecast.FEATURES, columns.T))
    if all('comes_true' in plan for _, _, plan in found):
        columns['combined judge'] = np.array([plan['comes_true'] for _, _, plan in found])
    kinds = {'all': np.ones(len(found), bool), 'with reward': np.array([settings.guidance_scale > 0 for settings, _, _ in found]),
             'guarded': np.array([settings.guard and settings.guidance_scale > 0 for settings, _, _ in found])}
    for name, column in columns.items():
        table[name] = {kind: area(column[inside], happened[inside]) for kind, inside in kinds.items()}
    table['plans that came true'] = {kind: f'{int(happened[inside].sum())} of {int(inside.sum())}' for kind, inside in kinds.items()}
    return table


def area(score, happened):
    """roc_area, or None where there is nothing to tell apart: JSON has no nan"""
    found = roc_area(score, happened)
    return None if np.isnan(found) else found


_NEEDED = ('reward', 'panel', 'doubt', 'judge', 'typicality', 'reach', 'steps', 'genuineness', 'familiarity', 'consistency_rad')


def fit(options, seed):
    """Fit the combined judge on scenes of its own, name the scale to use on them, and write both into the checkpoint: -> Forecast

    First to single plans that were followed alone, then a curve from its log-odds to whether episodes succeed.
    """
    options = replace(options, flaw=False, objective=None, fitting=True)
    found = looks(options, seed=seed)
    rows = forecast.features({name: np.array([plan.get(name, 0.0) for _, _, plan in found]) for name in _NEEDED})
    fitted = forecast.fit(rows, [came_true(row) for _, row, _ in found])
    closed = run(options, [options.settings(mode, scale) for mode, scale in LOOPS], 'closed loop', seed)
    fitted = replace(fitted, episode=tuple(_curve(fitted, closed, guarded) for guarded in (True, False)))
    found_scales = recommend([{'scale': settings.guidance_scale, 'mode': mode_of(settings), **summarise(part)} for settings, part in closed.items()])
    planning = checkpoint.read_config(options.model)['planning']
    _write_planning(options.model, {**planning, 'recommended_scale': found_scales['recommended_scale'],
                                    'forecast': {**fitted.table(), 'plans': len(found), 'episodes': sum(map(len, closed.values())), 'first_seed': seed,
                                                 'scenes': options.episodes}})
    return fitted


def _curve(fitted, closed, guarded):
    """Fit the curve from the log-odds of first plans to the success of their episodes: {LoopSettings: rows} -> see forecast.fit_curve"""
    rows = [row for settings, part in closed.items() if (settings.guard and settings.guidance_scale > 0) == guarded
            for row in part if row['judged']]
    odds = [fitted.odds({name: np.array([row['judged'][0].get(name, 0.0)]) for name in _NEEDED})[0] for row in rows]
    return forecast.fit_curve(odds, [row['success'] for row in rows])


def _write_planning(model, planning):
    checkpoint.write_config(model, {**checkpoint.read_config(model), 'planning': planning})


def audit(options, write=True):
    """Sweep, judge the judges, and sum up: -> report; writes the recommended scale into the checkpoint unless told not to."""
    if options.episodes < 1:
        raise ConfigError(f'--episodes: got {options.episodes}, expected at least 1')
    rows = sweep(options)
    planning = checkpoint.read_config(options.model)['planning']
    found = recommend(rows, planning.get('recommended_scale'))
    shipped = found['recommended_scale'] if write else planning.get('recommended_scale', 1.0)
    if write:
        _write_planning(options.model, {**planning, 'recommended_scale': shipped})
    at, held, damped, free = (next((row for row in rows if (row['mode'], row['scale']) == wanted), None)
                              for wanted in (('guarded', shipped), *((mode, FAR_PAST * shipped) for mode in MODES)))
    single = looks(options)
    return {'summary': {**found, 'shipped_scale': shipped,
                        'predicted_success': at and at['predicted_success'] and at['predicted_success'][0],
                        'realised_success': at and at['success'][0],
                        **{f'success_at_eight_times_{mode}': row['success'][0] for mode, row in zip(MODES, (held, damped, free)) if row}},
            'model': str(options.model), 'sha256': checkpoint.read_config(options.model)['sha256'], 'episodes': options.episodes,
            'first_seed': options.seed, 'objective': options.objective and str(options.objective), 'planted_flaw': options.flaw,
            'sweep': rows, 'refusal': refusal.measure(options.model, seed=options.seed), 'separation': separation(single), 'reliability': reliability(single),
            'roc': roc_curves(single)}


def constrained(options):
    """Measure what an objective costs: the same scenes without it, its zones only watched, and with it. -> report"""
    shipped = checkpoint.read_config(options.model)['planning'].get('recommended_scale', 1.0)
    told = options.settings('guarded', shipped)
    free = replace(told, objective=None, watched=told.objective)
    return {'objective': told.objective, **_compared(options, shipped, {'without': free, 'with': told})}


def flawed(options):
    """Let a head with a planted flaw guide, in every mode; 'zone_entered' is how often the fingertip went to the flaw. -> report"""
    shipped = checkpoint.read_config(options.model)['planning'].get('recommended_scale', 1.0)
    sound = {'guarded, no flaw': replace(options.settings('guarded', shipped), watched=(PATCH_M, PATCH_RADIUS_M), flaw=False)}
    options = replace(options, flaw=True)
    jobs = {**{mode: replace(options.settings(mode, shipped), watched=(PATCH_M, PATCH_RADIUS_M)) for mode in MODES}, **sound}
    return {'planted_flaw': True, **_compared(options, shipped, jobs)}


INF = float('inf')
PARTS = {'everything': (), 'no trust region': (('trust', INF), ('guidance_max_shift', INF)), 'no easing': (('ease_odds', 0.0),),
         'no damping': (('proximal', False),), 'heads averaged without caution': (('caution', 0.0),),
         'no typicality limit': (('typicality_limit', INF),), 'no limit on how soon to arrive': (('reach_limit', -INF),),
         'unfamiliar postures not refused': (('refuse_unfamiliar', False),), 'paths not pulled to the familiar': (('familiarity_scale', 0.0),)}


def parts(options):
    """Take the guard apart at eight times the shipped scale: one part left out at a time. -> report"""
    shipped = FAR_PAST * checkpoint.read_config(options.model)['planning'].get('recommended_scale', 1.0)
    told = options.settings('guarded', shipped)
    return {'parts': True, **_compared(options, shipped, {name: replace(told, changes=changes) for name, changes in PARTS.items()})}


def _compared(options, shipped, jobs):
    found = run(options, list(jobs.values()), 'closed loop')
    rows = [{'name': name, 'time_to_target_s': mean_interval([row['time_to_target_s'] or row['elapsed_s'] for row in found[settings]]),
             'scale': shipped, 'mode': mode_of(settings), **summarise(found[settings])} for name, settings in jobs.items()]
    return {'model': str(options.model), 'episodes': options.episodes, 'first_seed': options.seed, 'crossing': options.crossing,
            'scale': shipped, 'rows': rows}


def show_compared(report):
    from rich.console import Console
    from rich.table import Table
    table = Table('', 'success', '95 % interval', 'predicted success', 'predicted reward', 'realised', 'zone entered', '95 % interval', 'contact',
                  'time to target')
    for row in report['rows']:
        table.add_row(row['name'], *_with_interval(row['success']), _number(row['predicted_success']), _number(row['predicted_reward']),
                      _number(row['realised_reward']), *_with_interval(row['zone_entered']), _number(row['contact'], 100, '{:.0f} %'),
                      _number(row['time_to_target_s'], 1, '{:.2f} s'))
    Console(width=150).print(table)


def _with_interval(share):
    return _percent(share[0]), f'{_percent(share[1])} to {_percent(share[2])}'


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
        diagram = [[float(said[bin_of == index].mean()), *_share(happened[bin_of == index]), int((bin_of == index).sum())]
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


def write(report, path):
    part = Path(f'{path}.part')
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(report, indent=1) + '\n')
    os.replace(part, path)


def show(report):
    """Print the sweep and what it comes to."""
    from rich.console import Console
    from rich.table import Table
    table = Table('guidance', 'predicted reward', 'realised', 'predicted success', 'realised', '95 % interval',
                  'contact', 'planned to executed', 'refused', 'in force')
    for row in report['sweep']:
        table.add_row(f'{row["mode"]} {row["scale"]:g}', _number(row['predicted_reward']), _number(row['realised_reward']),
                      _number(row.get('predicted_success')), _number(row['success'], 100, '{:.0f} %'),
                      f'{_percent(row["success"][1])} to {_percent(row["success"][2])}', _number(row['contact'], 100, '{:.1f} %'),
                      _number(row['apart_m'], 100, '{:.1f} cm'), str(row['refused']), _number(row['in_force']))
    console = Console(width=150)
    console.print(table)
    if 'refusal' in report:
        refusal.show(report['refusal'])
    first = next(iter(report['separation'].values()))
    table = Table('judge, ROC area', *first)
    for name, areas in report['separation'].items():
        table.add_row(name, *('-' if area is None else area if isinstance(area, str) else f'{area:.3f}' for area in areas.values()))
    console.print(table)
    console.print(', '.join(f'{name} {value:.3g}' for name, value in report['summary'].items() if value is not None), highlight=False)


def _number(triple, factor=1.0, pattern='{:.2f}'):
    return '-' if triple is None else pattern.format(triple[0] * factor)


def _percent(share):
    return f'{share:.0%}'
