"""Kill -9 of the planner at random moments of motion: is the arm at rest when the chunk that it left behind ends, and within limits?

Everything is measured from outside, in the simulator's time: joint states, the trajectories that went out, the simulator's reports.
"""
import json
import os
import time
from pathlib import Path

import numpy as np

SENSOR_S = 5 / 240          # between the simulator's joint states
MOVES_RAD_S, REST_RAD_S = 0.1, 0.005
LONGEST_DELAY_S = 3.0       # from the beginning of motion to the kill
STAYS_S = 1.0               # simulated, for which the arm must stay at rest
PATIENCE_S = 20.0
SCENES, OTHER_SCENES = 10, 1000     # to try for one kill; from one to the next


def run(rig, kills, seed, json_path=None):
    """Kill so many planners, print what came of it, and write it: -> exit status, 1 where one kill ended badly"""
    from rich.console import Console
    console, rows = Console(width=120), []
    try:
        rig.run(_trials(rig, kills, np.random.default_rng(seed), seed, rows, json_path, console))
    finally:
        show(console, rows)
    return int(not rows or any(row['faults'] for row in rows))


def _trials(rig, kills, random, seed, rows, json_path, console):
    """Job: a scene, motion, a kill, a new planner; over and over."""
    for number in range(kills):
        if number:
            rig.start('planner')
        start_up_s = yield from rig.ready()
        rows.append({'start_up_s': start_up_s, **(yield from _trial(rig, seed + number, random.uniform(0, LONGEST_DELAY_S)))})
        write(rows, json_path)
        console.print(f'{number + 1} of {kills}: {verdict(rows[-1])}', soft_wrap=True, highlight=False)


def _trial(rig, seed, delay_s):
    """Job: kill the planner some time after the arm has begun to move: -> figures"""
    watcher = rig.watcher
    scene = yield from _motion(rig, seed, delay_s)
    speed_rad_s, killed_ns = watcher.speed_rad_s, time.time_ns()
    rig.kill('planner')
    yield from _until(lambda: False, 0.2)            # what was under way arrives
    killed_s = watcher.simulated_s(killed_ns)
    chunk_end_s = watcher.simulated_s(watcher.chunk_sent_ns) + float(watcher.chunk.offset_s[-1])
    rest_s = yield from _rest(watcher)
    if not (yield from _until(lambda: watcher.report['now_s'] > watcher.stamp_s)):
        raise rig.complaint(f'sim node: no report for {PATIENCE_S:.0f} s')
    return judged({'scene': scene, 'speed_rad_s': speed_rad_s, 'delay_s': delay_s, 'tail_s': chunk_end_s - killed_s,
                   'rest_s': None if rest_s is None else rest_s - killed_s, 'limit_violations': watcher.report['limit_violations'],
                   'largest': watcher.report['largest']})


def _motion(rig, seed, delay_s):
    """Job: wait until the arm has been on its way for so long, in another scene where it has arrived by then: -> scene"""
    for scene in range(seed, seed + OTHER_SCENES * SCENES, OTHER_SCENES):
        yield from rig.go_to(scene)
        begun = yield from _until(lambda: rig.watcher.speed_rad_s > MOVES_RAD_S)
        yield from _until(lambda: False, delay_s)
        if begun and rig.watcher.speed_rad_s > MOVES_RAD_S:
            return scene
    raise rig.complaint(f'planner node: no motion in {SCENES} scenes')


def _rest(watcher):
    """Job: wait until the arm is at rest and stays there: -> stamp of the first joint state of that rest, None if there is none"""
    end_s, since_s = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < end_s:
        if watcher.speed_rad_s >= REST_RAD_S:
            since_s = None
        elif since_s is None:
            since_s = watcher.stamp_s
        elif watcher.stamp_s > since_s + STAYS_S:
            return since_s
        yield
    return None


def _until(condition, patience_s=PATIENCE_S):
    """Job: wait until a condition holds: -> whether it does"""
    end_s = time.monotonic() + patience_s
    while not (holds := condition()) and time.monotonic() < end_s:
        yield
    return holds


def judged(figures):
    """Add what is wrong with the outcome of a kill: -> figures with `faults`, a list of texts"""
    late = figures['rest_s'] is None or figures['rest_s'] > figures['tail_s'] + SENSOR_S
    beyond = [f'{name} {share:.0%} of its limit' for name, share in figures['largest'].items() if share > 1.0001]
    counted = [f'{figures["limit_violations"]} physics steps beyond limits'] if figures['limit_violations'] else []
    return {**figures, 'faults': ['not at rest in time'] * late + beyond + counted}


def verdict(row):
    """Say in one line what a kill came to."""
    rest = 'no rest' if row['rest_s'] is None else f'at rest after {row["rest_s"]:.2f} s'
    outcome = ', '.join(row['faults']) or 'in time and within limits'
    return f'killed at {row["speed_rad_s"]:.2f} rad/s, {rest}, its chunk ended after {row["tail_s"]:.2f} s; {outcome}'


def write(rows, path):
    """Replace the JSON file, where one is wanted."""
    if path is not None:
        part = Path(f'{path}.part')
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({'kills': rows}, indent=1) + '\n')
        os.replace(part, path)


def show(console, rows):
    from rich.table import Table
    table = Table('scene', 'speed rad/s', 'at rest after', 'chunk ended after', 'acceleration', 'jerk', 'beyond limits', title='kill -9 in motion',
                  title_justify='left')
    for row in rows:
        table.add_row(str(row['scene']), f'{row["speed_rad_s"]:.2f}', '-' if row['rest_s'] is None else f'{row["rest_s"]:.2f} s', f'{row["tail_s"]:.2f} s',
                      f'{row["largest"]["acceleration"]:.0%}', f'{row["largest"]["jerk"]:.0%}', str(row['limit_violations']))
    console.print(table)
    bad = sum(bool(row['faults']) for row in rows)
    longest_s = max((row['rest_s'] for row in rows if row['rest_s'] is not None), default=0.0)
    console.print(f'{len(rows) - bad} of {len(rows)} kills: at rest within the tail time, and within limits; longest way to rest {longest_s:.2f} s',
                  highlight=False)
