"""The report of a walk: its sections put together, as JSON has them."""
import json
from pathlib import Path

import numpy as np

from diffusion_planner.config import to_mapping
from diffusion_planner.evaluation import bag_judgements, bag_motion
from diffusion_planner.evaluation.bag_judgements import pictures
from diffusion_planner.evaluation.bag_statistics import histogram, spread
from diffusion_planner.evaluation.bag_verdict import verdict
from diffusion_planner.evaluation.stages import Stages
from diffusion_planner.planning.cycle import CycleSettings

__all__ = ['make', 'pictures', 'timing']
FORMAT = 'diffusion_planner/bag_report/1'
ABOUT = 'What a model would have planned along a bag, by `diffusion-planner evaluate`. Times are seconds since the bag began.'
LATER_S = 1.0         # after which what really happened is judged, over time
AGE_EDGES_S = np.linspace(0, 1, 21).round(2).tolist()
TIMING_BINS = 30


def make(walk, steps, bag, model, mapping):
    """Put everything but the pictures together: -> dict"""
    measures, planner, robot, scale = walk.measures, walk.planner, walk.robot, walk.twin.goal.guidance_scale
    report = {'format': FORMAT, 'about': ABOUT, **_head(walk, bag, model, mapping),
              'plans': {'due': len(steps), 'guided': sum(step.plan is not None for step in steps), 'unguided': sum(step.quiet is not None for step in steps),
                        'chunks': sum(step.chunk is not None for step in steps)},
              'motion': bag_motion.motion(steps, measures), 'inverse_dynamics': bag_motion.dynamics(steps, robot.joint_names),
              'reward': bag_judgements.reward(steps, measures), 'success': bag_judgements.success(steps),
              'guidance': bag_judgements.guidance(steps, scale), 'typicality': bag_judgements.typicality(steps, measures),
              'scene': bag_judgements.scene(steps, planner.settings.strange_limit), 'limits': bag_motion.limits(steps, walk.extremes, robot, walk.cycle),
              'refusals': bag_judgements.refusals(steps, walk.waited_s), 'health': _health(walk, steps), 'timeline': _timeline(steps, measures)}
    return {**report, 'verdict': verdict(report)}


def _head(walk, bag, model, mapping):
    """Say what was evaluated, and how. `source` is the only section that tells a bag from the same bag in another storage."""
    planner, robot, settings, clock = walk.planner, walk.robot, walk.settings, walk.clock
    log_s = None if bag.begin_ns is None else 1e-9 * (bag.end_ns - bag.begin_ns)
    return {'bag': {'duration_s': clock.duration_s, 'walked_s': walk.elapsed_s, 'begin_s': clock.begin_s, 'robot': robot.name,
                    'joint_names': list(robot.joint_names), 'episodes': [row for row in walk.episodes if 'end_s' in row]},
            'source': {'about': 'The files that were read.', 'name': bag.path.resolve().name, 'topics': sorted(bag.topics), 'notes': list(bag.notes),
                       'began_ns': bag.begin_ns, 'log_s': log_s},
            'model': {'name': Path(model).resolve().name, 'sha256': json.loads((Path(model) / 'config.json').read_text())['sha256'],
                      'cameras': list(planner.cameras), 'horizon_s': planner.horizon_s, 'guidance_scale': walk.twin.goal.guidance_scale,
                      'context_offset_s': list(planner.context_offset_s)},
            'settings': {'every_s': settings.every_s, 'limit': settings.limit, 'seed': settings.seed, 'lead_s': walk.cycle.settings.lead_s,
                         'objective': walk.twin.goal.objective is not None, 'mapping': to_mapping(mapping)}}


def _health(walk, steps):
    """Sum up how the topics were recorded, and how old pictures were when plans were made."""
    ages_s = {camera: [step.figures['picture_age_s'][camera] for step in steps] for camera in walk.planner.cameras}
    return {'about': 'How the topics were recorded, as far as they were walked: rates and gaps by the stamps, clocks by reception less stamp (a bag '
                     'that was played faster than real time has a large spread there). rejected: what the node would have dropped, by the field at fault.',
            'units': {'rate_hz': 'Hz', 'largest_gap_s': 's', 'clock_offset_s': 's, median of reception less stamp', 'picture_age_s': 's, when plans were made'},
            'topics': walk.health.rows(walk.inputs.sources), 'warnings': walk.warnings, 'jumps': walk.history.jumps,
            'picture_age_s': {camera: spread(values) for camera, values in ages_s.items()},
            'picture_age_histogram': {camera: histogram(values, AGE_EDGES_S) for camera, values in ages_s.items()}}


def _timeline(steps, measures):
    """List what is drawn over time, one row per instant at which a plan was due."""
    later = int(np.abs(measures.judged_s - LATER_S).argmin())
    return {'about': 'One row per instant at which a plan was due. typicality_executed, judge_executed and realised_later are of what really happened '
                     'later_s later; tip_error_m is how far the planned fingertip is from the real one half a second after the plan takes over.',
            'units': {'since_s': 's', 'typicality': '1 is the held-out 99 % quantile', 'tip_error_m': 'm', 'picture_age_s': 's', 'arrival_s': 's'},
            'later_s': float(measures.judged_s[later]), 'rows': [_row(step, measures, later) for step in steps]}


def _row(step, measures, later):
    figures, executed, said = step.figures, step.figures['executed'], step.plan.breakdown if step.plan else {}
    return {'since_s': step.since_s, 'episode': step.episode, 'reward': figures['reward'], 'refused': step.refusal or None,
            'chunk_refused': ', '.join(figures.get('chunk_refused', ())) or None, 'typicality_executed': executed['typicality'][later],
            'judge_executed': executed['judge'][later], 'realised_later': executed['realised'][later], 'typicality_plan': said.get('typicality'),
            'predicted_reward': said.get('reward'), 'judge': said.get('judge'), 'arrival_s': said.get('arrival_s'),
            'strangeness': max(figures['strange'].values(), default=None), 'picture_age_s': max(figures['picture_age_s'].values(), default=None),
            'tip_error_m': _tip_error_m(step, 'guided', measures), 'tip_error_unguided_m': _tip_error_m(step, 'unguided', measures)}


def _tip_error_m(step, method, measures, offset_s=0.5):
    missed, index = step.figures['motion'].get(method), np.flatnonzero(measures.offset_s == offset_s)
    return None if missed is None or not len(index) else missed[index[0]][1]


def timing(steps):
    """Sum up how long plans took, which no two runs agree about: -> dict"""
    stages, plans = Stages(), [step.plan for step in steps if step.plan]
    for plan in plans:
        stages.note(plan.timing_ms)
    took_ms, cycle = [plan.timing_ms['total'] for plan in plans], CycleSettings()
    top_ms = max(20.0, float(np.ceil(np.quantile(took_ms, 0.99) / 10) * 12)) if took_ms else 20.0
    return {'about': 'How long guided plans took on the machine of the evaluation, one thread. deadline_ms is what there is for them in the node by default.',
            'units': {'stages': 'ms', 'histogram': 'ms'}, 'plans': len(took_ms), 'stages': stages.figures() if took_ms else {},
            'histogram': histogram(took_ms, np.linspace(0, top_ms, TIMING_BINS + 1).round(3).tolist()),
            'deadline_ms': 1000 * (cycle.lead_s - cycle.min_lead_s)}
