"""The denoiser: noisy tokens, each with its own level and its own second, to clean tokens."""
from torch import nn

from diffusion_planner.diffusion.noise import sigma, signal
from diffusion_planner.nets.embeddings import Fourier
from diffusion_planner.nets.transformer import Transformer, modulate, modulation


class Denoiser(nn.Module):
    """denoise(noisy [B, T, D], level [B, T], offset_s [B, T]) -> clean [B, T, D], all in network space."""

    def __init__(self, token_width, width, depth, heads):
        super().__init__()
        self.enter = nn.Linear(token_width, width)
        self.level = Fourier(width, 0.25, 8.0)
        self.offset = Fourier(width, 0.05, 4.0)
        self.transformer = Transformer(width, depth, heads)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.condition = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, token_width)
        nn.init.zeros_(self.leave.weight)

    def forward(self, noisy, level, offset_s, shared=0):
        """Denoise; the first `shared` tokens must have the same level and offset in the whole batch (work is saved on them)."""
        condition = (self._condition(level[:1, :shared], offset_s[:1, :shared]), self._condition(level[:, shared:], offset_s[:, shared:]))
        # The condition enters the stream too: attention must know how far apart two tokens are.
        tokens = self.transformer(self.enter(noisy) + modulation(nn.Identity(), condition), condition)
        shift, scale = modulation(self.condition, condition).chunk(2, -1)
        velocity = self.leave(modulate(self.norm(tokens), shift, scale))
        # v-prediction (Salimans & Ho 2022): at level 1 the network states the clean token outright, at level 0
        # the token passes through untouched.
        return signal(level)[..., None] * noisy - sigma(level)[..., None] * velocity

    def _condition(self, level, offset_s):
        return nn.functional.silu(self.level(level) + self.offset(offset_s))


def parameter_count(module):
    return sum(parameter.numel() for parameter in module.parameters())


