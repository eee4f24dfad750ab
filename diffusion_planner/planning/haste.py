"""Haste: which plan there is time for, by what the last ones took. Fewer sampling steps that end without noise beat more that do not."""
import math
from dataclasses import dataclass, replace

SHARE = 0.8         # of the deadline that a plan may be expected to take
FORGET = 0.2        # share of a new, lower cost in the cost that is remembered; a higher one counts at once
RETRY = 0.98        # what was too dear becomes cheaper by this with every plan that goes without it, until it is tried again
SIZES = 3           # all candidates, half of them, a quarter
SMALLER = 0.7       # what half of the candidates are expected to cost, until it is known
BEND = 3.2          # of sampling in fewer steps than wanted: the last one must start low, or the guard refuses most plans
FLOOR = 2           # steps of each stage: rather fewer candidates than fewer of these, with which the guard refuses most plans


@dataclass
class Costs:
    """Seconds: of one step of each stage, and of all the rest."""

    far: float
    fill: float
    rest: float

    def of(self, far_steps, fill_steps):
        return far_steps * self.far + fill_steps * self.fill + self.rest

    def note(self, new):
        for name, value in vars(new).items():
            old = getattr(self, name)
            setattr(self, name, value if value > old else old + FORGET * (value - old))

    def scaled(self, factor):
        return Costs(factor * self.far, factor * self.fill, factor * self.rest)


class Haste:
    """Fits the settings of a plan to its deadline. Knows nothing before the first plan, which is left to Pace."""

    def __init__(self):
        self._costs = {}      # how often candidates were halved -> Costs

    def fit(self, settings, deadline_s):
        """Choose steps and candidates: -> settings, as they are where nobody is in a hurry"""
        if deadline_s is None or not self._costs:
            return settings
        steps, least = shorter(settings), SIZES - 1
        choices = [(size, far, fill) for size in range(SIZES) for far, fill in steps if min(far, fill) >= FLOOR or size == least]
        size, far, fill = next((choice for choice in choices if self._expected(choice[0]).of(*choice[1:]) <= SHARE * deadline_s), choices[-1])
        hurried = (far, fill) != steps[0]
        return replace(fewer(settings, size), far_steps=far, fill_steps=fill, bend=max(settings.bend, BEND) if hurried else settings.bend)

    def note(self, settings, full, pace, took_s):
        """Learn from a plan: the settings it was made with, those it would have without haste, its pace, and how long it took."""
        step_s = {name: pace.seconds[name] / max(count, 1) for name, count in pace.steps.items()}
        new = Costs(step_s['far'], step_s['fill'], max(took_s - sum(pace.seconds.values()), 0.0))
        size = next(size for size in range(SIZES) if fewer(full, size).arrivals <= settings.arrivals)
        for larger in range(size):
            if larger in self._costs:
                self._costs[larger] = self._costs[larger].scaled(RETRY)
        if size in self._costs:
            self._costs[size].note(new)
        else:
            self._costs[size] = new

    def _expected(self, size):
        """What candidates halved so often cost, by the nearest size that is known: -> Costs"""
        known = min(self._costs, key=lambda other: abs(other - size))
        return self._costs[known].scaled(SMALLER ** (size - known))


def fewer(settings, size):
    """Halve the arrivals so often, with a path less to fill in each time, and a candidate that goes on with the last plan: -> settings"""
    if size == 0:
        return settings
    return replace(settings, arrivals=math.ceil(settings.arrivals / 2 ** size), plans=max(1, settings.plans - size),
                   plans_max=max(1, settings.plans - size), warm_samples=max(min(settings.warm_samples, 1), settings.warm_samples - size))


def shorter(settings):
    """List numbers of steps, from those of the settings down to one of each, the far token's first: -> [(far, fill)]"""
    far, fill = settings.far_steps, settings.fill_steps
    found = [(far, fill)]
    while far > 1 or fill > 1:
        far, fill = (far - 1, fill) if far >= fill and far > 1 else (far, fill - 1)
        found.append((far, fill))
    return found


def told(settings, full):
    """Say what haste changed, for a replay: -> {name: value}, {} where it changed nothing"""
    names = ('far_steps', 'fill_steps', 'bend', 'arrivals', 'plans', 'plans_max', 'warm_samples')
    changed = {name: getattr(settings, name) for name in names}
    return changed if settings != full else {}


def retold(settings, steps):
    """Take back to settings what `told` says: steps as in a plan -> settings"""
    return replace(settings, **{name: value for name, value in steps.items() if name not in ('far', 'fill')})
