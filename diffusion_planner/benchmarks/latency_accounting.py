"""What the time in the networks is spent on, by kind of operator: from torch's profiler, and from ONNX Runtime's own profile."""
import json
import math
import os
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path


from diffusion_planner.benchmarks import latency_plans
from diffusion_planner.benchmarks.latency_contenders import load
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.sim.scene import default_robot

PRODUCTS, OVERHEAD = 'matrix products', 'between operators'
# Kinds of work, and words in the names of operators of either library that belong to them; the first that fits.
KINDS = {PRODUCTS: ('matmul', 'gemm', 'addmm', 'bmm', '::mm', '::linear', 'mkldnn_linear', '::mv', 'einsum'),
         'attention': ('attention', 'softmax'),
         'convolutions': ('conv', 'mkldnn', 'pool'),
         'norms': ('norm', 'reducemean', 'invstddev', '::mean', '::var', '::std'),
         'data movement': ('copy', 'cat', 'concat', 'view', 'reshape', 'transpose', 'permute', 'expand', 'slice', 'split', 'chunk', 'select', 'gather',
                           'index', 'squeeze', '::t', '::to', 'contiguous', 'clone', 'empty', 'zero', 'ones', 'full', 'fill', 'stack', 'unbind', 'pad',
                           'cast', 'narrow', 'strided', 'reorder', 'memcpy', 'scatter', 'where', 'repeat', 'lift', 'detach', 'alias', 'shape', 'resize'),
         'elementwise': ('',)}
DENOISING = ('imagine', 'far', 'far_through', 'pull_back', 'fill', 'conditions')     # graphs in which the denoiser is, or a part of it


def kind_of(operator):
    """Say what kind of work an operator is, by its name."""
    name = operator.lower()
    return next(kind for kind, words in KINDS.items() if any(name.endswith(word) if word in ('::t', '::to', '::mm', '::mv') else word in name
                                                             for word in words))


def of_torch(one, cases, asked, plans, advance):
    """Profile the denoiser's calls of one plan, and whole plans: -> {'spent_ms', 'plan_spent_ms': {kind: ms per plan}, 'operators': per plan}"""
    def think():
        for told in asked:
            one.planner.backend.denoise(*told)
    calls = iter([*cases, *cases * (plans // len(cases) + 1)])

    def plan():
        case = next(calls)
        one.take_up(case)
        try:
            one.planner.plan(case.observation, case.goal, case.seed)
        except NoSafeCandidate:
            pass
    spent_ms, operators = _profiled(think, plans)
    plan_spent_ms, _ = _profiled(plan, plans, advance)
    return {'spent_ms': spent_ms, 'plan_spent_ms': plan_spent_ms, 'operators': operators}


def _profiled(work, rounds, advance=lambda: None):
    """-> {kind: ms per round}, operators per round; under the profiler, which itself takes a microsecond or two for each of them"""
    import torch
    from torch.autograd.profiler import profile
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')      # it reports every start and stop on stderr
    with torch.no_grad():
        for _ in range(2):
            work()
        with profile(use_kineto=False) as seen:
            begun_s = time.perf_counter()
            for _ in range(rounds):
                work()
                advance()
            wall_ms = 1000 * (time.perf_counter() - begun_s) / rounds
    spent_ms, operators = Counter(), 0
    for row in seen.key_averages():
        if '::' in row.key:
            spent_ms[kind_of(row.key)] += row.self_cpu_time_total / 1000 / rounds
            operators += row.count / rounds
    return _ordered(spent_ms, wall_ms), operators


def _ordered(spent_ms, wall_ms):
    """Put kinds into their order, and what is left of the time behind them: -> {kind: ms}"""
    return {**{kind: float(spent_ms[kind]) for kind in KINDS if spent_ms[kind]}, OVERHEAD: max(0.0, wall_ms - sum(spent_ms.values()))}


def of_onnx(one, cases, options, advance):
    """Time sessions, and profile others like them: -> {'gflop', 'ms', 'calls': per plan in the denoiser's graphs, 'own_gflops', 'spent_ms', 'plan_spent_ms'}"""
    with tempfile.TemporaryDirectory() as scratch:
        times, _ = _rehearse(one, cases, options, advance, None)
        _, files = _rehearse(one, cases, options, advance, scratch)
        events = {name: [event for path in paths for event in json.loads(Path(path).read_text())] for name, paths in files.items()}
    plans = options.plans_per_point
    inside = {name: kept for name, kept in events.items() if name in DENOISING}
    runs = latency_plans.WARM + plans                               # the profile has those of warm-up, too
    counted, spent = _spent(inside, runs)
    _, plan_spent = _spent(events, runs)
    taken_ms = 1000 * sum(sum(taken) for name, taken in times.items() if name in DENOISING) / plans
    calls = sum(len(taken) for name, taken in times.items() if name in DENOISING) / plans
    own_gflops = counted / 1e6 / spent[PRODUCTS] if counted else None
    return {'gflop': counted / 1e9, 'ms': taken_ms, 'calls': calls, 'own_gflops': own_gflops, 'spent_ms': spent, 'plan_spent_ms': plan_spent,
            'sessions_ms': {name: 1000 * sum(taken) / plans for name, taken in times.items()},
            'operators': sum(event.get('cat') == 'Node' for kept in inside.values() for event in kept) / runs}


def _rehearse(one, cases, options, advance, scratch):
    """Plan with sessions that are watched: -> {graph: [seconds] without warm-up}, {graph: [paths of profiles]}"""
    with watched_sessions(scratch) as made:
        again = load('onnx', one.device, options, default_robot())
        seen = [0]

        def plan(contender, case):
            seen[0] += 1
            if seen[0] == latency_plans.WARM + 1:
                for session in made:
                    session.taken_s.clear()
            try:
                contender.planner.plan(case.observation, case.goal, case.seed)
            except NoSafeCandidate:
                pass
        latency_plans.interleave([again], cases, options.plans_per_point, plan, advance if scratch is None else lambda: None)
    times, files = {}, {}
    for session in made:
        times.setdefault(session.graph, []).extend(session.taken_s)
        if scratch is not None:
            files.setdefault(session.graph, []).append(session.end_profiling())
    return times, files


@contextmanager
def watched_sessions(scratch):
    """Let ONNX Runtime make sessions that keep the time, and with a scratch folder a profile: -> list that fills with them"""
    import onnxruntime
    original, made = onnxruntime.InferenceSession, []
    onnxruntime.InferenceSession = _watched(onnxruntime, scratch, made)
    try:
        yield made
    finally:
        onnxruntime.InferenceSession = original


def _watched(runtime, scratch, made):
    class Watched(runtime.InferenceSession):
        def __init__(self, model, options=None, *rest, **more):
            self.graph, self.taken_s = 'bytes' if isinstance(model, bytes) else Path(model).stem, []
            options = options or runtime.SessionOptions()
            if scratch is not None:
                options.enable_profiling, options.profile_file_prefix = True, str(Path(scratch) / f'{self.graph}_{len(made)}')
            super().__init__(model, options, *rest, **more)
            made.append(self)

        def run(self, *told, **more):
            return self._timed(super().run, *told, **more)

        def run_with_iobinding(self, *told, **more):
            return self._timed(super().run_with_iobinding, *told, **more)

        def _timed(self, call, *told, **more):
            begun_s = time.perf_counter()
            found = call(*told, **more)
            self.taken_s.append(time.perf_counter() - begun_s)
            return found
    return Watched


def _spent(events, runs):
    """Add up profiles: {graph: [event]} -> floating-point operations of matrix products per plan, {kind: ms per plan}"""
    spent_ms, flop, wall_ms = Counter(), 0, 0.0
    for event in (event for kept in events.values() for event in kept):
        if event.get('cat') == 'Session' and event['name'] == 'model_run':
            wall_ms += event['dur'] / 1000
        elif event.get('cat') == 'Node' and event['name'].endswith('_kernel_time'):
            operator = event['args'].get('op_name', '')
            spent_ms[kind_of(operator)] += event['dur'] / 1000
            if kind_of(operator) == PRODUCTS:
                flop += flops_of(event['args'])
    return flop / runs, {kind: ms / runs for kind, ms in _ordered(spent_ms, wall_ms).items()}


def flops_of(arguments):
    """Count a matrix product of ONNX Runtime's profile, which leaves out the shapes of weights: -> 2 m k n, times those side by side"""
    shapes = [next(iter(given.values())) for given in arguments['input_type_shape']]
    made, given = next(iter(arguments['output_type_shape'][0].values())), shapes[0]
    rows = math.prod(made[:-1])
    # The first that is listed is the left one if it has the rows of the product; else that is a weight, and this the right one.
    inner = given[-1] if math.prod(given[:-1]) == rows else given[-2] if len(given) > 1 else 1
    return 2 * math.prod(made) * inner
