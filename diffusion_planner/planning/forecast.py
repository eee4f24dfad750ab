"""The combined judge: what all judgements of a plan together say about whether it will come true."""
from dataclasses import dataclass

import numpy as np

# Every judgement of a plan that may say something about its fate, and how it enters. Each is better the higher it is.
FEATURES = {
    'reward': lambda values: _odds(values['reward']),
    'panel': lambda values: _odds(values['panel']),
    'agreement': lambda values: -np.asarray(values['doubt']),
    'judge': lambda values: _odds(values['judge']),
    'typicality': lambda values: -np.log(np.maximum(values['typicality'], 1e-3)),
    'reach': lambda values: np.clip(values['reach'], -20, 20),
    'steps': lambda values: np.clip(values['steps'], -20, 20),
    'genuineness': lambda values: np.clip(values['genuineness'], -20, 20),
    'familiarity': lambda values: np.clip(values['familiarity'], -20, 20),
    'consistency': lambda values: -np.asarray(values['consistency_rad']),
}


def _odds(probability):
    probability = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(probability / (1 - probability))


def features(values):
    """Lay the judgements of plans out for the combined judge: values {name: [P]} -> [P, N]; what a model lacks is 0"""
    count = len(np.atleast_1d(values['reward']))
    columns = []
    for take in FEATURES.values():
        try:
            columns.append(np.nan_to_num(np.broadcast_to(take(values), count)))
        except KeyError:
            columns.append(np.zeros(count))
    return np.stack(columns, -1).astype(float)


@dataclass(frozen=True)
class Forecast:
    """A logistic regression over FEATURES, fitted on plans that were really followed (evaluation.audit).

    `episode` is the scale and bias by which the same log-odds say whether the episode succeeds, where plans go on replacing it.
    """

    mean: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    bias: float
    episode: tuple = (1.0, 0.0)

    @classmethod
    def read(cls, table):
        """Take a forecast from a checkpoint's planning table: -> Forecast, or None where there is none or it has other features"""
        if not table or list(table['features']) != list(FEATURES):
            return None
        return cls(*(np.array(table[name]) for name in ('mean', 'spread', 'weight')), float(table['bias']), tuple(table['episode']))

    def table(self):
        return {'features': list(FEATURES), 'mean': self.mean.tolist(), 'spread': self.spread.tolist(),
                'weight': self.weight.tolist(), 'bias': self.bias, 'episode': list(self.episode)}

    def odds(self, values):
        """Log-odds that plans come true as they are: values {name: [P]} -> [P]"""
        return ((features(values) - self.mean) / self.spread) @ self.weight + self.bias

    def judge(self, values):
        """Say how likely plans are to come true by themselves, and episodes that begin with them to succeed: -> {name: [P]}"""
        odds = np.clip(self.odds(values), -30, 30)
        scale, bias = self.episode
        return {'comes_true': 1 / (1 + np.exp(-odds)), 'success': 1 / (1 + np.exp(-np.clip(scale * odds + bias, -30, 30)))}


def fit(rows, happened, strength=1.0):
    """Fit a forecast to judgements [N, features] and what happened [N] bool: -> Forecast

    Ridge-penalised logistic regression (Hastie et al., The Elements of Statistical Learning, 4.4) by L-BFGS-B. Weights
    are kept from going below 0, as every judgement is better the higher it is: a judge that fits backwards fits noise.
    """
    from scipy.optimize import minimize
    rows, happened = np.asarray(rows, float), np.asarray(happened, float)
    mean, spread = rows.mean(0), np.maximum(rows.std(0), 1e-6)
    normal = (rows - mean) / spread

    def loss(parameters):
        odds = normal @ parameters[:-1] + parameters[-1]
        error = 1 / (1 + np.exp(-odds)) - happened
        value = np.logaddexp(0, odds).sum() - happened @ odds + 0.5 * strength * parameters[:-1] @ parameters[:-1]
        return value, np.append(normal.T @ error + strength * parameters[:-1], error.sum())
    bounds = [(0, None)] * rows.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, bounds=bounds, method='L-BFGS-B')
    return Forecast(mean, spread, found.x[:-1], float(found.x[-1]))


def fit_line(odds, happened):
    """Fit scale and bias of log-odds to what happened (Platt 1999): odds [N], happened [N] bool -> (scale, bias)

    Platt's targets, a little inside of 0 and 1, keep a set in which all is well from promising certainty.
    """
    from scipy.optimize import minimize
    odds, happened = np.asarray(odds, float), np.asarray(happened, bool)
    target = np.where(happened, (happened.sum() + 1) / (happened.sum() + 2), 1 / ((~happened).sum() + 2))

    def loss(parameters):
        line = parameters[0] * odds + parameters[1]
        return np.logaddexp(0, line).sum() - target @ line
    found = minimize(loss, np.array([1.0, 0.0]), bounds=[(0, None), (None, None)], method='L-BFGS-B')
    return float(found.x[0]), float(found.x[1])
