import pytest
import torch

from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim.scene import default_robot

torch.set_num_threads(1)

TYPICALITY = {'level': 0.5, 'band_s': [0.0, 2.0, 4.0], 'median': [0.5, 0.5], 'q90': [1.0, 1.0], 'q99': [2.0, 2.0]}


@pytest.fixture
def folder(tmp_path):
    """A whole model folder with random weights."""
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(default_robot().joint_names, ('camera',), (96, 96, 3), width=32, depth=1))
    checkpoint.save(tmp_path / 'model', model, {'typicality': TYPICALITY}, {})
    return tmp_path / 'model'
