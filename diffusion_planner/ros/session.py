"""A session: both nodes as processes of their own, episode after episode, and what came of it."""
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from diffusion_planner.evaluation import report
from diffusion_planner.evaluation.film import Film, Shot
from diffusion_planner.ros import domains
from diffusion_planner.ros.children import ChildDied, running
from diffusion_planner.ros.monitor import Monitor, NoAnswer, answer
from diffusion_planner.ros.options import SimOptions, check, commands

__all__ = ['SimOptions', 'run_sim']

START_S, ANSWER_S, SILENCE_S = 90.0, 20.0, 30.0     # how long to wait for nodes, answers and reports, steady clock


class Interrupted(Exception):
    """The user, or the system, wants the session to end."""


class Interrupts:
    """Notes SIGINT and SIGTERM instead of raising in the middle of anything; a second one means a hurry."""

    def __init__(self):
        self.number, self.count = None, 0

    def __enter__(self):
        self.kept = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number, _frame):
        self.number, self.count = number, self.count + 1

    def check(self):
        """Raise Interrupted where a signal has come."""
        if self.number is not None:
            raise Interrupted(signal.Signals(self.number).name)

    def in_a_hurry(self):
        return self.count > 1

    def __exit__(self, *_):
        for number, handler in self.kept.items():
            signal.signal(number, handler)


def run_sim(options):
    """Run a session and print what came of it: -> exit status

    0 when every episode was run, 1 when a node failed, 128 + number after a signal. Raises ConfigError and ModelError.
    """
    from rich.console import Console
    console, scale = Console(), check(options)
    with Interrupts() as interrupts, domains.lease(options.domain) as domain:
        session = Session(options, scale, domain, interrupts, console)
        status = _outcome(session, interrupts)
        video = session.write_film() if status == 0 else None
        session.save(video)
        for text in report.summary_lines(session.rows, video, options.json) + zone_lines(session.rows):
            console.print(text, soft_wrap=True, highlight=False, markup=False)
    return status if interrupts.number is None else 128 + interrupts.number


def zone_lines(rows):
    """Write how often a session with an objective was inside its keep_out zones: -> lines of text, none without one"""
    entries = [row['zone_entries'] for row in rows if 'zone_entries' in row]
    if not entries:
        return []
    where = f' physics steps, in {sum(map(bool, entries))} of {len(entries)} episodes' if any(entries) else ''
    return [f'{"zone entries":<16} {sum(entries)}{where}']


def _outcome(session, interrupts):
    """Run the episodes: -> exit status; a failure is told in one line after the last lines of the log."""
    try:
        session.run()
        shutil.rmtree(session.folder, ignore_errors=True)      # logs are for failures
        return 0
    except Interrupted as interrupted:
        shutil.rmtree(session.folder, ignore_errors=True)
        print(f'diffusion-planner: interrupted by {interrupted} in episode {len(session.rows) + 1} '
              f'of {session.options.episodes}', file=sys.stderr)
        return 128 + interrupts.number
    except (ChildDied, NoAnswer) as error:
        for text in getattr(error, 'log', []):
            print(f'  | {text}', file=sys.stderr)
        print(f'diffusion-planner: {error} (logs: {session.folder})', file=sys.stderr)
        return 1


class Session:
    """Episodes over real topics; `rows` is what was measured so far."""

    def __init__(self, options, scale, domain, interrupts, console):
        from diffusion_planner.sim.scene import default_robot
        self.options, self.scale, self.domain, self.interrupts, self.console = options, scale, domain, interrupts, console
        self.robot, self.rows, self.film = default_robot(), [], Film() if options.video else None
        self.folder = Path(tempfile.mkdtemp(prefix='diffusion_planner_'))
        self.shown_s = 0.0

    def run(self):
        """Run every episode. Raises ChildDied, NoAnswer or Interrupted; rows keep what was measured until then."""
        options = self.options
        title = ', '.join(filter(None, (
            str(options.model), options.backend, f'guidance scale {report.number(self.scale, "{:g}")}', '' if options.guard else 'no guard',
            f'objective {options.objective}' if options.objective else '', f'deadline {options.deadline_ms:g} ms' if options.deadline_ms else '',
            options.oddity, f'ROS domain {self.domain}')))
        with running(commands(options, self.scale), self.folder, self.interrupts.in_a_hurry) as self.children, \
                contextlib.closing(Monitor(self.domain, self.robot.joint_names)) as self.monitor, \
                report.View(self.console, title) as self.view:
            self._wait_ready()
            for seed in range(options.seed, options.seed + options.episodes):
                self.rows.append(self._episode(seed))
                self.view.show(self.rows)
                self.save()

    def save(self, video=None):
        """Write the JSON file, where one is wanted."""
        if self.options.json:
            settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.options).items()}
            report.write_report(self.options.json, {**settings, 'guidance_scale': self.scale, 'domain': self.domain}, self.rows, video)

    def write_film(self):
        """Draw and write the video: -> path, or None"""
        if not self.film or not self.film.shots:
            return None
        from diffusion_planner.evaluation.film import shoot_large
        from diffusion_planner.evaluation.video import write_video
        pictures = shoot_large(self.film.shots, self.robot, self.interrupts.check)
        try:
            return write_video(self.options.video, pictures, self.film.rate_hz)
        except Interrupted:
            return None

    def _turn(self):
        """Let one message in, and notice signals and dead nodes."""
        self.interrupts.check()
        for child in self.children:
            child.check()
        self.monitor.turn()

    def _wait_ready(self):
        """Wait until both nodes answer and the planner has started. Raises NoAnswer."""
        end_s = time.monotonic() + START_S
        while not (self.monitor.ready() and self.monitor.status.split(':')[0] not in ('', 'INACTIVE')):
            self._turn()
            if self.monitor.status.startswith('FAULT') or time.monotonic() > end_s:
                self._wait_diagnosis(1.5)
                says = self.monitor.reason or self.monitor.status or 'nothing'
                raise self._no_answer(f'planner node says {says} after start, expected it to be active')

    def _wait_diagnosis(self, patience_s):
        """Wait for the planner's next diagnostics: they come once a second, and at once when its state changes."""
        before, end_s = self.monitor.diagnoses, time.monotonic() + patience_s
        while self.monitor.diagnoses == before and time.monotonic() < end_s:
            self._turn()

    def _no_answer(self, text):
        error = NoAnswer(text)
        error.log = [f'{child.name}: {text}' for child in self.children for text in child.tail(6)]
        return error

    def _ask(self, name, future):
        """Wait for a service's answer. Raises NoAnswer."""
        end_s = time.monotonic() + ANSWER_S
        while not future.done():
            self._turn()
            if time.monotonic() > end_s:
                raise self._no_answer(f'{name}: no answer within {ANSWER_S:.0f} s')
        return answer(name, future)

    def _begin(self, seed):
        """Put the arm into a scene: the planner is stopped first, so that no plan of the last scene moves the arm in this one."""
        monitor = self.monitor
        self._ask('planner/stop', monitor.trigger('stop'))
        self._ask('sim scene_seed', monitor.set_scene(seed))
        self._ask('sim/next_episode', monitor.trigger('next_episode'))
        monitor.watch_film(self.film is not None and not self.film.full)
        monitor.forget(seed)
        self._ask('planner/reset', monitor.trigger('reset'))
        self._ask('planner/resume', monitor.trigger('resume'))

    def _stop(self):
        """Stop the planner and hear how many deadlines it missed."""
        self._ask('planner/stop', self.monitor.trigger('stop'))
        self._wait_diagnosis(0.3)

    def _episode(self, seed):
        """Run one episode: -> row"""
        self._begin(seed)
        monitor, begun_s, under_way = self.monitor, time.monotonic(), False
        while True:
            self._turn()
            said = monitor.episode
            # The report of an older episode with the same seed may still be under way: an end needs a beginning.
            under_way |= said is not None and (not said['done'] or time.monotonic() > begun_s + 2.0)
            done = under_way and said is not None and said['done']
            self._shoot(seed, said if done else None)
            if done:
                reason = monitor.reason
                self._stop()
                row = self._row(seed, said)
                return row if row['plan_ms'] else {**row, 'note': f'planner node says {reason}'}
            self._show(self._row(seed, said))
            if time.monotonic() > monitor.heard_s + SILENCE_S:
                raise self._no_answer(f'sim node: no report of episode {seed} for {SILENCE_S:.0f} s')

    def _row(self, seed, said):
        """Write down an episode: -> dict; `done` is false while it runs."""
        plans, said = self.monitor.plans, said or {}
        return {'seed': seed, 'success': bool(said.get('success')), 'time_to_target_s': said.get('time_to_target_s'),
                'contacts': said.get('contacts', 0), 'limit_violations': said.get('limit_violations', 0),
                'chunks_rejected': sum(said.get('rejected', {}).values()), 'deadline_misses': self.monitor.deadline_misses,
                'elapsed_s': said.get('elapsed_s', 0.0), 'done': bool(said.get('done')),
                'plan_ms': [plan['timing_ms']['total'] for plan in plans if 'total' in plan.get('timing_ms', {})],
                'predicted_reward': [reward for plan in plans if (reward := plan.get('breakdown', {}).get('reward')) is not None],
                **({'zone_entries': said.get('zone_entries', 0)} if self.options.objective else {})}

    def _show(self, row):
        if time.monotonic() > self.shown_s + 0.25:
            self.shown_s = time.monotonic()
            self.view.show(self.rows, row)

    def _shoot(self, seed, ended):
        """Take a shot for the film where one is due."""
        monitor = self.monitor
        if self.film is None or self.film.full or monitor.picture is None:
            return
        if not (ended or self.film.due(seed, monitor.elapsed_s)):
            return
        plan = monitor.plans[-1] if monitor.plans else {}
        figures = {'reward': plan.get('breakdown', {}).get('reward'), 'arrival_s': plan.get('arrival_s'), 'guidance_scale': self.scale}
        outcome = ended and (f'target touched after {ended["time_to_target_s"]:.1f} s' if ended['success'] else 'target not reached')
        self.film.add(Shot(seed, monitor.elapsed_s, monitor.picture, monitor.position_rad, monitor.imagined,
                           plan.get('points_m'), figures, outcome or ''))
