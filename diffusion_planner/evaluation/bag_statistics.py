"""Statistics of walks: means with intervals that know of overlapping plans, reliability, histograms, figures as JSON has them."""
import math

import numpy as np

from diffusion_planner.evaluation.metrics import wilson
from diffusion_planner.statistics import roc_area

BLOCK_S = 4.0      # plans of the same stretch of time foretell the same motion: they are drawn together
DRAWS = 1000
DIGITS = 6


def blocks(steps):
    """Number the stretches of time that steps lie in, episodes apart: -> [N] int"""
    keys = [(step.episode, int(step.since_s // BLOCK_S)) for step in steps]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([order[key] for key in keys], int)


def interval(values, block, root=False):
    """Compute a mean and its 95 % interval, blocks drawn as a whole: values [N], block [N] -> [mean, low, high], None without values

    root: values are squares, and the root of their mean is wanted. (Block bootstrap, Kunsch 1989; always the same draws.)
    """
    values, block = np.asarray(values, float), np.asarray(block, int)
    known = np.isfinite(values)
    if not known.any():
        return None
    _, block = np.unique(block[known], return_inverse=True)
    sums, counts = np.bincount(block, values[known]), np.bincount(block)
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    found = [sums.sum() / counts.sum(), *np.quantile(means, (0.025, 0.975))]
    return [float(math.sqrt(value)) if root else float(value) for value in found]


def ratio(values, others, block):
    """Divide two rms of squares [N], both known, with the interval of the same draws: -> [ratio, low, high], None without values"""
    values, others, block = np.asarray(values, float), np.asarray(others, float), np.asarray(block, int)
    known = np.isfinite(values) & np.isfinite(others)
    if not known.any() or not others[known].sum() > 0:
        return None
    _, block = np.unique(block[known], return_inverse=True)
    sums, rest = np.bincount(block, values[known]), np.bincount(block, others[known])
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    draws = np.sqrt(sums[drawn].sum(1) / np.maximum(rest[drawn].sum(1), 1e-12))
    return [float(value) for value in (math.sqrt(sums.sum() / rest.sum()), *np.quantile(draws, (0.025, 0.975)))]


def reliability(said, happened, bins=10):
    """Hold probabilities [N] against what happened [N]: -> {'n', 'said', 'happened', 'ece', 'brier', 'roc_area', 'diagram'}

    diagram: {'said', 'happened', 'low', 'high', 'n'} per bin with its Wilson interval; the ROC area is None where one kind is missing.
    """
    said, happened = np.asarray(said, float), np.asarray(happened, float) > 0
    if not len(said):
        return {'n': 0, 'said': None, 'happened': None, 'ece': None, 'brier': None, 'roc_area': None, 'diagram': []}
    number, diagram, ece = np.minimum((said * bins).astype(int), bins - 1), [], 0.0
    for index in np.unique(number):
        own = number == index
        mean, share, count = float(said[own].mean()), float(happened[own].mean()), int(own.sum())
        low, high = wilson(int(happened[own].sum()), count)
        diagram.append({'said': mean, 'happened': share, 'low': low, 'high': high, 'n': count})
        ece += count / len(said) * abs(mean - share)
    area = roc_area(said, happened)
    return {'n': len(said), 'said': float(said.mean()), 'happened': float(happened.mean()), 'ece': ece, 'brier': float(np.square(said - happened).mean()),
            'roc_area': None if math.isnan(area) else area, 'diagram': diagram}


def spread(values):
    """Sum up figures: -> {'n', 'median', 'p05', 'p95', 'largest'}, None without any"""
    values = np.asarray([value for value in values if value is not None], float)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
    return {'n': len(values), 'median': float(median), 'p05': float(low), 'p95': float(high), 'largest': float(values.max())}


def share(flags):
    """Compute a share and its 95 % interval: -> [share, low, high], None of nothing"""
    flags = [bool(flag) for flag in flags]
    return [sum(flags) / len(flags), *wilson(sum(flags), len(flags))] if flags else None


def histogram(values, edges):
    """Count values per bin: -> {'edges' [N + 1], 'counts' [N], 'beyond'}"""
    values = np.asarray(values, float)
    return {'edges': list(edges), 'counts': np.histogram(values, edges)[0].tolist(), 'beyond': int((values > edges[-1]).sum())}


def plain(value):
    """Make what json.dumps takes of numpy, rounded to DIGITS significant digits, dates to milliseconds; what is not finite is None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return None
        return round(float(value), 3) if abs(value) >= 10.0 ** DIGITS else float(f'{value:.{DIGITS}g}') + 0.0
    return int(value) if isinstance(value, np.integer) else value
