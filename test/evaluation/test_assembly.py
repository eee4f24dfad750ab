"""What runs a planner's networks, by name: what is refused before anything is loaded, and what the backends are handed."""
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation import assembly
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.sim.scene import default_robot

BACKEND = 'diffusion_planner.runtime.onnx_backend'


@pytest.fixture
def runtime(monkeypatch):
    """Put a module in place of onnxruntime, with the providers given, and one in place of the backend: -> what that is called with"""
    def make(*providers):
        calls = []
        backend = SimpleNamespace(config=SimpleNamespace(horizon_s=4.0), planning={})
        monkeypatch.setitem(sys.modules, 'onnxruntime', SimpleNamespace(get_available_providers=lambda: list(providers)))
        monkeypatch.setitem(sys.modules, BACKEND, SimpleNamespace(load_backend=lambda *given: calls.append(given) or backend))
        return calls
    return make


def refusal(backend, device):
    with pytest.raises(ConfigError) as refused:
        assembly.load_planner('nowhere', default_robot(), backend=backend, device=device)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_unknown_backends_and_devices_are_refused():
    assert refusal('caffe', 'cpu') == "backend: got 'caffe', expected one of torch, onnx"
    assert refusal('torch', 'tensorrt') == "device: got 'tensorrt' with backend torch, expected one of auto, cpu, cuda"
    assert refusal('onnx', 'tpu') == "device: got 'tpu' with backend onnx, expected one of auto, cpu, cuda, tensorrt"


def test_without_onnxruntime_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    said = refusal('onnx', 'cpu')
    assert said.startswith('backend: got onnx, but onnxruntime cannot be imported') and 'diffusion_planner[onnx]' in said


def test_without_torch_the_other_backend_is_named(monkeypatch, runtime):
    monkeypatch.setattr(assembly, 'find_spec', lambda name: None)
    assert refusal('torch', 'cpu') == 'backend: got torch, which is not installed; expected backend onnx, or pip install torch'
    runtime('CPUExecutionProvider')
    assembly.load_planner('model', default_robot(), backend='onnx')


@pytest.mark.parametrize('device, provider', [('cuda', 'CUDAExecutionProvider'), ('tensorrt', 'TensorrtExecutionProvider')])
def test_a_provider_that_is_missing_is_refused_with_those_that_are_there(runtime, device, provider):
    calls = runtime('AzureExecutionProvider', 'CPUExecutionProvider')
    said = refusal('onnx', device)
    assert f'device: got {device}, but this onnxruntime has no {provider}, only AzureExecutionProvider, CPUExecutionProvider' in said
    assert 'diffusion_planner[gpu]' in said and not calls
    with pytest.raises(ConfigError, match=provider):      # before anything is loaded, too
        assembly.check_backend('onnx', device)


@pytest.mark.parametrize('device, provider', [('auto', 'auto'), ('cpu', 'CPUExecutionProvider'), ('cuda', 'CUDAExecutionProvider')])
def test_the_backend_is_told_the_provider_of_the_device(runtime, device, provider):
    calls, robot = runtime('CUDAExecutionProvider', 'CPUExecutionProvider'), default_robot()
    settings = PlannerSettings(arrivals=3)
    planner = assembly.load_planner('model', robot, settings, 'onnx', 2, device)
    assert calls == [('model', robot, 2, provider)]
    assert planner.settings is settings and planner.robot is robot


def test_the_warm_up_plans_with_and_without_the_guard_and_leaves_no_trace():
    settings, robot, seen = PlannerSettings(strange_limit=1.5), default_robot(), []

    def plan(observation, goal, seed):
        seen.append((planner.settings.guard, planner.settings.strange_limit, observation.pictures.shape, observation.position_rad[-1]))
        if planner.settings.guard:
            raise NoSafeCandidate({'black': 1})
    planner = SimpleNamespace(context_offset_s=(-1.0, 0.0), cameras=('camera',), picture_shape=(4, 6, 3), settings=settings, plan=plan,
                              reset=lambda: seen.append('reset'))
    assert len(assembly.warm_up(planner, robot, None)) == 2
    assert [row[:3] for row in seen[:2]] == [(False, assembly.ANY, (2, 1, 4, 6, 3)), (True, assembly.ANY, (2, 1, 4, 6, 3))]
    np.testing.assert_array_equal(seen[0][3], robot.home_rad)
    assert seen[2:] == ['reset'] and planner.settings is settings
