# SPDX-License-Identifier: Apache-2.0
"""The trained network as the three graphs of a segmentation bundle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dex_core.bundle.segmentation import CLICKS, COLORS, LABELS, MASK, POINTS
from dex_learn.segmentation.net import MASKS, UNIT_M, ClickNet

CLOUD = "cloud"
AXES = {
    POINTS: {0: "B", 1: "N"}, COLORS: {0: "B", 1: "N"}, CLOUD: {0: "B", 1: "N"}, CLICKS: {0: "B", 1: "Q"}, LABELS: {0: "B", 1: "Q"},
    MASK: {0: "B", 1: "N"}, "masks": {0: "B", 2: "N"}, "iou": {0: "B"},
}
BOUNDS = {"B": (1, 64), "N": (2, 400_000), "Q": (1, 32)}
WIDTHS = {POINTS: 3, COLORS: 3, CLOUD: 6, CLICKS: 3}
DECODER_INPUTS = (CLOUD, CLICKS, LABELS)


class EncoderGraph(nn.Module):
    """Points in metres beside their colours. It has no weights: what is learned looks along a click's sight line."""

    def forward(self, coords: Tensor, colors: Tensor) -> Tensor:
        """(B, N, 6) points from the lens [m] and colours."""
        return torch.cat([coords * UNIT_M, colors], dim=-1)


class DecoderGraph(nn.Module):
    """Clicks to masks."""

    def __init__(self, net: ClickNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, cloud: Tensor, prompt_coords: Tensor, prompt_labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, N) logits and (B, K) overlaps in [0, 1]."""
        masks, believed = self.net(cloud[..., :3], cloud[..., 3:], prompt_coords * UNIT_M, prompt_labels)
        return masks, torch.sigmoid(believed)


class MaskedDecoderGraph(DecoderGraph):
    """The same, going on from a mask."""

    def forward(  # type: ignore[override]
        self, cloud: Tensor, prompt_coords: Tensor, prompt_labels: Tensor, prompt_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(B, K, N) logits and (B, K) overlaps in [0, 1]."""
        masks, believed = self.net(cloud[..., :3], cloud[..., 3:], prompt_coords * UNIT_M, prompt_labels, prompt_mask)
        return masks, torch.sigmoid(believed)


def graphs_of(net: ClickNet) -> dict[str, tuple[nn.Module, tuple[str, ...], tuple[str, ...]]]:
    """Graph name -> module, its inputs and its outputs in order."""
    return {
        "encoder": (EncoderGraph().eval(), (POINTS, COLORS), (CLOUD,)),
        "decoder": (DecoderGraph(net).eval(), DECODER_INPUTS, ("masks", "iou")),
        "decoder_mask": (MaskedDecoderGraph(net).eval(), (*DECODER_INPUTS, MASK), ("masks", "iou")),
    }


def tensor_of(name: str) -> dict:
    """A tensor as the manifest describes it."""
    axes = AXES[name]
    shape = {"masks": ["B", MASKS, "N"], "iou": ["B", MASKS], MASK: ["B", "N"], LABELS: ["B", "Q"]}.get(name)
    return {"name": name, "dtype": "int64" if name == LABELS else "float32", "shape": shape or [*axes.values(), WIDTHS[name]]}
