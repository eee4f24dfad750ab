"""The roofline: which share of the rate at which this machine multiplies large matrices the denoiser reaches.

What is counted are the multiplications and additions of matrix products that are carried out, 2 m k n for [m, k] times [k, n]; sines,
exponentials, norms and sums are work that the rate knows nothing of. For torch they follow from the network's shapes and from what the
denoiser is asked in real plans, for ONNX Runtime from the shapes in its own profile, where guidance is part of the same graph.
"""
import time

import numpy as np

from diffusion_planner.benchmarks import latency_accounting as accounting
from diffusion_planner.benchmarks.latency_plans import interleave
from diffusion_planner.planning.planner import NoSafeCandidate

SIDE, ROUNDS = 1536, 7      # of the large matrices; the best round counts
COUNTS = 33                 # numbers that an embedding makes of one, see nets.embeddings


class Watched:
    """Stands in for a denoiser: keeps what it is asked, and how long it takes."""

    def __init__(self, denoise, clock):
        self.denoise, self.clock, self.asked, self.taken_s = denoise, clock, [], []

    def __call__(self, *told):
        begun_s = self.clock()
        clean = self.denoise(*told)
        self.taken_s.append(self.clock() - begun_s)
        self.asked.append(told)
        return clean


def measure(everybody, cases, options, bar):
    """-> {'rates_gflops': {device: {type: rate}}, 'counted', name: {'gflop', 'ms', 'calls', 'shapes', 'share', ...}}"""
    plans = options.plans_per_point
    advance = bar('roofline', 2 * plans * len(everybody))
    where = {one.name: 'cpu' if one.device == 'cpu' else 'cuda' for one in everybody}
    rates = {device: rate for device in dict.fromkeys(where.values()) if (rate := rates_gflops(device))}
    found = {'rates_gflops': rates, 'counted': __doc__.split('\n\n')[1].replace('\n', ' ').strip(), 'backends': {}}
    for one in everybody:
        look = accounting.of_onnx if one.kind == 'onnx' else of_torch
        figures, rate = look(one, cases, options, advance), rates.get(where[one.name])
        found['backends'][one.name] = {**figures, 'share': rate and figures['gflop'] / (figures['ms'] / 1000 * rate['float32'])}
    return found


def of_torch(one, cases, options, advance):
    """Count and time what the denoiser is asked in plans: -> {'gflop', 'ms', 'calls': each per plan, 'own_gflops', 'spent_ms'}"""
    backend, plans = one.planner.backend, options.plans_per_point
    watched = backend.denoise = Watched(backend.denoise, one.clock)
    kept = {}

    def plan(_one, case):
        watched.asked.clear(), watched.taken_s.clear()
        try:
            one.planner.plan(case.observation, case.goal, case.seed)
        except NoSafeCandidate:
            return None
        kept['asked'] = [*watched.asked]
        return sum(watched.taken_s), [tuple(told[0].shape[:2]) for told in watched.asked]
    try:
        rows = interleave([one], cases, plans, plan, advance)[one.name]
    finally:
        backend.denoise = watched.denoise
    config, shared = backend.config, len(backend.config.context_offset_s)
    flop = [sum(flops(products(config, *shape, shared)) for shape in shapes) for _, shapes in rows]
    shapes = rows[-1][1]
    own = own_rate(products(config, *shape, shared) for shape in shapes) if one.device == 'cpu' else None
    spent = accounting.of_torch(one, cases, kept['asked'], plans, advance) if one.device == 'cpu' else {}
    return {'gflop': float(np.mean(flop)) / 1e9, 'ms': 1000 * float(np.median([taken_s for taken_s, _ in rows])),
            'calls': float(np.mean([len(shapes) for _, shapes in rows])), 'shapes': shapes, 'own_gflops': own, **spent}


def products(config, batch, count, shared):
    """List the matrix products of one call of nets.denoiser: -> [(how many side by side, m, k, n)]

    config: ModelConfig; batch B, count T, the first `shared` of which have the same level and second in the whole batch.
    """
    width, token, tokens = config.width, config.layout.width, batch * count
    found = [(1, tokens, token, width), (1, tokens, width, token)]
    for rows in filter(None, (shared, batch * (count - shared))):      # conditions: of the tokens that all share, and of each one's own
        found += 2 * [(1, rows, COUNTS, width), (1, rows, width, width)] + [(1, rows, width, 6 * width)] * config.depth + [(1, rows, width, 2 * width)]
    each = width // config.heads
    block = [(1, tokens, width, 3 * width), (batch * config.heads, count, each, count), (batch * config.heads, count, count, each),
             (1, tokens, width, width), (1, tokens, width, 4 * width), (1, tokens, 4 * width, width)]
    return found + block * config.depth


def flops(listed):
    return sum(2 * side * m * k * n for side, m, k, n in listed)


def rates_gflops(device):
    """Measure how fast torch multiplies large matrices, with as many threads as it has now: -> {number type: GFLOP/s, the best round}

    Nothing for a GPU that torch does not see.
    """
    import torch
    found = {}
    if device == 'cuda' and not torch.cuda.is_available():
        return found
    for name in ('float32', 'bfloat16'):
        left, right = (torch.randn(SIDE, SIDE, device=device).to(getattr(torch, name)) for _ in range(2))
        found[name] = _best(lambda: torch.mm(left, right), 2 * SIDE ** 3, device)
    return found


def own_rate(calls):
    """Measure how fast nothing but the matrix products of these calls is done, one after the other: [[(side, m, k, n)]] -> GFLOP/s"""
    import torch
    ready, total = [], 0
    for side, m, k, n in (product for call in calls for product in call):
        ready.append((torch.randn(side, m, k), torch.randn(side, k, n), torch.empty(side, m, n)))
        total += 2 * side * m * k * n

    def multiply():
        for left, right, out in ready:
            torch.bmm(left, right, out=out) if len(left) > 1 else torch.mm(left[0], right[0], out=out[0])
    return _best(multiply, total, 'cpu')


def _best(work, flop, device):
    import torch
    shortest_s = float('inf')
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        work()
        if device != 'cpu':
            torch.cuda.synchronize()
        shortest_s = min(shortest_s, time.perf_counter() - begun_s)
    return flop / shortest_s / 1e9
