# SPDX-License-Identifier: Apache-2.0
"""The blocks of EVA-02 (Fang et al., arXiv 2303.11331) that Point-SAM runs over its patches, with timm's parameter names.

Of the picture model only the blocks and the last norm are in use: no patch embedding, class token, position table or head, and, since Point-SAM
calls the blocks without them, no rotary positions.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dex_learn.point_sam.shape import PointSamShape

EPSILON = 1e-6
"""Of every norm in here: timm's own LayerNorm; torch's default, used everywhere else in Point-SAM, is ten times larger."""


class Attention(nn.Module):
    """Self-attention; keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) -> the same."""
        q, k, v = (self._heads(part(x)) for part in (self.q_proj, self.k_proj, self.v_proj))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, S, width / heads)


class SwiGLU(nn.Module):
    """Gated hidden layer with a norm inside."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden)
        self.fc1_x = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=EPSILON)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) -> the same."""
        return self.fc2(self.norm(F.silu(self.fc1_g(x)) * self.fc1_x(x)))


class Block(nn.Module):
    """Attention, then the gated layer; each behind a norm and beside a short cut."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=EPSILON)
        self.attn = Attention(shape.width, shape.heads)
        self.norm2 = nn.LayerNorm(shape.width, eps=EPSILON)
        self.mlp = SwiGLU(shape.width, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) -> the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Eva(nn.Module):
    """All blocks and the last norm."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.fc_norm = nn.LayerNorm(shape.width, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) -> the same."""
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x)
