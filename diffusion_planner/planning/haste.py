"""Haste: which plan there is time for, by what the last ones took. Fewer sampling steps that end without noise beat more that do not."""
import math
from dataclasses import dataclass, replace

SHARE = 0.85        # of the deadline that a plan may be expected to take
FORGET = 0.2        # share of a new, lower cost in the cost that is remembered; a higher one counts at once
RETRY = 0.98        # what was too dear becomes cheaper by this with every plan that goes without it, until it is tried again
SMALLER = 0.6       # what half of the candidates are expected to cost, until it is known
FLOOR = 2           # steps of each stage below which fewer candidates are better than fewer steps


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
        self._costs = {}      # whether candidates are halved -> Costs

    def fit(self, settings, deadline_s):
        """Choose steps and candidates: -> settings, as they are where nobody is in a hurry"""
        if deadline_s is None or False not in self._costs:
            return settings
        few = halved(settings)
        choices = [(settings, False, *steps) for steps in shorter(settings) if min(steps) >= FLOOR]
        choices += [(few, True, *steps) for steps in shorter(settings)]
        for chosen, small, far, fill in choices:
            if self._expected(small).of(far, fill) <= SHARE * deadline_s:
                break
        return replace(chosen, far_steps=far, fill_steps=fill)

    def note(self, settings, full, pace, took_s):
        """Learn from a plan: the settings it was made with, those it would have without haste, its pace, and how long it took."""
        steps = {name: max(count, 1) for name, count in pace.steps.items()}
        step_s = {name: pace.seconds[name] / steps[name] for name in steps}
        new = Costs(step_s['far'], step_s['fill'], max(took_s - sum(pace.seconds.values()), 0.0))
        small = settings.arrivals < full.arrivals
        if small in self._costs:
            self._costs[small].note(new)
        else:
            self._costs[small] = new
        if small and False in self._costs:
            self._costs[False] = self._costs[False].scaled(RETRY)

    def _expected(self, small):
        return self._costs.get(small) or self._costs[False].scaled(SMALLER)


def halved(settings):
    """Half of the arrivals and, of the paths, two: -> settings"""
    return replace(settings, arrivals=max(1, math.ceil(settings.arrivals / 2)), plans=min(2, settings.plans), plans_max=min(2, settings.plans_max))


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
    names = ('far_steps', 'fill_steps', 'arrivals', 'plans', 'plans_max')
    changed = {name: getattr(settings, name) for name in names}
    return changed if settings != full else {}


def retold(settings, steps):
    """Take back to settings what `told` says: steps as in a plan -> settings"""
    return replace(settings, **{name: value for name, value in steps.items() if name not in ('far', 'fill')})
