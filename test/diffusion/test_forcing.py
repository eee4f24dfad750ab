import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.diffusion.forcing import draw_levels, forcing_loss
from diffusion_planner.diffusion.noise import add_noise


def _draw(seed, *arguments, **settings):
    return draw_levels(*arguments, torch.Generator().manual_seed(seed), **settings)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 4), st.sampled_from([0, 1, 5, 11, 23]), st.integers(0, 1000))
def test_levels_have_the_shape_and_range_of_the_sequence_and_leave_something_to_learn(batch, context, fill, seed):
    level = _draw(seed, batch, context, fill)
    assert level.shape == (batch, context + fill + 1)
    assert (level >= 0).all() and (level <= 1).all()
    assert (level > 0).any(1).all()
    assert torch.equal(level, _draw(seed, batch, context, fill))


def test_without_patterns_the_levels_are_independent_and_uniform():
    level = _draw(0, 20000, 2, 3, clean_context=0, missing_context=0, clean_far=0, shared_fill=0)
    # variance of a uniform: 1 / 12; standard error of the covariances: 1 / 12 / sqrt(20000) = 0.0006
    torch.testing.assert_close(torch.cov(level.T), torch.eye(6) / 12, atol=0.003, rtol=0)
    torch.testing.assert_close(level.mean(0), torch.full((6,), 0.5), atol=0.01, rtol=0)


def test_no_level_is_drawn_as_0_and_the_lowest_number_of_the_generator_is_level_1(monkeypatch):
    # torch.rand gives 0, once in 2^24 draws, and never 1; a level of 0 would say that the token is known.
    monkeypatch.setattr(torch, 'rand', lambda *shape, **how: torch.zeros(shape))
    level = _draw(0, 2, 3, 4, clean_context=0, missing_context=0, clean_far=0, shared_fill=0)
    assert (level == 1).all()


def test_patterns_come_as_often_as_asked():
    level = _draw(1, 20000, 3, 4, clean_context=0.8, missing_context=0.05, clean_far=0.4, shared_fill=0.5)
    context, fill, far = level.split([3, 4, 1], dim=1)
    assert (context < 1).all(1).float().mean().item() == pytest.approx(0.95 ** 3, abs=0.015)
    assert (context == 0).all(1).float().mean().item() == pytest.approx(0.8 * 0.95 ** 3, abs=0.015)
    assert (far == 0).float().mean().item() == pytest.approx(0.4, abs=0.015)
    assert (fill == fill[:, :1]).all(1).float().mean().item() == pytest.approx(0.5, abs=0.015)
    assert (fill > 0).all()


def test_loss_by_hand_counts_only_tokens_above_level_0():
    # estimates of 0 for tokens of 1, 2 and 3: squares 1, 4, 9; the first is known, so the loss is (4 + 9) / 2
    clean = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]])
    level = torch.tensor([[0.0, 0.5, 1.0]])
    loss, residual = forcing_loss(lambda noisy, level, offset_s: torch.zeros_like(noisy), clean, torch.zeros(1, 3), level,
                                  torch.randn(1, 3, 2))
    assert loss.item() == pytest.approx(6.5)
    assert residual.tolist() == [[0, 4, 9]]


def test_weight_takes_out_dimensions_that_were_not_recorded():
    clean = torch.tensor([[[1.0, 5.0], [2.0, 7.0]]])
    loss, residual = forcing_loss(lambda noisy, level, offset_s: torch.zeros_like(noisy), clean, torch.zeros(1, 2),
                                  torch.ones(1, 2), torch.randn(1, 2, 2), weight=torch.tensor([2.0, 0.0]))
    assert residual.tolist() == [[1, 4]] and loss.item() == pytest.approx(2.5)


def test_the_denoiser_sees_the_noisy_tokens_and_the_loss_carries_its_gradient():
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    level, offset_s = torch.rand(2, 3), torch.randn(2, 3)
    factor = torch.ones((), requires_grad=True)
    seen = []

    def denoise(*arguments):
        seen.extend(arguments)
        return factor * arguments[0]

    loss, residual = forcing_loss(denoise, clean, offset_s, level, noise)
    loss.backward()
    assert torch.equal(seen[0], add_noise(clean, noise, level)) and seen[1] is level and seen[2] is offset_s
    assert factor.grad.isfinite() and factor.grad != 0 and not residual.requires_grad


def test_a_batch_with_nothing_to_learn_costs_nothing():
    clean = torch.randn(2, 3, 4)
    loss, _ = forcing_loss(lambda noisy, level, offset_s: noisy + 1, clean, torch.zeros(2, 3), torch.zeros(2, 3), clean)
    assert loss.item() == 0


def test_the_exact_denoiser_has_the_residual_of_the_posterior_variance_and_no_other_beats_it(gaussian):
    generator = torch.Generator().manual_seed(2)
    clean = gaussian.mean + torch.linalg.cholesky(gaussian.covariance) @ torch.randn(4000, 5, 2, generator=generator,
                                                                                  dtype=torch.float64)
    level = torch.tensor([[0, 0.3, 1, 0.7, 0.5]], dtype=torch.float64).expand(4000, 5)
    noise = torch.randn(4000, 5, 2, generator=generator, dtype=torch.float64)
    loss, residual = forcing_loss(gaussian.denoise, clean, torch.zeros(4000, 5), level, noise)
    expected = gaussian.posterior_covariance(level[:1])[0].diagonal()
    # 8000 squares per token: standard error about v * sqrt(2 / 8000) = 0.016 v
    torch.testing.assert_close(residual.mean(0), expected, atol=0.04, rtol=0)
    worse, _ = forcing_loss(lambda *inputs: gaussian.denoise(*inputs) * 0.9, clean, torch.zeros(4000, 5), level, noise)
    assert loss < worse
