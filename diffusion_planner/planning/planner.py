"""The planner: a rewarding future first, then the way there, then what to do now."""
import math
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diffusion_planner.objectives import terms
from diffusion_planner.planning.pace import Pace
from diffusion_planner.records import ImaginedPlan



@dataclass(frozen=True)
class Weights:
    """What counts in the choice of the plan, per unit of probability, second, rad/s, radian and 99 % quantile."""

    reward: float = 4.0
    earliness: float = 0.1
    smoothness: float = 0.5
    consistency: float = 4.0
    typicality: float = 1.0
    warm: float = 0.3    # for going on with the last plan: a path that changes its mind every half second is no path


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
    bend: float = 1.0                  # above 1: sampling steps get smaller towards the end, see diffusion.matrices
    fill_in: int = 11
    plans: int = 3                     # arrivals that are filled in
    shortest_s: float = 0.3
    longest_s: float = math.inf        # the model's horizon, if that is less
    sampler: str = 'multistep'         # multistep, ddim or ddpm, see diffusion.samplers
    guidance_form: str = 'clean'       # clean, through or noisy, see diffusion.guidance
    guidance_max_shift: float = 0.8
    guidance_negligible: float = 0.0   # a far token that is pulled less than this in a step is no longer pulled; 0: all are
    reward_margin: float = 0.20        # an arrival this near the best predicted reward counts as arrived
    typicality_limit: float = 1.0      # in units of the held-out 99 % quantile
    slack_s: float = 0.6               # arrive this much after the earliest arrival: hurried paths cut corners
    spread: float = 0.0                # each further path that is filled in arrives later by this share of that time
    familiarity_scale: float = 1.0     # how strongly paths are kept to postures of a kind seen at play
    familiarity_max_shift: float = 0.2
    cubic: bool = False                # judge the way between tokens on the cubic through their velocities, not on lines
    refuse_unfamiliar: bool = True     # refuse paths below the floor of familiarity
    mismatch_limit: float = math.inf   # by how much a step may differ from what its velocities explain, in units of held-out steps
    reach_limit: float = 0.0           # log-odds above the floor of the transition head that an arrival must have
    step_limit: float = -math.inf      # and that every step of a path must have
    warm_samples: int = 2              # candidates that start from the last plan instead of from noise
    warm_level: float = 0.5            # the noise they start at


class Backend(Protocol):
    """What the planner needs of whoever runs the networks. Tokens are the backend's own arrays, in network space.

    encode(observation, goal) -> context
    imagine_far(context, offset_s [B], goal, settings, seed, warm [W, D], stop) -> far [B, 1, D]
    judge_far(context, far, offset_s [B], seed, typicality: wanted) -> {'reward', 'judge', 'typicality', 'reach'} numpy [B]
    fill_in(context, far, chosen [P], offset_s [B], settings, seed, warm [P, F, D], stop) -> tokens [P, F + 1, D]
    network_tokens(position_rad [T, J], velocity_rad_s [T, J], latent [T, Z]) -> tokens [T, D]
    decode(tokens) -> position_rad [P, F + 1, J], velocity_rad_s [P, F + 1, J], latent [P, F + 1, Z]
    familiarity(context, tokens, offset_s [P, F + 1], cubic) -> numpy [P], below 0 where a path leaves what was seen at play
    steps(context, tokens, offset_s) -> numpy [P], below 0 where a step is not one of play
    mismatch(context, tokens, offset_s) -> numpy [P], above 1 where a step goes farther than its velocities explain
    consistency(context, tokens, offset_s) -> numpy [P], radians by which inverse dynamics disagrees
    """

    def encode(self, observation, goal): ...


class Planner:
    """Plans with a backend for a robot. Not for several threads at once."""

    def __init__(self, backend, robot, settings=None, weights=Weights(), clock=time.perf_counter):
        self.backend, self.robot, self.settings, self.weights = backend, robot, settings or PlannerSettings(), weights
        self.model, self.clock = backend.config, clock
        self.previous = None
        self.tail_s = 0.0     # what choosing took at the last plan

    @property
    def horizon_s(self):
        """How far ahead the planner looks."""
        return min(self.model.horizon_s, self.settings.longest_s)

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

    def plan(self, observation, goal, seed, deadline_s=None, stop_after=None):
        """Return the best imagined plan from the observation's origin and how it was judged.

        plan(observation, goal, seed) -> ImaginedPlan. Raises NoSafeCandidate.

        After `deadline_s` seconds it is the plan of the steps taken by then, see Pace; its `level` says how much noise that
        left. `stop_after`, the `steps` of such a plan, replays it.
        """
        watch, settings = Stopwatch(self.clock), self.settings
        pace = Pace(deadline_s, stop_after, self.tail_s, self.clock)
        context = self.backend.encode(observation, goal)
        watch.lap('encode')
        offset_s, last = self._arrivals(observation.origin_s)
        warm_far = None if last is None else self.backend.network_tokens(*last)[-1:].expand(settings.warm_samples, -1)
        # After the far tokens come one call for their typicality and at least one for the fill-in.
        far = self.backend.imagine_far(context, offset_s, goal, settings, seed, warm_far, pace.stage('far', reserve=2))
        figures = self.backend.judge_far(context, far, offset_s, seed, math.isfinite(settings.typicality_limit))
        watch.lap('far')
        chosen, rejected = self._choose_arrivals(figures, offset_s, goal, seed)
        tokens = self.backend.fill_in(context, far, chosen, offset_s, settings, seed,
                                      self._warm_fill(chosen, offset_s, observation), pace.stage('fill'))
        watch.lap('fill')
        position_rad, velocity_rad_s, latent = self.backend.decode(tokens)
        fill_offset_s = offset_s[chosen][:, None] * (np.arange(tokens.shape[1]) + 1) / tokens.shape[1]
        best, breakdown = self._choose_plan(context, observation, tokens, fill_offset_s, position_rad, velocity_rad_s,
                                            {name: values[chosen] for name, values in figures.items()}, rejected, goal, self._is_warm(chosen))
        self.tail_s = watch.lap('choose')
        level = self._noise_left(pace.steps, tokens.shape[1], self._is_warm(chosen)[best])
        plan = ImaginedPlan(observation.origin_s, fill_offset_s[best], position_rad[best], velocity_rad_s[best],
                            latent[best], breakdown, rejected, watch.laps_ms(), level, pace.steps)
        self.previous = plan
        return plan

    def _noise_left(self, steps, count, warm):
        """Say at which level the tokens of a plan were when their stage ended: -> [T], 0 where it was finished"""
        start, settings = self.settings.warm_level if warm else 1.0, self.settings
        left = {name: start * (1 - steps[name] / total) ** settings.bend for name, total in (('far', settings.far_steps), ('fill', settings.fill_steps))}
        return np.array([left['fill']] * (count - 1) + [left['far']])

    def _arrivals(self, origin_s):
        """Lay out the arrival times of all far candidates: -> offset_s [B], last

        The last rows arrive when the last plan would. `last` is its far token's (position [1, J], velocity [1, J],
        latent [1, Z]), or None where there is no last plan to go on with.
        """
        settings = self.settings
        times = np.repeat(np.linspace(self.horizon_s, settings.shortest_s, settings.arrivals)[::-1], settings.samples)
        if self.previous is None or not settings.warm_samples or origin_s - self.previous.origin_s > 2.0:
            return times.astype(np.float32), None
        left_s = self.previous.origin_s + self.previous.offset_s[-1] - origin_s
        warm = np.full(settings.warm_samples, np.clip(left_s, settings.shortest_s, self.horizon_s))
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
            return np.array([np.interp(instants, known_s, column) for column in columns]).reshape(-1, len(instants)).T
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
        typical, timely = figures['typicality'] <= settings.typicality_limit, figures['reach'] >= settings.reach_limit
        rejected = {'far token not typical': int((~typical).sum()), 'too little time': int((typical & ~timely).sum())}
        usable = np.flatnonzero(typical & timely)
        if len(usable) == 0:
            raise NoSafeCandidate(rejected)
        if goal.guidance_scale == 0 and not goal.candidates_only:
            return np.random.default_rng(seed).permutation(usable)[:settings.plans], rejected
        reward = np.minimum(figures['reward'], figures['judge'])[usable]
        arrived = usable[reward >= reward.max() - settings.reward_margin]
        rejected['predicted reward lower'] = int(len(usable) - len(arrived))
        chosen = self._spread(arrived, offset_s)
        late = np.setdiff1d(usable, chosen)
        # Where few arrive, the next best are filled in too: one path alone is too easily refused.
        late = late[np.argsort(-np.minimum(figures['reward'], figures['judge'])[late], kind='stable')]
        return np.concatenate([chosen, late])[:settings.plans], rejected

    def _spread(self, arrived, offset_s):
        """Order the far candidates that arrive by how much they are worth filling in: the last plan, then those nearest to the
        wanted time, each sought a little later than the one before. -> indices [min(P, len(arrived))]"""
        settings = self.settings
        warm = self._is_warm(arrived)
        wanted_s = offset_s[arrived].min() + settings.slack_s
        chosen, left = list(arrived[warm]), list(arrived[~warm])
        for rank in range(min(len(left), max(0, settings.plans - len(chosen)))):
            times = offset_s[left]
            chosen.append(left.pop(int(np.argmin(np.abs(times - wanted_s * (1 + settings.spread * rank))))))
        return np.array(chosen[:settings.plans], int)

    def _is_warm(self, chosen):
        """Whether candidates go on with the last plan: -> bool [P]"""
        return chosen >= self.settings.arrivals * self.settings.samples

    def _choose_plan(self, context, observation, tokens, offset_s, position_rad, velocity_rad_s, figures, rejected, goal, warm):
        """Pick the plan: within limits, consistent, smooth, early: -> index, breakdown"""
        origin = np.repeat(observation.position_rad[None, -1:], len(position_rad), 0)
        path_rad = np.concatenate([origin, position_rad], 1)
        times_s = np.concatenate([np.zeros((len(offset_s), 1)), offset_s], 1)
        familiarity = self.backend.familiarity(context, tokens, offset_s, self.settings.cubic)
        familiar = (familiarity >= 0) | (not self.settings.refuse_unfamiliar)
        joined = self._joined(context, tokens, offset_s)
        legal = terms.within_limits(path_rad, times_s, self.robot)
        rejected['joint limits'] = int((~legal).sum())
        rejected['unfamiliar posture'] = int((legal & ~familiar).sum())
        rejected['steps that do not join'] = int((legal & familiar & ~joined).sum())
        fit = np.flatnonzero(legal & familiar & joined)
        if len(fit) == 0:
            raise NoSafeCandidate(rejected)
        values = {'reward': figures['reward'], 'judge': figures['judge'], 'typicality': figures['typicality'],
                  'consistency_rad': self.backend.consistency(context, tokens, offset_s) if self.weights.consistency else np.zeros(len(offset_s)),
                  'familiarity': familiarity, 'smoothness': terms.smoothness(path_rad, times_s), 'arrival_s': offset_s[:, -1]}
        use_reward = goal.guidance_scale != 0 or goal.candidates_only
        score = self._score(values, use_reward, warm)
        best = int(fit[np.argmax(score[fit])])
        return best, {'score': float(score[best]), **{name: float(column[best]) for name, column in values.items()}}

    def _joined(self, context, tokens, offset_s):
        """Whether every step of each path is one that play could have made; what has no limit is not computed: -> bool [P]"""
        joined, settings = np.ones(len(offset_s), bool), self.settings
        if math.isfinite(settings.mismatch_limit):
            joined &= self.backend.mismatch(context, tokens, offset_s) <= settings.mismatch_limit
        if math.isfinite(settings.step_limit):
            joined &= self.backend.steps(context, tokens, offset_s) >= settings.step_limit
        return joined

    def _score(self, values, use_reward, warm):
        """Weigh what is known of each plan: -> [P]"""
        weights = self.weights
        return (use_reward * weights.reward * np.minimum(values['reward'], values['judge']) - weights.earliness * values['arrival_s']
                + weights.smoothness * values['smoothness'] - weights.consistency * values['consistency_rad']
                - weights.typicality * values['typicality'] + weights.warm * warm)

    def imagined_picture(self, plan):
        """Decode what the camera is imagined to see on arrival: -> pixels [Y, X, 3] uint8"""
        return self.backend.picture(plan.latent[-1])


class Stopwatch:
    """Milliseconds per stage."""

    def __init__(self, clock=time.perf_counter):
        self.clock = clock
        self.begun = self.last = clock()
        self.laps = {}

    def lap(self, name):
        """End a stage: -> seconds it took"""
        now = self.clock()
        took_s, self.last = now - self.last, now
        self.laps[name] = 1000 * took_s
        return took_s

    def laps_ms(self):
        return {**self.laps, 'total': 1000 * (self.last - self.begun)}
