"""Statistics of a LeRobot dataset, as its training normalises with: per episode and over all, in one pass."""
import numpy as np

QUANTILES = 0.01, 0.10, 0.50, 0.90, 0.99
KEPT = 50_000      # rows that quantiles over all are taken from, evenly; of fewer they are exact


class Numbers:
    """Statistics of a feature of K numbers."""

    def __init__(self, total):
        self.every, self.rows, self.kept = max(1, -(-total // KEPT)), 0, []
        self.sum = self.squares = 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, values):
        """Take the rows [N, K] of one episode: -> its statistics"""
        values = np.asarray(values, np.float64)
        self.kept.append(values[-self.rows % self.every::self.every])
        self.rows += len(values)
        self.sum, self.squares = self.sum + values.sum(0), self.squares + (values ** 2).sum(0)
        self.low, self.high = np.minimum(self.low, values.min(0)), np.maximum(self.high, values.max(0))
        return _summary(values.min(0), values.max(0), values.mean(0), values.std(0), len(values), np.quantile(values, QUANTILES, 0))

    def result(self):
        mean = self.sum / self.rows
        deviation = np.sqrt(np.maximum(self.squares / self.rows - mean ** 2, 0))
        return _summary(self.low, self.high, mean, deviation, self.rows, np.quantile(np.concatenate(self.kept), QUANTILES, 0))


class Pictures:
    """Statistics of a camera's channels, of 0 to 1: exact, because there are only 256 levels."""

    def __init__(self):
        self.levels, self.count = np.zeros((3, 256), np.int64), 0

    def add(self, pixels):
        """Take the pictures [M, Y, X, 3] of one episode: -> its statistics"""
        levels = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
        self.levels, self.count = self.levels + levels, self.count + len(pixels)
        return _of_levels(levels, len(pixels))

    def result(self):
        return _of_levels(self.levels, self.count)


def _of_levels(levels, count):
    """Work out statistics from how often each level occurs: [3, 256]"""
    share, value = np.cumsum(levels, 1) / levels.sum(1, keepdims=True), np.arange(256) / 255
    mean = (levels * value).sum(1) / levels.sum(1)
    deviation = np.sqrt((levels * (value - mean[:, None]) ** 2).sum(1) / levels.sum(1))
    low, high = value[(levels > 0).argmax(1)], value[255 - (levels[:, ::-1] > 0).argmax(1)]
    quantiles = [value[(share >= quantile - 1e-12).argmax(1)] for quantile in QUANTILES]
    return _summary(*(values.reshape(3, 1, 1) for values in (low, high, mean, deviation)), count,
                    [values.reshape(3, 1, 1) for values in quantiles])


def _summary(low, high, mean, deviation, count, quantiles):
    named = {f'q{100 * share:02.0f}': values for share, values in zip(QUANTILES, quantiles)}
    found = {'min': low, 'max': high, 'mean': mean, 'std': deviation, 'count': np.array([count]), **named}
    return {name: np.asarray(values).tolist() for name, values in found.items()}
