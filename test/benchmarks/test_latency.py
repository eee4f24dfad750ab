"""The benchmark of latency: what it counts by hand, that everybody does the same, and a whole run on random weights."""
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_planner import cli, files, messages
from diffusion_planner.benchmarks import (latency, latency_accounting, latency_cases, latency_contenders, latency_plans, latency_plot, latency_report,
                                          latency_roofline, latency_start, latency_sweeps)
from diffusion_planner.config import ConfigError
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.runtime import checkpoint, onnx_files, tracing
from diffusion_planner.runtime.onnx_graphs import small_session
from diffusion_planner.sim.scene import default_robot

TYPICALITY = {'level': 0.5, 'band_s': [0.0, 2.0, 4.0], 'median': [0.5, 0.5], 'q90': [1.0, 1.0], 'q99': [2.0, 2.0]}
SETTINGS = PlannerSettings(arrivals=3, samples=1, far_steps=2, fill_steps=2, fill_in=3, plans=2)
CONFIG = ModelConfig(default_robot().joint_names, ('camera',), (96, 96, 3), width=32, depth=2, transition=True, panel=2)
STARTED = {'start_s': 2.0, 'import_s': 0.5, 'load_s': 1.0, 'warm_up_s': 0.3, 'plan_s': 0.2, 'peak_rss_mb': 300.0, 'rss_mb': 290.0, 'loaded': ['torch']}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A whole model folder with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('latency') / 'model'
    checkpoint.save(folder, WorldModel(CONFIG), {'typicality': TYPICALITY}, {})
    return folder


@pytest.fixture(scope='module')
def options(folder):
    return latency.Options(folder, plans=2, threads=1, kinds=('torch', 'eager'), quick=True, settings=SETTINGS, lenient=True)


@pytest.fixture(scope='module')
def cases(options):
    return latency_cases.record(options)


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(latency_plans, 'PAUSE_S', 0.0)
    monkeypatch.setattr(latency_plans, 'WARM', 1)
    monkeypatch.setattr(latency_roofline, 'SIDE', 64)


class Fake:
    """A contender that only counts."""

    def __init__(self, name, log, takes_ms=(), refuses=()):
        self.name, self.log, self.takes_ms, self.refuses, self.now_s, self.calls = name, log, list(takes_ms), refuses, 0.0, 0
        self.planner, self.settings = self, SETTINGS

    def clock(self):
        return self.now_s

    def take_up(self, case):
        self.log.append(('take up', self.name, case))

    def plan(self, _observation, _goal, _seed, deadline_s=None):
        self.log.append(self.settings if deadline_s is None else deadline_s)
        self.now_s += self.takes_ms[self.calls] / 1000
        self.calls += 1
        if self.calls - 1 in self.refuses:
            raise NoSafeCandidate({'far token not typical': 1})
        return SimpleNamespace(steps={'far': self.calls, 'fill': 1})


def test_flops_are_those_that_torch_counts():
    network = WorldModel(CONFIG).denoiser
    for batch, count, shared in ((5, 4, 3), (3, 15, 3), (2, 6, 0)):
        told = torch.randn(batch, count, CONFIG.layout.width), torch.full((batch, count), 0.5), torch.ones(batch, count)
        # In one piece, attention would not be counted.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            network(*told, shared)
        assert latency_roofline.flops(latency_roofline.products(CONFIG, batch, count, shared)) == counted.get_total_flops()


@pytest.mark.parametrize('given, made, expected', [
    ([[5, 64]], [5, 32], 2 * 5 * 32 * 64), ([[5, 64], [32]], [5, 32], 2 * 5 * 32 * 64),      # a weight, and a bias, which is not counted
    ([[3, 4, 5, 8], [3, 4, 8, 6]], [3, 4, 5, 6], 2 * 3 * 4 * 5 * 6 * 8),                     # both sides computed
    ([[64, 7]], [9, 7], 2 * 9 * 7 * 64)])                                                    # the weight is the left side
def test_flops_of_a_profile_by_hand(given, made, expected):
    assert latency_accounting.flops_of({'input_type_shape': [{'float': shape} for shape in given], 'output_type_shape': [{'float': made}]}) == expected


@pytest.mark.parametrize('operator, kind', [
    ('aten::addmm', 'matrix products'), ('aten::bmm', 'matrix products'), ('aten::mm', 'matrix products'), ('FusedMatMul', 'matrix products'),
    ('Gemm', 'matrix products'), ('aten::_scaled_dot_product_flash_attention_for_cpu', 'attention'), ('Softmax', 'attention'),
    ('aten::native_layer_norm', 'norms'), ('LayerNormalization', 'norms'), ('Concat', 'data movement'), ('aten::t', 'data movement'),
    ('aten::transpose', 'data movement'), ('aten::mkldnn_convolution', 'convolutions'), ('Conv', 'convolutions'), ('aten::gelu', 'elementwise'),
    ('Mul', 'elementwise'), ('QuickGelu', 'elementwise'), ('aten::add', 'elementwise'), ('aten::tanh', 'elementwise')])
def test_operators_are_of_the_kind_they_should_be(operator, kind):
    assert latency_accounting.kind_of(operator) == kind


def test_everybody_takes_each_turn_and_warm_up_does_not_count():
    log, done = [], []
    everybody = [Fake('one', log), Fake('other', log)]
    rows = latency_plans.interleave(everybody, ['a', 'b', 'c'], 4, lambda one, case: done.append((one.name, case)) or (case if case != 'b' else None), warm=2)
    # Two rounds of warm-up on a and b; then c, a, b, c, of which b gave nothing.
    assert rows == {'one': ['c', 'a', 'c'], 'other': ['c', 'a', 'c']}
    assert [case for _, case in done] == [case for case in 'abcabc' for _ in everybody]
    assert [(name, case) for _, name, case in log] == done                      # brought to the case before each turn
    assert [done[2 * turn][0] for turn in range(6)] in (['one', 'other'] * 3, ['other', 'one'] * 3)     # nobody always comes first


def test_what_keeps_a_deadline_and_what_is_refused_under_it(monkeypatch, hurry):
    monkeypatch.setattr(latency_plans, 'WARM', 0)
    log = []
    case = SimpleNamespace(observation=None, goal=None, seed=0)
    late, none = Fake('late', log, [9.0, 10.5, 9.9, 30.0], refuses=(1,)), Fake('none', log, [1.0] * 4, refuses=range(4))
    found = latency_sweeps.deadline([late, none], [case], latency.Options('m', plans=4, deadline_ms=10.0), lambda what, total: lambda: None)
    assert found['late']['kept'] == 0.5 and found['late']['refused'] == 1
    assert found['late']['steps'] == {'far': pytest.approx((1 + 3 + 4) / 3), 'fill': 1.0}
    assert found['none']['kept'] == 1.0 and found['none']['refused'] == 4 and found['none']['steps'] is None
    assert log.count(0.01) == 8


def test_sweeps_change_one_setting_at_a_time_and_put_it_back(hurry):
    log, shown = [], Counter()
    one, case = Fake('one', log, [2.0] * 99), SimpleNamespace(observation=None, goal=None, seed=0)
    found = latency_sweeps.sweeps([one], [case], latency.Options('m', plans=2, quick=True), lambda what, total: lambda: shown.update([what]))
    tried = [settings for settings in log if isinstance(settings, PlannerSettings)]
    ends = [{'arrivals': 5, 'samples': 1}, {'arrivals': 20, 'samples': 4}, {'fill_in': 5}, {'fill_in': 23}, {'far_steps': 2, 'fill_steps': 2},
            {'far_steps': 8, 'fill_steps': 8}]
    assert tried == [replace(SETTINGS, **changes) for changes in ends for _ in range(4)]          # one to warm up, three that count
    assert one.settings == SETTINGS and shown == {'candidates': 6, 'tokens': 6, 'steps': 6}
    assert [point['at'] for point in found['tokens']] == [5, 23] and found['steps'][0]['one']['p99'] == pytest.approx(2.0)


def test_progress_is_shown_and_nothing_where_there_is_none(capsys):
    with latency.bars() as bar:
        pass
    assert capsys.readouterr().err == ''
    with latency.bars() as bar:
        bar('recording', 1)()
    assert 'recording' in capsys.readouterr().err


def test_plans_differ_by_their_worst_joint_and_not_at_all_comparable_where_they_arrive_at_other_times():
    plan = SimpleNamespace(offset_s=np.array([0.5, 1.0]), position_rad=np.zeros((2, 7)))
    moved = SimpleNamespace(offset_s=plan.offset_s, position_rad=np.array([[0.0] * 7, [0.0] * 6 + [-0.25]]))
    assert latency_plans.apart_rad(plan, plan) == 0 and latency_plans.apart_rad(plan, moved) == 0.25
    assert latency_plans.apart_rad(plan, SimpleNamespace(offset_s=plan.offset_s + 0.1, position_rad=plan.position_rad)) == float('inf')


def test_cases_are_what_a_robot_would_see(cases, options):
    assert len(cases) == options.cases and cases[0].first and cases[0].previous is None
    for before, case in zip(cases, cases[1:]):
        assert case.first or case.previous.position_rad is before.plan.position_rad       # each goes on with the last
        assert case.observation.picture_stamp_s[-1] > before.observation.picture_stamp_s[-1] or case.first
        np.testing.assert_array_equal(case.handover.position_rad, case.observation.position_rad[-1])
    read = messages.read_image(cases[-1].message, 'camera').pixels
    assert read.shape == (480, 640, 3)
    np.testing.assert_array_equal(messages.fit(read, (96, 96, 3)), cases[-1].observation.pictures[-1][0])
    assert latency_cases.pictures_per_plan(cases) >= 1


def test_with_the_shipped_model_the_arm_moves_and_no_picture_is_seen_twice():
    cases = latency_cases.record(latency.Options(files.find('models/panda_reach'), plans=4, threads=1))
    assert len(cases) == 4 and latency_cases.pictures_per_plan(cases) > 2
    moved_rad = [np.abs(case.observation.position_rad[-1] - before.observation.position_rad[-1]).max() for before, case in zip(cases, cases[1:])]
    assert min(moved_rad) > 0.01


def test_pictures_that_an_episode_has_shown_before_are_not_new():
    def seen(first, *stamps):
        return SimpleNamespace(first=first, observation=SimpleNamespace(picture_stamp_s=np.array(stamps)[:, None]))
    assert latency_cases.pictures_per_plan([seen(True, 0.0, 0.0, 1.0), seen(False, 0.0, 1.0, 2.0), seen(True, 2.0, 2.0, 2.0)]) == (2 + 1 + 1) / 3


def test_eager_is_not_traced_and_plans_the_same(cases, options):
    torch_, eager = (latency_contenders.load(kind, 'cpu', options, default_robot()) for kind in ('torch', 'eager'))
    assert isinstance(torch_.planner.backend.denoise, torch.jit.ScriptModule) and torch_.planner.backend.pressure.fast is not None
    assert not isinstance(eager.planner.backend.denoise, torch.jit.ScriptModule)
    assert eager.planner.backend.pressure.fast is None and eager.planner.backend.pressure.strange_posture is None
    for case in cases:
        for one in (torch_, eager):
            one.take_up(case)
            plan = one.planner.plan(case.observation, case.goal, case.seed)
            assert latency_plans.apart_rad(plan, case.plan) < 1e-4


def test_everybody_begins_a_case_where_it_was_recorded():
    forgotten = []
    planner = SimpleNamespace(previous='own', refused=3, reset=lambda: forgotten.append(True), clock=None)
    one = latency_contenders.Contender('torch', 'cpu', planner)
    one.take_up(SimpleNamespace(first=False, previous='recorded'))
    assert (planner.previous, planner.refused, forgotten) == ('recorded', 0, [])
    one.take_up(SimpleNamespace(first=True, previous=None))
    assert planner.previous is None and forgotten == [True]      # pictures of another episode are no longer known


def test_a_kind_that_is_asked_for_must_be_there(options):
    with pytest.raises(checkpoint.ModelError, match='no ONNX graphs'):
        latency_contenders.load_all(replace(options, kinds=('torch', 'onnx')), default_robot())
    here, missing = latency_contenders.load_all(replace(options, kinds=()), default_robot())
    assert {'torch', 'eager'} <= {one.name for one in here} and any(line.startswith('onnx: ') for line in missing)


def test_what_is_exported_for_the_sweep_over_cameras_is_a_package(folder, options, tmp_path, monkeypatch):
    export = pytest.importorskip('diffusion_planner.runtime.export')

    def write_graphs(network, weights, target, tell):
        (target / 'far.onnx').write_bytes(b'graph')
        return {'far': hashlib.sha256(b'graph').hexdigest()}
    monkeypatch.setattr(export, 'write_graphs', write_graphs)
    latency_sweeps.several(folder, 2, tmp_path)
    missing = []
    for quick, kinds in ((False, ('torch',)), (True, ())):
        latency_sweeps._export(replace(options, model=tmp_path, kinds=kinds, quick=quick), missing, lambda what, total: lambda: None)
        assert not (tmp_path / 'far.onnx').exists()
    assert len(missing) == 1 and 'not with --quick' in missing[0]
    latency_sweeps._export(replace(options, model=tmp_path, kinds=(), quick=False), missing, lambda what, total: lambda: None)
    paths, config = onnx_files.read(tmp_path)
    monkeypatch.setattr(export, 'write_graphs', lambda *told: (_ for _ in ()).throw(tracing.ExportError('far: cannot be exported')))
    latency_sweeps._export(replace(options, model=tmp_path, kinds=(), quick=False), missing, lambda what, total: lambda: None)
    assert missing[1:] == ['onnx with two cameras: far: cannot be exported']
    assert list(paths) == ['far'] and config['model']['cameras'] == ['camera 0', 'camera 1']


def test_sessions_are_timed_and_their_profile_counted(tmp_path):
    onnx, runtime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    real, weight = onnx.TensorProto.FLOAT, np.ones((6, 4), np.float32)
    nodes = [onnx.helper.make_node('MatMul', ['x', 'w'], ['y']), onnx.helper.make_node('Softmax', ['y'], ['z'])]
    graph = onnx.helper.make_graph(nodes, 'g', [onnx.helper.make_tensor_value_info('x', real, [None, 6])],
                                   [onnx.helper.make_tensor_value_info('z', real, None)], [onnx.numpy_helper.from_array(weight, 'w')])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 20)], ir_version=10), tmp_path / 'far.onnx')
    original = runtime.InferenceSession
    with latency_accounting.watched_sessions(tmp_path) as made:
        session = small_session(str(tmp_path / 'far.onnx'), runtime.SessionOptions())
        for _ in range(3):
            session.run(None, {'x': np.ones((5, 6), np.float32)})
    assert runtime.InferenceSession is original and made == [session]
    assert session.graph == 'far' and len(session.taken_s) == 3
    events = json.loads(Path(session.end_profiling()).read_text())
    flop, spent_ms = latency_accounting._spent({'far': events}, 3)
    assert flop == 2 * 5 * 6 * 4 and {'matrix products', 'attention', 'between operators'} == set(spent_ms)


def test_a_whole_run(options, hurry, monkeypatch, tmp_path):
    monkeypatch.setattr(latency_start, 'start', lambda *told: STARTED)
    shown, sent = Counter(), []

    def bar(what, total):
        shown[what] -= total
        return lambda: shown.update([what])
    report = latency.measure(options, lambda chunk, names, now_s: sent.append(chunk.origin_s + chunk.offset_s[0] - now_s), bar)
    assert set(report['summary']) == set(report['backends']) == {'torch', 'eager'}
    for name, found in report['backends'].items():
        assert tuple(found['stages_ms']) == latency_plans.STAGES and len(found['plans_ms']) == 2 and found['alike'] == 1.0
        assert 0 < found['plan_ms']['p50'] <= found['plan_ms']['p99'] <= found['whole_ms']['max']
        assert found['plan_ms']['max'] >= sum(found['stages_ms'][stage]['p50'] for stage in ('encode', 'far', 'fill', 'decode', 'choose')) / 2
        row = report['summary'][name]
        assert row['candidates'] == 3 and row['steps'] == {'far': 2, 'fill': 2} and row['threads'] == 1 and row['peak_rss_mb'] == 300.0
        assert row['speedup_vs_eager_torch'] == report['backends']['eager']['plan_ms']['p50'] / found['plan_ms']['p50'] and row['loads_torch']
    for name, found in report['roofline']['backends'].items():
        # Two steps of the far tokens (3 and 2 warm ones), two steps of the paths.
        assert found['calls'] == 4 and found['shapes'][0][1] == 4 and found['shapes'][-1] == (2, 7), found['shapes']
        assert found['share'] == pytest.approx(found['gflop'] / (found['ms'] / 1000) / report['roofline']['rates_gflops']['cpu']['float32'])
        assert found['spent_ms']['matrix products'] > 0
    assert [point['at'] for point in report['sweeps']['candidates']] == [5, 80] and [point['at'] for point in report['sweeps']['cameras']] == [1, 2]
    assert all(point[name]['plans'] == 3 for points in report['sweeps'].values() for point in points for name in report['summary'])
    assert all(left == 0 for left in shown.values()), shown                      # every bar came to its end
    assert sent and set(np.round(sent, 6)) == {latency_plans.LEAD_S}
    _assert_shown(report, tmp_path)


def _assert_shown(report, tmp_path):
    latency.write(report, tmp_path / 'new' / 'latency.json')
    assert json.loads((tmp_path / 'new' / 'latency.json').read_text())['summary'] == report['summary']
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['latency.json']
    latency_report.show(report)
    for load, busy in ((0.1, False), (2.0, True)):
        said = latency_report.notes({**report, 'machine': {**report['machine'], 'load': load}})
        assert busy == any('no figure here is to be relied on' in line for line in said)
    picture = latency_plot.draw(tmp_path / 'new' / 'latency.json', tmp_path / 'plots' / 'latency.png')
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_a_fresh_process_says_what_it_took(folder, cases, options, tmp_path):
    latency_start.save(cases[0], tmp_path / 'case.npz')
    found = latency_start.start('torch', 'cpu', options, tmp_path / 'case.npz', 'sqlite3')
    assert found['start_s'] == pytest.approx(sum(found[part] for part in ('import_s', 'load_s', 'warm_up_s', 'plan_s')))
    assert found['peak_rss_mb'] >= found['rss_mb'] > 100 and 'torch' in found['loaded'] and 'rclpy' not in found['loaded']
    with pytest.raises(ConfigError, match='exit status 1, last words: .*no such model folder'):
        latency_start.start('torch', 'cpu', replace(options, model='nowhere'), tmp_path / 'case.npz', '')


@pytest.mark.parametrize('arguments, said', [
    (['--plans', '0'], '--plans'), (['--threads', '0'], '--threads'), (['--deadline-ms', '0'], '--deadline-ms'),
    (['--backend', 'jax'], "--backend: got 'jax', expected one of torch, eager, onnx"), (['nowhere'], 'nowhere: no such model folder')])
def test_bad_options_are_one_line(arguments, said, capsys):
    assert cli.main(['bench', 'latency', *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_a_model_of_another_arm_is_one_line(capsys):
    assert cli.main(['bench', 'latency', str(files.find('models/pointmaze_large'))]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and 'ball_x' in lines[0]
