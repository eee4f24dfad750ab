"""A bidirectional transformer whose every token carries its own condition (AdaLN-zero; Peebles & Xie 2023, arXiv:2212.09748)."""
import torch
import torch.nn.functional as F
from torch import nn


def modulate(tokens, shift, scale):
    return tokens * (1 + scale) + shift


def modulation(layer, condition):
    """Apply a layer to the conditions of all tokens: (known [1, C, E], own [B, T - C, E]) -> [B, T, N]

    The first C tokens have the same level and offset in the whole batch, so that their share of the work is done once.
    """
    known, own = condition
    return torch.cat([layer(known).expand(own.shape[0], -1, -1), layer(own)], 1)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU('tanh'), nn.Linear(4 * width, width))
        self.condition = nn.Linear(width, 6 * width)

    def attend(self, tokens):
        batch, count, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.mix(mixed.transpose(1, 2).reshape(batch, count, width))

    def forward(self, tokens, condition):
        """forward(tokens [B, T, E], condition: see modulation) -> [B, T, E]"""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation(self.condition, condition).chunk(6, -1)
        tokens = tokens + gate_a * self.attend(modulate(self.norm(tokens), shift_a, scale_a))
        return tokens + gate_m * self.mlp(modulate(self.norm(tokens), shift_m, scale_m))


class Transformer(nn.Module):
    def __init__(self, width, depth, heads):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.initialise()

    def initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.blocks:  # every block starts as the identity
            nn.init.zeros_(block.condition.weight)

    def forward(self, tokens, condition):
        for block in self.blocks:
            tokens = block(tokens, condition)
        return tokens
