"""Objectives as they are written in their files, and what is said of plans by them: no torch, for planners that have none."""
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import yaml

from diffusion_planner.config import ConfigError, from_mapping
from diffusion_planner.robot import Vector

CREEP = 0.5          # scales of a term by which a path that begins inside a limit may get worse before it gets better: its first points
LEAST = 10.0         # a score is no worse than minus this, or one term would drown every other judgement
# A shortfall is measured in these before it is squared, so that a weight of 1 means about as much in any unit.
SCALES = {'m': 0.02, 'm/s': 0.05, 'rad': 0.1, 'rad/s': 0.1, 's': 0.1}


@dataclass(frozen=True)
class Zone:
    """A place that the fingertip keeps out of: a box (half_m) along the base axes, or a sphere (radius_m)."""

    name: str
    centre_m: Vector
    half_m: Vector | None = None
    radius_m: float | None = None
    margin_m: float = 0.0     # distance to keep from it

    def __post_init__(self):
        if (self.half_m is None) == (self.radius_m is None):
            given = 'neither' if self.half_m is None else 'both'
            raise ValueError(f'{self.name!r}: got {given} of half_m and radius_m, expected one: half_m (a box) or radius_m (a sphere)')
        check_numbers(self, positive=('half_m', 'radius_m'), not_negative=('margin_m',))


@dataclass(frozen=True)
class Person:
    """Someone the fingertip is slow near: at most speed_m_s within radius_m of the centre."""

    name: str
    centre_m: Vector
    radius_m: float
    speed_m_s: float

    def __post_init__(self):
        check_numbers(self, positive=('radius_m', 'speed_m_s'))


def check_numbers(record, positive=(), not_negative=()):
    """Raise ValueError for the first number in a dataclass that is not finite, or not above or at least 0 where it must be."""
    for name in (field.name for field in fields(record)):
        value = getattr(record, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float):
                _check_number(name, number, name in positive, name in not_negative)


def _check_number(name, number, positive, not_negative):
    if not math.isfinite(number):
        raise ValueError(f'{name}: got {number}, expected a finite number')
    if positive and number <= 0:
        raise ValueError(f'{name}: got {number}, expected a number above 0')
    if not_negative and number < 0:
        raise ValueError(f'{name}: got {number}, expected a number of at least 0')


@dataclass(frozen=True)
class PlanWeights:
    """Weights of the choice of the plan, in place of planner.Weights; None: as there."""

    reward: float | None = None
    judge: float | None = None
    earliness: float | None = None
    smoothness: float | None = None
    consistency: float | None = None
    typicality: float | None = None
    genuineness: float | None = None
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

    @property
    def chosen_weights(self):
        return {name: value for name, value in vars(self.weights).items() if value is not None}


@dataclass(frozen=True)
class Judgement:
    """What an objective says of P paths, numpy [P] each: robustness and share by term, which hard terms are broken, a score."""

    robustness: dict
    share: dict
    broken: dict
    score: object


def read_spec(path_or_text):
    """Read an objective from a YAML file, or from YAML text: what has a line break or ': ' in it and is no file's path.

    read_spec(path_or_text) -> Spec, where it is from, its name. Raises ConfigError, on one line; formulas are not read here.
    """
    text = str(path_or_text)
    inline = ('\n' in text or ': ' in text) and not os.path.isfile(text)
    where = 'objective' if inline else text
    mapping = _read_yaml(text if inline else _read_text(text), where)
    try:
        spec = from_mapping(Spec, {} if mapping is None else mapping, where)
    except OverflowError:
        raise ConfigError(f'{where}: an integer too large for a number; expected finite numbers') from None
    return spec, where, where if inline else Path(text).stem


def judge(terms, robustness, here, share, guidance):
    """Put together what was computed of P paths: terms, robustness and share {name: [P]}, here {name of a hard term: float}, guidance [P]

    Where the arm already is closer than allowed, to a zone say, a path may be so too, if it comes no closer.
    """
    broken = {}
    for term in (term for term in terms if term.hard):
        least = 0.0 if term.formula else min(0.0, here[term.name] - CREEP * term.scale)
        broken[term.name] = ~(robustness[term.name] >= least)
    return Judgement(robustness, share, broken, np.maximum(guidance, -LEAST))


def breaches(zones, clearance_m):
    """Name the zones that a motion really comes too near to, by more than half their margin: clearance_m, [T] for each -> names

    For what is about to be commanded: shaping rounds the corners of a plan, and the other half is for the controller.
    """
    return [zone.name for zone, away_m in zip(zones, clearance_m) if _enters(away_m, 0.5 * zone.margin_m)]


def _enters(clearance_m, slack_m):
    """Tell whether a motion goes into a zone: clearance_m [T]. One that begins inside may leave, but go no deeper and not come back."""
    outside = np.flatnonzero(clearance_m >= -slack_m)
    leaves = outside[0] if len(outside) else len(clearance_m)
    deeper = (clearance_m[:leaves] < clearance_m[0] - CREEP * SCALES['m']).any()
    return bool(deeper or not (clearance_m[leaves:] >= -slack_m).all())


def check_demands(name, demands, apart):
    """Refuse a start where something that must hold does not: demands [(text, robustness, what it depends on in words)], apart pairs of indices

    Raises ConfigError with the demands that fail, or that exclude each other.
    """
    failing = [demand for demand in demands if not demand[1] >= 0]
    if not failing:
        return
    told, problem = ([demands[index] for index in apart[0]], 'exclude each other') if apart else (failing, 'fail together' if len(failing) > 1 else 'fails')
    values = {value: None for demand in told for value in demand[2]}      # each once, in order
    raise ConfigError(f'{name}: {" and ".join(demand[0] for demand in told)} {problem} at the start state ({", ".join(values)})')


def check_together(name, texts, apart):
    """Refuse an objective of which no state keeps everything that holds from now on: texts of its demands, apart pairs of indices

    Raises ConfigError with the first pair.
    """
    if apart:
        raise ConfigError(f'{name}: {" and ".join(texts[index] for index in apart[0])} exclude each other, no state keeps to both')


def quantity(name, value, unit):
    """Write a number with its name and its unit, if it has one of its own."""
    return f'{name} {value:.3f} {unit}'.strip()


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
