import torch

from diffusion_planner.diffusion.noise import add_noise, infer_noise, sigma, signal


def test_schedule_keeps_unit_variance_and_falls_monotonically():
    level = torch.linspace(0, 1, 101)
    torch.testing.assert_close(signal(level) ** 2 + sigma(level) ** 2, torch.ones(101))
    assert (signal(level).diff() < 0).all() and (sigma(level).diff() > 0).all()
    assert (signal(level) >= 0).all()


def test_schedule_by_hand():
    # cos(pi/4) = sin(pi/4) = 1/sqrt(2); the ends are exact
    torch.testing.assert_close(signal(torch.tensor([0, 0.5, 1])), torch.tensor([1, 0.5 ** 0.5, 0]))
    torch.testing.assert_close(sigma(torch.tensor([0, 0.5, 1])), torch.tensor([0, 0.5 ** 0.5, 1]))


def test_add_noise_uses_each_tokens_own_level():
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    noisy = add_noise(clean, noise, torch.tensor([[0, 0.5, 1]]).expand(2, 3))
    assert torch.equal(noisy[:, 0], clean[:, 0])
    torch.testing.assert_close(noisy[:, 1], (clean + noise)[:, 1] / 2 ** 0.5)
    torch.testing.assert_close(noisy[:, 2], noise[:, 2])


def test_infer_noise_inverts_add_noise_and_stays_finite_at_level_0():
    clean, noise = torch.randn(1, 4, 2), torch.randn(1, 4, 2)
    level = torch.tensor([[0, 0.1, 0.6, 1]])
    inferred = infer_noise(add_noise(clean, noise, level), clean, level)
    torch.testing.assert_close(inferred[:, 1:], noise[:, 1:], atol=1e-5, rtol=1e-5)
    assert inferred.isfinite().all()
