"""Work over many processes, of this machine or of a ray cluster; what is lost on the way is done again."""
import importlib.util
import multiprocessing
import os
import pickle
import re
import secrets
import signal
import socket
import tempfile
import traceback
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

HERE = 'local'           # in place of an address: a ray of this machine's own, started for the work and ended with it
ATTEMPTS = 3             # at an item whose process dies
OBJECT_STORE_BYTES = 256 * 2**20
ANSWER_S = 5.0           # within which a cluster answers
# Of a ray of our own: nobody is told of it, it listens on the loopback alone, and only to who knows this run's word.
# (On Linux ray looks for an address that others can reach, and refuses 127.0.0.1, unless it is told that there are no others.)
ALONE = {'RAY_USAGE_STATS_ENABLED': '0', 'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0', 'RAY_AUTH_MODE': 'token'}
JOINED = {'RAY_USAGE_STATS_ENABLED': '0', 'RAY_NUM_REDIS_GET_RETRIES': '1'}      # ray's own 20 take a quarter of an hour to fail


class FanOutError(ValueError):
    """No processes to share the work, or none that lives through it; the message says what was expected."""


class ElsewhereError(Exception):
    """The traceback of what was raised in another process; the cause of what is raised in this one."""


@dataclass(frozen=True)
class Job:
    """An item of work, and how often a process died of it."""

    item: object
    deaths: int = 0

    def after(self, death):
        """The same item for another process. Raises FanOutError where that has been tried often enough."""
        if self.deaths + 1 >= ATTEMPTS:
            raise FanOutError(f'work {self.item!r}: {ATTEMPTS} processes died of it, the last one of {death}, expected a result')
        return Job(self.item, self.deaths + 1)


def check(ray):
    """Check what `--ray` was given, before there is work to do: -> ray. Raises FanOutError."""
    if ray is not None:
        if not re.fullmatch(rf'{HERE}|auto|(ray://)?[^\s/]+:\d+', ray):
            raise FanOutError(f'--ray: got {ray!r}, expected nothing, auto, or the address of a cluster as host:port or ray://host:port')
        if importlib.util.find_spec('ray') is None:
            raise FanOutError(f"--ray: got {ray!r} without ray installed, expected the ray extra: pip install 'diffusion_planner[ray]'")
    return ray


def run(function, items, workers=2, ray=None, fresh=False):
    """Map a function over items in other processes: run(function, items, workers) -> yields (item, result) as they are finished

    function: of a module, so that other processes find it; what it raises is raised here, too. fresh: each item has a process of its own.
    ray: None for processes of this machine; HERE for a ray that is started on it, with so many workers; else the address of a cluster,
    on all of whose machines this package is installed, and paths in items lead to the same files. Raises FanOutError.
    """
    jobs = [Job(item) for item in items]
    if jobs:
        yield from _local(function, jobs, workers, fresh) if ray is None else _over_ray(function, jobs, workers, check(ray), fresh)


def _attempt(function, item):
    """Do one item of work: -> pickled (result, error, its traceback)"""
    try:
        return pickle.dumps((function(item), None, ''))
    except Exception as error:
        told = traceback.format_exc()
        with suppress(Exception):      # some errors cannot be pickled, some are pickled but cannot be made again
            pickle.loads(made := pickle.dumps((None, error, told)))
            return made
        return pickle.dumps((None, RuntimeError(f'{type(error).__name__}: {error}'), told))


def _result(data):
    result, error, told = pickle.loads(data)
    if error is not None:
        raise error from ElsewhereError(told)
    return result


def _local(function, jobs, workers, fresh):
    waiting, crew = deque(jobs), [_Worker(function) for _ in range(min(workers, len(jobs)))]
    try:
        for worker in crew:
            worker.give(waiting.popleft())
        while busy := {worker.connection: worker for worker in crew if worker.job}:
            for connection in wait(list(busy)):
                worker = busy[connection]
                job, data = worker.take()
                if data is None:
                    waiting.appendleft(job.after(f'exit status {worker.process.exitcode}'))
                if data is None or fresh:
                    worker.end()
                if waiting:
                    worker.give(waiting.popleft())
                if data is not None:
                    yield job.item, _result(data)
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that does one job after another; it is started when there is one."""

    def __init__(self, function):
        self.function, self.process, self.connection, self.job = function, None, None, None

    def give(self, job):
        if self.process is None:
            context = multiprocessing.get_context('spawn')
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs, self.function), daemon=True)
            _start(self.process)
            theirs.close()
        self.job = job
        with suppress(OSError):      # it has died since: take() will find that
            self.connection.send(job.item)

    def take(self):
        """What became of the job: -> job, data or None where the process died of it"""
        job, self.job = self.job, None
        try:
            return job, self.connection.recv_bytes()
        except (EOFError, OSError):
            self.process.join()
            return job, None

    def end(self):
        if self.process is not None:
            self.connection.close()
            self.process.terminate()
            self.process.join()
            self.process, self.job = None, None


def _start(process):
    """Start a process that no Ctrl-C reaches, not even while it loads: whoever started it ends it."""
    resource_tracker.ensure_running()      # which would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection, function):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})      # what it does may ask for it, as training does
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_attempt(function, connection.recv()))


def _over_ray(function, jobs, workers, address, fresh):
    with _cluster(address, workers) as ray:
        # Both settings are of ray's retries and of its processes: as often as in _local, and how many calls one lives for.
        remote = ray.remote(max_retries=ATTEMPTS - 1, max_calls=1 if fresh else 0)(_attempt_there)
        running = {remote.remote(function, job.item, os.getcwd()): job for job in jobs}
        while running:
            done, _ = ray.wait(list(running))
            for reference in done:
                job = running.pop(reference)
                try:
                    data = ray.get(reference)
                except ray.exceptions.RayError as error:
                    raise FanOutError(f'work {job.item!r}: ray gave it up ({_last_line(error)}), expected a result') from error
                yield job.item, _result(data)


def _attempt_there(function, item, folder):
    with suppress(OSError):      # relative paths are those of the program that has the work done, as far as that folder is here
        os.chdir(folder)
    return _attempt(function, item)


@contextmanager
def _cluster(address, workers):
    """Start a ray, or join one, until the work is done: -> module ray"""
    alone = {**ALONE, 'RAY_AUTH_TOKEN': _word()}
    with _environment(alone if address == HERE else JOINED), tempfile.TemporaryDirectory(prefix='ray-', ignore_cleanup_errors=True) as folder:
        import ray
        own = {'num_cpus': workers, 'include_dashboard': False, 'object_store_memory': OBJECT_STORE_BYTES, '_temp_dir': folder}
        try:
            _connect(ray, address, **(own if address == HERE else {}))
            yield ray
        finally:
            ray.shutdown()


def _connect(ray, address, **own):
    """Start or join a ray. Raises FanOutError, at once where nobody answers."""
    try:
        if ':' in address:
            host, _, port = address.removeprefix('ray://').rpartition(':')
            socket.create_connection((host.strip('[]'), int(port)), ANSWER_S).close()
        ray.init(address, log_to_driver=False, logging_level='ERROR', configure_logging=False, **own)
    except (OSError, OverflowError, RuntimeError, ValueError, ImportError) as error:      # what ray raises of clusters of another version, too
        raise FanOutError(f'--ray: got {address!r} ({_last_line(error)}), expected a ray cluster that can be joined') from error


@lru_cache(maxsize=None)
def _word():
    """What this program's own rays are entered with; ray reads it once in a process."""
    return secrets.token_hex(32)


@contextmanager
def _environment(wanted):
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _last_line(error):
    return next(iter(str(error).strip().splitlines()[::-1]), type(error).__name__)
