"""Play to train on, for tests of whole training stages."""
import pytest
from tiny import episode

from diffusion_planner.data import store
from diffusion_planner.sim.scene import default_robot


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    store.write_shard(store.shard_path(folder, 0), [episode(seed) for seed in range(40)],
                      {'joint_names': list(default_robot().joint_names), 'cameras': ['camera'], 'picture_shape': (96, 96, 3)})
    return folder
