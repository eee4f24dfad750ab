"""Play in a process of its own, and recorded from here: real topics, nothing lost, nothing kept waiting."""
import contextlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from diffusion_planner.config import ConfigError
from diffusion_planner.files import find
from diffusion_planner.ros import domains
from diffusion_planner.ros.children import ChildDied, running

LINGER_S = 1.0           # after the last message was sent, for it to arrive
PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'


@dataclass(frozen=True)
class PlayOptions:
    """What `diffusion-planner play` was asked for; topics () with a bag: those of play."""

    episodes: int
    seed: int
    speed: float
    bag: Path | None = None
    topics: tuple = ()
    domain: int | None = None


def command(options):
    """Write the command line of the play node: -> list of str"""
    parameters = {'episodes': options.episodes, 'scene_seed': options.seed, 'speed': float(options.speed)}
    given = [part for key, value in parameters.items() for part in ('-p', f'{key}:={value!r}')]
    return [sys.executable, '-m', 'diffusion_planner.ros.play_node', '--ros-args', *given]


def run_play(options):
    """Play; with a bag, record it until play is over: -> exit status. Raises ConfigError, BagWriteError, ChildDied."""
    if options.bag is None:
        if options.domain is not None:
            os.environ['ROS_DOMAIN_ID'] = str(options.domain)
        from diffusion_planner.ros import play_node
        return play_node.main(command(options)[3:])
    if not options.episodes:
        raise ConfigError('--episodes: got 0, expected at least 1 with --record')
    with domains.lease(options.domain) as domain, _roomy():
        return _recorded(options, domain)


@contextlib.contextmanager
def _roomy():
    """Use the Fast DDS profile for large messages on this machine, unless the environment names one."""
    ours = PROFILE not in os.environ
    if ours:
        os.environ[PROFILE] = str(find('config/fastdds_localhost.xml'))
    try:
        yield
    finally:
        if ours:
            os.environ.pop(PROFILE, None)


def _recorded(options, domain):
    from diffusion_planner.ros.record import record
    folder = Path(tempfile.mkdtemp(prefix='diffusion_planner_'))
    with running({'play': command(options)}, folder) as (child,):
        over = Over(child)
        status = record(options.bag, options.topics, domain=domain, is_over=over)
        if over.status:
            raise ChildDied('play', over.status, child.tail())
    if not over.ended_s:       # interrupted
        return 130
    for text in child.tail(1):
        print(text.partition(']: ')[2] or text)
    shutil.rmtree(folder, ignore_errors=True)
    return status


class Over:
    """Tells when the play node has ended and its last messages have had time to arrive."""

    def __init__(self, child):
        self.child, self.status, self.ended_s = child, None, 0.0

    def __call__(self):
        self.status = self.child.process.poll()
        if self.status is not None and not self.ended_s:
            self.ended_s = time.monotonic()
        return self.status is not None and time.monotonic() > self.ended_s + LINGER_S
