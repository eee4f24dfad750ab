"""Objectives as files: what counts, where to be, what to keep out of, near whom to be slow, which formulas to keep."""
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.objectives import limits, written
from diffusion_planner.objectives.motion import Kinematics, Motion, dense, standing
from diffusion_planner.objectives.temporal_logic import Formula, FormulaError, exclude, parse
from diffusion_planner.objectives.written import SCALES, GoalPose, read_spec

PER_STRETCH = 8      # points looked at between two tokens


@dataclass(frozen=True)
class Term:
    """One thing wanted: value(motion, temperature=None) -> [P], at least 0 where it is so, in its own unit."""

    name: str
    weight: float
    hard: bool
    value: Callable
    unit: str = ''                     # of value; empty: several
    scale: float = 0.1                 # a shortfall that counts as one
    slack: float = 0.0                 # the term pulls below this robustness
    formula: Formula | None = None

    @property
    def bounded(self):
        """Whether it bounds where a path may lead, more loosely where the arm is beyond it already."""
        return self.hard and not self.formula

    def shortfall(self, motion, temperature=None):
        """Measure what is missing, in scales: -> [P], 0 where nothing is

        With a temperature the gradient is that of the soft value, and what is violated has one even where the soft value,
        which is too high for `eventually`, says that it is not.
        """
        value = self.value(motion, temperature)
        if temperature is not None:
            with torch.no_grad():     # after the soft value: what the motion keeps must keep its graph
                excess = (self.value(motion) - value).clamp(max=0)
            value = value + excess
        return (self.slack - value).clamp(min=0) / self.scale


@dataclass(frozen=True)
class Objective:
    """What an operator wants of plans beside the reward. Motions are dense or at the tokens, and then made dense here."""

    name: str
    weights: dict
    goal_pose: GoalPose | None
    people: tuple
    terms: tuple
    kinematics: Kinematics
    zones: tuple = ()

    def robustness(self, motion):
        """Measure every term: -> {name: [P]}, at least 0 where satisfied, each in its own unit"""
        motion = _dense(motion)
        return {term.name: term.value(motion) for term in self.terms}

    def violated(self, motion):
        """Tell which plans break a hard term, or are not numbers where it looks: -> bool [P]"""
        motion = _dense(motion)
        broken = [~(term.value(motion) >= 0) for term in self.terms if term.hard]
        return torch.stack([torch.zeros_like(motion.offset_s[:, 0], dtype=torch.bool), *broken]).any(0)

    def guidance(self, motion, temperature=None):
        """Weigh what is missing: -> [P], at most 0, and 0 where every term is satisfied by its margin

        A term's part is minus its weight times the square of its shortfall; a goal pose's, of miss / tolerance.
        """
        motion = _dense(motion)
        return -torch.stack([term.weight * term.shortfall(motion, temperature) ** 2 for term in self.terms]).sum(0)

    def guidance_at_end(self, motion):
        """Weigh what is missing at the end of a plan, of which nothing else is known yet: motion of one point -> [P], at most 0

        Formulas have no say here: they speak of the way there.
        """
        parts = [term.weight * term.shortfall(motion) ** 2 for term in self.terms if term.formula is None]
        return -torch.stack([torch.zeros_like(motion.offset_s[:, 0]), *parts]).sum(0)

    def judge(self, position_rad, velocity_rad_s, offset_s):
        """Judge paths from the present instant on: numpy position_rad, velocity_rad_s [P, T, J], offset_s [P, T] -> Judgement

        Where the arm already is closer than allowed, to a zone say, a path may be so too, if it comes no closer.
        """
        motion = _dense(Motion(*(torch.as_tensor(np.asarray(values), dtype=torch.float64) for values in (position_rad, velocity_rad_s, offset_s)),
                               self.kinematics))
        here = standing(motion.position_rad[0, 0], self.kinematics)
        return written.judge(self.terms, _numpy(self.robustness(motion)), {term.name: term.value(here).item() for term in self.terms if term.bounded},
                             _numpy(self.share(motion)), self.guidance(motion).numpy())

    def breaches(self, position_rad, velocity_rad_s, offset_s):
        """Name the zones that a motion really comes too near to, see written.breaches: arrays [T, J], [T, J], [T] -> names"""
        motion = Motion(*(torch.as_tensor(np.asarray(values), dtype=torch.float64)[None] for values in (position_rad, velocity_rad_s, offset_s)),
                        self.kinematics)
        return written.breaches(self.zones, [limits.clearance(motion, zone)[0].numpy() for zone in self.zones])

    def share(self, motion):
        """Split -guidance by term: -> {name: [P]}, fractions that sum to 1, or all 0 where nothing is missing"""
        motion = _dense(motion)
        parts = torch.stack([term.weight * term.shortfall(motion) ** 2 for term in self.terms])
        total = parts.sum(0)
        return {term.name: part for term, part in zip(self.terms, parts / torch.where(total > 0, total, 1.0))}

    def check_start(self, position_rad):
        """Refuse a start, at rest, from which the hard terms that hold from now on are already broken.

        check_start(position_rad [J]); raises ConfigError with the terms that fail, or that exclude each other
        """
        demands, motion = self.demands(), standing(position_rad, self.kinematics)
        written.check_demands(self.name, [(str(demand), demand.value(motion).item(), demand.values(motion)) for demand in demands], excluding(demands))

    def check_together(self):
        """Refuse what no start could satisfy: raises ConfigError with two hard terms that exclude each other."""
        demands = self.demands()
        written.check_together(self.name, [str(demand) for demand in demands], excluding(demands))

    def demands(self):
        """List what must hold at the present instant for the hard terms to hold: -> [Demand]"""
        return [demand for term in self.terms if term.hard for demand in _demands(term)]


def load_objective(path_or_text, robot):
    """Read an objective from a YAML file or from YAML text, see written.read_spec.

    Raises ConfigError, on one line, for what cannot be used: see the dataclasses there and temporal_logic.parse.
    """
    spec, where, name = read_spec(path_or_text)
    terms = tuple(_terms(spec, robot, where))
    _check_names([term.name for term in terms], where)
    return Objective(name, spec.chosen_weights, spec.goal_pose, spec.people, terms, Kinematics(robot), spec.keep_out)


@dataclass(frozen=True)
class Demand:
    """What must hold at the present instant for a hard term to hold."""

    term: Term
    value: Callable
    formula: Formula | None = None

    def __str__(self):
        return f'{self.term.name!r} ({self.formula.text})' if self.formula else repr(self.term.name)

    def values(self, motion):
        """Write what the motion has at its only point: -> ['tip_z 0.412 m', ...]"""
        return [written.quantity(name, signal(motion).item(), unit) for name, unit, signal in self.quantities()]

    def quantities(self):
        """List what it depends on: -> [(name, unit, signal(motion of one point) -> one number)]"""
        if not self.formula:
            return [(self.term.name, self.term.unit, self.value)]
        parts = [part for comparison in self.formula.comparisons() for part, _ in comparison.excess.parts]
        return [(part.name, part.unit, lambda motion, part=part: part.signal(motion, None)[0, 0]) for part in parts]


def excluding(demands):
    """Find the demands that no state satisfies together: -> [(index, index)]"""
    return [(one, other) for one, other in itertools.combinations(range(len(demands)), 2) if _exclude(demands[one], demands[other])]


def _demands(term):
    if not term.formula:
        return [Demand(term, term.value)]
    return [Demand(term, formula.robustness, formula) for formula in term.formula.present()]


def _exclude(one, other):
    pair = [demand.formula.comparisons() if demand.formula and not demand.formula.parts else () for demand in (one, other)]
    return all(pair) and exclude(pair[0][0], pair[1][0])


def _numpy(values):
    return {name: value.numpy() for name, value in values.items()}


def miss(goal, motion):
    """Measure how far from a goal pose the last point of a motion is: -> m or rad [P]"""
    values, wanted = (motion.position_rad, goal.position_rad) if goal.tip_m is None else (motion.tip_m, goal.tip_m)
    return torch.linalg.vector_norm(values[:, -1] - values.new_tensor(wanted), dim=-1)


def _dense(motion):
    return motion if motion.per_stretch > 1 else dense(motion, PER_STRETCH)


def _terms(spec, robot, where):
    if spec.goal_pose:
        yield _goal_term(spec.goal_pose, robot, where)
    yield from map(_zone_term, spec.keep_out)
    if spec.joint_margins:
        yield _margin_term(spec.joint_margins, robot, where)
    yield from map(_person_term, spec.people)
    for index, named in enumerate(spec.formulas):
        yield _formula_term(named, robot, f'{where}: formulas[{index}]: {named.name!r}')


def _goal_term(goal, robot, where):
    if goal.position_rad is not None and len(goal.position_rad) != len(robot.joint_names):
        raise ConfigError(f'{where}: goal_pose: position_rad: got {len(goal.position_rad)} values, '
                          f'expected {len(robot.joint_names)}, one per joint')
    return Term('goal_pose', goal.weight, False, lambda motion, temperature=None: goal.tolerance - miss(goal, motion),
                'rad' if goal.tip_m is None else 'm', scale=goal.tolerance, slack=goal.tolerance)


def _zone_term(zone):
    return Term(zone.name, 1.0, True, lambda motion, temperature=None: limits.keep_out(motion, zone, temperature),
                'm', SCALES['m'])


def _margin_term(margins, robot, where):
    ranges = dict(zip(robot.joint_names, zip(robot.position_min_rad, robot.position_max_rad)))
    for name, margin in margins.items():
        if name not in ranges:
            raise ConfigError(f'{where}: joint_margins: unknown joint {name!r}; expected one of {", ".join(ranges)}')
        most = (ranges[name][1] - ranges[name][0]) / 2
        if not 0 <= margin < most:     # nan fails too
            raise ConfigError(f'{where}: joint_margins: {name}: got {margin}, expected 0 to {most:.3f} rad, half of its range')
    margin_rad = tuple(margins.get(name, -math.inf) for name in robot.joint_names)
    return Term('joint_margins', 1.0, True,
                lambda motion, temperature=None: limits.joint_margins(motion, robot, margin_rad, temperature), 'rad', SCALES['rad'])


def _person_term(person):
    return Term(person.name, 1.0, True, lambda motion, temperature=None: limits.slow_near(motion, person, temperature),
                'm/s', SCALES['m/s'])


def _formula_term(named, robot, where):
    try:
        formula = parse(named.formula, robot.joint_names)
    except FormulaError as error:
        raise FormulaError(f'{where}: {error}') from None
    units = {part.unit for comparison in formula.comparisons() for part, _ in comparison.excess.parts}
    unit = units.pop() if len(units) == 1 else ''
    return Term(named.name, named.weight, named.hard, formula.robustness, unit, SCALES.get(unit, Term.scale), formula=formula)


def _check_names(names, where):
    if not names:
        raise ConfigError(f'{where}: expected at least one term: goal_pose, keep_out, joint_margins, people or formulas')
    for name in names:
        if not (name.strip() and name.isprintable()):
            raise ConfigError(f'{where}: got the name {name!r}, expected one that can be read')
        if names.count(name) > 1:
            raise ConfigError(f'{where}: {names.count(name)} terms are named {name!r}, expected a name for each')
