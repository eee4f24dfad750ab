"""The planner: a rewarding future first, then the way there, then what to do now."""
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diffusion_planner.objectives import terms
from diffusion_planner.records import ImaginedPlan

# Weights of the objectives in the choice of the plan; per unit of probability, second, rad/s, radian and 99 % quantile.
REWARD_WEIGHT, EARLINESS_WEIGHT, SMOOTHNESS_WEIGHT, CONSISTENCY_WEIGHT, TYPICALITY_WEIGHT = 4.0, 0.25, 0.5, 4.0, 0.3


class NoSafeCandidate(RuntimeError):
    """Every candidate was rejected; `reasons` counts why."""

    def __init__(self, reasons):
        super().__init__('no safe candidate: ' + ', '.join(f'{count} {reason}' for reason, count in reasons.items()))
        self.reasons = reasons


@dataclass(frozen=True)
class PlannerSettings:
    """What an operator may change."""

    arrivals: int = 16                 # arrival times tried
    samples: int = 3                   # far tokens per arrival time
    far_steps: int = 10
    fill_steps: int = 6
    fill_in: int = 11
    plans: int = 6                     # arrivals that are filled in
    shortest_s: float = 0.3
    guidance_form: str = 'clean'
    guidance_max_shift: float = 0.8
    reward_margin: float = 0.10        # an arrival this near the best predicted reward counts as arrived
    typicality_limit: float = 1.5      # in units of the held-out 99 % quantile
    deadline_ms: float = 0.0           # 0: none


class Backend(Protocol):
    """What the planner needs of whoever runs the networks. Tokens are the backend's own arrays, in network space.

    encode(observation) -> context
    imagine_far(context, offset_s [B], goal, settings, seed) -> far [B, 1, D]
    judge_far(context, far, offset_s [B], seed) -> {'reward', 'judge', 'typicality'} numpy [B]
    fill_in(context, far, chosen [P], offset_s [B], settings, seed) -> tokens [P, F + 1, D]
    decode(tokens) -> position_rad [P, F + 1, J], velocity_rad_s [P, F + 1, J], latent [P, F + 1, Z]
    consistency(context, tokens, offset_s) -> numpy [P], radians by which inverse dynamics disagrees
    """

    def encode(self, observation): ...


class Planner:
    """Plans with a backend for a robot. Not for several threads at once."""

    def __init__(self, backend, robot, settings=None):
        self.backend, self.robot, self.settings = backend, robot, settings or PlannerSettings()
        self.model = backend.config
        self.previous = None

    @property
    def context_offset_s(self):
        return self.model.context_offset_s

    @property
    def picture_shape(self):
        return self.model.picture_shape

    @property
    def joint_names(self):
        return self.model.joint_names

    @property
    def cameras(self):
        return self.model.cameras

    def reset(self):
        """Forget the last plan and every cached picture."""
        self.previous = None
        self.backend.forget()

    def plan(self, observation, goal, seed):
        """Return the best imagined plan from the observation's origin and how it was judged.

        plan(observation, goal, seed) -> ImaginedPlan. Raises NoSafeCandidate.
        """
        watch, settings = Stopwatch(), self.settings
        context = self.backend.encode(observation)
        watch.lap('encode')
        offset_s = self._arrivals()
        far = self.backend.imagine_far(context, offset_s, goal, settings, seed, self._warm(observation))
        figures = self.backend.judge_far(context, far, offset_s, seed)
        watch.lap('far')
        chosen, rejected = self._choose_arrivals(figures, offset_s, goal, seed)
        tokens = self.backend.fill_in(context, far, chosen, offset_s, settings, seed)
        watch.lap('fill')
        position_rad, velocity_rad_s, latent = self.backend.decode(tokens)
        fill_offset_s = offset_s[chosen][:, None] * (np.arange(tokens.shape[1]) + 1) / tokens.shape[1]
        best, breakdown = self._choose_plan(context, observation, tokens, fill_offset_s, position_rad, velocity_rad_s,
                                            {name: values[chosen] for name, values in figures.items()}, rejected, goal)
        watch.lap('choose')
        plan = ImaginedPlan(observation.origin_s, fill_offset_s[best], position_rad[best], velocity_rad_s[best],
                            latent[best], breakdown, rejected, watch.laps_ms())
        self.previous = plan
        return plan

    def _arrivals(self):
        """Lay out the arrival times of all far candidates: -> offset_s [B]"""
        settings = self.settings
        times = np.linspace(settings.shortest_s, self.model.horizon_s, settings.arrivals)
        return np.repeat(times, settings.samples).astype(np.float32)

    def _warm(self, observation):
        """Return the last plan's far posture, so that candidates near it compete: -> (position, velocity) | None"""
        if self.previous is None or observation.origin_s - self.previous.origin_s > 2.0:
            return None
        return self.previous.position_rad[-1], self.previous.velocity_rad_s[-1]

    def _choose_arrivals(self, figures, offset_s, goal, seed):
        """Pick the far candidates to fill in: -> chosen [P], rejected {reason: count}

        Earliest first among those whose predicted reward, by the more doubtful of the two heads, is near the best and
        whose far token is typical. Without guidance reward has no say and the arrival is drawn at random.
        """
        settings = self.settings
        typical = figures['typicality'] <= settings.typicality_limit
        rejected = {'far token not typical': int((~typical).sum())}
        usable = np.flatnonzero(typical)
        if len(usable) == 0:
            raise NoSafeCandidate(rejected)
        if goal.guidance_scale == 0 and not goal.candidates_only:
            return np.random.default_rng(seed).permutation(usable)[:settings.plans], rejected
        reward = np.minimum(figures['reward'], figures['judge'])[usable]
        arrived = usable[reward >= reward.max() - settings.reward_margin]
        rejected['predicted reward lower'] = int(len(usable) - len(arrived))
        return arrived[np.argsort(offset_s[arrived], kind='stable')][:settings.plans], rejected

    def _choose_plan(self, context, observation, tokens, offset_s, position_rad, velocity_rad_s, figures, rejected, goal):
        """Pick the plan: within limits, consistent, smooth, early: -> index, breakdown"""
        origin = np.repeat(observation.position_rad[None, -1:], len(position_rad), 0)
        path_rad = np.concatenate([origin, position_rad], 1)
        times_s = np.concatenate([np.zeros((len(offset_s), 1)), offset_s], 1)
        fit = np.flatnonzero(terms.within_limits(path_rad, times_s, self.robot))
        rejected['joint limits'] = len(path_rad) - len(fit)
        if len(fit) == 0:
            raise NoSafeCandidate(rejected)
        values = {'reward': figures['reward'], 'judge': figures['judge'], 'typicality': figures['typicality'],
                  'consistency_rad': self.backend.consistency(context, tokens, offset_s),
                  'smoothness': terms.smoothness(path_rad, times_s), 'arrival_s': offset_s[:, -1]}
        use_reward = goal.guidance_scale != 0 or goal.candidates_only
        score = (use_reward * REWARD_WEIGHT * np.minimum(values['reward'], values['judge'])
                 + EARLINESS_WEIGHT * terms.earliness(offset_s) + SMOOTHNESS_WEIGHT * values['smoothness']
                 - CONSISTENCY_WEIGHT * values['consistency_rad'] - TYPICALITY_WEIGHT * values['typicality'])
        best = int(fit[np.argmax(score[fit])])
        return best, {'score': float(score[best]), **{name: float(column[best]) for name, column in values.items()}}

    def imagined_picture(self, plan):
        """Decode what the camera is imagined to see on arrival: -> pixels [Y, X, 3] uint8"""
        return self.backend.picture(plan.latent[-1])


class Stopwatch:
    """Milliseconds per stage."""

    def __init__(self):
        self.begun = self.last = time.perf_counter()
        self.laps = {}

    def lap(self, name):
        now = time.perf_counter()
        self.laps[name], self.last = 1000 * (now - self.last), now

    def laps_ms(self):
        return {**self.laps, 'total': 1000 * (self.last - self.begun)}
