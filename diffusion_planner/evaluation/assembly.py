"""Put a planner together from a model folder and a robot. Nothing here loads torch for another backend."""
import math
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.planning.planner import NoSafeCandidate, Planner
from diffusion_planner.records import Observation

ANY = 1e9     # a limit that nothing exceeds, and that is looked at all the same
DEVICES = {'torch': ('auto', 'cpu', 'cuda'), 'onnx': ('auto', 'cpu', 'cuda', 'tensorrt')}     # of each backend


def load_planner(model_dir, robot, settings=None, backend='torch', threads=1, device='cpu'):
    """Load a model folder into a Planner.

    device: cpu, cuda, or auto for a GPU if there is one; with onnx tensorrt, too. Raises ModelError for a bad folder and ConfigError
    for a backend or a device that is unknown or not there, or a robot the model was not trained for.
    """
    check_backend(backend, device)
    if backend == 'onnx':
        from diffusion_planner.runtime.onnx_backend import load_backend
        from diffusion_planner.runtime.providers import provider_of
        return Planner(load_backend(model_dir, robot, threads, provider_of(device)), robot, settings)
    from diffusion_planner.runtime.torch_backend import load_backend
    return Planner(load_backend(model_dir, robot, threads, device), robot, settings)


def load_objective(path, robot, backend='torch', model_dir=None):
    """Load an objective for a backend: with onnx what was exported for that model's folder: -> an objective. Raises ConfigError."""
    if backend == 'onnx':
        from diffusion_planner.runtime.exported_objective import load_exported
        objective = load_exported(path, robot, model_dir)
    else:
        from diffusion_planner.objectives import spec
        objective = spec.load_objective(path, robot)
    objective.check_together()
    return objective


def check_backend(backend, device):
    """Refuse a backend or a device that is unknown or not there, before anything is loaded. Raises ConfigError."""
    if backend not in DEVICES:
        raise ConfigError(f'backend: got {backend!r}, expected one of {", ".join(DEVICES)}')
    if device not in DEVICES[backend]:
        raise ConfigError(f'device: got {device!r} with backend {backend}, expected one of {", ".join(DEVICES[backend])}')
    if backend == 'onnx':
        from diffusion_planner.runtime.providers import provider_of
        provider_of(device)
    elif find_spec('torch') is None:
        raise ConfigError('backend: got torch, which is not installed; expected backend onnx, or pip install torch')


def warm_up(planner, robot, goal):
    """Plan twice on nothing, so that the first real plan is as quick as the rest: -> milliseconds each took"""
    count, joints, cameras = len(planner.context_offset_s), len(robot.joint_names), len(planner.cameras)
    sensors = getattr(planner, 'sensors', ())
    observation = Observation(0.0, np.array(planner.context_offset_s), np.tile(robot.home_rad, (count, 1)), np.zeros((count, joints)),
                              np.zeros((count, cameras, *planner.picture_shape), np.uint8), np.zeros((count, cameras)), np.zeros(count),
                              sensors=np.zeros((count, sum(size for _, size in sensors))) if sensors else None)
    settings, took_ms = planner.settings, []
    for guard in (False, True):   # without the guard nothing is refused, so every stage has run once
        planner.settings = replace(settings, guard=guard, strange_limit=ANY)
        begun_s = time.perf_counter()
        try:
            planner.plan(observation, goal, 0)
        except NoSafeCandidate:
            pass   # black pictures
        took_ms.append(1000 * (time.perf_counter() - begun_s))
    planner.settings = settings
    planner.reset()
    return took_ms
