"""The denoiser's contract, on random weights."""
import torch

from diffusion_planner.nets.denoiser import Denoiser


def _denoiser():
    torch.manual_seed(0)
    net = Denoiser(token_width=10, width=32, depth=2, heads=4).eval()
    for parameter in net.parameters():   # the zero-initialised parts would hide what the test looks for
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def _inputs():
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(3, 7, 10, generator=generator)
    return noisy, torch.rand(3, 7, generator=generator), torch.rand(3, 7, generator=generator) * 4 - 1


@torch.no_grad()
def test_permuting_tokens_with_their_levels_and_offsets_permutes_the_output():
    net, (noisy, level, offset_s) = _denoiser(), _inputs()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    straight, permuted = net(noisy, level, offset_s), net(noisy[:, order], level[:, order], offset_s[:, order])
    assert torch.allclose(straight[:, order], permuted, atol=1e-5)


@torch.no_grad()
def test_offsets_and_levels_matter_to_every_token():
    net, (noisy, level, offset_s) = _denoiser(), _inputs()
    straight = net(noisy, level, offset_s)
    later = net(noisy, level, offset_s + torch.tensor([0, 0, 0, 0, 0, 0, 0.5]))
    noisier = net(noisy, torch.cat([level[:, :-1], (level[:, -1:] * 0.5)], 1), offset_s)
    assert ((later - straight).abs().amax((0, 2)) > 1e-4).all()
    assert ((noisier - straight).abs().amax((0, 2)) > 1e-4).all()


@torch.no_grad()
def test_a_token_at_level_zero_passes_through():
    net, (noisy, level, offset_s) = _denoiser(), _inputs()
    level[:, 2] = 0
    assert torch.equal(net(noisy, level, offset_s)[:, 2], noisy[:, 2])



@torch.no_grad()
def test_sharing_the_contexts_condition_changes_nothing():
    net, (noisy, level, offset_s) = _denoiser(), _inputs()
    level[:, :3], offset_s[:, :3] = level[:1, :3], offset_s[:1, :3]
    assert torch.allclose(net(noisy, level, offset_s), net(noisy, level, offset_s, shared=3), atol=1e-6)
