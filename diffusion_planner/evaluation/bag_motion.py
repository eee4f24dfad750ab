"""Sections of the report about motion: plans against what was executed, inverse dynamics, limits."""
import numpy as np

from diffusion_planner.evaluation.bag_statistics import blocks, interval, ratio, spread
from diffusion_planner.safety import check_chunk, peak_jerk
from diffusion_planner.splines import quintic_at

METHODS = {'guided': 'the plan', 'unguided': 'the plan without guidance', 'hold': 'standing still', 'constant_velocity': 'going on at the measured velocity'}
TOLD = {'told': 'the model, told where the arm is after a while', 'smooth': 'the cubic between both ends, told the same'}


def motion(steps, measures):
    """Sum up how far foretold motion is from executed motion, by offset from the instant at which a plan takes over."""
    block = blocks(steps)
    told = [offset for offset in measures.offset_s if offset < measures.told_s - 1e-6]
    return {'about': 'Where plans had the arm, against where it was. Guided and unguided plans go where the model would go; where somebody else moved the '
                     'arm, only the model told where the arm went (told_arrival) is held against the way it took.',
            'units': {'offset_s': 's', 'rms_rad': 'rad, root mean square over joints and plans [value, low, high]', 'median_rad': 'rad',
                      'tip_m': 'm, mean distance of the fingertips [value, low, high]', 'tip_median_m': 'm', 'n': 'plans'},
            'intervals': '95 %, bootstrap over stretches of 4 s',
            'offsets_s': list(measures.offset_s),
            'methods': {name: {'name': text, 'rows': _rows(steps, block, 'motion', name, measures.offset_s)} for name, text in METHODS.items()},
            'against_constant_velocity': {name: _ratios(steps, block, 'motion', (name, 'constant_velocity'), measures.offset_s)
                                          for name in ('guided', 'unguided')},
            'told_arrival': {'arrival_s': measures.told_s, 'about': 'Only the way is imagined: both are told where the arm really was at the arrival.',
                             'methods': {name: {'name': text, 'rows': _rows(steps, block, 'told', name, told)} for name, text in TOLD.items()},
                             'against_smooth': _ratios(steps, block, 'told', ('told', 'smooth'), told)}}


def _column(steps, section, name, index):
    """Gather what one method missed at one offset: -> [N, 2] rad, m; nan where it is not known"""
    rows = [step.figures.get(section, {}).get(name) for step in steps]
    return np.array([[np.nan, np.nan] if row is None else row[index] for row in rows]).reshape(-1, 2)


def _rows(steps, block, section, name, offsets_s):
    rows = []
    for index, offset_s in enumerate(offsets_s):
        missed = _column(steps, section, name, index)
        known = missed[np.isfinite(missed[:, 0])]
        medians = np.median(known, 0) if len(known) else (None, None)
        rows.append({'offset_s': offset_s, 'n': len(known), 'rms_rad': interval(missed[:, 0] ** 2, block, root=True), 'median_rad': medians[0],
                     'tip_m': interval(missed[:, 1], block), 'tip_median_m': medians[1]})
    return rows


def _ratios(steps, block, section, names, offsets_s):
    """Divide the rms of two methods on the plans of which both are known."""
    rows = []
    for index, offset_s in enumerate(offsets_s):
        squares = [_column(steps, section, name, index)[:, 0] ** 2 for name in names]
        rows.append({'offset_s': offset_s, 'n': int(np.isfinite(squares[0] + squares[1]).sum()), 'ratio': ratio(*squares, block)})
    return rows


def dynamics(steps, joint_names):
    """Sum up how far inferred commands are from where the arm was next."""
    block, found = blocks(steps), [step.figures.get('dynamics') for step in steps]
    names = [name for name in ('model', 'hold', 'constant_velocity') if any(row and name in row for row in found)]
    table = {name: np.array([row[name] if row else np.full(len(joint_names), np.nan) for row in found]) for name in names}
    known = {name: rows[np.isfinite(rows).all(1)] for name, rows in table.items()}
    return {'about': 'The command that the model infers between two measured instants, against where the arm was 0.05 s after the first. '
                     'hold and constant_velocity are what it takes to beat.',
            'units': {'mean_rad': 'rad, mean over joints [value, low, high]', 'joints_rad': 'rad, mean', 'p95_rad': 'rad'},
            'available': 'model' in names,
            'methods': {name: {'n': len(known[name]), 'mean_rad': interval(table[name].mean(1), block),
                               'p95_rad': float(np.quantile(known[name].mean(1), 0.95)) if len(known[name]) else None,
                               'joints_rad': dict(zip(joint_names, known[name].mean(0))) if len(known[name]) else {}} for name in names}}


def limits(steps, readings, robot, cycle):
    """Sum up what was executed, and what would have been sent, against the robot's limits; readings: bag_recording.Extremes."""
    chunks = [step.chunk for step in steps if step.chunk is not None]
    broken = {}
    for step in steps:
        for reason in check_chunk(step.chunk, robot, step.handover) if step.chunk is not None else ():
            broken[reason] = broken.get(reason, 0) + 1
    used = np.array([_used(chunk, robot) for chunk in chunks]).reshape(-1, 4)
    names = ('position', 'velocity', 'acceleration', 'jerk')
    return {'about': 'executed: measured positions and velocities against the robot file. chunks: what shadow plans would have sent, checked anew '
                     'between their points; more than none beyond is a defect of ours.',
            'units': {'share': 'of the readings', 'largest': 'share of the limit; position: rad outside the range'},
            'executed': readings.figures(),
            'chunks': {'count': len(chunks), 'beyond': sum(broken.values()), 'by_reason': broken,
                       'largest': {name: spread(used[:, index]) for index, name in enumerate(names)},
                       'refused': dict(cycle.rejected), 'changed': dict(cycle.changed)}}


def _used(chunk, robot):
    """How much of the limits a chunk uses: -> outside the range in rad, then shares of velocity, acceleration and jerk"""
    at_s = np.arange(chunk.offset_s[0], chunk.offset_s[-1], robot.control_period_s)
    position_rad, velocity, acceleration = quintic_at(chunk.offset_s, chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2, at_s)
    outside = np.maximum(position_rad - robot.position_max_rad, robot.position_min_rad - position_rad).max()
    return (max(outside, 0.0), np.abs(velocity / np.array(robot.velocity_max_rad_s)).max(),
            np.abs(acceleration / np.array(robot.acceleration_max_rad_s2)).max(), (peak_jerk(chunk) / np.array(robot.jerk_max_rad_s3)).max())
