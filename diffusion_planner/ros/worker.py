"""The planning thread: begins a plan when one is due, and hands its chunk on."""
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Callable

from diffusion_planner.planning.cycle import NotFollowing
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.planner import NoSafeCandidate, StrangeScene


@dataclass(frozen=True)
class Hooks:
    """What the thread needs of the node and the engine; all are called from the thread."""

    now_s: Callable[[], float]              # ROS time
    send: Callable                          # ActionChunk -> None, to the controller
    report: Callable                        # plan, goal, seed -> None, to people
    log: Callable[[str], None]
    goal: Callable | None = None            # -> Goal, once per plan
    deadline_s: Callable = lambda: None     # -> how long the plan may take, None: as long as it takes; after `goal`
    failed: Callable | None = None          # the planner raised twice in a row: text -> None
    lag_s: Callable = float                 # -> how far the node's time is behind the joint states, as /clock may be
    seen: Callable = dict                   # -> what became of the newest picture until now, in milliseconds
    begun: Callable = lambda now_s, observation: None       # a plan begins, from this
    judged: Callable = lambda plan, goal: None              # a plan is made, and nothing of it is out yet
    warn: Callable = lambda reason: None                    # of what people must hear before anything moves


LAG_S = 0.05     # farther behind the joint states than this, the node's time says nothing about where the arm is
UNUSABLE = 3     # plans in a row that cannot become a chunk; then the arm is stopped


class Worker(threading.Thread):
    """Plans every replan_period_s of ROS time while allowed. The node's callbacks never wait for it."""

    IDLE_S = 0.01

    def __init__(self, planner, cycle, hooks, first_seed):
        super().__init__(name='planning', daemon=True)
        self.planner, self.cycle, self.hooks, self.seed, self.first_seed = planner, cycle, hooks, first_seed, first_seed
        self.allowed, self.not_before_s = False, 0.0
        self.waiting_for = 'waiting for the first look at the sensors'     # so that nobody is told all is well before it is known
        self._next_s, self._once, self._reset, self._ending = 0.0, False, False, False
        self._wake, self._busy_since, self._failures = threading.Event(), None, 0

    def run(self):
        while not self._ending:
            self._wake.wait(self.IDLE_S)
            self._wake.clear()
            self.step()

    def step(self):
        """Do what is due now."""
        if self._reset:
            self._reset, self._next_s, self._failures, self.seed = False, 0.0, 0, self.first_seed
            self.planner.reset()
        if self._is_due(now_s := self.hooks.now_s()):
            self._attempt(now_s)

    def wake(self):
        self._wake.set()

    def plan_once(self):
        self._once = True
        self.wake()

    def begin_again(self):
        """Forget warm start and schedule, and count seeds from the first again: equal episodes get equal plans."""
        self.not_before_s, self._once, self._reset = 0.0, False, True
        self.wake()

    def halt(self):
        """Begin no plan any more; the one under way is made void by the brake that follows."""
        self.allowed, self._once = False, False

    def end(self, timeout_s):
        """Ask the thread to end: -> whether it has."""
        self._ending = True
        self.halt()
        self.wake()
        self.join(timeout_s)
        return not self.is_alive()

    def busy_s(self):
        """Return how long the plan under way has taken, on the steady clock; 0 when idle."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def _is_due(self, now_s):
        if self._once and now_s >= self.not_before_s:
            return True
        return self.allowed and now_s >= max(self._next_s - 1e-6, self.not_before_s)

    def _attempt(self, now_s):
        """Plan, and leave no exception unanswered: the thread outlives every fault of the planner."""
        self._busy_since = time.monotonic()
        try:
            self._plan(now_s)
            self._failures = 0
        except NotReady as missing:
            self.waiting_for = str(missing)
            if isinstance(missing, NotFollowing) and (stop := self.cycle.give_way(now_s)):
                self._send(stop)
        except Exception:
            self._failures, self._next_s = self._failures + 1, now_s   # once more, at once
            self.hooks.log(f'planning failed, {self._failures} in a row:\n{traceback.format_exc()}')
            if self._failures >= 2:
                self._failures = 0
                self.hooks.failed(traceback.format_exc().strip().splitlines()[-1])
        finally:
            self._busy_since = None

    def _plan(self, now_s):
        watch = Laps(self.hooks.seen())
        if self.hooks.lag_s() > LAG_S:
            raise NotReady('waiting for the clock, which is behind the joint states')
        observation, handover = self.cycle.begin(now_s)
        if not (self.allowed or self._once):    # halted since it was due: the brake was before `begin`, which makes nothing void
            return
        # A grid of periods, unless a whole one was missed: jitter of one plan does not delay the next.
        period_s = self.cycle.settings.replan_period_s
        late = not 0 <= now_s - self._next_s < period_s
        self._next_s, self._once, self.waiting_for = (now_s if late else self._next_s) + period_s, False, ''
        seed, self.seed = self.seed, self.seed + 1
        goal = self.hooks.goal()
        self.hooks.begun(now_s, observation)
        watch.lap('observe')
        try:
            plan = self.planner.plan(observation, goal, seed, self.hooks.deadline_s())
        except NoSafeCandidate as refused:
            self.cycle.refuse(refused)
            if not isinstance(refused, StrangeScene):   # which no other seed makes familiar: that waits for the next period
                self._next_s = now_s   # at once, with another seed
            return
        watch.lap('inference')
        self.hooks.judged(plan, goal)
        chunk = self.cycle.finish(plan, handover, self.hooks.now_s(), goal.objective)
        watch.lap('shape')
        if chunk is None or not self._send(chunk):
            self._next_s = now_s
        watch.lap('publish')
        plan.timing_ms.update(watch.stages())
        if self.cycle.unusable == UNUSABLE and (stop := self.cycle.brake(self.hooks.now_s())):
            self._send(stop)
        self.hooks.report(self.planner.measure(plan), goal, seed)

    def _send(self, chunk):
        """Hand a chunk on unless time has run past its beginning: -> whether it went out"""
        try:
            # Shaping took its time, too; half of the margin must still be there.
            if chunk.origin_s - self.hooks.now_s() < 0.5 * self.cycle.settings.min_lead_s or self.hooks.lag_s() > LAG_S:
                raise ValueError('too late')
            self.cycle.deliver(chunk, self.hooks.send)
            return True
        except ValueError:
            self.cycle.withdraw([], deadline=True, chunk=chunk)
            return False


class Laps:
    """Milliseconds per stage from picture to chunk, beginning with what became of the newest picture before."""

    def __init__(self, seen):
        self._laps, self._last = dict(seen), time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self._laps[name], self._last = 1000 * (now - self._last), now

    def stages(self):
        """-> stage to milliseconds; `outside` is all but inference and waiting for a plan to be due, `turnaround` is everything"""
        laps = {name: took for name, took in self._laps.items() if name != 'inference'}
        outside = sum(took for name, took in laps.items() if name != 'wait')
        return {**laps, 'outside': outside, 'turnaround': outside + self._laps['inference'] + laps.get('wait', 0.0)}
