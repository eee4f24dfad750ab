"""The planner: a rewarding future first, then the way there, then what to do now."""
import math
import time
from dataclasses import replace
from typing import Protocol

import numpy as np

from diffusion_planner.planning.aside import Aside
from diffusion_planner.planning.choosing import Chooser, Paths
from diffusion_planner.planning.forecast import Forecast
from diffusion_planner.planning.haste import Haste, retold, told
from diffusion_planner.planning.pace import Pace, Stopwatch
from diffusion_planner.planning.retiming import slow_down
from diffusion_planner.planning.settings import WORRIES, NoSafeCandidate, PlannerSettings, StrangeScene, Weights
from diffusion_planner.records import ImaginedPlan

__all__ = ['Backend', 'NoSafeCandidate', 'Planner', 'PlannerSettings', 'StrangeScene', 'Weights']


class Backend(Protocol):
    """What the planner needs of whoever runs the networks. Tokens are the backend's own arrays, in network space.

    encode(observation, goal) -> context
    imagine_far(context, offset_s [B], goal, settings, seed, warm [D], stop) -> far [B, 1, D]
    begin_thread(), if there is one, is called by a second thread before it asks `strange`, which may run while all else does
    strange(context, observation) -> {in which way: in units of what held-out pictures show}, {} for models that cannot tell
    judge_far(context, far, offset_s [B], seed, typicality: wanted) -> {'reward', 'panel', 'doubt', 'judge', 'reach', ...,
        and 'typicality' if wanted} numpy [B]
    typicality(context, far [P, 1, D], offset_s [P], seed) -> numpy [P], the same figure as judge_far's
    fill_in(context, far, chosen [P], offset_s [B], settings, seed, warm ([F, D], rows [P] bool), stop) -> tokens [P, F + 1, D]
    network_tokens(position_rad [T, J], velocity_rad_s [T, J], latent [T, V Z + K]) -> tokens [T, D]
    decode(tokens) -> position_rad [P, F + 1, J], velocity_rad_s [P, F + 1, J], latent [P, F + 1, V Z + K]
    familiarity(context, tokens, offset_s [P, F + 1], cubic) -> numpy [P], below 0 where a path leaves what was seen at play
    genuineness(context, tokens, offset_s) -> numpy [P], log-odds that a path is play rather than imagined, 0 for models that cannot tell
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
        self.forecast = Forecast.read(getattr(backend, 'planning', {}).get('forecast'))
        self.previous, self.refused = None, 0     # the last plan; refusals in a row since then
        self.told = None      # what the last plan was read off, see measure
        self.tail_s = 0.0     # what decoding and choosing took at the last plan
        self.haste, self.aside = Haste(), Aside(getattr(backend, 'begin_thread', None))

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

    @property
    def sensors(self):
        """(name, how many numbers) of each sensor beside joints and cameras."""
        return self.model.sensors

    def reset(self):
        """Forget the last plan and every cached picture."""
        self.previous, self.refused = None, 0
        self.backend.forget()

    def disown(self):
        """Take back the last plan: what came of it was refused. The next one does not go on with it."""
        self.previous, self.refused = None, self.refused + 1

    def plan(self, observation, goal, seed, deadline_s=None, stop_after=None):
        """Return the best imagined plan from the observation's origin and how it was judged.

        plan(observation, goal, seed) -> ImaginedPlan. Raises NoSafeCandidate.

        `deadline_s` is kept by taking fewer steps, see Haste, and then by ending a stage, see Pace; the plan's `level` says how much
        noise that left. `stop_after`, the `steps` of such a plan, replays it, given the same last plan and as many refusals since.
        """
        usual, pace = self.settings, Pace(deadline_s, stop_after, self.tail_s, self.clock)
        full = self._constrained(usual) if goal.objective is not None else usual
        self.settings = self.haste.fit(full, deadline_s) if stop_after is None else retold(full, stop_after)
        try:
            plan = self._plan(observation, goal, seed, pace, told(self.settings, full))
        except NoSafeCandidate as refused:
            self.told = None
            self.refused += not isinstance(refused, StrangeScene)
            raise
        finally:
            if len(pace.steps) == 2:
                self.haste.note(self.settings, full, pace, self.clock() - pace.begun_s)
            self.settings = usual
        self.previous, self.refused = plan, 0
        return plan

    @staticmethod
    def _constrained(settings):
        """Spend more on paths that have to keep to an objective."""
        return replace(settings, fill_steps=max(settings.fill_steps, settings.objective_fill_steps),
                       plans_max=max(settings.plans_max, settings.objective_plans_max))

    def measure(self, plan):
        """Add to the newest plan's breakdown what is worth knowing and decides nothing: typicality, steps, genuineness. -> ImaginedPlan

        For whoever has sent it off already: they cost a millisecond or two. Others may be reading the plan, so it is not changed.
        """
        if plan is self.previous and self.told is not None:
            context, far, offset_s, chosen, tokens, fill_offset_s, best, seed = self.told
            backend, end, path = self.backend, chosen[best:best + 1], (context, tokens[best:best + 1], fill_offset_s[best:best + 1])
            found = {'typicality': backend.typicality(context, far[end], offset_s[end], seed), 'steps': backend.steps(*path),
                     'genuineness': backend.genuineness(*path)}
            plan = self.previous = replace(plan, breakdown=plan.breakdown | {name: float(value[0]) for name, value in found.items()})
        return plan

    def _plan(self, observation, goal, seed, pace, hurried):
        watch = Stopwatch(self.clock)
        context = self.backend.encode(observation, goal)
        watch.lap('encode')
        # Whether the scene is one of play has no say in what is imagined: it is worked out meanwhile, and decides before all else.
        with self.aside.begin(self._strange, context, observation) as scene:
            try:
                plan = self._imagined(context, observation, goal, seed, pace, watch)
            except NoSafeCandidate:
                self.check_scene(scene.answer())
                raise
            self.check_scene(strange := scene.answer())
        plan.breakdown.update({f'strange_{name}': float(value) for name, value in strange.items()})
        self.tail_s += watch.lap('choose')
        return replace(plan, timing_ms=watch.laps_ms(), steps={**pace.steps, **hurried})

    def _strange(self, context, observation):
        judged = self.settings.guard and math.isfinite(self.settings.strange_limit)
        return self.backend.strange(context, observation) if judged else {}

    def _imagined(self, context, observation, goal, seed, pace, watch):
        settings = self.settings
        chooser = Chooser(self.backend, self.robot, settings, self._weights(goal), self.forecast, self.refused)
        offset_s, last = self._arrivals(observation.origin_s)
        warm_far = None if last is None else self.backend.network_tokens(*last)[-1]
        # After the far tokens come one call for their typicality and at least one for the fill-in.
        far = self.backend.imagine_far(context, offset_s, goal, settings, seed, warm_far, pace.stage('far', reserve=2))
        # A model with a transition head knows by that who is late; the residual then only has to be that of what is filled in, if at all.
        weighed = goal.objective is not None and goal.objective.weights.get('typicality', 0.0) > 0
        bounded, late = weighed or math.isfinite(chooser.typicality_limit), getattr(self.model, 'transition', False)
        figures = self.backend.judge_far(context, far, offset_s, seed, bounded and not late)
        chosen, rejected = chooser.choose_arrivals(figures, offset_s, goal, seed)
        if bounded and late:
            figures['typicality'] = np.zeros(len(offset_s))
            figures['typicality'][chosen] = self.backend.typicality(context, far[chosen], offset_s[chosen], seed)
        watch.lap('far')
        tokens = self.backend.fill_in(context, far, chosen, offset_s, settings, seed,
                                      self._warm_fill(chosen, offset_s, observation), pace.stage('fill'))
        watch.lap('fill')
        position_rad, velocity_rad_s, latent = self.backend.decode(tokens)
        decode_s = watch.lap('decode')
        fill_offset_s = offset_s[chosen][:, None] * (np.arange(tokens.shape[1]) + 1) / tokens.shape[1]
        if goal.objective is not None and goal.objective.people:
            fill_offset_s, velocity_rad_s = slow_down(observation, fill_offset_s, position_rad, velocity_rad_s, goal.objective.people, self.robot)
        paths = Paths(context, observation, tokens, fill_offset_s, position_rad, velocity_rad_s)
        judged = {name: values[chosen] for name, values in figures.items()} | {'warm': self._is_warm(chosen)}
        best, breakdown = chooser.choose_plan(paths, judged, rejected, goal)
        self.tail_s = decode_s + watch.lap('choose')
        self.told = context, far, offset_s, chosen, tokens, fill_offset_s, best, seed
        level = self._noise_left(pace.steps, tokens.shape[1], self._is_warm(chosen)[best])
        return ImaginedPlan(observation.origin_s, fill_offset_s[best], position_rad[best], velocity_rad_s[best], latent[best], breakdown, rejected,
                            level=level)

    def _weights(self, goal):
        """The weights of the choice, those of the user's objective before our own."""
        return self.weights if goal.objective is None else replace(self.weights, **goal.objective.weights)

    def _noise_left(self, steps, count, warm):
        """Say at which level the tokens of a plan were when their stage ended: -> [T], 0 where it was finished"""
        start, settings = self.settings.warm_level if warm else 1.0, self.settings
        left = {name: start * (1 - steps[name] / total) ** settings.bend for name, total in (('far', settings.far_steps), ('fill', settings.fill_steps))}
        return np.array([left['fill']] * (count - 1) + [left['far']])

    def _arrivals(self, origin_s):
        """Lay out the arrival times of all far candidates: -> offset_s [B], last

        The last rows arrive when the last plan would. `last` is its far token's (position [1, J], velocity [1, J],
        latent [1, V Z + K]), or None where there is no last plan to go on with.
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
        """Shift the last plan in time onto the fill-in tokens of warm candidates: -> (tokens [F, D], which are warm [P]), or None"""
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
        return tokens, chosen >= cold

    def _is_warm(self, chosen):
        """Whether candidates go on with the last plan: -> bool [P]"""
        return chosen >= self.settings.arrivals * self.settings.samples

    def check_scene(self, figures):
        """Refuse to plan from pictures unlike those of play: figures as of Backend.strange. Raises StrangeScene.

        What is only a worry goes into the plan's breakdown.
        """
        grave = {name: value for name, value in figures.items() if name not in WORRIES}
        if self.settings.guard and grave and max(grave.values()) > self.settings.strange_limit:
            raise StrangeScene(grave)

    def imagined_picture(self, plan):
        """Decode what the first camera is imagined to see on arrival: -> pixels [Y, X, 3] uint8"""
        return self.backend.picture(plan.latent[-1][:self.model.latent])
