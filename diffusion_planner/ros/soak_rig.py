"""Simulator and planner as processes with a watcher, and jobs that take turns with them: what soak and benchmarks stand on.

A job is a generator that yields whenever it has nothing to do.
"""
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from diffusion_planner.ros import domains
from diffusion_planner.ros.children import Child, ChildDied, stop
from diffusion_planner.ros.monitor import NoAnswer
from diffusion_planner.ros.options import SimOptions, commands
from diffusion_planner.ros.session import Interrupted, Interrupts
from diffusion_planner.ros.watcher import Watcher

START_S, ANSWER_S, OVER_S = 90.0, 20.0, 15.0      # for nodes, answers, and an episode that ought to be over; steady clock


def until(condition, patience_s=float('inf')):
    """Job: wait until a condition holds: -> whether it does"""
    end_s = time.monotonic() + patience_s
    while not (holds := condition()) and time.monotonic() < end_s:
        yield
    return holds


def pause(seconds):
    """Job: let time pass."""
    yield from until(lambda: False, seconds)


def real_time(model, seed, *sim_parameters, planner=None, **planning):
    """Write the command lines of a simulator that waits for nobody and of its planner, or of another one: -> {name: command}

    planning: those of SimOptions that the planner is run with, as backend.
    """
    lines = commands(SimOptions(model=model, seed=seed, realtime=True, **planning), None)
    extra = [part for parameter in sim_parameters for part in ('-p', parameter)]
    return {'sim': lines['sim'] + extra, 'planner': planner or lines['planner']}


def on_the_wall_clock(model, seed, **planning):
    """Write the command lines of both with system time for stamps and no /clock, as on a real arm: -> {name: command}"""
    lines = real_time(model, seed, 'wall_time:=true', **planning)
    lines['planner'] = [*lines['planner'], '-p', 'use_sim_time:=false']      # the last word holds
    return lines


@contextlib.contextmanager
def rigged(lines, domain=None):
    """Run processes {name: command} in a domain of their own for the length of the block: -> Rig"""
    from diffusion_planner.sim.scene import default_robot
    with Interrupts() as interrupts, domains.lease(domain) as leased, contextlib.closing(Watcher(leased, default_robot())) as watcher:
        rig = Rig(lines, watcher, interrupts, leased)
        try:
            for name in lines:
                rig.start(name)
            yield rig
        finally:
            rig.close()


class Rig:
    """The processes by name; `lives` counts how often each was started."""

    def __init__(self, lines, watcher, interrupts, domain):
        self.lines, self.watcher, self.interrupts, self.domain = lines, watcher, interrupts, domain
        self.folder = Path(tempfile.mkdtemp(prefix='diffusion_planner_'))
        self.children, self.lives, self.begun_s = {}, dict.fromkeys(lines, 0), {}
        self.every_turn = []        # called without arguments, some fifty times a second

    def start(self, name):
        """Start a process, its log in a folder of its own."""
        self.lives[name] += 1
        folder = self.folder / str(self.lives[name])
        folder.mkdir(exist_ok=True)
        self.children[name], self.begun_s[name] = Child(name, self.lines[name], folder), time.monotonic()

    def kill(self, name):
        """End a process as nothing else would: with SIGKILL."""
        child = self.children.pop(name)
        child.process.kill()
        child.process.wait()
        self.watcher.status = ''

    def signal(self, name, number):
        self.children[name].process.send_signal(number)

    def resident_bytes(self):
        """Return the resident memory of every process: -> name to bytes, None where the system does not say"""
        return {name: resident_bytes(child.process.pid) for name, child in self.children.items()}

    def turn(self):
        """Let one message in, and notice signals and dead nodes. Raises Interrupted and ChildDied."""
        self.interrupts.check()
        for child in self.children.values():
            child.check()
        self.watcher.turn(0.02)
        for call in self.every_turn:
            call()

    def run(self, *jobs):
        """Let jobs take turns until one ends: -> what it returns"""
        while True:
            self.turn()
            for job in jobs:
                try:
                    next(job)
                except StopIteration as ended:
                    return ended.value

    def ask(self, name, future, patience_s=ANSWER_S):
        """Job: wait for a service: -> its answer. Raises NoAnswer."""
        if not (yield from until(future.done, patience_s)):
            raise self.complaint(f'{name}: no answer within {patience_s:.0f} s')
        return future.result()

    def ready(self):
        """Job: wait until both nodes answer and the planner is active: -> seconds since its start. Raises NoAnswer."""
        watcher = self.watcher
        begun = yield from until(lambda: watcher.ready() and watcher.state() not in ('', 'INACTIVE'), START_S)
        if not begun or watcher.state() == 'FAULT':
            yield from pause(1.5)      # diagnostics say why
            raise self.complaint(f'planner node says {watcher.reason or watcher.status or "nothing"} after start, expected it to be active')
        return time.monotonic() - self.begun_s['planner']

    def go_to(self, seed):
        """Job: put the arm into a scene; the planner is stopped first, so that no plan of the last scene moves the arm in this one."""
        watcher = self.watcher
        yield from self.ask('planner/stop', watcher.trigger('stop'))
        yield from self.ask('sim scene_seed', watcher.set_scene(seed))
        yield from self._last_words()
        yield from self.ask('sim/next_episode', watcher.trigger('next_episode'))
        watcher.forget(seed)
        yield from self.ask('planner/reset', watcher.trigger('reset'))
        yield from self.ask('planner/resume', watcher.trigger('resume'))

    def _last_words(self):
        """Job: hear the simulator's report of the episode that ends."""
        told_s = self.watcher.report.get('now_s')
        yield from until(lambda: self.watcher.report.get('now_s') != told_s, 2.0)

    def is_over(self):
        """Return whether the episode has ended, or is not to be heard of any more."""
        watcher = self.watcher
        return time.monotonic() > watcher.heard_s + OVER_S or watcher.episode is not None and watcher.episode['done']

    def complaint(self, text):
        error = NoAnswer(text)
        error.log = [f'{child.name}: {line}' for child in self.children.values() for line in child.tail(6)]
        return error

    def close(self):
        for child in self.children.values():
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGCONT)     # one that is stopped hears nothing else
        stop(list(self.children.values()), self.interrupts.in_a_hurry)


def carry_out(lines, domain, work):
    """Do work(rig) on a rig of its own: -> exit status, that of the work, 1 where a node failed, 128 + number after a signal"""
    try:
        with rigged(lines, domain) as rig:
            status = work(rig)
    except Interrupted:
        status = 128 + rig.interrupts.number
    except (ChildDied, NoAnswer) as error:
        report_failure(error, rig.folder)
        return 1
    shutil.rmtree(rig.folder, ignore_errors=True)      # logs are for failures
    return status


def resident_bytes(process_id):
    """Read the resident memory of a process: -> bytes, None where the system does not say"""
    try:
        return int(Path(f'/proc/{process_id}/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except (OSError, IndexError, ValueError):
        return None


def report_failure(error, folder):
    """Tell a failure in one line after the last lines of the log."""
    for text in getattr(error, 'log', []):
        print(f'  | {text}', file=sys.stderr)
    print(f'diffusion-planner: {error} (logs: {folder})', file=sys.stderr)
