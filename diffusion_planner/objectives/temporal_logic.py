"""Signal temporal logic over a motion: text in, one robustness per plan out, above 0 where the formula holds.

Semantics: Donze and Maler 2010; smooth robustness by soft minima: Leung, Arechiga and Pavone 2021 (STLCG).

    always[0, 2] (tip_z > 0.05 and not distance(0.5, 0, 0.2) < 0.1)       seconds after the instant it is asked at
    tip_speed < 0.1 until[0, 3] tip_x > 0.5                               the one up to and including when the other holds
    always (abs(tip_y) < 0.05 implies tip_z > 2 * panda_joint1 + 0.3)     no interval: the rest of the plan

From loose to tight: implies, or, and, until; then not, always and eventually, which take the next comparison or parenthesis.
A comparison's robustness is the difference of its two sides, in their unit. Between two points of the motion every
signal is a line, and after the last point it stays as it is there: so no interval is ever empty, however short or late.
"""
import math
import re
from dataclasses import dataclass
from functools import cache

import lark
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.objectives.motion import least, quantities

LONGEST = 2000       # characters of a formula
BEYOND = 1e12        # above every robustness; infinity would make the gradient of a cumulative soft minimum nan
GRAMMAR = r'''
?formula: either | either "implies" formula -> implication
?either: both | either "or" both -> disjunction
?both: until | both "and" until -> conjunction
?until: unary | unary "until" interval? unary -> until
?unary: comparison | "(" formula ")" | "not" unary -> negation
    | "always" interval? unary -> always | "eventually" interval? unary -> eventually
interval: "[" edge "," edge "]"
edge: MINUS? NUMBER
comparison: sum COMPARE sum
?sum: product | sum "+" product -> add | sum MINUS product -> subtract
?product: factor | product "*" factor -> multiply | product "/" factor -> divide
?factor: NUMBER -> number | NAME -> quantity | NAME "(" sum ("," sum)* ")" -> call | MINUS factor -> negative | "(" sum ")"
COMPARE: /[<>]=?/
MINUS: "-"
NAME: /[A-Za-z_]\w*/
NUMBER: /(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/
%ignore " "
'''


class FormulaError(ConfigError):
    """A formula that cannot be used; the message shows where, marked ^, and what was expected."""


@dataclass(frozen=True)
class Fold:
    """abs, min, max or distance of expressions."""

    function: str
    arguments: tuple
    name: str
    unit: str

    def signal(self, motion, temperature):
        if self.function == 'distance':
            place_m = motion.tip_m.new_tensor([argument.constant for argument in self.arguments])
            return torch.linalg.vector_norm(motion.tip_m - place_m, dim=-1)
        values = torch.stack([argument.signal(motion, temperature) for argument in self.arguments], -1)
        if self.function == 'abs':    # without the flat spot of torch's at 0
            return torch.where(values >= 0, values, -values).squeeze(-1)
        return least(values, -1, temperature) if self.function == 'min' else -least(-values, -1, temperature)


@dataclass(frozen=True)
class Linear:
    """A sum of quantities times numbers, plus a number."""

    parts: tuple
    constant: float

    def plus(self, other, factor=1.0):
        """Add another sum times a number."""
        sums = dict(self.parts)
        for part, number in other.parts:
            sums[part] = sums.get(part, 0.0) + factor * number
        return Linear(tuple((part, number) for part, number in sums.items() if number), self.constant + factor * other.constant)

    def signal(self, motion, temperature):
        total = torch.full_like(motion.offset_s, self.constant)
        for part, number in self.parts:
            total = total + number * part.signal(motion, temperature)
        return total


@dataclass(frozen=True)
class Formula:
    """What must hold, with the text it was written as; or, implies and eventually are written with not, and and always."""

    text: str
    parts: tuple

    def robustness(self, motion, temperature=None):
        """Measure by how much the formula holds at the motion's first point: -> [P], below 0 where it does not

        Exact without a temperature; with one, by soft minima of that temperature, in the unit of the comparisons.
        """
        return self.signal(motion, 1, temperature)[:, 0]

    def signal(self, motion, rows, temperature):
        """Measure the robustness at each of the first `rows` points: -> [P, rows]"""
        raise NotImplementedError

    def present(self):
        """List the formulas free of time that must hold at the present instant for this one to hold: -> tuple"""
        return (self,) if self.timeless else ()

    @property
    def timeless(self):
        return all(part.timeless for part in self.parts)

    def comparisons(self):
        """List the comparisons: -> tuple of Comparison"""
        return tuple(comparison for part in self.parts for comparison in part.comparisons())


@dataclass(frozen=True)
class Comparison(Formula):
    """excess > 0"""

    excess: Linear

    def signal(self, motion, rows, temperature):
        return self.excess.signal(motion, temperature)[:, :rows]

    def comparisons(self):
        return (self,)


class Not(Formula):
    """Not its part."""

    def signal(self, motion, rows, temperature):
        return -self.parts[0].signal(motion, rows, temperature)


class And(Formula):
    """All of its parts."""

    def signal(self, motion, rows, temperature):
        return least(torch.stack([part.signal(motion, rows, temperature) for part in self.parts], -1), -1, temperature)

    def present(self):
        return tuple(formula for part in self.parts for formula in part.present())


@dataclass(frozen=True)
class Always(Formula):
    """Its part at every instant of an interval."""

    interval_s: tuple
    timeless = False

    def signal(self, motion, rows, temperature):
        edges_s, _, inside = _window(motion.offset_s.detach(), self.interval_s, rows)
        values = _read(self.parts[0].signal(motion, motion.offset_s.shape[1], temperature), motion.offset_s.detach(), edges_s)
        return least(torch.where(inside, values, math.inf), -1, temperature)

    def present(self):
        return self.parts[0].present() if self.interval_s[0] == 0 else ()


@dataclass(frozen=True)
class Until(Formula):
    """Its second part at some instant of an interval, and its first from now up to and including that instant."""

    interval_s: tuple
    timeless = False

    def signal(self, motion, rows, temperature):
        offset_s = motion.offset_s.detach()
        edges_s, instants_s, inside = _window(offset_s, self.interval_s, rows)
        held, reached = [_read(part.signal(motion, offset_s.shape[1], temperature), offset_s, edges_s) for part in self.parts]
        held = torch.where(instants_s >= offset_s[:, :rows, None], held, BEYOND)
        order = instants_s.argsort(-1)
        held, reached, inside = [values.gather(-1, order) for values in (held, reached, inside)]
        both = least(torch.stack([_least_so_far(held, temperature), reached], -1), -1, temperature)
        return -least(torch.where(inside, -both, BEYOND), -1, temperature)

    def present(self):
        return self.parts[0].present()


def exclude(one, other):
    """Tell whether no state at all satisfies both comparisons: the same sum of quantities, bounded apart from two sides."""
    first, second = dict(one.excess.parts), dict(other.excess.parts)
    if not first or first.keys() != second.keys():
        return False
    ratios = [-second[part] / first[part] for part in first]
    parallel = min(ratios) > 0 and math.isclose(min(ratios), max(ratios))
    return parallel and other.excess.constant + ratios[0] * one.excess.constant < 0


def parse(text, joint_names):
    """Read a formula, see the module.

    Raises FormulaError for text that is none, an unknown quantity, an interval that is inverted or begins in the past,
    numbers that are not finite, and products of quantities.
    """
    text = ' '.join(text.split())
    if len(text) > LONGEST:
        raise FormulaError(f'formula of {len(text)} characters; expected at most {LONGEST}')
    try:
        return _Reader(text, quantities(joint_names)).read(_parser().parse(text))
    except lark.exceptions.UnexpectedInput as error:
        ended = getattr(getattr(error, 'token', None), 'type', '') == '$END'
        column = len(text) + 1 if ended else error.column
        raise _error(text, column, f'unexpected {_word(text, column)}; expected {_expected(error)}') from None
    except RecursionError:
        raise FormulaError(f'formula {text[:40]!r}... is nested too deeply') from None


class _Reader:
    """Turns the tree of one formula into Formula and Linear; a method per rule of the grammar."""

    def __init__(self, text, known):
        self.text, self.known = text, known

    def read(self, tree):
        return getattr(self, str(tree.data))(tree, *tree.children)

    def refuse(self, where, problem):
        column = where.column if isinstance(where, lark.Token) else where.meta.column
        raise _error(self.text, column, problem)

    def written(self, tree):
        return self.text[tree.meta.start_pos:tree.meta.end_pos]

    def negation(self, tree, part):
        return _negate(self.read(part), self.written(tree))

    def conjunction(self, tree, one, other):
        return And(self.written(tree), (self.read(one), self.read(other)))

    def disjunction(self, tree, one, other):
        return _either(self.written(tree), _negate(self.read(one)), _negate(self.read(other)))

    def implication(self, tree, one, other):
        return _either(self.written(tree), self.read(one), _negate(self.read(other)))

    def always(self, tree, *children):
        return Always(self.written(tree), (self.read(children[-1]),), self.interval_s(children[:-1]))

    def eventually(self, tree, *children):
        never = Always(self.written(tree), (_negate(self.read(children[-1])),), self.interval_s(children[:-1]))
        return _negate(never, self.written(tree))

    def until(self, tree, held, *children):
        return Until(self.written(tree), (self.read(held), self.read(children[-1])), self.interval_s(children[:-1]))

    def interval_s(self, given):
        if not given:
            return 0.0, math.inf
        begin_s, end_s = [self.read(edge) for edge in given[0].children]
        if end_s < begin_s:
            self.refuse(given[0], f'interval from {begin_s:g} to {end_s:g} s; expected its begin first')
        return begin_s, end_s

    def edge(self, tree, *tokens):
        if len(tokens) == 2:
            self.refuse(tree, f'negative seconds -{tokens[1]}; expected seconds from now on')
        return self.number(tree, tokens[-1]).constant

    def comparison(self, tree, one, sign, other):
        factor = 1.0 if sign.startswith('>') else -1.0
        excess = Linear((), 0.0).plus(self.read(one), factor).plus(self.read(other), -factor)
        if not all(map(math.isfinite, [excess.constant, *(number for _, number in excess.parts)])):
            self.refuse(tree, 'numbers that are not finite')
        if not excess.parts:
            self.refuse(tree, 'no quantity is compared; expected one of ' + ', '.join(self.known))
        return Comparison(self.written(tree), (), excess)

    def number(self, tree, token):
        if not math.isfinite(float(token)):
            self.refuse(token, f'{token} is not finite')
        return Linear((), float(token))

    def quantity(self, tree, token):
        if token not in self.known:
            self.refuse(token, f'unknown quantity {str(token)!r}; expected one of {", ".join(self.known)}')
        return Linear(((self.known[token], 1.0),), 0.0)

    def call(self, tree, token, *arguments):
        arguments, function = tuple(self.read(argument) for argument in arguments), str(token)
        if function not in ('abs', 'min', 'max', 'distance'):
            self.refuse(token, f'unknown function {function!r}; expected abs, min, max or distance')
        if len(arguments) != {'abs': 1, 'distance': 3}.get(function, len(arguments)):
            self.refuse(token, f'{function} of {len(arguments)}; expected ' + ('one value' if function == 'abs' else 'x, y, z'))
        if function == 'distance' and any(argument.parts for argument in arguments):
            self.refuse(token, 'distance to a place that moves; expected three numbers')
        units = {part.unit for argument in arguments for part, _ in argument.parts}
        unit = 'm' if function == 'distance' else units.pop() if len(units) == 1 else ''
        return Linear(((Fold(function, arguments, self.written(tree), unit), 1.0),), 0.0)

    def negative(self, tree, minus, part):
        return Linear((), 0.0).plus(self.read(part), -1.0)

    def add(self, tree, one, other):
        return self.read(one).plus(self.read(other))

    def subtract(self, tree, one, minus, other):
        return self.read(one).plus(self.read(other), -1.0)

    def multiply(self, tree, one, other):
        one, other = self.read(one), self.read(other)
        if one.parts and other.parts:
            self.refuse(tree, 'a product of two quantities; expected a number on one side')
        return Linear((), 0.0).plus(one, other.constant) if one.parts else Linear((), 0.0).plus(other, one.constant)

    def divide(self, tree, one, other):
        one, other = self.read(one), self.read(other)
        if other.parts or other.constant == 0:
            self.refuse(tree, 'a division by what is no number above or below 0')
        return Linear((), 0.0).plus(one, 1.0 / other.constant)


def _negate(formula, text=None):
    text = text or f'not ({formula.text})'
    if isinstance(formula, Comparison):
        return Comparison(text, (), Linear((), 0.0).plus(formula.excess, -1.0))
    return formula.parts[0] if isinstance(formula, Not) else Not(text, (formula,))


def _either(text, *denied):
    return Not(text, (And(text, denied),))


@cache
def _parser():
    return lark.Lark(GRAMMAR, parser='lalr', start='formula', propagate_positions=True)


def _error(text, column, problem):
    begin = max(0, column - 41)
    before, after = text[begin:column - 1], text[column - 1:column + 39]
    cut = ('...' if begin else '', '...' if column + 39 < len(text) else '')
    return FormulaError(f"at column {column}: '{cut[0]}{before}^{after}{cut[1]}': {problem}")


def _word(text, column):
    found = re.match(r'[\w.]+|.', text[column - 1:])
    return repr(found.group()) if found else 'end'


def _expected(error):
    words = {terminal.name: repr(terminal.pattern.value) for terminal in _parser().terminals}
    words.update({'COMPARE': 'a comparison', 'NAME': 'a quantity', 'NUMBER': 'a number', '$END': 'the end'})
    names = getattr(error, 'expected', None) or getattr(error, 'allowed', None) or ()
    found = sorted(words.get(name, name) for name in names)
    return ('one of ' if len(found) > 1 else '') + ', '.join(found or ['a formula'])


def _window(offset_s, interval_s, rows):
    """Cut an interval after each of the first R points: -> edges_s [P, R, 2], instants_s [P, R, T + 2], inside likewise

    The instants are the motion's own and then the interval's edges, which are moved back to the last point.
    """
    now_s, last_s = offset_s[:, :rows, None], offset_s[:, -1:, None]
    edges_s = torch.minimum(now_s + now_s.new_tensor(interval_s), last_s)
    instants_s = torch.cat([offset_s[:, None].expand(-1, rows, -1), edges_s], -1)
    return edges_s, instants_s, (instants_s >= edges_s[..., :1]) & (instants_s <= edges_s[..., 1:])


def _read(signal, offset_s, edges_s):
    """Read a signal [P, T] at its own instants and at those of a window: -> [P, R, T + 2]"""
    everywhere = signal[:, None].expand(-1, edges_s.shape[1], -1)
    if signal.shape[1] == 1:
        return signal[:, None].expand(-1, edges_s.shape[1], 3)
    at_s = edges_s.flatten(1)
    upper = torch.searchsorted(offset_s.contiguous(), at_s).clamp(1, signal.shape[1] - 1)
    begin_s, end_s = offset_s.gather(1, upper - 1), offset_s.gather(1, upper)
    share = ((at_s - begin_s) / (end_s - begin_s).clamp(min=1e-9)).clamp(0, 1)
    edges = torch.lerp(signal.gather(1, upper - 1), signal.gather(1, upper), share)
    return torch.cat([everywhere, edges.view(edges_s.shape)], -1)


def _least_so_far(values, temperature):
    if temperature is None:
        return values.cummin(-1).values
    return -temperature * torch.logcumsumexp(-values / temperature, -1)
