"""Planning end to end on random weights: shapes, repeatability, known tokens, and what guidance may move."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_planner.config import ConfigError
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.planning.planner import Planner, PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime.torch_backend import TorchBackend, load_backend
from diffusion_planner.sim.scene import default_robot

SETTINGS = PlannerSettings(arrivals=4, samples=2, far_steps=3, fill_steps=2, plans=2, typicality_limit=1e9)


@pytest.fixture
def backend(folder):
    return load_backend(folder, default_robot())


@pytest.fixture
def two_eyes():
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(default_robot().joint_names, ('left', 'right'), (96, 96, 3), width=32, depth=1))
    return TorchBackend(model.requires_grad_(False).eval(), {'typicality': {}})


@pytest.fixture
def observation():
    random = np.random.default_rng(0)
    position_rad = np.array(default_robot().home_rad) + random.normal(0, 0.01, (3, 7))
    return Observation(1.0, np.array([-1.2, -0.4, 0.0]), position_rad, np.zeros((3, 7)),
                       random.integers(0, 255, (3, 1, 96, 96, 3), dtype=np.uint8), np.array([[0.0], [0.6], [1.0]]),
                       np.array([1.0, 0.0, 0.0]))


def _plan(backend, observation, seed=1, scale=1.0):
    planner = Planner(backend, default_robot(), SETTINGS)
    # Random weights imagine anything: limits would refuse it, and this test is not about them.
    planner.robot = type('Free', (), {'velocity_max_rad_s': [1e9] * 7, 'position_min_rad': [-1e9] * 7, 'position_max_rad': [1e9] * 7})
    return planner.plan(observation, Goal(guidance_scale=scale), seed)


def test_equal_seeds_give_equal_plans_bit_for_bit(backend, observation):
    one, same, other = (_plan(backend, observation, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.position_rad, same.position_rad)
    assert not np.array_equal(one.position_rad, other.position_rad)


def test_a_plan_has_the_shapes_it_promises(backend, observation):
    plan = _plan(backend, observation)
    assert plan.position_rad.shape == plan.velocity_rad_s.shape == (SETTINGS.fill_in + 1, 7)
    assert (np.diff(plan.offset_s) > 0).all() and plan.offset_s[0] > 0
    assert plan.offset_s[-1] == pytest.approx(plan.breakdown['arrival_s'])
    assert backend.picture(plan.latent[-1]).shape == (96, 96, 3)
    assert set(plan.timing_ms) == {'encode', 'far', 'fill', 'decode', 'choose', 'total'}


def test_what_stands_behind_a_token_at_level_one_does_not_matter(backend, observation):
    changed = observation.position_rad.copy()
    changed[0] += 1.0
    other = Observation(**{**vars(observation), 'position_rad': changed})
    np.testing.assert_allclose(_plan(backend, observation).position_rad, _plan(backend, other).position_rad, atol=1e-6)


def test_the_context_comes_out_of_fill_in_untouched(backend, observation):
    context = backend.encode(observation, Goal())
    offset_s = np.array([1.0, 2.0], np.float32)
    far = torch.randn(2, 1, backend.layout.width)
    tokens = backend.fill_in(context, far, np.array([1, 0]), offset_s, SETTINGS, 0)
    assert torch.equal(tokens[:, -1], far[[1, 0], 0])


def test_guidance_raises_the_predicted_reward(backend, observation):
    offset_s, logit = np.linspace(0.5, 4.0, 16).astype(np.float32), {}
    for scale in (0.0, 2.0):
        context = backend.encode(observation, Goal(guidance_scale=scale))
        far = backend.imagine_far(context, offset_s, Goal(guidance_scale=scale), SETTINGS, 0)
        logit[scale] = backend.pressure.stack.logits(far[:, 0, backend.layout.position], context.places, context.widths).mean().item()
    assert logit[2.0] > logit[0.0]


def test_every_picture_is_encoded_once(backend, observation):
    backend.encode(observation, Goal())
    assert len(backend.latents) == 3
    backend.encode(observation, Goal())
    assert len(backend.latents) == 3
    backend.forget()
    assert not backend.latents


def doubting(observation, picture_level, **changes):
    return replace(observation, picture_level=None if picture_level is None else np.array(picture_level, float), **changes)


def everything(context):
    """Gather what an encoded observation tells the networks: -> tensors"""
    return [context.tokens, context.level, context.places, context.widths, *context.judge]


def repainted(observation, rows):
    """Paint other pictures into some rows."""
    pictures, stamp_s = observation.pictures.copy(), observation.picture_stamp_s.copy()
    pictures[rows], stamp_s[rows] = 255 - pictures[rows], stamp_s[rows] + 0.01
    return replace(observation, pictures=pictures, picture_stamp_s=stamp_s)


def test_no_doubt_is_the_same_as_doubt_of_zero_bit_for_bit(backend, observation):
    untold, trusted = (backend.encode(doubting(observation, level), Goal()) for level in (None, np.zeros((3, 1))))
    assert all(torch.equal(one, other) for one, other in zip(everything(untold), everything(trusted)))


def test_a_picture_that_counts_for_nothing_changes_nothing(backend, observation):
    for level in ([[1.0], [1.0], [1.0]], [[0.0], [0.5], [1.0]]):
        blind = doubting(replace(observation, level=np.zeros(3)), level)
        rows = [row for row in range(3) if level[row][0] == 1.0]
        seen, other = backend.encode(blind, Goal()), backend.encode(repainted(blind, rows), Goal())
        assert all(torch.equal(one, changed) for one, changed in zip(everything(seen), everything(other)))
        assert not seen.tokens[0, rows][:, backend.layout.picture].any()


def test_a_picture_that_counts_for_little_still_counts(backend, observation):
    doubtful = doubting(observation, [[0.0], [0.5], [0.9]])
    seen, other = backend.encode(doubtful, Goal()), backend.encode(repainted(doubtful, [2]), Goal())
    assert not torch.equal(seen.tokens, other.tokens) and not torch.equal(seen.places, other.places)


def test_doubtful_pictures_leave_the_joints_alone(backend, observation):
    sure, blind = (backend.encode(doubting(replace(observation, level=np.zeros(3)), level), Goal()) for level in (None, np.ones((3, 1))))
    own = backend.layout.motion
    # cos(pi/4) of the joints is left at level 0.5, no matter how doubtful the pictures
    torch.testing.assert_close(blind.tokens[..., own], np.sqrt(0.5) * sure.tokens[..., own])
    assert torch.equal(blind.level, torch.full((1, 3), 0.5)) and not sure.level.any()
    assert torch.equal(blind.origin[:, own], sure.origin[:, own])      # what is judged begins where the arm really is


def test_one_camera_of_two_may_be_blind(two_eyes):
    random = np.random.default_rng(0)
    observation = Observation(1.0, np.array([-1.2, -0.4, 0.0]), np.tile(default_robot().home_rad, (3, 1)), np.zeros((3, 7)),
                              random.integers(0, 255, (3, 2, 96, 96, 3), dtype=np.uint8), np.tile([0.0, 0.6], (3, 1)), np.zeros(3),
                              np.tile([1.0, 0.0], (3, 1)))
    seen, stamps_s = two_eyes.encode(observation, Goal()), observation.picture_stamp_s + [1.0, 0.0]
    other = replace(observation, pictures=np.concatenate([255 - observation.pictures[:, :1], observation.pictures[:, 1:]], 1), picture_stamp_s=stamps_s)
    assert all(torch.equal(one, changed) for one, changed in zip(everything(seen), everything(two_eyes.encode(other, Goal()))))
    own = two_eyes.layout.picture_of
    assert not seen.tokens[..., own(0)].any() and seen.tokens[..., own(1)].any()
    assert torch.equal(seen.level, torch.full((1, 3), 0.25))           # half the pictures are worth nothing


def test_a_device_that_is_not_there_is_refused_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigError, match='^device: got cuda, but torch sees no GPU; expected auto or cpu$'):
        load_backend(folder, default_robot(), device='cuda')
    assert load_backend(folder, default_robot(), device='auto').device.type == 'cpu'
