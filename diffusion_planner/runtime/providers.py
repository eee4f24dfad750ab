"""Where ONNX Runtime can run: what a device is called there, what is installed, and whether a session really runs there."""
from diffusion_planner.config import ConfigError

PROVIDERS = {'tensorrt': 'TensorrtExecutionProvider', 'cuda': 'CUDAExecutionProvider', 'cpu': 'CPUExecutionProvider'}     # the quickest first


def runtime():
    """Import ONNX Runtime: -> module. Raises ConfigError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f'backend: got onnx, but onnxruntime cannot be imported ({error}); '
                          "expected it: pip install 'diffusion_planner[onnx]', for a GPU 'diffusion_planner[gpu]'") from None
    return onnxruntime


def provider_of(device):
    """Name the provider of a device auto, cpu, cuda or tensorrt: -> 'auto' or its name. Raises ConfigError where it is not installed."""
    present = runtime().get_available_providers()
    if device != 'auto' and PROVIDERS[device] not in present:
        raise ConfigError(f'device: got {device}, but this onnxruntime has no {PROVIDERS[device]}, only {", ".join(present)}; '
                          f"expected another device, or onnxruntime-gpu in its place: pip install 'diffusion_planner[gpu]'")
    return 'auto' if device == 'auto' else PROVIDERS[device]


def order_of(provider):
    """List the providers that a session is offered, the quickest first, all that are installed for 'auto': -> list of names

    The CPU is always the last one: it takes what the others cannot compute.
    """
    present = runtime().get_available_providers()
    wanted = PROVIDERS.values() if provider == 'auto' else (provider, PROVIDERS['cpu'])
    return [name for name in dict.fromkeys(wanted) if name in present]


def check_session(session, provider):
    """Refuse a session that runs elsewhere than asked: ONNX Runtime goes on with the CPU where libraries or the GPU are missing.

    Raises ConfigError.
    """
    if provider not in ('auto', *session.get_providers()):
        raise ConfigError(f'device: {provider} is installed but does not start here, only {", ".join(session.get_providers())} does; '
                          'expected a GPU with the CUDA, cuDNN and TensorRT libraries that this onnxruntime-gpu was built for, or device cpu')
