"""The stage that trains what guards guidance, on a tiny setting: a finished model goes in, a guarded one that plans comes out."""
import json

import numpy as np
import pytest
import torch
from tiny import SETTINGS, write

from diffusion_planner import config as configuration
from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.planning.planner import PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim.scene import default_robot
from diffusion_planner.sim.task import reward
from diffusion_planner.training import imagined, judges, trainer
from diffusion_planner.training.config import TrainingConfig

torch.set_num_threads(1)

STAGE = {'steps': 2, 'batch': 16, 'learning_rate': 1e-3}
GUARDS = SETTINGS | {'panel': STAGE, 'transition': STAGE, 'genuineness': STAGE, 'flaw': STAGE}
BATCH, ROUNDS = 8, 3


@pytest.fixture
def few(monkeypatch):
    """A few rollouts where a real run makes thousands."""
    original = imagined.imagine
    monkeypatch.setattr(imagined, 'imagine', lambda job, head, episodes, rounds, **how: original(job, head, episodes, ROUNDS, batch=BATCH, **how))


@pytest.fixture
def finished(data, tmp_path):
    path = write(tmp_path, GUARDS)
    trainer.train(path, data, tmp_path / 'model')
    return path, data, tmp_path / 'model'


def _weights(folder):
    return checkpoint.load(folder)[0].state_dict()


def test_guards_are_added_to_a_finished_model_and_nothing_that_imagines_changes(finished, few):
    path, play, folder = finished
    before = _weights(folder)
    config = checkpoint.read_config(folder)
    checkpoint.write_config(folder, {**config, 'planning': {**config['planning'], 'recommended_scale': 2.0, 'audit': {}}})
    trainer.train(path, play, folder, stage='judges')

    after, config = checkpoint.load(folder)
    for name, value in before.items():
        if name.startswith(('denoiser', 'normalizer', 'encoder', 'decoder', 'guide_head.posture', 'guide_head.place')):
            torch.testing.assert_close(after.state_dict()[name], value, rtol=1e-3, atol=1e-3)     # half precision now
    assert torch.equal(after.state_dict()['denoiser.' + next(iter(after.denoiser.state_dict()))],
                       before['denoiser.' + next(iter(after.denoiser.state_dict()))])
    assert after.config.panel == judges.PANEL and after.config.transition and after.config.genuineness and after.config.strangeness
    planning = config['planning']
    assert 'recommended_scale' not in planning and 'audit' not in planning          # they were of the model without guards
    assert planning['spread']['level'][0] == planning['spread']['spread'][0] == 0
    assert set(planning['reward_calibration']) == {'guide', 'panel0', 'panel1', 'panel2', 'judge', 'plain judge'}
    assert set(planning['reward_calibration']['judge']['imagined']) >= {'expected_calibration_error', 'roc_area', 'reliability'}
    assert {'panel', 'transition', 'genuineness', 'flaw'} == set(config['training']['judges'])
    # Each member of the panel left out another third, and starts from numbers of its own.
    weights = [head.posture[0].weight for head in after.panel]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    assert checkpoint.load_flaw(folder / checkpoint.FLAW_FILE, after).patch.isfinite().all()
    # Limits are quantiles of held-out pictures, 1.8 % of which may be beyond one of them; none beyond any would be limits that nothing reaches.
    assert 0 < json.loads((folder / 'config.json').read_text())['planning']['strange_share'] < 0.05
    _plans(folder)


def _plans(folder):
    """Plan once with the model, as loose as can be: two steps of training are typical of nothing."""
    settings = PlannerSettings(arrivals=2, samples=1, far_steps=2, fill_steps=2, fill_in=3, plans=2, typicality_limit=1e9, reach_limit=-1e9,
                               refuse_unfamiliar=False, strange_limit=1e9)
    robot = type('Free', (), {'joint_names': default_robot().joint_names, 'velocity_max_rad_s': [1e9] * 7,
                              'position_min_rad': [-1e9] * 7, 'position_max_rad': [1e9] * 7})
    planner = load_planner(folder, robot, settings)
    position_rad = np.repeat(np.array(default_robot().home_rad)[None], 3, 0)
    seen = Observation(1.0, np.array([-1.2, -0.4, 0.0]), position_rad, np.zeros((3, 7)), np.zeros((3, 1, 96, 96, 3), np.uint8),
                       np.array([[0.0], [0.6], [1.0]]), np.zeros(3))
    plan = planner.plan(seen, Goal(1.0), seed=0)
    assert {'in_force', 'panel', 'doubt', 'judge', 'strange_colours'} <= set(plan.breakdown) and np.isfinite(plan.position_rad).all()


def test_what_is_imagined_has_the_reward_of_the_scene_it_was_imagined_in(finished):
    path, play, folder = finished
    job = judges.JudgesJob(configuration.load(TrainingConfig, path), play, folder, True)
    made = imagined.imagine(job, job.model.guide_head, job.held_out, rounds=12, batch=BATCH, fill=3)
    count, width = len(made.far), job.model.layout.width
    assert made.far.shape == (count, width) and made.far.isfinite().all() and 0.5 * 12 * BATCH < count <= 12 * BATCH
    assert set(made.episode.tolist()) <= set(job.held_out.tolist())
    assert made.paths.shape == (12 * BATCH // 4, 3 + 2, width) and made.offset_s.shape == (12 * BATCH // 4, 3 + 2)
    assert (made.offset_s.diff(dim=1) > 0).all()
    assert (made.offset_s[:, 0] == 0).all() and (made.offset_s[:, -1] >= imagined.SHORTEST_S).all()
    position_rad = job.model.normalizer.inverse(made.far)[:, job.model.layout.position].double().numpy()
    for row in (0, count // 2, count - 1):
        target_m = job.episodes.privileged['target_m'][made.episode[row]]
        assert made.reward[row] == reward(job.robot.tip_m(position_rad[row]), target_m)


def test_what_is_imagined_is_the_same_for_the_same_seed_and_other_for_another(finished):
    path, play, folder = finished
    job = judges.JudgesJob(configuration.load(TrainingConfig, path), play, folder, True)
    one, same, other = (imagined.imagine(job, job.model.guide_head, job.held_out, 2, batch=BATCH, fill=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.far, same.far) and torch.equal(one.paths, same.paths)
    assert not torch.equal(one.far[:4], other.far[:4])
