# SPDX-License-Identifier: Apache-2.0
"""SAM's two-way transformer (Kirillov et al., arXiv 2304.02643): prompts look at the cloud, the cloud looks back at the prompts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dex_learn.point_sam.shape import PointSamShape


class Attention(nn.Module):
    """Attention that may be narrower inside."""

    def __init__(self, width: int, heads: int, narrower: int = 1) -> None:
        super().__init__()
        self.heads = heads
        inner = width // narrower
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, T, width) queries over (B, S, width) keys and values -> (B, T, width)."""
        q, k, v = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        seen = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1) @ v
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class Hidden(nn.Module):
    """One hidden layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> the same."""
        return self.lin2(torch.relu(self.lin1(x)))


class TwoWayLayer(nn.Module):
    """Prompts among themselves, prompts to cloud, a hidden layer, cloud to prompts; positions are added to queries and keys anew each time.

    The first layer of a stack attends without positions and without a short cut: its prompts are positions themselves.
    """

    def __init__(self, shape: PointSamShape, first: bool) -> None:
        super().__init__()
        width, heads = shape.embedding, shape.decoder_heads
        self.first = first
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, narrower=2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Hidden(width, shape.decoder_hidden)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, narrower=2)

    def forward(self, tokens: Tensor, cloud: Tensor, token_places: Tensor, cloud_places: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, width) tokens and (B, S, width) patches, with their positions -> both, updated."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_places
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_places, cloud + cloud_places, cloud))
        tokens = self.norm3(tokens + self.mlp(tokens))
        cloud = self.norm4(cloud + self.cross_attn_image_to_token(cloud + cloud_places, tokens + token_places, tokens))
        return tokens, cloud


class TwoWayTransformer(nn.Module):
    """The stack, and a last look of the tokens at the cloud."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(shape, first=i == 0) for i in range(shape.decoder_depth))
        self.final_attn_token_to_image = Attention(shape.embedding, shape.decoder_heads, narrower=2)
        self.norm_final_attn = nn.LayerNorm(shape.embedding)

    def forward(self, cloud: Tensor, cloud_places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, width) patches, their positions, (B, T, width) tokens -> tokens, patches."""
        places = tokens
        for layer in self.layers:
            tokens, cloud = layer(tokens, cloud, places, cloud_places)
        tokens = tokens + self.final_attn_token_to_image(tokens + places, cloud + cloud_places, cloud)
        return self.norm_final_attn(tokens), cloud
