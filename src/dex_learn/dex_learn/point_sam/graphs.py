# SPDX-License-Identifier: Apache-2.0
"""The three graphs of a Point-SAM: a cloud is encoded once, its clicks are decoded with and without a mask to go on from.

Each cloud of a batch has one set of clicks. Distances that weights are made of come from differences of coordinates; upstream's come from a matrix
product, which rounds them.
"""

from __future__ import annotations

from torch import Tensor, nn

from dex_learn.point_sam.net import PointSam
from dex_learn.points import farthest_points, gather, group, interpolation_weights, nearest


class EncoderGraph(nn.Module):
    """Graph ``encoder``: once per cloud.

    Args:
        net: the network.
        colour_mean, colour_std: what the weights' training did to colours in [0, 1].
    """

    def __init__(self, net: PointSam, colour_mean: float, colour_std: float) -> None:
        super().__init__()
        self.net, self.colour_mean, self.colour_std = net, colour_mean, colour_std

    def forward(self, coords: Tensor, colors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, N, 3) coordinates, mean 0 and largest norm 1, and colours -> embeddings, centers, knn_index, interp_index, interp_weight."""
        shape = self.net.shape
        centers = gather(coords, farthest_points(coords, shape.patches))
        knn_index = nearest(centers, coords, shape.patch_size)[0].sort(-1).values  # a patch is a set; its order hangs on rounding
        patches = group(coords, centers, knn_index, (colors - self.colour_mean) / self.colour_std)
        index, weight = interpolation_weights(coords, centers)
        return self.net.pc_encoder(patches, centers), centers, knn_index, index, weight


class DecoderGraph(nn.Module):
    """Graph ``decoder``: a first click."""

    def __init__(self, net: PointSam) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, prompt_coords: Tensor, prompt_labels: Tensor, embeddings: Tensor, centers: Tensor, interp_index: Tensor, interp_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, MASKS, N) logits and (B, MASKS) scores."""
        dense = self.net.mask_encoder.no_mask_embed.weight.unsqueeze(0)
        return self.net.decode(slice(1, None), prompt_coords, prompt_labels, dense, embeddings, centers, interp_index, interp_weight)


class MaskedDecoderGraph(nn.Module):
    """Graph ``decoder_mask``: further clicks, with the best mask so far."""

    def __init__(self, net: PointSam) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, prompt_coords: Tensor, prompt_labels: Tensor, prompt_mask: Tensor, coords: Tensor,
        embeddings: Tensor, centers: Tensor, knn_index: Tensor, interp_index: Tensor, interp_weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(B, 1, N) logits and (B, 1) scores."""
        dense = self.net.mask_encoder(prompt_mask, coords, centers, knn_index)
        return self.net.decode(slice(0, 1), prompt_coords, prompt_labels, dense, embeddings, centers, interp_index, interp_weight)
