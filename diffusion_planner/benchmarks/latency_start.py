"""Start-up and memory, each in a process of its own: from its start, the interpreter's and every import included, to the first plan."""
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from diffusion_planner.config import ConfigError

NODE = 'diffusion_planner.ros.planner_node'      # what a planner node has loaded beside the planner
LIBRARIES = ('torch', 'onnxruntime', 'onnx', 'rclpy', 'cv2', 'scipy', 'pybullet', 'matplotlib')
OVERDUE_S = 300.0
PLANS = 20        # before memory is read


def versions():
    """-> {library: version} of those that figures depend on"""
    found = {}
    for name in ('torch', 'onnxruntime', 'onnxruntime-gpu', 'numpy'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def measure(everybody, case, options, with_ros, bar):
    """Start everybody afresh: -> {name: {'alone': figures of `child`, 'node': the same with what a node loads, or None}}"""
    advance, found = bar('start-up', len(everybody) * (1 + with_ros)), {}
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / 'case.npz'
        save(case, picture)
        for one in everybody:
            found[one.name] = {'node': None}
            for where in ('alone', 'node')[:1 + with_ros]:
                found[one.name][where] = start(one.kind, one.device, options, picture, NODE if where == 'node' else '')
                advance()
    return found


def save(case, path):
    """Write what a plan needs, so that a fresh process needs no simulator."""
    values = {name: value for name, value in vars(case.observation).items() if value is not None}
    np.savez(path, scale=case.goal.guidance_scale, seed=case.seed, **values)


def start(kind, device, options, picture, module):
    """Run `child` in a fresh process: -> its figures. Raises ConfigError where it gives none."""
    told = {'kind': kind, 'device': device, 'model': str(options.model), 'threads': options.threads, 'case': str(picture), 'module': module,
            'lenient': options.lenient}
    environment = {**os.environ, 'OMP_NUM_THREADS': str(options.threads)}
    told['begun_s'] = time.monotonic()
    try:
        done = subprocess.run([sys.executable, '-m', 'diffusion_planner.benchmarks.latency_start', json.dumps(told)], capture_output=True, text=True,
                              timeout=OVERDUE_S, env=environment)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise ConfigError(f'bench latency: {kind} has not planned after {OVERDUE_S:.0f} s in a fresh process') from None
    except (IndexError, ValueError):
        raise ConfigError(f'bench latency: fresh process with {kind}: exit status {done.returncode}, last words: '
                          f'{(done.stderr.strip().splitlines() or ["nothing"])[-1]}; expected figures') from None


def child(told):
    """Load a planner and plan, in this process: -> {'start_s', 'import_s', 'load_s', 'warm_up_s', 'plan_s', 'peak_rss_mb', 'rss_mb', 'loaded'}"""
    if told['module']:
        importlib.import_module(told['module'])
    from diffusion_planner import config, files
    from diffusion_planner.benchmarks.latency_contenders import load
    from diffusion_planner.evaluation.assembly import warm_up
    from diffusion_planner.records import Goal, Observation
    from diffusion_planner.robot import Robot
    instants_s = [told['begun_s'], time.monotonic()]
    robot = config.load(Robot, files.find('config/panda.yaml'))
    planner = load(told['kind'], told['device'], SimpleNamespace(**told, settings=None), robot).planner
    instants_s.append(time.monotonic())
    with np.load(told['case']) as kept:
        values = dict(kept)
    goal, seed = Goal(float(values.pop('scale'))), int(values.pop('seed'))
    observation = Observation(**{**values, 'origin_s': float(values['origin_s'])})
    warm_up(planner, robot, goal)
    instants_s.append(time.monotonic())
    planner.plan(observation, goal, seed)
    instants_s.append(time.monotonic())
    for _ in range(PLANS):
        planner.reset()
        planner.plan(observation, goal, seed)
    parts = dict(zip(('import_s', 'load_s', 'warm_up_s', 'plan_s'), np.diff(instants_s).tolist()))
    return {'start_s': instants_s[-1] - told['begun_s'], **parts, **memory_mb(), 'loaded': [name for name in LIBRARIES if name in sys.modules]}


def memory_mb():
    """Read what this process has resident: -> {'peak_rss_mb', 'rss_mb'}, of 10^6 bytes"""
    status = Path('/proc/self/status').read_text()
    return {name: int(re.search(rf'{field}:\s+(\d+) kB', status)[1]) * 1.024e-3 for name, field in (('peak_rss_mb', 'VmHWM'), ('rss_mb', 'VmRSS'))}


if __name__ == '__main__':
    print(json.dumps(child(json.loads(sys.argv[1]))))
