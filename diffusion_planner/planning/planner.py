"""The planner: a rewarding future first, then the way there, then what to do now."""
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diffusion_planner.objectives import terms
from diffusion_planner.records import ImaginedPlan

# Weights of the objectives in the choice of the plan; per unit of probability, second, rad/s, radian and 99 % quantile.
REWARD_WEIGHT, EARLINESS_WEIGHT, SMOOTHNESS_WEIGHT, CONSISTENCY_WEIGHT, TYPICALITY_WEIGHT = 4.0, 0.1, 0.5, 4.0, 1.0
WARM_BONUS = 0.3   # for going on with the last plan: a path that changes its mind every half second is no path


class NoSafeCandidate(RuntimeError):
    """Every candidate was rejected; `reasons` counts why."""

    def __init__(self, reasons):
        super().__init__('no safe candidate: ' + ', '.join(f'{count} {reason}' for reason, count in reasons.items()))
        self.reasons = reasons


@dataclass(frozen=True)
class PlannerSettings:
    """What an operator may change."""

    arrivals: int = 10                 # arrival times tried
    samples: int = 2                   # far tokens per arrival time
    far_steps: int = 4
    fill_steps: int = 4
    fill_in: int = 11
    plans: int = 3                     # arrivals that are filled in
    shortest_s: float = 0.3
    guidance_form: str = 'clean'       # clean, through or noisy, see diffusion.guidance
    guidance_max_shift: float = 0.8
    reward_margin: float = 0.20        # an arrival this near the best predicted reward counts as arrived
    typicality_limit: float = 1.0      # in units of the held-out 99 % quantile
    slack_s: float = 0.6               # arrive this much after the earliest arrival: hurried paths cut corners
    familiarity_scale: float = 1.0     # how strongly paths are kept to postures of a kind seen at play
    familiarity_max_shift: float = 0.2
    warm_samples: int = 2              # candidates that start from the last plan instead of from noise
    warm_level: float = 0.5            # the noise they start at


class Backend(Protocol):
    """What the planner needs of whoever runs the networks. Tokens are the backend's own arrays, in network space.

    encode(observation) -> context
    imagine_far(context, offset_s [B], goal, settings, seed, warm [W, D]) -> far [B, 1, D]
    judge_far(context, far, offset_s [B], seed) -> {'reward', 'judge', 'typicality'} numpy [B]
    fill_in(context, far, chosen [P], offset_s [B], settings, seed, warm [P, F, D]) -> tokens [P, F + 1, D]
    network_tokens(position_rad [T, J], velocity_rad_s [T, J], latent [T, Z]) -> tokens [T, D]
    decode(tokens) -> position_rad [P, F + 1, J], velocity_rad_s [P, F + 1, J], latent [P, F + 1, Z]
    familiarity(context, tokens) -> numpy [P], below 0 where a path leaves what was seen at play
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
        offset_s, last = self._arrivals(observation.origin_s)
        warm_far = None if last is None else self.backend.network_tokens(*last)[-1:].expand(settings.warm_samples, -1)
        far = self.backend.imagine_far(context, offset_s, goal, settings, seed, warm_far)
        figures = self.backend.judge_far(context, far, offset_s, seed)
        watch.lap('far')
        chosen, rejected = self._choose_arrivals(figures, offset_s, goal, seed)
        tokens = self.backend.fill_in(context, far, chosen, offset_s, settings, seed, self._warm_fill(chosen, offset_s, observation))
        watch.lap('fill')
        position_rad, velocity_rad_s, latent = self.backend.decode(tokens)
        fill_offset_s = offset_s[chosen][:, None] * (np.arange(tokens.shape[1]) + 1) / tokens.shape[1]
        best, breakdown = self._choose_plan(context, observation, tokens, fill_offset_s, position_rad, velocity_rad_s,
                                            {name: values[chosen] for name, values in figures.items()}, rejected, goal, self._is_warm(chosen))
        watch.lap('choose')
        plan = ImaginedPlan(observation.origin_s, fill_offset_s[best], position_rad[best], velocity_rad_s[best],
                            latent[best], breakdown, rejected, watch.laps_ms())
        self.previous = plan
        return plan

    def _arrivals(self, origin_s):
        """Lay out the arrival times of all far candidates: -> offset_s [B], last

        The last rows arrive when the last plan would. `last` is its far token's (position [1, J], velocity [1, J],
        latent [1, Z]), or None where there is no last plan to go on with.
        """
        settings = self.settings
        times = np.repeat(np.linspace(settings.shortest_s, self.model.horizon_s, settings.arrivals), settings.samples)
        if self.previous is None or not settings.warm_samples or origin_s - self.previous.origin_s > 2.0:
            return times.astype(np.float32), None
        left_s = self.previous.origin_s + self.previous.offset_s[-1] - origin_s
        warm = np.full(settings.warm_samples, np.clip(left_s, settings.shortest_s, self.model.horizon_s))
        last = tuple(getattr(self.previous, name)[-1:] for name in ('position_rad', 'velocity_rad_s', 'latent'))
        return np.concatenate([times, warm]).astype(np.float32), last

    def _warm_fill(self, chosen, offset_s, observation):
        """Shift the last plan in time onto the fill-in tokens of warm candidates: -> tokens [P, F, D], NaN elsewhere, or None"""
        cold = self.settings.arrivals * self.settings.samples
        if len(offset_s) == cold or not (chosen >= cold).any():
            return None
        previous, fill = self.previous, self.settings.fill_in
        arrival_s = offset_s[-1]
        instants = observation.origin_s + arrival_s * np.arange(1, fill + 1) / (fill + 1) - previous.origin_s
        known_s = np.concatenate([[0.0], previous.offset_s])

        def shifted(values, first):
            columns = np.concatenate([first[None], values]).T
            return np.stack([np.interp(instants, known_s, column) for column in columns], 1)
        tokens = self.backend.network_tokens(
            shifted(previous.position_rad, previous.position_rad[0]), shifted(previous.velocity_rad_s, previous.velocity_rad_s[0]),
            shifted(previous.latent, previous.latent[0]))
        warm = tokens[None].repeat(len(chosen), 1, 1)
        warm[np.flatnonzero(chosen < cold)] = float('nan')
        return warm

    def _choose_arrivals(self, figures, offset_s, goal, seed):
        """Pick the far candidates to fill in: -> chosen [P], rejected {reason: count}

        A little later than the earliest among those whose predicted reward, by the more doubtful of the two heads, is near
        the best and whose far token is typical. Without guidance reward has no say and the arrival is drawn at random.
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
        wanted_s = offset_s[arrived].min() + settings.slack_s
        order = np.abs(offset_s[arrived] - wanted_s) - 10.0 * self._is_warm(arrived)   # the last plan always competes
        late = np.setdiff1d(usable, arrived)
        # Where few arrive, the next best are filled in too: one path alone is too easily refused.
        late = late[np.argsort(-np.minimum(figures['reward'], figures['judge'])[late], kind='stable')]
        return np.concatenate([arrived[np.argsort(order, kind='stable')], late])[:settings.plans], rejected

    def _is_warm(self, chosen):
        """Whether candidates go on with the last plan: -> bool [P]"""
        return chosen >= self.settings.arrivals * self.settings.samples

    def _choose_plan(self, context, observation, tokens, offset_s, position_rad, velocity_rad_s, figures, rejected, goal, warm):
        """Pick the plan: within limits, consistent, smooth, early: -> index, breakdown"""
        origin = np.repeat(observation.position_rad[None, -1:], len(position_rad), 0)
        path_rad = np.concatenate([origin, position_rad], 1)
        times_s = np.concatenate([np.zeros((len(offset_s), 1)), offset_s], 1)
        familiarity = self.backend.familiarity(context, tokens)
        legal = terms.within_limits(path_rad, times_s, self.robot)
        rejected['joint limits'] = int((~legal).sum())
        rejected['unfamiliar posture'] = int((legal & (familiarity < 0)).sum())
        fit = np.flatnonzero(legal & (familiarity >= 0))
        if len(fit) == 0:
            raise NoSafeCandidate(rejected)
        values = {'reward': figures['reward'], 'judge': figures['judge'], 'typicality': figures['typicality'],
                  'consistency_rad': self.backend.consistency(context, tokens, offset_s),
                  'familiarity': familiarity, 'smoothness': terms.smoothness(path_rad, times_s), 'arrival_s': offset_s[:, -1]}
        use_reward = goal.guidance_scale != 0 or goal.candidates_only
        score = (use_reward * REWARD_WEIGHT * np.minimum(values['reward'], values['judge'])
                 + EARLINESS_WEIGHT * terms.earliness(offset_s) + SMOOTHNESS_WEIGHT * values['smoothness']
                 - CONSISTENCY_WEIGHT * values['consistency_rad'] - TYPICALITY_WEIGHT * values['typicality'] + WARM_BONUS * warm)
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
