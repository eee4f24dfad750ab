"""What a soak does to planner and simulator, at random times; every fault is a job that ends when it is taken back."""
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import Callable

from diffusion_planner.files import find
from diffusion_planner.ros.soak_rig import ANSWER_S, pause, until
from diffusion_planner.sim.faults import PARTS

SECONDS, PAUSE_SECONDS = (0.5, 6.0), (0.2, 2.0)
# A trajectory that is suddenly later than 20 ms makes the controller's own lead-in break limits, whatever it says: see README.
DELAYS_S = {'camera': (0.1, 2.0), 'joint_states': (0.05, 1.0), 'clock': (0.05, 1.0), 'controller': (0.005, 0.02)}
LOST = 0.1, 0.9          # shares
GOALS = 'config/objectives/over_the_wall.yaml', 'config/objectives/near_people.yaml', 'config/objectives/temporal.yaml'
FAULTS_PER_KILL, KILL_CHANCE = 15, 0.25
MIDDLE = 1 / 3, 2 / 3    # of a soak: outside it nothing is killed, so that memory is measured over long lives


@dataclass(frozen=True)
class Fault:
    """One fault, drawn: `suffer(rig, seconds)` is the job. With `scenes` the next scene may come while it lasts."""

    kind: str
    seconds: float
    suffer: Callable
    text: str = ''
    scenes: bool = False


def inject(text, part, rig, seconds):
    """Tell the simulator, and see that it listens."""
    yield from _order(text, rig, lambda: part in rig.watcher.in_force)
    yield from pause(seconds)
    yield from _order(f'{part} none', rig, lambda: part not in rig.watcher.in_force)


def _order(text, rig, done):
    rig.watcher.order(text)
    if not (yield from until(done, ANSWER_S)):
        raise rig.complaint(f'sim/inject: {text!r} is not in force after {ANSWER_S:.0f} s')


def freeze(rig, seconds):
    rig.signal('planner', signal.SIGSTOP)
    yield from pause(seconds)
    rig.signal('planner', signal.SIGCONT)


def kill(rig, seconds):
    rig.kill('planner')
    yield from pause(seconds)
    rig.start('planner')
    yield from rig.ready()


def stop(rig, seconds):
    yield from rig.ask('planner/stop', rig.watcher.trigger('stop'))
    yield from pause(seconds)
    yield from rig.ask('planner/resume', rig.watcher.trigger('resume'))


def unguided(rig, seconds):
    yield from rig.ask('planner/set_guidance', rig.watcher.set_guidance(False))
    yield from pause(seconds)
    yield from rig.ask('planner/set_guidance', rig.watcher.set_guidance(True))


def goal(path, rig, seconds):
    """Where it cannot be met from the arm's place the planner refuses it, and that is well."""
    yield from rig.ask('planner objective', rig.watcher.set_objective(str(find(path))))
    yield from pause(seconds)
    yield from rig.ask('planner objective', rig.watcher.set_objective(''))


def hold(rig, seconds):
    rig.watcher.hold(True)
    yield from pause(seconds)
    rig.watcher.hold(False)


def rival(rig, seconds):
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        rig.watcher.compete(True)
        yield from pause(0.5)
    rig.watcher.compete(False)


OTHERS = {'planner frozen': freeze, 'operator stops': stop, 'guidance off': unguided, 'goal changes': goal, 'held': hold, 'second publisher': rival}
KINDS = (*(f'{part} {fault}' for part, faults in PARTS.items() for fault in faults if fault != 'none'), *OTHERS)
KILLED = 'planner killed'


class Schedule:
    """Draws fault after fault: every kind once, in random order, then every kind again, and a kill now and then."""

    def __init__(self, random):
        self._random, self._deck, self.drawn, self.kills = random, [], 0, 0

    def next(self, progress):
        """Draw a fault; `progress` is the share of the soak that is over."""
        self.drawn += 1
        if self._may_kill(progress):
            self.kills += 1
            return Fault(KILLED, self._between(SECONDS), kill)
        if not self._deck:
            self._deck = list(self._random.permutation(KINDS))
        return self._fault(str(self._deck.pop()))

    def _may_kill(self, progress):
        allowed = MIDDLE[0] <= progress < MIDDLE[1] and self.drawn >= FAULTS_PER_KILL * (self.kills + 1)
        return allowed and self._random.random() < KILL_CHANCE

    def _fault(self, kind):
        if kind not in OTHERS:
            return self._injected(kind)
        if kind == 'goal changes':
            path = str(self._random.choice(GOALS))
            return Fault(kind, self._between(SECONDS), partial(goal, path), path)
        return Fault(kind, self._between(PAUSE_SECONDS if kind == 'planner frozen' else SECONDS), OTHERS[kind])

    def _injected(self, kind):
        part, fault = kind.split()
        amounts = {'delayed': DELAYS_S[part], 'intermittent': LOST}.get(fault)
        text = kind if amounts is None else f'{kind} {self._between(amounts):.2f}'
        # Without the arm's true place a planner cannot know that it was put elsewhere: no real arm is.
        return Fault(kind, self._between(SECONDS), partial(inject, text, part), text, scenes=part in ('camera', 'controller'))

    def _between(self, bounds):
        return float(self._random.uniform(*bounds))
