"""Who is measured: the planner on every backend that is here, and on torch with nothing traced, which is what the others are held against."""
import math
import time
from dataclasses import replace
from types import SimpleNamespace

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.runtime.checkpoint import ModelError

KINDS = {'torch': 'PyTorch as shipped: the denoiser traced, gradients written out',
         'eager': 'the same in eager PyTorch: nothing traced, gradients by autograd',
         'onnx': 'ONNX Runtime'}
FREE = 1e9
DEVICES = {'torch': ('cpu', 'cuda'), 'eager': ('cpu', 'cuda'), 'onnx': ('cpu', 'cuda', 'tensorrt')}


class Contender:
    """A planner of one kind on one device."""

    def __init__(self, kind, device, planner):
        self.kind, self.device, self.planner = kind, device, planner
        self.name = name_of(kind, device)
        if kind != 'onnx' and device != 'cpu':
            planner.clock = synchronised      # so that a lap does not end before the GPU has done its work

    @property
    def clock(self):
        return self.planner.clock

    def take_up(self, case):
        """Bring the planner to where it was when a case was recorded, so that everybody has the same to do."""
        if case.first:
            self.planner.reset()
        self.planner.previous, self.planner.refused = case.previous, 0


def name_of(kind, device):
    return kind if device == 'cpu' else f'{kind} {device}'


def synchronised():
    """Seconds, once the GPU has finished."""
    import torch
    torch.cuda.synchronize()
    return time.perf_counter()


def load(kind, device, options, robot):
    """Load the model folder of the options: -> Contender. Raises ModelError or ConfigError for what is not there."""
    planner = load_planner(options.model, robot, options.settings, 'onnx' if kind == 'onnx' else 'torch', options.threads, device)
    if kind == 'eager':
        untrace(planner.backend)
    if options.lenient:
        let_pass(planner)
    return Contender(kind, device, planner)


def load_all(options, robot, strict=True):
    """Load every kind on every device that is here: -> list of Contender, list of reasons why others are not among them

    Raises ModelError or ConfigError where a kind that was asked for is not even there on the CPU, unless not `strict`, and where nothing is.
    """
    here, missing = [], {}
    for kind in options.kinds or KINDS:
        for device in DEVICES[kind]:
            try:
                here.append(load(kind, device, options, robot))
            except (ConfigError, ModelError) as error:
                if strict and device == 'cpu' and options.kinds:
                    raise
                missing[name_of(kind, device)] = error
    if not here:
        raise next(iter(missing.values()))
    return here, [f'{name}: {error}' for name, error in missing.items()]


def untrace(backend):
    """Turn a TorchBackend into what eager PyTorch is: the module itself is called, and autograd finds every gradient. Plans are the same."""
    from diffusion_planner.runtime.graphs import Strange
    network, shared = backend.network, len(backend.config.context_offset_s)
    backend.pairs.heads = {name: getattr(network, name) for name in backend.pairs.heads}
    backend.seen = [Strange(network, camera) for camera in range(len(backend.seen))]
    backend.denoise = lambda noisy, level, offset_s: network.denoiser(noisy, level, offset_s, shared)
    backend.pressure.fast = backend.pressure.strange_posture = None


def let_pass(planner):
    """Let every judgement be made and none refuse anything, limits included: for random weights, which imagine anything."""
    planner.settings = replace(planner.settings, typicality_limit=math.inf, strange_limit=FREE, reach_limit=-FREE, refuse_unfamiliar=False)
    far = (FREE,) * len(planner.joint_names)
    planner.robot = SimpleNamespace(**{**vars(planner.robot), 'position_min_rad': tuple(-limit for limit in far), 'position_max_rad': far,
                                       'velocity_max_rad_s': far})
