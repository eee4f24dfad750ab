"""Planning end to end on random weights: shapes, repeatability, known tokens, and what guidance may move."""
import numpy as np
import pytest
import torch

from diffusion_planner.planning.planner import Planner, PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime.torch_backend import load_backend
from diffusion_planner.sim.scene import default_robot

SETTINGS = PlannerSettings(arrivals=4, samples=2, far_steps=3, fill_steps=2, plans=2, typicality_limit=1e9)


@pytest.fixture
def backend(folder):
    return load_backend(folder, default_robot())


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
    assert set(plan.timing_ms) == {'encode', 'far', 'fill', 'choose', 'total'}


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
