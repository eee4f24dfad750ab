"""Providers of ONNX Runtime: the order in which a session is offered them, and sessions that run elsewhere than asked."""
import sys
from types import SimpleNamespace

import pytest

from diffusion_planner.config import ConfigError
from diffusion_planner.runtime import providers

CPU, CUDA, TENSORRT = 'CPUExecutionProvider', 'CUDAExecutionProvider', 'TensorrtExecutionProvider'


@pytest.fixture
def present(monkeypatch):
    return lambda *names: monkeypatch.setitem(sys.modules, 'onnxruntime', SimpleNamespace(get_available_providers=lambda: list(names)))


def test_the_quickest_comes_first_and_the_cpu_last(present):
    present(CPU, 'AzureExecutionProvider', CUDA, TENSORRT)
    assert providers.order_of('auto') == [TENSORRT, CUDA, CPU]
    assert providers.order_of(CUDA) == [CUDA, CPU]
    assert providers.order_of(CPU) == [CPU]
    present('AzureExecutionProvider', CPU)
    assert providers.order_of('auto') == [CPU]


def test_a_session_that_fell_back_to_the_cpu_is_refused():
    def session(*names):
        return SimpleNamespace(get_providers=lambda: list(names))
    for provider, names in (('auto', (CPU,)), (CPU, (CPU,)), (CUDA, (CUDA, CPU))):
        providers.check_session(session(*names), provider)
    with pytest.raises(ConfigError, match=f'^device: {CUDA} is installed but does not start here, only {CPU} does; expected a GPU.*or device cpu$'):
        providers.check_session(session(CPU), CUDA)


def test_the_real_one_has_a_cpu():
    pytest.importorskip('onnxruntime')
    assert providers.provider_of('cpu') == CPU and providers.order_of('auto')[-1] == CPU
