"""Objectives as files: what counts, where to be, what to keep out of, near whom to be slow, which formulas to keep."""
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
import yaml

from diffusion_planner.config import ConfigError, from_mapping
from diffusion_planner.objectives import limits
from diffusion_planner.objectives.limits import Person, Zone, check_numbers
from diffusion_planner.objectives.motion import Kinematics, Motion, dense, standing
from diffusion_planner.objectives.temporal_logic import Formula, FormulaError, exclude, parse
from diffusion_planner.robot import Vector

CREEP = 0.5          # scales of a term by which a path that begins inside a limit may get worse before it gets better: its first points
LEAST = 10.0         # a score is no worse than minus this, or one term would drown every other judgement
PER_STRETCH = 8      # points looked at between two tokens
# A shortfall is measured in these before it is squared, so that a weight of 1 means about as much in any unit.
SCALES = {'m': 0.02, 'm/s': 0.05, 'rad': 0.1, 'rad/s': 0.1, 's': 0.1}


@dataclass(frozen=True)
class PlanWeights:
    """Weights of the choice of the plan, in place of planner.Weights; None: as there."""

    reward: float | None = None
    judge: float | None = None
    earliness: float | None = None
    smoothness: float | None = None
    consistency: float | None = None
    typicality: float | None = None
    warm: float | None = None
    objective: float | None = None

    def __post_init__(self):
        check_numbers(self, not_negative=[field.name for field in fields(self)])


@dataclass(frozen=True)
class GoalPose:
    """Where to be at the end of the plan: a fingertip position or a posture."""

    tip_m: Vector | None = None
    position_rad: tuple[float, ...] | None = None
    tolerance_m: float | None = None
    tolerance_rad: float | None = None
    weight: float = 1.0

    def __post_init__(self):
        if (self.tip_m is None) == (self.position_rad is None):
            given = 'neither' if self.tip_m is None else 'both'
            raise ValueError(f'got {given} of tip_m and position_rad, expected one of them')
        wanted, other = ('tolerance_m', 'tolerance_rad') if self.position_rad is None else ('tolerance_rad', 'tolerance_m')
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f'expected {wanted} with {"tip_m" if self.position_rad is None else "position_rad"}, and no {other}')
        check_numbers(self, positive=('tolerance_m', 'tolerance_rad'), not_negative=('weight',))

    @property
    def tolerance(self):
        return self.tolerance_rad if self.tip_m is None else self.tolerance_m

    def miss(self, motion):
        """Measure how far from it the last point is: -> m or rad [P]"""
        values, wanted = (motion.position_rad, self.position_rad) if self.tip_m is None else (motion.tip_m, self.tip_m)
        return torch.linalg.vector_norm(values[:, -1] - values.new_tensor(wanted), dim=-1)


@dataclass(frozen=True)
class NamedFormula:
    """A formula of objectives.temporal_logic."""

    name: str
    formula: str
    weight: float = 1.0
    hard: bool = False

    def __post_init__(self):
        check_numbers(self, not_negative=('weight',))


@dataclass(frozen=True)
class Spec:
    """An objective as written in its file."""

    weights: PlanWeights = PlanWeights()
    goal_pose: GoalPose | None = None
    keep_out: tuple[Zone, ...] = ()
    joint_margins: dict[str, float] = field(default_factory=dict)
    people: tuple[Person, ...] = ()
    formulas: tuple[NamedFormula, ...] = ()


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
class Judgement:
    """What an objective says of P paths, numpy [P] each: robustness and share by term, which hard terms are broken, a score."""

    robustness: dict
    share: dict
    broken: dict
    score: object


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
        here, values, broken = standing(motion.position_rad[0, 0], self.kinematics), self.robustness(motion), {}
        for term in (term for term in self.terms if term.hard):
            least = 0.0 if term.formula else min(0.0, term.value(here).item() - CREEP * term.scale)
            broken[term.name] = ~(values[term.name] >= least).numpy()
        return Judgement({name: value.numpy() for name, value in values.items()},
                         {name: value.numpy() for name, value in self.share(motion).items()}, broken,
                         self.guidance(motion).clamp(min=-LEAST).numpy())

    def breaches(self, position_rad, velocity_rad_s, offset_s):
        """Name the zones that a motion really comes too near to, by more than half their margin: arrays [T, J], [T, J], [T] -> names

        For what is about to be commanded: shaping rounds the corners of a plan, and the other half is for the controller.
        """
        motion = Motion(*(torch.as_tensor(np.asarray(values), dtype=torch.float64)[None] for values in (position_rad, velocity_rad_s, offset_s)),
                        self.kinematics)
        return [zone.name for zone in self.zones if _enters(limits.clearance(motion, zone)[0].numpy(), 0.5 * zone.margin_m)]

    def share(self, motion):
        """Split -guidance by term: -> {name: [P]}, fractions that sum to 1, or all 0 where nothing is missing"""
        motion = _dense(motion)
        parts = torch.stack([term.weight * term.shortfall(motion) ** 2 for term in self.terms])
        parts = parts / parts.sum(0).clamp(min=torch.finfo(parts.dtype).tiny)
        return {term.name: part for term, part in zip(self.terms, parts)}

    def check_start(self, position_rad):
        """Refuse a start, at rest, from which the hard terms that hold from now on are already broken.

        check_start(position_rad [J]); raises ConfigError with the terms that fail, or that exclude each other
        """
        motion = standing(position_rad, self.kinematics)
        demands = [demand for term in self.terms if term.hard for demand in _demands(term)]
        failing = [demand for demand in demands if not demand.value(motion).item() >= 0]
        if not failing:
            return
        apart = [pair for pair in itertools.combinations(demands, 2) if _exclude(*pair)]
        told, problem = (apart[0], 'exclude each other') if apart else (failing, 'fail together' if len(failing) > 1 else 'fails')
        values = {value: None for demand in told for value in demand.values(motion)}      # each once, in order
        raise ConfigError(f'{self.name}: {" and ".join(map(str, told))} {problem} at the start state ({", ".join(values)})')


def load_objective(path_or_text, robot):
    """Read an objective from a YAML file, or from YAML text: what has a line break or ': ' in it and is no file's path.

    Raises ConfigError, on one line, for what cannot be used: see the dataclasses here and temporal_logic.parse.
    """
    text = str(path_or_text)
    inline = ('\n' in text or ': ' in text) and not os.path.isfile(text)
    where = 'objective' if inline else text
    mapping = _read_yaml(text if inline else _read_text(text), where)
    try:
        spec = from_mapping(Spec, {} if mapping is None else mapping, where)
    except OverflowError:
        raise ConfigError(f'{where}: an integer too large for a number; expected finite numbers') from None
    terms = tuple(_terms(spec, robot, where))
    _check_names([term.name for term in terms], where)
    weights = {name: value for name, value in vars(spec.weights).items() if value is not None}
    return Objective(where if inline else Path(text).stem, weights, spec.goal_pose, spec.people, terms, Kinematics(robot), spec.keep_out)


@dataclass(frozen=True)
class _Demand:
    """What must hold at the present instant for a hard term to hold."""

    term: Term
    value: Callable
    formula: Formula | None = None

    def __str__(self):
        return f'{self.term.name!r} ({self.formula.text})' if self.formula else repr(self.term.name)

    def values(self, motion):
        """Write what the motion has at its only point: -> ['tip_z 0.412 m', ...]"""
        if not self.formula:
            return [f'{self.term.name} {self.value(motion).item():.3f} {self.term.unit}']
        parts = [part for comparison in self.formula.comparisons() for part, _ in comparison.excess.parts]
        return [f'{part.name} {part.signal(motion, None)[0, 0].item():.3f} {part.unit}'.strip() for part in parts]


def _demands(term):
    if not term.formula:
        return [_Demand(term, term.value)]
    return [_Demand(term, formula.robustness, formula) for formula in term.formula.present()]


def _exclude(one, other):
    pair = [demand.formula.comparisons() if demand.formula and not demand.formula.parts else () for demand in (one, other)]
    return all(pair) and exclude(pair[0][0], pair[1][0])


def _enters(clearance_m, slack_m):
    """Tell whether a motion goes into a zone: clearance_m [T]. One that begins inside may leave, but go no deeper and not come back."""
    outside = np.flatnonzero(clearance_m >= -slack_m)
    leaves = outside[0] if len(outside) else len(clearance_m)
    deeper = (clearance_m[:leaves] < clearance_m[0] - CREEP * SCALES['m']).any()
    return bool(deeper or not (clearance_m[leaves:] >= -slack_m).all())


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
    return Term('goal_pose', goal.weight, False, lambda motion, temperature=None: goal.tolerance - goal.miss(motion),
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


def _read_text(path):
    try:
        return Path(path).read_text()
    except (OSError, ValueError) as error:
        problem = getattr(error, 'strerror', None) or 'not a text'
        raise ConfigError(f'{path!r}: cannot be read ({problem}); expected the YAML file or text of an objective') from None


def _read_yaml(text, where):
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f'{where}: not valid YAML: {" ".join(str(error).split())}') from None


class _StrictLoader(yaml.SafeLoader):
    """Refuses what PyYAML drops in silence: the first of two keys that are alike, and a zone with it."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in getattr(node, 'value', ()) if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f'key {key!r} is given twice', node.start_mark)
        return super().construct_mapping(node, deep)
