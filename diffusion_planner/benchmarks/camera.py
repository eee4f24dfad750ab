"""What the middleware loses of a camera's pictures between two processes: without a Fast DDS profile, and with each that is shipped."""
import json
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.files import find

PROFILES = {'none': None, 'fastdds.xml': 'config/fastdds.xml', 'fastdds_localhost.xml': 'config/fastdds_localhost.xml'}
QOS = {'best effort, last 1': (False, 1), 'best effort, last 5': (False, 5), 'reliable, last 5': (True, 5)}   # reliable, depth
AS_THE_PLANNER = 'best effort, last 1'
PERCENTILES = (50, 95, 99)
OVERDUE_S, ARRIVED_S, END_S = 60.0, 0.5, 10.0    # to start and finish; for the last picture to arrive; to end after a signal


@dataclass(frozen=True)
class Options:
    """What is sent, to how many readers, and how often the comparison is made."""

    seconds: float = 20.0
    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    readers: int = 1
    every_qos: bool = False

    def stream(self, qos):
        """Write down one run for the child processes: -> JSON text"""
        given = {name: value for name, value in asdict(self).items() if name != 'every_qos'}
        return json.dumps(given | dict(zip(('reliable', 'depth'), QOS[qos])))


def measure(options, say=lambda text: None):
    """Send pictures with one profile after the other, in the ROS domain of this process: -> report. Raises ConfigError."""
    runs = []
    for qos in QOS if options.every_qos else [AS_THE_PLANNER]:
        for profile in PROFILES:
            say(f'{profile}, {qos}')
            runs.append({'profile': profile, 'qos': qos, **_figures(*_stream(options, profile, qos))})
    return {'options': asdict(options), 'machine': {'cores': os.cpu_count(), 'load': os.getloadavg(), 'kernel': platform.release()}, 'runs': runs}


def environment(profile, base=os.environ):
    """Return the environment of a child that is to read one profile, or none: -> name to value"""
    names = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'
    bare = {name: value for name, value in base.items() if name not in names}
    return bare if PROFILES[profile] is None else bare | dict.fromkeys(names, str(find(PROFILES[profile])))


def _stream(options, profile, qos):
    """Run publisher and readers: -> facts of the publisher, [facts of a reader]"""
    command = [sys.executable, '-m', 'diffusion_planner.ros.camera_stream']
    with ExitStack() as running:
        def start(role):
            child = subprocess.Popen([*command, role, options.stream(qos)], env=environment(profile), stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
            running.callback(child.wait)
            running.callback(child.kill)
            return child
        readers, publisher = [start('subscribe') for _ in range(options.readers)], start('publish')
        sent = _facts(publisher, options.seconds + OVERDUE_S)
        time.sleep(ARRIVED_S)
        for reader in readers:
            reader.send_signal(signal.SIGINT)
        return sent, [_facts(reader, END_S) for reader in readers]


def _facts(child, patience_s):
    """Hear what a child says at its end: -> dict. Raises ConfigError with its last line where it says nothing of use."""
    try:
        out, errors = child.communicate(timeout=patience_s)
        return json.loads(out.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise ConfigError(f'bench camera: process {child.pid} has not ended after {patience_s:.0f} s') from None
    except (IndexError, ValueError):
        last = (errors.strip().splitlines() or ['nothing'])[-1]
        raise ConfigError(f'bench camera: exit status {child.returncode}, last words: {last}; expected figures') from None


def _figures(sent, heard):
    """Put the facts of one run together: -> row; loss is that of the reader who lost most, latency is of all readers."""
    latency_ms = [value for facts in heard for value in facts['latency_ms']]
    fewest = min(facts['received'] for facts in heard)
    if sent['readers'] < len(heard):
        raise ConfigError(f'bench camera: {sent["readers"]} of {len(heard)} readers were found; expected all')
    return {'sent': sent['sent'], 'received': fewest, 'lost_share': 1.0 - fewest / max(sent['sent'], 1),
            'latency_ms': {f'p{p}': float(np.percentile(latency_ms, p)) if latency_ms else None for p in PERCENTILES},
            'slowest_publish_ms': sent['slowest_publish_ms'], 'publisher_cpu_s': sent['cpu_s'],
            'reader_cpu_s': float(np.mean([facts['cpu_s'] for facts in heard]))}


def write(report, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + '\n')


def show(report):
    from rich.console import Console
    from rich.table import Table
    given = report['options']
    heads = 'profile', 'quality of service', 'sent', 'received', 'lost', *(f'p{p} ms' for p in PERCENTILES), 'CPU s, sender', 'reader'
    table = Table(*heads, title=f'{given["width"]}x{given["height"]} rgb8 at {given["rate_hz"]:g} Hz, {given["readers"]} reader(s)')
    for run in report['runs']:
        latency = ('' if value is None else f'{value:.1f}' for value in run['latency_ms'].values())
        table.add_row(run['profile'], run['qos'], str(run['sent']), str(run['received']), f'{run["lost_share"]:.1%}', *latency,
                      f'{run["publisher_cpu_s"]:.2f}', f'{run["reader_cpu_s"]:.2f}')
    Console(width=140).print(table)
