# SPDX-License-Identifier: Apache-2.0
"""The sizes of a Point-SAM, as its configurations give them or as a weights file shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dex_core.errors import ConfigError

HEAD_WIDTH = 64
"""Columns of one attention head, in every EVA-02."""
_BLOCK = re.compile(r"pc_encoder\.transformer\.blocks\.(\d+)\.")
_LAYER = re.compile(r"mask_decoder\.transformer\.layers\.(\d+)\.")


@dataclass(frozen=True)
class PointSamShape:
    """Sizes of the parts; the defaults are what every released configuration shares.

    Attributes:
        patches, patch_size: centres, and points around each. No weight depends on them.
        width, depth, heads, hidden: the EVA-02 transformer over the patches.
        patch_width: columns of what a patch becomes.
        embedding: columns of an embedding outside the transformer.
        decoder_depth, decoder_heads, decoder_hidden: the two-way transformer.
        iou_hidden: of the head that predicts the intersection over union.
    """

    patches: int
    patch_size: int
    width: int
    depth: int
    heads: int
    hidden: int
    patch_width: int = 512
    embedding: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_hidden: int = 2048
    iou_hidden: int = 256

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.patches < 3:
            raise ConfigError(f"{self.patches} patches of {self.patch_size} points; at least 3 of 1: a point is read off the nearest three")
        if self.width % self.heads or self.embedding % (2 * self.decoder_heads):
            raise ConfigError(f"heads {self.heads} and {self.decoder_heads} do not divide widths {self.width} and {self.embedding} // 2")


VARIANTS = {
    "base": PointSamShape(patches=512, patch_size=64, width=768, depth=12, heads=12, hidden=2048),
    "large": PointSamShape(patches=1024, patch_size=256, width=1024, depth=24, heads=16, hidden=2730),
}
"""``configs/model/base.yaml`` (EVA-02 B) and ``default.yaml`` (EVA-02 L, the released checkpoint) of zyc00/Point-SAM at c14d393."""


def shape_of(sizes: Mapping[str, tuple[int, ...]], patches: int | None = None, patch_size: int | None = None) -> PointSamShape:
    """The shape that a weights file has.

    Args:
        sizes: parameter name -> its dimensions.
        patches, patch_size: as to be exported; None takes those of the variant with this transformer.

    Raises:
        ConfigError: a telling parameter is missing, or no variant has this transformer and the patches were not given.
    """

    def of(name: str) -> tuple[int, ...]:
        if name not in sizes:
            raise ConfigError(f"{len(sizes)} parameters and no {name!r}: no Point-SAM, or its variant voronoi, hier or giant, which are not read")
        return sizes[name]

    width, patch_width = of("pc_encoder.patch_proj.weight")
    found = PointSamShape(
        patches=patches or 3, patch_size=patch_size or 1, width=width, depth=_count(_BLOCK, sizes), heads=max(1, width // HEAD_WIDTH),
        hidden=of("pc_encoder.transformer.blocks.0.mlp.fc1_g.weight")[0], patch_width=patch_width,
        embedding=of("pc_encoder.out_proj.weight")[0], decoder_depth=_count(_LAYER, sizes),
        decoder_hidden=of("mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
        iou_hidden=of("mask_decoder.iou_prediction_head.layers.0.weight")[0],
    )
    if patches and patch_size:
        return found
    for variant in VARIANTS.values():
        if replace(found, patches=variant.patches, patch_size=variant.patch_size) == variant:
            return replace(found, patches=patches or variant.patches, patch_size=patch_size or variant.patch_size)
    text = f"width {width}, depth {found.depth}: none of the variants {list(VARIANTS)}; say how many patches of how many points"
    raise ConfigError(text)


def _count(pattern: re.Pattern[str], sizes: Mapping[str, tuple[int, ...]]) -> int:
    return len({m.group(1) for m in map(pattern.match, sizes) if m})
