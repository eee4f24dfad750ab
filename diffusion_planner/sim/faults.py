"""Faults of camera, joint states, clock and controller: what of a stream comes through, when, and in what state.

Items of camera and joint states are tuples of ROS-shaped messages, those of the clock seconds, those of the controller trajectories.
"""
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import numpy as np

from diffusion_planner.sim.spoiling import JOINTS, PICTURES

REWIND_S = 5.0             # by which a clock of garbage jumps back
LONGEST_S = 10.0           # of delays, so that what waits stays small
DELAY_S = {'camera': 0.5, 'joint_states': 0.3, 'clock': 0.3, 'controller': 0.1}
DROPPED = 0.5              # share of items, unless told


@dataclass(frozen=True)
class Onset:
    """What is known when a fault begins: its amount, a generator, the last good item (None: there was none), the time."""

    amount: float
    random: np.random.Generator
    last: object
    now_s: float


class Normal:
    """Everything comes through. `shift_s` is what the clock, and with it every stamp, is off by."""

    shift_s = 0.0

    def __init__(self, onset):
        self.last, self._onset = onset.last, onset

    def take(self, item, _now_s):
        """Put an item in: -> what comes out, a tuple of items"""
        self.last = item
        return (item,)

    def due(self, _now_s):
        """Let time pass: -> what comes out, a tuple of items"""
        return ()

    def again(self, item, now_s):
        """Put an item in that was there before, while simulated time stands still: -> what comes out"""
        return self.take(item, now_s)


class Off(Normal):
    """Nothing comes through."""

    def take(self, _item, _now_s):
        return ()


class Held(Normal):
    """The last item, again and again."""

    def take(self, item, _now_s):
        self.last = item if self.last is None else self.last
        return (self.last,)


class Frozen(Held):
    """The last messages with the stamps of the new ones, as from a driver that hangs behind a living publisher."""

    def take(self, item, now_s):
        copies = deepcopy(super().take(item, now_s)[0])
        for copied, fresh in zip(copies, item):
            copied.header.stamp = fresh.header.stamp
        return (copies,)


class Delayed(Normal):
    """Every item, `amount` seconds late."""

    def __init__(self, onset):
        super().__init__(onset)
        self._waiting, self._out = deque(), ()

    def take(self, item, now_s):
        self._waiting.append((now_s + self._onset.amount, item))
        return ()

    def due(self, now_s):
        ready = []
        while self._waiting and self._waiting[0][0] <= now_s + 1e-9:
            ready.append(self._waiting.popleft()[1])
        self._out = tuple(ready[-1:]) or self._out
        return tuple(ready)

    def again(self, _item, _now_s):
        return self._out


class Intermittent(Normal):
    """Each item is lost with probability `amount`."""

    def take(self, item, _now_s):
        return () if self._onset.random.random() < self._onset.amount else (item,)


class Rewound(Normal):
    """A bag that begins anew: time jumps back once and goes on from there."""

    def __init__(self, onset):
        super().__init__(onset)
        self.shift_s = -min(REWIND_S, onset.now_s)


class Garbage(Normal):
    """Copies of the messages, spoilt in one of `ways` after another."""

    def __init__(self, onset, ways):
        super().__init__(onset)
        self._ways = cycle(ways)

    def take(self, item, _now_s):
        copies = deepcopy(item)
        next(self._ways)(*copies)
        return (copies,)


class Shuffled(Normal):
    """Joints in random order with one of another arm among them, which is legal."""

    def take(self, item, _now_s):
        message, = deepcopy(item)
        message.name.append('foreign_joint')
        for values in (message.position, message.velocity):
            values.append(0.25)
        order = self._onset.random.permutation(len(message.name))
        for values in (message.name, message.position, message.velocity):
            for place, value in enumerate([values[index] for index in order]):
                values[place] = value
        return ((message,),)


ANY = {'none': Normal, 'off': Off, 'delayed': Delayed, 'intermittent': Intermittent}
PARTS = {
    'camera': {**ANY, 'stuck': Frozen, 'garbage': partial(Garbage, ways=PICTURES)},
    'joint_states': {**ANY, 'stuck': Frozen, 'garbage': partial(Garbage, ways=JOINTS), 'shuffled': Shuffled},
    'clock': {**ANY, 'stuck': Held, 'garbage': Rewound},
    'controller': {**ANY, 'stuck': Normal, 'garbage': Normal},     # what these two do is the arm's business
}


def read_orders(text):
    """Read 'none' or 'PART FAULT [AMOUNT]': -> tuple of (part, fault, amount). Raises ValueError."""
    words = text.split()
    if words == ['none']:
        return tuple((part, 'none', 0.0) for part in PARTS)
    if len(words) not in (2, 3) or words[0] not in PARTS:
        raise ValueError(f"inject: got {text!r}, expected 'none' or PART FAULT [AMOUNT] with a PART of {', '.join(PARTS)}")
    part, fault = words[:2]
    if fault not in PARTS[part]:
        raise ValueError(f'inject: got {text!r}, expected one of the faults of {part}: {", ".join(PARTS[part])}')
    usual, highest = {'delayed': (DELAY_S[part], LONGEST_S), 'intermittent': (DROPPED, 1.0)}.get(fault, (0.0, 0.0))
    if not words[2:]:
        return ((part, fault, usual),)
    if not (highest and 0 <= _number(words[2]) <= highest):
        raise ValueError(f'inject: got {text!r}, expected ' + (f'an amount from 0 to {highest:g}' if highest else f'no amount for {fault}'))
    return ((part, fault, _number(words[2])),)


def _number(text):
    try:
        return float(text)
    except ValueError:
        return float('nan')


class Stream:
    """One part and the fault that is in force there."""

    def __init__(self, part, seed):
        self.part, self._random = part, np.random.default_rng(seed)
        self.fault, self.amount, self.kind = 'none', 0.0, Normal(Onset(0.0, self._random, None, 0.0))

    @property
    def text(self):
        return f'{self.fault} {self.amount:g}' if self.fault in ('delayed', 'intermittent') else self.fault

    def set(self, fault, amount, now_s):
        """Begin a fault, or 'none'. What an old one kept back is lost."""
        self.kind = PARTS[self.part][fault](Onset(amount, self._random, self.kind.last, now_s))
        self.fault, self.amount = fault, amount

    def begin_anew(self, now_s):
        """Lose what is kept back."""
        self.set(self.fault, self.amount, now_s)


class Faults:
    """The four streams of one arm, by part; the clock's may be shared with other arms. `injected` counts orders of faults."""

    def __init__(self, seeds, clock=None):
        self.streams = {part: Stream(part, (*seeds, number)) for number, part in enumerate(PARTS)}
        self.streams['clock'] = clock or self.streams['clock']
        self.injected = 0

    def __getitem__(self, part):
        return self.streams[part].kind

    def order(self, text, now_s):
        """Do what a text says, see read_orders. Raises ValueError before anything changes."""
        for part, fault, amount in read_orders(text):
            self.streams[part].set(fault, amount, now_s)
            self.injected += fault != 'none'

    def in_force(self):
        """-> part to text, for parts where something is wrong"""
        return {part: stream.text for part, stream in self.streams.items() if stream.fault != 'none'}
