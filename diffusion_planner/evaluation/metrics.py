"""Figures of closed-loop episodes."""
import numpy as np


def summarise(rows):
    """Summarise episode rows (dicts with seed success time_to_target_s contacts limit_violations plan_ms): -> dict"""
    if not rows:
        return {}
    times = [row['time_to_target_s'] for row in rows if row['time_to_target_s'] is not None]
    plan_ms = [value for row in rows for value in row['plan_ms']]
    successes = sum(bool(row['success']) for row in rows)
    return {'episodes': len(rows), 'success_rate': successes / len(rows), 'success_interval': wilson(successes, len(rows)),
            'time_to_target_s': float(np.mean(times)) if times else None,
            'contacts': int(sum(row['contacts'] for row in rows)),
            'episodes_with_contact': int(sum(row['contacts'] > 0 for row in rows)),
            'limit_violations': int(sum(row['limit_violations'] for row in rows)),
            'plan_ms_p50': float(np.quantile(plan_ms, 0.5)) if plan_ms else None,
            'plan_ms_p95': float(np.quantile(plan_ms, 0.95)) if plan_ms else None}


def wilson(successes, count, z=1.96):
    """95 % interval of a share (Wilson 1927): -> (low, high)"""
    share, spread = successes / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * np.sqrt(share * (1 - share) / count + spread / (4 * count))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def mean_interval(values, draws=4000):
    """Compute the mean and its 95 % interval by the bootstrap, always with the same draws: values [N] -> [mean, low, high]"""
    values = np.asarray(values, float)
    means = values[np.random.default_rng(0).integers(0, len(values), (draws, len(values)))].mean(1)
    return [float(values.mean()), *(float(bound) for bound in np.quantile(means, (0.025, 0.975)))]


def clustered_interval(groups, draws=4000):
    """Compute the mean over all values and its 95 % interval by the bootstrap of whole groups, always with the same draws

    clustered_interval([[values of an episode], ...]) -> [mean, low, high], or None where there is no value (Field and Welsh 2007).
    """
    sums, counts = (np.array([measure(group) for group in groups if len(group)], float) for measure in (np.sum, len))
    if not len(counts):
        return None
    picked = np.random.default_rng(0).integers(0, len(counts), (draws, len(counts)))
    means = sums[picked].sum(1) / counts[picked].sum(1)
    return [float(sums.sum() / counts.sum()), *(float(bound) for bound in np.quantile(means, (0.025, 0.975)))]


def clustered_share(groups):
    """The same of what happened or did not: [[bool, ...], ...] -> [share, low, high] or None

    Where all or none happened no draw differs, and the interval is Wilson's, with as many trials as there are groups.
    """
    groups = [np.array(group, float) for group in groups if len(group)]
    found = clustered_interval(groups)
    return [found[0], *wilson(round(found[0]) * len(groups), len(groups))] if found and found[0] in (0.0, 1.0) else found
