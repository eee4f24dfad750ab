"""Which command a model infers between two instants of motion, on its own: the planner asks for it only within plans."""
import numpy as np


def infer(backend, near, later, gap_s):
    """Infer the command between two instants, each (position_rad [J], velocity_rad_s [J]): -> rad [J]

    None with a backend that does not give its network away: exported graphs hold inverse dynamics within others.
    """
    network = getattr(backend, 'network', None)
    if network is None:
        return None
    import torch
    own, (mean, spread) = network.layout.motion, backend.scales()
    pair = [torch.tensor(((np.concatenate(instant) - mean[own]) / spread[own])[None], dtype=torch.float32, device=backend.device) for instant in (near, later)]
    with torch.no_grad():
        command = network.inverse_dynamics(*pair, torch.tensor([gap_s], device=backend.device, dtype=torch.float32))[0].cpu().numpy()
    place = network.layout.position
    return command * spread[place] + mean[place]
