"""A ROS domain for one run alone, on this machine only: nothing of ours may reach a robot or another run."""
import contextlib
import fcntl
import os
import random
import tempfile
import time
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from diffusion_planner.config import ConfigError

CANDIDATES = range(20, 100)     # 0 is everybody's default; the ports of 102 to 214 are the system's to lend out
OUR_NODES = ('planner', 'sim', 'session')
DISCOVERY_S = 1.0               # Fast DDS announces a new participant every 0.1 s at first
PATIENCE_S = 3.0                # where the domain was asked for, others may well be there, and busy


@contextlib.contextmanager
def lease(wanted=None):
    """Hold a domain for the length of the block, and make it this process's and its children's: -> domain

    Raises ConfigError where the wanted domain is in use by another run, or no domain is free.
    """
    with _environment(), contextlib.ExitStack() as held:
        for domain in random.sample(CANDIDATES, len(CANDIDATES)) if wanted is None else [wanted]:
            trouble = _try(domain, held, wanted is not None)
            if trouble is None:
                break
            if wanted is not None:
                raise ConfigError(f'--domain {wanted}: {trouble}; expected a domain of its own, or leave --domain off')
        else:
            raise ConfigError(f'ROS domains {CANDIDATES.start} to {CANDIDATES.stop - 1} are all in use; expected a free one')
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        yield domain


def _try(domain, held, wanted):
    """Take a domain's lock and look for nodes on it: -> None, or what is in the way"""
    lock = lock_domain(domain)
    if isinstance(lock, str):
        return f'in use by another run ({lock})'
    name = node_alive(domain, OUR_NODES if wanted else None, PATIENCE_S if wanted else DISCOVERY_S)
    if name:
        lock.close()
        return f'node {name} is alive there'
    held.enter_context(lock)


def lock_path(domain):
    return Path(tempfile.gettempdir()) / f'diffusion_planner_domain_{domain}.lock'


def lock_domain(domain):
    """Lock a domain until the file is closed or the process ends, however it ends: -> open file, or who holds it"""
    try:
        lock = os.fdopen(os.open(lock_path(domain), os.O_RDWR | os.O_CREAT, 0o666), 'r+')
    except OSError as error:
        return f'{lock_path(domain)}: {error.strerror}'
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with lock:
            return f'process {lock.read().strip() or "unknown"}'
    lock.truncate(0)
    lock.write(f'{os.getpid()}\n')
    lock.flush()
    return lock


def node_alive(domain, names=None, patience_s=DISCOVERY_S):
    """Look for a node on a domain: -> full name of the first that answers, None for silence; `names` are those that count"""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node, end_s = rclpy.create_node('domain_check', context=context, start_parameter_services=False), time.monotonic() + patience_s
        found = []
        while not found and time.monotonic() < end_s:
            time.sleep(0.05)
            found = [f'{namespace.rstrip("/")}/{name}' for name, namespace in node.get_node_names_and_namespaces()
                     if name != 'domain_check' and (names is None or name in names)]
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return found[0] if found else None


@contextlib.contextmanager
def _environment():
    """Keep discovery on this machine, and put the environment back at the end."""
    names = 'ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_STATIC_PEERS', 'ROS_LOCALHOST_ONLY'
    kept = {name: os.environ.pop(name, None) for name in names}    # static peers would be asked in spite of LOCALHOST
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if os.environ.get('ROS_DISTRO') == 'humble':                   # which knows only this
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
