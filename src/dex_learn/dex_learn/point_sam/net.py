# SPDX-License-Identifier: Apache-2.0
"""Point-SAM as one module whose parameters bear upstream's names.

Written after the paper (arXiv 2406.17741) and the behaviour of zyc00/Point-SAM at c14d393 (MIT).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dex_learn.point_sam.eva import Eva
from dex_learn.point_sam.patches import PatchEmbed, PatchEncoder
from dex_learn.point_sam.shape import PointSamShape
from dex_learn.point_sam.two_way import TwoWayTransformer
from dex_learn.points import group, interpolate

MASKS = 3
"""Masks offered for a first click: whole, part and part of a part; one more serves where a mask is refined."""


class CloudEncoder(nn.Module):
    """Patches of a cloud to one embedding each."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(6, shape.patch_width)
        self.patch_proj = nn.Linear(shape.patch_width, shape.width)
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, shape.width))
        self.transformer = Eva(shape)
        self.out_proj = nn.Linear(shape.width, shape.embedding)

    def forward(self, patches: Tensor, centers: Tensor) -> Tensor:
        """(B, S, K, 6) patches and their (B, S, 3) centres -> (B, S, embedding)."""
        x = self.patch_proj(self.patch_embed(patches)) + self.pos_embed(centers)
        return self.out_proj(self.transformer(x))


class Places(nn.Module):
    """Positions as sines and cosines of random projections (Tancik et al., arXiv 2006.10739)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, width // 2))

    def forward(self, points: Tensor) -> Tensor:
        """(..., 3) in [-1, 1] -> (..., width). The range is the caller's to check."""
        phase = 2.0 * math.pi * (points @ self.positional_encoding_gaussian_matrix)
        return torch.cat((phase.sin(), phase.cos()), dim=-1)


class PromptEncoder(nn.Module):
    """Clicks to tokens: where they are, and whether on the object or beside it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pe_layer = Places(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(2))

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        """(B, Q, 3) and (B, Q) 1 or 0 -> (B, Q, width); any other label adds nothing, as upstream."""
        tokens = self.pe_layer(points)
        for label, embedding in enumerate(self.point_embeddings):
            tokens = tokens + torch.where((labels == label).unsqueeze(-1), embedding.weight, torch.zeros_like(embedding.weight))
        return tokens


class MaskEncoder(nn.Module):
    """A mask's logits over a cloud to one vector per patch."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        self.patch_encoder = PatchEncoder(4, shape.embedding)
        self.no_mask_embed = nn.Embedding(1, shape.embedding)

    def forward(self, logits: Tensor, coords: Tensor, centers: Tensor, knn_index: Tensor) -> Tensor:
        """(B, N) logits over (B, N, 3) clouds with their patches -> (B, S, embedding)."""
        return self.patch_encoder(group(coords, centers, knn_index, logits.unsqueeze(-1)))


class Layers(nn.Module):
    """Three linear layers with ReLU between."""

    def __init__(self, given: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList((nn.Linear(given, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., given) -> (..., out)."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """Tokens and patches to masks over the points and their expected intersection over union."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        width = shape.embedding
        self.transformer = TwoWayTransformer(shape)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(1 + MASKS, width)
        self.output_hypernetworks_mlps = nn.ModuleList(Layers(width, width, width) for _ in range(1 + MASKS))
        self.output_upscaling = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.iou_prediction_head = Layers(width, shape.iou_hidden, 1 + MASKS)

    def forward(self, cloud: Tensor, places: Tensor, prompts: Tensor, index: Tensor, weight: Tensor, which: slice) -> tuple[Tensor, Tensor]:
        """Masks and scores.

        Args:
            cloud: (B, S, width) patches with the mask's embedding added. places: (B, S, width).
            prompts: (B, Q, width). index, weight: (B, N, 3) what each point takes from its nearest patches.
            which: of the 1 + MASKS masks.

        Returns:
            (B, masks, N) logits and (B, masks).
        """
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight)).unsqueeze(0).expand(prompts.shape[0], -1, -1)
        tokens, cloud = self.transformer(cloud, places, torch.cat((own, prompts), dim=1))
        points = self.output_upscaling(interpolate(cloud, index, weight))
        chosen = range(1 + MASKS)[which]
        filters = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], dim=1)
        return filters @ points.transpose(1, 2), self.iou_prediction_head(tokens[:, 0])[:, which]


class PointSam(nn.Module):
    """All parts under upstream's names: a state of its weights loads with ``strict=True``."""

    def __init__(self, shape: PointSamShape) -> None:
        super().__init__()
        self.shape = shape
        self.pc_encoder = CloudEncoder(shape)
        self.point_encoder = PromptEncoder(shape.embedding)
        self.mask_encoder = MaskEncoder(shape)
        self.mask_decoder = MaskDecoder(shape)

    def decode(
        self, which: slice, points: Tensor, labels: Tensor, dense: Tensor, embeddings: Tensor, centers: Tensor, index: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Masks of (B, Q) clicks; ``dense`` (B or 1, S, embedding) is what the mask given before adds to the patches."""
        places = self.point_encoder.pe_layer(centers)
        return self.mask_decoder(embeddings + dense, places, self.point_encoder(points, labels), index, weight, which)
