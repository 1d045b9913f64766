# SPDX-License-Identifier: Apache-2.0
"""Features from a few points to many: inverse squared distances of the nearest three."""

from __future__ import annotations

from torch import Tensor

from dex_learn.points.gather import gather
from dex_learn.points.neighbours import nearest

FLOOR = 1e-8


def interpolation_weights(queries: Tensor, points: Tensor, k: int = 3, floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """What each query takes from its k nearest points: 1 / max(d^2, floor), normalised.

    Args:
        queries: (B, Q, 3). points: (B, N, 3), N at least k. floor: [squared units of the points], keeps a query that lies on a point finite.

    Returns:
        (B, Q, k) int64 indices and (B, Q, k) weights that sum to 1.
    """
    index, distances = nearest(queries, points, k)
    inverse = 1.0 / distances.clamp_min(floor)
    return index, inverse / inverse.sum(-1, keepdim=True)


def interpolate(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """(B, Q, C) weighted sums of (B, N, C) values, with what ``interpolation_weights`` gave."""
    return (gather(values, index) * weight.unsqueeze(-1)).sum(2)
