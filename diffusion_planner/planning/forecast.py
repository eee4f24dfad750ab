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


# How episodes are planned, which decides what becomes of a poor first plan: with reward under guard, without reward under guard, without guard.
WAYS = ('rewarded', 'unrewarded', 'unguarded')


def way_of(guard, guidance_scale):
    """Name the way of an episode: -> one of WAYS"""
    return 'unguarded' if not guard else 'rewarded' if guidance_scale else 'unrewarded'


def _odds(probability):
    probability = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(probability / (1 - probability))


def features(values):
    """Lay the judgements of plans out for the combined judge: values {name: [P]} -> [P, N]; what a model lacks is 0"""
    count = len(np.atleast_1d(values['reward']))
    columns = []
    for take in FEATURES.values():
        try:
            columns.append(np.broadcast_to(take(values), count))
        except KeyError:
            columns.append(np.zeros(count))
    return np.nan_to_num(np.stack(columns, -1).astype(float))


@dataclass(frozen=True)
class Forecast:
    """A logistic regression over FEATURES, fitted on plans that were really followed (evaluation.audit).

    `episode` are the curves by which the same log-odds say whether the episode succeeds, where plans go on replacing it: knots of
    log-odds, and the share at each; one per way of WAYS. A poor first plan is mended only where the next
    ones are better. Below the first knot success falls off, see `along`.
    """

    mean: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    bias: float
    episode: tuple = (((-2.0, 2.0), (0.1, 0.9)),) * len(WAYS)

    @classmethod
    def read(cls, table):
        """Take a forecast from a checkpoint's planning table: -> Forecast, or None where there is none or it has other features"""
        if not table or list(table['features']) != list(FEATURES) or len(table['episode']) != len(WAYS):
            return None
        episode = tuple(tuple(map(tuple, curve)) for curve in table['episode'])
        return cls(*(np.array(table[name]) for name in ('mean', 'spread', 'weight')), float(table['bias']), episode)

    @classmethod
    def neutral(cls):
        """Make one that says the same of every plan."""
        return cls(np.zeros(len(FEATURES)), np.ones(len(FEATURES)), np.zeros(len(FEATURES)), 0.0)

    def table(self):
        return {'features': list(FEATURES), 'mean': self.mean.tolist(), 'spread': self.spread.tolist(),
                'weight': self.weight.tolist(), 'bias': self.bias, 'episode': [[list(knots) for knots in curve] for curve in self.episode]}

    def odds(self, values):
        """Log-odds that plans come true as they are: values {name: [P]} -> [P]"""
        return ((features(values) - self.mean) / self.spread) @ self.weight + self.bias

    def judge(self, values, way):
        """Say how likely plans are to come true by themselves, and episodes that begin with them to succeed: -> {name: [P]}

        way: one of WAYS.
        """
        odds = np.clip(self.odds(values), -30, 30)
        return {'comes_true': 1 / (1 + np.exp(-odds)), 'success': along(self.episode[WAYS.index(way)], odds)}


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


def along(curve, odds):
    """Read a curve from log-odds to the share that happens: (odds knots, shares), odds [P] -> [P]

    Above the last knot it stays level. Below the first, where no episode was seen, it goes to 0 with the chance that the plan comes
    true by itself: the log-odds of success fall as the plan's do, one for one. So replanning is worth the same factor of the odds as at
    the first knot, and nothing where there is nothing left to mend. Staying level there would promise of a hopeless plan what became
    of poor ones.
    """
    knots, shares = (np.asarray(column, float) for column in curve)
    below = np.minimum(odds - knots[0], 0.0)
    return np.where(below < 0, 1 / (1 + np.exp(-(_odds(shares[0]) + below))), np.interp(odds, knots, shares))


def fit_curve(odds, happened, steps=8):
    """Fit a rising curve from log-odds to the share that happened: odds [N], happened [N] bool -> (odds knots, shares)

    Isotonic regression (Zadrozny and Elkan 2002) over `steps` groups of equal size, which no straight line in log-odds could
    follow: episodes replan, so all but the worst plans end well. A group's share is Laplace's, a little inside of 0 and 1. The first
    knot is the worst plan that was seen.
    """
    from scipy.optimize import isotonic_regression
    odds, happened = np.asarray(odds, float), np.asarray(happened, float)
    groups = np.array_split(np.argsort(odds, kind='stable'), max(1, min(steps, len(odds) // 4)))
    shares = [(happened[group].sum() + 1) / (len(group) + 2) for group in groups]
    rising = isotonic_regression(shares, weights=[len(group) for group in groups]).x
    knots = [float(odds.min()), *(float(np.median(odds[group])) for group in groups)]
    return tuple(knots), tuple(float(share) for share in (rising[0], *rising))
