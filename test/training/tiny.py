"""A training run of seconds: its settings, and play to train on."""
import numpy as np
import yaml

from diffusion_planner.records import Episode
from diffusion_planner.sim.scene import default_robot

SETTINGS = {'robot': 'config/panda.yaml', 'model': {'width': 32, 'depth': 1}, 'held_out_share': 0.2, 'threads': 1, 'checkpoint_every': 2,
            'representation': {'steps': 3, 'batch': 8, 'learning_rate': 1e-3},
            'heads': {'steps': 3, 'batch': 16, 'learning_rate': 1e-3}, 'familiarity': {'steps': 3, 'batch': 16, 'learning_rate': 1e-3},
            'denoiser': {'steps': 4, 'batch': 8, 'learning_rate': 1e-3}}


def episode(seed):
    """Sway about home for four seconds; every other episode is rewarded for a while."""
    random, robot = np.random.default_rng(seed), default_robot()
    stamp_s = np.arange(80, dtype=np.float32) * 0.05
    sway = random.normal(0, 0.3, 7) * np.sin(stamp_s[:, None] * random.uniform(0.5, 2.0, 7))
    position_rad = (np.array(robot.home_rad) + sway).astype(np.float32)
    reward = ((stamp_s > 1) & (stamp_s < 2) & bool(seed % 2)).astype(np.float32)
    return Episode(seed, stamp_s, position_rad, np.gradient(position_rad, 0.05, axis=0), position_rad, reward, stamp_s == stamp_s[-1],
                   np.arange(20, dtype=np.float32) * 0.2, random.integers(0, 255, (20, 1, 96, 96, 3), dtype=np.uint8),
                   {'target_m': random.normal(0, 0.2, 3).astype(np.float32)})


def write(tmp_path, settings):
    path = tmp_path / 'training.yaml'
    path.write_text(yaml.safe_dump(settings))
    return path
