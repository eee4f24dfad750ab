"""The planner node on ONNX Runtime, a process of its own over real topics: the arm moves, and nothing of torch is in that process."""
import importlib.util
from pathlib import Path

import pytest
from lifecycle_msgs.srv import GetState

MODEL = Path(__file__).resolve().parents[2] / 'models/panda_reach'
pytestmark = pytest.mark.skipif(not (MODEL / 'far.onnx').exists() or importlib.util.find_spec('onnxruntime') is None,
                                reason='needs onnxruntime, and the graphs that `diffusion-planner export models/panda_reach` writes')
SIMULATED = 'autostart:=true', 'use_sim_time:=true'
MOVES_RAD_S, RESIDENT_MB = 0.1, 350


def mapped(process):
    """List the files that a process has mapped: -> set of paths"""
    lines = Path(f'/proc/{process.pid}/maps').read_text().splitlines()
    return {Path(parts[5]) for parts in (line.split(maxsplit=5) for line in lines) if len(parts) > 5 and parts[5].startswith('/')}


def resident_mb(process):
    return next(int(line.split()[1]) for line in Path(f'/proc/{process.pid}/status').read_text().splitlines() if line.startswith('VmRSS:')) / 1024


def test_the_arm_moves_without_torch_and_within_the_memory(bench):
    bench.start('sim', 'scene_seed:=1')
    planner = bench.start('planner', *SIMULATED, 'backend:=onnx', 'deadline_ms:=200.0')
    see = bench.observer
    see.wait(lambda: see.statuses and see.statuses[-1] in ('NOMINAL', 'FAULT'), 60)
    see.wait(lambda: len(see.plans) >= 4 and see.speed_rad_s() > MOVES_RAD_S and see.episode.get('trajectories', 0) >= 3, 30)
    names = {path.name for path in mapped(planner)}
    assert any(name.startswith('onnxruntime_pybind11_state') for name in names)      # so this does look where libraries would be
    assert not [path for path in mapped(planner) if 'torch' in path.parts or path.name.startswith('libtorch')]
    assert resident_mb(planner) <= RESIDENT_MB
    assert 'FAULT' not in see.statuses and see.episode['limit_violations'] == 0 and see.episode['rejected'] == {}
    see.wait(lambda: see.fact('sampling steps'), 5)
    assert see.fact('backend') == 'onnx' and see.fact('deadline ms') == '200' and see.fact('sampling steps').startswith('far ')
    assert see.plans[-1]['steps'].keys() == {'far', 'fill'} and len(see.plans[-1]['level']) == len(see.plans[-1]['points_m']) - 1
    assert planner.poll() is None


def test_a_provider_that_is_missing_is_a_fault_that_names_it(bench):
    present = importlib.import_module('onnxruntime').get_available_providers()
    if 'TensorrtExecutionProvider' in present:
        pytest.skip('this onnxruntime has TensorRT')
    planner = bench.start('planner', *SIMULATED, 'backend:=onnx', 'device:=tensorrt')
    see = bench.observer
    see.wait_status('FAULT', 30)
    reason = see.reasons[-1][-1]
    assert reason.startswith('configure: device: got tensorrt') and all(name in reason for name in present) and 'diffusion_planner[gpu]' in reason
    see.call('planner/get_state', GetState)      # it lives on
    assert planner.poll() is None
