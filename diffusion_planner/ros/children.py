"""Node processes of a session: started with a log each, never left behind."""
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

PATIENCE_S = {signal.SIGINT: 5.0, signal.SIGTERM: 3.0, signal.SIGKILL: 2.0}
_prctl = getattr(ctypes.CDLL(None), 'prctl', None)    # bound here: between fork and exec nothing may be looked up
_PARENT_DEATH_SIGNAL = 1


class ChildDied(RuntimeError):
    """A node process ended by itself; `log` holds its last lines."""

    def __init__(self, name, status, log):
        how = f'was ended by {signal.Signals(-status).name}' if status < 0 else f'ended with exit status {status}'
        super().__init__(f'{name} node {how} before the session was over; expected it to run until told to stop')
        self.log = log


class Child:
    """One running process; its output goes to a file."""

    def __init__(self, name, command, folder):
        self.name, self.log = name, folder / f'{name}.log'
        environment = {**os.environ, 'ROS_LOG_DIR': str(folder), 'RCUTILS_COLORIZED_OUTPUT': '0', 'PYTHONUNBUFFERED': '1'}
        with open(self.log, 'wb') as output:
            # A session of its own: Ctrl-C reaches only us, and we end the nodes in order.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            env=environment, start_new_session=True, preexec_fn=_end_with_parent)

    def check(self):
        """Raise ChildDied where the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise ChildDied(self.name, status, self.tail())

    def tail(self, lines=12):
        """Return the last lines of the log."""
        return self.log.read_text(errors='replace').splitlines()[-lines:]


@contextlib.contextmanager
def running(commands, folder, in_a_hurry=lambda: False):
    """Run processes {name: command} for the length of the block: -> list of Child"""
    children = []
    try:
        for name, command in commands.items():
            children.append(Child(name, command, folder))
        yield children
    finally:
        stop(children, in_a_hurry)


def stop(children, in_a_hurry=lambda: False):
    """End processes: ask, ask again, kill; each with a bounded wait, which a hurry cuts short."""
    for sign, patience_s in PATIENCE_S.items():
        alive = [child.process for child in children if child.process.poll() is None]
        for process in alive:
            process.send_signal(sign)
        end_s = time.monotonic() + patience_s
        while any(process.poll() is None for process in alive) and time.monotonic() < end_s:
            if in_a_hurry() and sign is not signal.SIGKILL:
                break
            time.sleep(0.02)


def _end_with_parent():
    """Have Linux end the process when ours is killed, so that no arm goes on moving alone."""
    if _prctl is not None and sys.platform == 'linux':
        _prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
