"""How long it takes from the newest picture to the published chunk, and what a planner that stalls does to callbacks."""
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation import stages

OUTSIDE_MS, CALLBACK_MS = 5.0, 5.0      # what is aimed at: outside inference at p95; delay of a callback by a stall
KINDS = {'sleeping': 'sleeps', 'busy': 'counts in Python', 'torch': 'multiplies large matrices', 'small': 'adds small tensors'}
OVERDUE_S = 120.0        # to start and finish


def run(rig, seconds, seed, json_path=None):
    """Time plans for so long in scene after scene, print and write it: -> exit status, 1 where too much is outside inference"""
    from rich.console import Console
    report = {}
    rig.run(_measure(rig, seconds, seed, report))
    write(report, json_path)
    console = Console(width=140)
    console.print(stages.table(report['stages_ms'], f'{report["plans"]} plans in {seconds:g} s'))
    outside_ms = report['stages_ms']['outside']['p95']
    console.print(f'start-up of the planner {report["start_up_s"]:.1f} s, warm-up of its networks {report["warm_up_ms"]} ms; when a plan begins the newest '
                  f'picture is {report["age_ms"]["p50"]:.0f} ms old (p95 {report["age_ms"]["p95"]:.0f})\n'
                  f'outside inference {outside_ms:.1f} ms at p95, expected below {OUTSIDE_MS:g}', highlight=False, soft_wrap=True)
    return int(outside_ms >= OUTSIDE_MS)


def _measure(rig, seconds, seed, report):
    """Job: fill in a report."""
    watcher = rig.watcher
    report['start_up_s'] = yield from rig.ready()
    yield from rig.go_to(seed)
    watcher.stages, end_s = stages.Stages(), time.monotonic() + seconds
    while time.monotonic() < end_s:
        yield
        if rig.is_over():
            seed += 1
            yield from rig.go_to(seed)
    taken_ms = watcher.stages.taken_ms
    if not taken_ms.get('turnaround'):
        raise rig.complaint(f'planner node: no plan within {seconds:g} s of which the time is known')
    ages_ms = [sum(parts) for parts in zip(*(taken_ms[stage] for stage in ('transport', 'read', 'wait')))]
    report |= {'seconds': seconds, 'plans': len(ages_ms), 'warm_up_ms': watcher.facts.get('warm-up ms'), 'age_ms': stages.quantiles(ages_ms),
               'stages_ms': watcher.stages.figures()}


def write(report, path):
    """Replace the JSON file, where one is wanted."""
    if path is not None:
        part = Path(f'{path}.part')
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(report, indent=1) + '\n')
        os.replace(part, path)


def run_stalls(seconds, json_path=None):
    """Measure every kind of stall in the ROS domain of this process, print and write it: -> exit status, 1 where one delays a callback"""
    from rich.console import Console
    report = {'stalls': {kind: measure_stall(kind, seconds / len(KINDS)) for kind in KINDS}}
    write(report, json_path)
    return int(not show_stalls(Console(width=140), report['stalls']))


def measure_stall(kind, seconds):
    """Run a planner that stalls, and a sender of joint states: -> {'stalls', 'stalled_ms', 'idle_ms'}, delays from publication to callback"""
    command = [sys.executable, '-m', 'diffusion_planner.ros.soak_stall']
    with ExitStack() as running:
        def start(*words):
            child = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            running.callback(child.wait)
            running.callback(child.kill)
            return child
        planner = start('planner', kind, str(seconds))
        start('sender')
        try:
            out, errors = planner.communicate(timeout=seconds + OVERDUE_S)
            facts = json.loads(out.splitlines()[-1])
        except subprocess.TimeoutExpired:
            raise ConfigError(f'bench turnaround: planner that {KINDS[kind]} has not ended after {seconds + OVERDUE_S:.0f} s') from None
        except (IndexError, ValueError):
            raise ConfigError(f'bench turnaround: exit status {planner.returncode}, last words: {(errors.strip().splitlines() or ["nothing"])[-1]}; '
                              'expected figures') from None
    if not facts['stalled_ms'] or not facts['idle_ms']:
        raise ConfigError(f'bench turnaround: {facts["stalls"]} stalls in {seconds:g} s; expected one at least and some time beside it: see --seconds')
    return {'stalls': facts['stalls'], **{name: stages.quantiles(facts[name]) for name in ('stalled_ms', 'idle_ms')}}


def show_stalls(console, found):
    """Print delays of callbacks during stalls and between them: -> whether every stall delays them by little"""
    from rich.table import Table
    table = Table('the planner, for 2 s', 'stalls', 'callbacks', 'p50', 'p99', 'largest, ms', 'between stalls: p50', 'p99', 'largest, ms',
                  title='from publication of joint states to their callback in the planner', title_justify='left')
    for kind, row in found.items():
        parts = [f'{row[part][name]:.1f}' for part in ('stalled_ms', 'idle_ms') for name in ('p50', 'p99', 'max')]
        table.add_row(KINDS[kind], str(row['stalls']), str(row['stalled_ms']['plans']), *parts)
    console.print(table)
    worst = max(found, key=lambda kind: found[kind]['stalled_ms']['max'])
    largest_ms = found[worst]['stalled_ms']['max']
    console.print(f'longest delay of a callback during a stall {largest_ms:.1f} ms (the planner {KINDS[worst]}), expected up to {CALLBACK_MS:g}',
                  highlight=False)
    return largest_ms <= CALLBACK_MS
