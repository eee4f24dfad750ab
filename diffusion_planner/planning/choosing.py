"""The choice: which arrivals are worth a path, and which path is the plan."""
import math
from dataclasses import dataclass

import numpy as np

from diffusion_planner.objectives import terms
from diffusion_planner.planning.settings import NoSafeCandidate

WAITS = 7     # the earliest arrival and six later ones

@dataclass(frozen=True)
class Paths:
    """Candidate paths as they are judged: what they start from, their tokens, and the same in SI units [P, F + 1, ...]."""

    context: object
    observation: object
    tokens: object
    offset_s: np.ndarray
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray

    def whole(self):
        """The paths with the instant they begin at: -> position_rad [P, T, J], velocity_rad_s [P, T, J], offset_s [P, T]"""
        def begun(first, rest):
            return np.concatenate([np.repeat(first[None, -1:], len(rest), 0), rest], 1)
        return (begun(self.observation.position_rad, self.position_rad), begun(self.observation.velocity_rad_s, self.velocity_rad_s),
                np.concatenate([np.zeros((len(self.offset_s), 1)), self.offset_s], 1))


@dataclass(frozen=True)
class Chooser:
    """Chooses for one plan. With `guard` off in the settings, the head that guides is believed and nothing is refused."""

    backend: object
    robot: object
    settings: object
    weights: object
    forecast: object
    refused: int = 0     # plans in a row

    @property
    def typicality_limit(self):
        """What a far token's denoising residual may be. A transition head tells what cannot be reached better, so it needs none."""
        if self.settings.typicality_limit is None:
            return math.inf if getattr(getattr(self.backend, 'config', None), 'transition', False) else 1.0
        return self.settings.typicality_limit

    @property
    def plans(self):
        """How many paths to fill in: more while an arm that stands still has the time, and one may be fit."""
        return max(self.settings.plans, min(self.settings.plans + self.refused, self.settings.plans_max))

    def choose_arrivals(self, figures, offset_s, goal, seed):
        """Pick the far candidates to fill in: -> chosen [P], rejected {reason: count}

        A little later than the earliest among those whose predicted reward, by the more doubtful of the heads, is near
        the best and whose far token is typical. Without guidance reward has no say and the arrival is drawn at random.
        """
        settings = self.settings
        typical = (figures.get('typicality', 0.0) <= self.typicality_limit) | (not settings.guard) | np.zeros(len(offset_s), bool)
        timely = (figures['reach'] >= settings.reach_limit) | (not settings.guard)
        rejected = {'far token not typical': int((~typical).sum()), 'too little time': int((typical & ~timely).sum())}
        usable = np.flatnonzero(typical & timely)
        if len(usable) == 0:
            raise NoSafeCandidate(rejected)
        if goal.guidance_scale == 0 and not goal.candidates_only:
            return np.random.default_rng(seed).permutation(usable)[:self.plans], rejected
        believed = self.believed(figures)
        arrived = usable[believed[usable] >= believed[usable].max() - settings.reward_margin]
        rejected['predicted reward lower'] = int(len(usable) - len(arrived))
        chosen = self._spread(arrived, offset_s)
        late = np.setdiff1d(usable, chosen)
        # Where few arrive, the next best are filled in too: one path alone is too easily refused.
        late = late[np.argsort(-believed[late], kind='stable')]
        return np.concatenate([chosen, late])[:self.plans], rejected

    def believed(self, values):
        """The reward that is believed: by those that guide, less their disagreement, or by the judge, whoever doubts more: -> [B]"""
        if 'asked' in values:      # a goal pose counts like a reward: 1 at the place, 0.6 at its tolerance
            reached = np.exp(0.5 * values['asked'])
            return reached if self.weights.reward == 0 else np.minimum(reached, self._rewarding(values))
        return self._rewarding(values)

    def _rewarding(self, values):
        if not self.settings.guard:
            return values['reward']
        panel = values.get('panel', values['reward']) - self.settings.caution * values.get('doubt', 0.0)
        return np.minimum(np.maximum(panel, 0.0), values['judge'])

    def _spread(self, arrived, offset_s):
        """Order the far candidates that arrive by how much they are worth filling in: the last plan, then those nearest to the
        wanted time, each sought a little later than the one before. -> indices [min(P, len(arrived))]"""
        settings = self.settings
        warm = self._is_warm(arrived)
        # What was refused once is refused again, whatever the noise: the way may take longer than the earliest arrival leaves.
        wanted_s = offset_s[arrived].min() + settings.slack_s + settings.patience_s * (self.refused % WAITS)
        chosen, left = list(arrived[warm]), list(arrived[~warm])
        for rank in range(min(len(left), max(0, self.plans - len(chosen)))):
            times = offset_s[left]
            chosen.append(left.pop(int(np.argmin(np.abs(times - wanted_s * (1 + settings.spread * rank))))))
        return np.array(chosen[:self.plans], int)

    def _is_warm(self, chosen):
        return chosen >= self.settings.arrivals * self.settings.samples

    def choose_plan(self, paths, figures, rejected, goal):
        """Pick the plan: within limits, consistent, smooth, early: -> index, breakdown; counts what it rejects. Raises NoSafeCandidate."""
        position_rad, velocity_rad_s, offset_s = paths.whole()
        values = {**figures, **self._judge_paths(paths, position_rad, offset_s)}
        asked = None if goal.objective is None else goal.objective.judge(position_rad, velocity_rad_s, offset_s)
        legal = terms.within_limits(position_rad, offset_s, self.robot)
        fit = self._fit(values, legal, asked, rejected)
        if self.forecast is not None:
            values |= self.forecast.judge(values, self.settings.guard)
        parts = self._score(values, goal.guidance_scale != 0 or goal.candidates_only, asked)
        score = sum(parts.values(), np.zeros(len(legal)))
        best = int(fit[np.argmax(score[fit])])
        breakdown = {'score': score, **{f'score.{name}': part for name, part in parts.items()},
                     **{name: column for name, column in values.items() if name != 'warm'}}
        if asked is not None:
            breakdown |= {f'objective.{name}': column for name, column in asked.robustness.items()}
            breakdown |= {f'share.{name}': column for name, column in asked.share.items()}
        return best, {name: float(column[best]) for name, column in breakdown.items()}

    def _judge_paths(self, paths, position_rad, offset_s):
        """Everything that is said of paths: -> {name: [P]}; what has neither limit nor weight is not computed"""
        backend, settings, told = self.backend, self.settings, (paths.context, paths.tokens, offset_s[:, 1:])
        judged = {'consistency_rad': backend.consistency(*told) if self.weights.consistency else np.zeros(len(offset_s)),
                  'familiarity': backend.familiarity(*told, settings.cubic),
                  'smoothness': terms.smoothness(position_rad, offset_s), 'arrival_s': offset_s[:, -1]}
        if math.isfinite(settings.mismatch_limit):
            judged['mismatch'] = backend.mismatch(*told)
        if math.isfinite(settings.step_limit):
            judged['steps'] = backend.steps(*told)
        if self.weights.genuineness:
            judged['genuineness'] = backend.genuineness(*told)
        return judged

    def _fit(self, values, legal, asked, rejected):
        """Sort out what must not be chosen, each for the first reason that applies: -> indices"""
        settings, fit = self.settings, np.ones(len(legal), bool)
        if settings.guard:
            joined = np.ones(len(legal), bool)
            if math.isfinite(settings.mismatch_limit):
                joined &= values['mismatch'] <= settings.mismatch_limit
            if math.isfinite(settings.step_limit):
                joined &= values['steps'] >= settings.step_limit
            familiar = (values['familiarity'] >= 0) | (not settings.refuse_unfamiliar)
            typical = values.get('typicality', np.zeros(len(legal))) <= self.typicality_limit
            for reason, passed in (('far token not typical', typical), ('joint limits', legal), ('unfamiliar posture', familiar),
                                   ('steps that do not join', joined)):
                rejected[reason] = rejected.get(reason, 0) + int((fit & ~passed).sum())
                fit &= passed
        for name, broken in () if asked is None else asked.broken.items():
            rejected[f'objective: {name}'] = int((fit & broken).sum())
            fit &= ~broken
        if not fit.any():
            raise NoSafeCandidate(rejected)
        return np.flatnonzero(fit)

    def _score(self, values, use_reward, asked):
        """Weigh what is known of each plan: -> {by what: [P]}, whose sum is the score"""
        weights, none = self.weights, np.zeros(len(values['arrival_s']))
        rewarding = max(weights.reward, 4.0 * ('asked' in values))
        parts = {'reward': use_reward * rewarding * self.believed(values), 'judge': use_reward * weights.judge * values['judge'],
                 'earliness': -weights.earliness * values['arrival_s'], 'smoothness': weights.smoothness * values['smoothness'],
                 'consistency': -weights.consistency * values['consistency_rad'], 'typicality': -weights.typicality * values.get('typicality', none),
                 'genuineness': weights.genuineness * values.get('genuineness', none), 'warm': weights.warm * values['warm'],
                 'objective': weights.objective * (none if asked is None else asked.score)}
        return {name: part for name, part in parts.items() if part.any()}
