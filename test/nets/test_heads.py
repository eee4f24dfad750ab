"""The reward head: a metric that pulls from anywhere, and pictures that weigh by what they know."""
import torch

from diffusion_planner.nets.heads import RewardHead


def _head():
    torch.manual_seed(0)
    return RewardHead(joints=3, latent=5)


def test_the_log_odds_rise_along_their_own_gradient_from_far_away():
    head = _head()
    place, width = head.places(torch.randn(4, 2, 5))
    position = (5 * torch.randn(4, 3)).requires_grad_()
    before = head(position, torch.zeros(4), place, width)
    gradient, = torch.autograd.grad(before.sum(), position)
    assert (gradient.norm(dim=1) > 0).all()
    after = head(position + 1e-3 * gradient / gradient.norm(dim=1, keepdim=True), torch.zeros(4), place, width)
    assert (after > before).all()


def test_a_picture_at_level_one_says_nothing():
    head, latent = _head(), torch.randn(1, 2, 5)
    level = torch.tensor([[1.0, 0.0]])
    alone, _ = head.places(latent[:, 1:])
    both, _ = head.places(latent, level)
    assert torch.allclose(alone, both, atol=2e-2)


def test_calibration_scales_and_shifts_the_log_odds():
    head = _head()
    place, width = head.places(torch.randn(2, 1, 5))
    raw = head(torch.zeros(2, 3), torch.zeros(2), place, width)
    head.calibration.copy_(torch.tensor([0.5, -1.0]))
    assert torch.allclose(head.logit(torch.zeros(2, 3), torch.zeros(2), place, width), 0.5 * raw - 1.0)
