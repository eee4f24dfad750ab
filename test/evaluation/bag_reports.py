"""A small report of an evaluated bag with every section, as `evaluate` writes it, its pictures, and ways to spoil it."""
import json

import numpy as np

OFFSETS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
SPREAD = {'n': 40, 'median': 0.4, 'p05': 0.1, 'p95': 0.9, 'largest': 1.4}


def about(value):
    return [value, 0.8 * value, 1.3 * value]


def _rows(slope):
    return [{'offset_s': offset, 'n': 40, 'rms_rad': about(slope * offset), 'median_rad': 0.9 * slope * offset, 'tip_m': about(0.5 * slope * offset),
             'tip_median_m': 0.4 * slope * offset} for offset in OFFSETS_S]


def _ratios():
    return [{'offset_s': offset, 'n': 40, 'ratio': about(0.7)} for offset in OFFSETS_S]


def _head(shift):
    diagram = [{'said': said, 'happened': min(said + shift, 1.0), 'low': said - 0.1, 'high': min(said + 0.2, 1.0), 'n': 5 + round(20 * said)}
               for said in (0.05, 0.35, 0.65, 0.95)]
    return {'n': 60, 'said': 0.5, 'happened': 0.5 + shift, 'ece': abs(shift), 'brier': 0.04, 'roc_area': 0.93, 'diagram': diagram}


def _check(name, level, **given):
    return {'name': name, 'title': f'Title of {name}', 'level': level, 'value': 0.03, 'warn': 0.05, 'bad': 0.2, 'unit': 'share of the plans', 'better': 'lower',
            'sentence': f'Sentence of {name}.', 'n': 40, **given}


def _timeline(count):
    rows = [{'since_s': 0.5 * index, 'episode': index // 20, 'reward': float(index % 20 > 16), 'refused': 'too little time' if index % 13 == 12 else None,
             'chunk_refused': None, 'typicality_executed': 0.5 + (index % 10 == 9), 'typicality_plan': 0.3, 'judge_executed': float(index % 20 > 14),
             'realised_later': float(index % 20 > 14), 'predicted_reward': 0.9, 'judge': 0.8, 'strangeness': 0.4, 'picture_age_s': 0.1, 'arrival_s': 2.0,
             'tip_error_m': 0.02 + 0.01 * (index % 5), 'tip_error_unguided_m': 0.05} for index in range(count)]
    return {'about': 'about timeline', 'later_s': 1.0, 'rows': rows}


def _topic(topic, role):
    return {'topic': topic, 'role': role, 'type': 'sensor_msgs/msg/JointState', 'messages': 1200, 'rate_hz': 20.0, 'usual_gap_s': 0.05, 'largest_gap_s': 1.0,
            'dated_by': 'header', 'unstamped': 0, 'out_of_order': 2, 'repeated_stamps': 0, 'clock_offset_s': 1.7e9, 'clock_offset_spread_s': 0.002,
            'rejected': {'position: not finite': 3}, 'rejected_total': 3}


def _pictures(steps):
    table = [{'offset_s': offset, 'kind': kind, 'n': 30, 'psnr_db': {**SPREAD, 'median': 24.0, 'p05': 20.0, 'p95': 27.0}, 'mae': SPREAD}
             for kind in ('imagined', 'told', 'decoded', 'unchanged') for offset in (0.5, 1.0, 2.0)]
    saved = [{'step': step, 'since_s': 0.5 * step, 'episode': 0, 'camera': 'front', 'offset_s': offset,
              'files': {kind: f'pictures/{step}_{round(1000 * offset)}_{kind}.png' for kind in ('real', 'imagined', 'decoded', 'unchanged')}}
             for step in range(steps) for offset in (0.5, 1.0)]
    return {'about': 'about pictures', 'table': table, 'saved': saved}


def report(plans=40, steps=3):
    """Make a report of so many plans, with saved pictures of so many of them."""
    methods = {name: {'name': name, 'rows': _rows(slope)} for name, slope in (('guided', 0.1), ('unguided', 0.08), ('hold', 0.3), ('constant_velocity', 0.2))}
    ways = {name: {'name': name, 'rows': _rows(slope)} for name, slope in (('told', 0.05), ('smooth', 0.07))}
    pair = {'guided': about(0.9), 'unguided': about(0.1)}
    episodes = [{'episode': index, 'begin_s': 10.0 * index, 'end_s': 10.0 * index + 9.0} for index in range(plans // 20)]
    return {
        'format': 'diffusion_planner/bag_report/1', 'source': {'name': 'monday', 'notes': ['a note on the bag']},
        'bag': {'duration_s': plans / 2, 'walked_s': plans / 2, 'episodes': episodes, 'robot': 'panda', 'joint_names': ['shoulder', 'elbow']},
        'model': {'name': 'panda_reach', 'sha256': '0123456789abcdef', 'cameras': ['front'], 'horizon_s': 4.0, 'guidance_scale': 2.0},
        'settings': {'every_s': 0.5, 'seed': 0, 'lead_s': 0.3, 'objective': False}, 'plans': {'due': plans, 'guided': plans - 3},
        'motion': {'about': 'about motion', 'methods': methods, 'against_constant_velocity': {'guided': _ratios()},
                   'told_arrival': {'about': 'about ways', 'arrival_s': 2.0, 'methods': ways, 'against_smooth': _ratios()}},
        'inverse_dynamics': {'about': 'about dynamics', 'available': True, 'methods': {
            name: {'n': 40, 'mean_rad': about(0.001), 'p95_rad': 0.003, 'joints_rad': {'shoulder': 0.001, 'elbow': 0.002}} for name in ('model', 'hold')}},
        'reward': {'about': 'about reward', 'known': True, 'rewarded_share': about(0.2), 'heads': {
            name: {'name': name, 'all': _head(shift),
                'by_offset': [{'offset_s': 0.5, **_head(shift)}]} for name, shift in (('judge', -0.02), ('reward', 0.05))}},
        'success': {'about': 'about success', 'plans': 30, 'came': about(0.5), 'predictions': {'judge': _head(0.1), 'success': _head(-0.05)}},
        'guidance': {'about': 'about guidance', 'scale': 2.0, 'pairs': 40, 'moved_m': about(0.2), 'moved_rad': about(0.1), 'far': {'judge': pair},
                     'plans': {'n': 37, 'reward': pair, 'judge': pair, 'arrival_s': {'guided': about(2.0), 'unguided': None}}},
        'typicality': {'about': 'about typicality', 'limit': 1.0, 'executed': {'outside': about(0.1), 'by_offset': [{'offset_s': 0.5,
            'outside': about(0.1), **SPREAD}]},
                       'plans': {'guided': SPREAD, 'unguided': SPREAD}},
        'scene': {'about': 'about scene', 'alarm': about(0.02), 'limit': 1.25, 'figures': {'latent': SPREAD}, 'alarm_by': {'latent': about(0.02)}},
        'limits': {'about': 'about limits', 'executed': {'readings': 1200, **{name: {'beyond': 2, 'share': 0.002, 'joints': {'elbow': 2}, 'largest': 0.9,
                                                                                   'largest_joint': 'elbow'} for name in ('position', 'velocity')}},
                   'chunks': {'count': 37, 'beyond': 0, 'by_reason': {}, 'refused': {'no safe candidate': 3}, 'changed': {}, 'largest': {
                       name: SPREAD for name in ('position', 'velocity', 'acceleration', 'jerk')}}},
        'refusals': {'about': 'about refusals', 'instants': plans, 'refused': 3, 'share': about(0.07), 'by_reason': {'too little time': 3},
                     'candidates': {'joint limits': 5, 'too little time': 90}, 'unguided': {'no safe candidate': 1}, 'waited_s': {'camera: stale': 1.5}},
        'health': {'about': 'about health', 'jumps': 0, 'warnings': ['a warning'], 'topics': [_topic('/joint_states',
            'joints'), _topic('/camera/image', 'front')],
                   'picture_age_histogram': {'front': {'edges': [0.0, 0.1, 0.2, 0.3], 'counts': [20, 15, 5], 'beyond': 0}}},
        'timeline': _timeline(plans), 'pictures': _pictures(steps),
        'verdict': {'level': 'warn', 'sentence': 'Sentence of all.', 'checks': [
            _check('first', 'ok'), _check('second', 'warn', value=0.1), _check('third', 'unknown', value=None),
            _check('fourth', 'bad', value=0.6, unit='ROC area', better='higher', warn=0.9, bad=0.75)]}}


def timing():
    stages = {name: {'plans': 37, 'p50': p50, 'p95': 2 * p50, 'p99': 3 * p50, 'max': 4 * p50} for name, p50 in (('far', 40.0), ('total', 60.0))}
    return {'about': 'about timing', 'plans': 37, 'deadline_ms': 240.0, 'stages': stages, 'histogram': {'edges': [0, 40, 80, 120, 160],
        'counts': [0, 20, 15, 2], 'beyond': 1}}


def write(folder, content=None, times=None, side_px=16):
    """Write a report's folder with its pictures: -> folder"""
    import cv2
    content = report() if content is None else content
    (folder / 'pictures').mkdir(parents=True, exist_ok=True)
    (folder / 'report.json').write_text(json.dumps(content))
    (folder / 'timing.json').write_text(json.dumps(timing() if times is None else times))
    random = np.random.default_rng(0)
    for row in (content.get('pictures') or {}).get('saved', ()):
        for path in row['files'].values():
            if path:
                cv2.imwrite(str(folder / path), random.integers(0, 255, (side_px, side_px, 3), np.uint8))
    return folder


def spoiled(content, change):
    """Change every text, also the names, of a report: spoiled(content, change(text) -> text)"""
    if isinstance(content, dict):
        return {key: spoiled(value, change) for key, value in content.items()}
    if isinstance(content, list):
        return [spoiled(value, change) for value in content]
    return change(content) if isinstance(content, str) else content


def emptied(content):
    """Make every figure and text of a report null."""
    if isinstance(content, dict):
        return {key: emptied(value) for key, value in content.items()}
    return [emptied(value) for value in content] if isinstance(content, list) else None
