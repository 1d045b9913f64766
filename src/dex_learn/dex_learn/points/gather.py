# SPDX-License-Identifier: Apache-2.0
"""Rows of batched tensors by index."""

from __future__ import annotations

import torch
from torch import Tensor


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each batch entry.

    One ``index_select`` over the flattened batch: it exports to ONNX ``Gather``, which copies whole rows; ``torch.gather`` would need the index
    of every single number.

    Args:
        values: (B, N, C). index: (B, ...) int64 in [0, N).

    Returns:
        (B, ..., C).
    """
    batch, count, width = values.shape
    offset = torch.arange(batch, device=values.device) * count
    flat = index.reshape(batch, -1) + offset.unsqueeze(1)
    rows = torch.index_select(values.reshape(batch * count, width), 0, flat.reshape(-1))
    return rows.reshape(*index.shape, width)


def group(points: Tensor, centres: Tensor, index: Tensor, features: Tensor | None = None) -> Tensor:
    """Patches: positions of the indexed points relative to their centre, then their features.

    Args:
        points: (B, N, 3). centres: (B, S, 3). index: (B, S, K) int64. features: (B, N, C) or None.

    Returns:
        (B, S, K, 3 + C).
    """
    relative = gather(points, index) - centres.unsqueeze(2)
    return relative if features is None else torch.cat((relative, gather(features, index)), dim=-1)
