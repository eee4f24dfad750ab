"""The page of plots of an audit: drawn from whole and from poor reports alike."""
import json
import math

import numpy as np
import pytest

from diffusion_planner.evaluation import audit_page
from diffusion_planner.evaluation.metrics import wilson

ARM = {'guarded': (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), 'damped': (0.5, 2.0, 16.0), 'free': (0.125, 0.25, 0.5, 1.0, 16.0)}
MAZE = {'guarded': (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0, 30.0), 'damped': (0.03, 0.1, 0.3, 1.0, 8.0), 'free': (0.001, 0.003, 0.01, 0.03, 1.0)}
FALL = {'guarded': 0.01, 'damped': 0.12, 'free': 0.5}       # how much a mode loses per e-fold of the scale
JUDGEMENTS = ('reward', 'panel', 'agreement', 'judge', 'typicality', 'reach', 'steps', 'genuineness', 'familiarity', 'consistency', 'combined judge')


def share(value, count=100):
    value = round(float(np.clip(value, 0, 1)) * count)
    return [value / count, *wilson(value, count)]


def about(value, spread=0.06):
    return [value, value * (1 - spread), value * (1 + spread)]


def common(mode, scale):
    lost = FALL[mode] * math.log1p(8 * scale)
    said = 0.15 + 0.82 * (1 - math.exp(-12 * scale))
    return lost, {'scale': scale, 'mode': mode, 'episodes': 100, 'plans': 260, 'refused': 3, 'success': share(0.98 * said - lost + 0.02),
                  'predicted_reward': about(said, 0.02), 'realised_reward': share(said - lost, 260), 'apart_m': about(0.012 + 0.05 * lost),
                  'in_force': about(0.09 * scale ** 0.3) if mode == 'guarded' and scale else None}


def arm_row(mode, scale):
    lost, row = common(mode, scale)
    held = mode == 'guarded' and scale > 0
    factors = {'curvature': 0.09 * scale ** -0.7 if scale else 1.0, 'ease': 0.999, 'region': 0.97}
    return {**row, 'contact': share(0.04 + 0.6 * lost), 'zone_entered': share(0.0), 'judge': about(0.9 - lost / 2, 0.02),
            'predicted_success': about(max(0.02, row['success'][0] - 0.02), 0.02), 'typicality': about(0.45 + 4 * lost ** 2), 'plan_ms': about(60.0),
            **{name: about(value, 0.05) if held else None for name, value in factors.items()}}


def reliability(random):
    said = np.sort(random.random(8))
    return {'ece': float(random.random() / 5), 'diagram': [[float(mean), *share(mean * 0.9, 60), int(random.integers(5, 200))] for mean in said]}


@pytest.fixture
def arm():
    random, ramp = np.random.default_rng(0), np.linspace(0, 1, 50)
    areas = {name: {'all': 0.9 - 0.03 * index, 'with reward': 0.86 - 0.04 * index, 'guarded': math.nan} for index, name in enumerate(JUDGEMENTS)}
    return {'summary': {'knee_guarded': 8.0, 'recommended_scale': 0.5, 'knee_damped': 1.0, 'knee_free': 0.125, 'shipped_scale': 0.5,
                        'predicted_success': 0.96, 'realised_success': 0.98, 'success_at_eight_times_guarded': 0.98},
            'model': 'models/panda_reach', 'sha256': '0' * 64, 'episodes': 100, 'first_seed': 1000, 'objective': None, 'planted_flaw': False,
            'sweep': [arm_row(mode, scale) for mode, scales in ARM.items() for scale in scales],
            'separation': {**areas, 'plans that came true': {'all': '430 of 700', 'with reward': '420 of 600', 'guarded': '260 of 300'}},
            'reliability': {name: reliability(random) for name in ('head that guides', 'judge', 'combined judge')},
            'roc': {name: np.stack([ramp, ramp ** power], 1).tolist() for name, power in (('reward', 0.7), ('judge', 0.4), ('comes_true', 0.2))}}


@pytest.fixture
def maze():
    rows = []
    for mode, scales in MAZE.items():
        for scale in scales:
            lost, row = common(mode, scale)
            rows.append({**row, 'wall': share(0.01 + lost, 260), 'reach': about(6.0 - 9 * lost), 'familiarity': about(2.0 - lost), 'latched': about(190.0)})
    return {'summary': {'knee_guarded': 8.0, 'recommended_scale': 0.3, 'knee_damped': 0.1, 'knee_free': 0.001, 'shipped_scale': 0.3,
                        'predicted_success': 0.95, 'realised_success': 0.94},
            'maze': 'umaze', 'sha256': '1' * 64, 'episodes': 100, 'first_seed': 1000, 'sweep': rows,
            'separation': {name: {'all': 0.8, 'guided': 0.75} for name in ('reward', 'judge', 'reach', 'familiarity')}}


@pytest.fixture
def poor(arm):
    """One mode, hardly a figure: every plan refused at one scale, no combined judge, no single plans that differ."""
    refused = {name: None if isinstance(value, list) and name != 'success' else value for name, value in arm_row('guarded', 1.0).items()}
    return {**arm, 'summary': {'shipped_scale': 0.0, 'knee_guarded': 0.0, 'predicted_success': None, 'realised_success': 0.98},
            'sweep': [arm_row('guarded', 0.0), refused],
            'separation': {'reward': {'all': math.nan, 'with reward': math.nan}, 'plans that came true': {'all': '0 of 0'}},
            'reliability': {}, 'roc': {}, 'objective': 'config/objectives/zone.yaml', 'planted_flaw': True}


@pytest.mark.parametrize('name, rows', [('arm', 4), ('maze', 3), ('poor', 2)])
def test_page_is_drawn(name, rows, request, tmp_path):
    from matplotlib.image import imread
    path, out = tmp_path / 'audit.json', tmp_path / 'new' / 'audit.png'
    path.write_text(json.dumps(request.getfixturevalue(name)))
    audit_page.draw(path, out)
    height, width, _ = imread(out).shape
    assert width == 1800 and 30_000 < out.stat().st_size < 2_000_000
    assert height == pytest.approx(audit_page.DPI * (rows * audit_page.INCHES[1] + 1.1), abs=2)


def test_nothing_swept_is_no_error(tmp_path):
    (tmp_path / 'audit.json').write_text('{"sweep": [], "summary": {}}')
    assert audit_page.draw(tmp_path / 'audit.json', tmp_path / 'audit.png').exists()


def _texts(axis):
    return [text.get_text() for text in axis.texts]


def test_a_knee_that_lies_beyond_the_sweep_is_said_and_not_drawn(arm):
    there = audit_page.page(arm).axes[0]
    arm['summary']['knee_guarded'] = None
    beyond = audit_page.page(arm).axes[0]
    assert 'knee: not reached up to 16' in _texts(beyond) and not any('knee' in text for text in _texts(there))
    assert len(there.lines) == len(beyond.lines) + 1                      # the line of the knee


@pytest.mark.parametrize('name', ['arm', 'maze'])
def test_what_is_written_keeps_to_its_panel(name, request):
    """What diverges, too: no finding is wider than its panel, no tick of the upright axis runs into the next one."""
    import matplotlib
    report = request.getfixturevalue(name)
    for row in report['sweep']:
        if row['mode'] == 'free' and row['scale'] >= 1:
            row |= {'apart_m': [1.5e9] * 3, 'reach': [-4.8e11, -5e11, -4e11]}
    with matplotlib.rc_context(audit_page.FONT):
        figure = audit_page.page(report)
        figure.draw_without_rendering()
    for axis in (axis for axis in figure.axes if axis.axison):
        finding = next(text for text in axis.texts if text.get_position() == (0, 5))
        assert finding.get_window_extent().x1 < axis.get_window_extent().x1 + 15, finding.get_text()
        low, high = axis.get_window_extent().y0, axis.get_window_extent().y1
        ticks = [label.get_window_extent() for label in axis.get_yticklabels() if label.get_text()]
        ticks = sorted((box for box in ticks if low - 1 < (box.y0 + box.y1) / 2 < high + 1), key=lambda box: box.y0)
        assert all(one.y1 <= other.y0 + 1 for one, other in zip(ticks, ticks[1:])), axis.get_title(loc='left')
