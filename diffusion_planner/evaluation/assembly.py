"""Put a planner together from a model folder and a robot."""
from diffusion_planner.config import ConfigError
from diffusion_planner.planning.planner import Planner


def load_planner(model_dir, robot, settings=None, backend='torch', threads=1, device='cpu'):
    """Load a model folder into a Planner.

    device: cpu, cuda, or auto for a GPU if there is one. Raises ModelError for a bad folder and ConfigError for an unknown backend, a
    device that is not there or a robot the model was not trained for.
    """
    if backend != 'torch':
        raise ConfigError(f'backend: got {backend!r}, expected torch')
    from diffusion_planner.runtime.torch_backend import load_backend
    return Planner(load_backend(model_dir, robot, threads, device), robot, settings)
