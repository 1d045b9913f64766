# SPDX-License-Identifier: Apache-2.0
"""Neighbours of points in torch, in forms that export to ONNX and stay right far from the origin."""

from __future__ import annotations

import torch
from torch import Tensor

from dex_learn.points.gather import gather

MISS = 16_777_216.0
"""Larger than any index that float32 counts exactly (2^24): a point outside the ball."""


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """(B, Q, N) squared distances between (B, Q, 3) and (B, N, 3) by one matrix product.

    |q|^2 - 2 q p + |p|^2 loses its digits where the coordinates are large beside the distances, so everything is moved to the points' mean first.
    What is left is an absolute error of about 1e-7 of the cloud's squared size: enough to order neighbours, too much to divide by.
    """
    middle = points.mean(1, keepdim=True)
    q, p = queries - middle, points - middle
    product = torch.matmul(q, p.transpose(1, 2))
    return (q.square().sum(-1, keepdim=True) - 2.0 * product + p.square().sum(-1).unsqueeze(1)).clamp_min(0.0)


def nearest(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query, nearest first.

    Args:
        queries: (B, Q, 3). points: (B, N, 3), N at least k.
        k: a constant of an exported graph.

    Returns:
        (B, Q, k) int64 indices, and their squared distances (B, Q, k), computed from the differences and therefore exact.
    """
    index = torch.topk(squared_distances(queries, points), k, dim=-1, largest=False, sorted=True).indices
    return index, (gather(points, index) - queries.unsqueeze(2)).square().sum(-1)


def ball_query(queries: Tensor, points: Tensor, radius: float, k: int) -> Tensor:
    """Of each query the first k points, in index order, closer than a radius; places left over repeat the first one.

    pointnet2's order and padding. Where no point is near, its kernel leaves index 0; here it is the nearest point, which is a neighbour at least.

    Args:
        queries: (B, Q, 3) [m]. points: (B, N, 3) [m], N between k and 16 777 215.
        radius: [m]. k: how many.

    Returns:
        (B, Q, k) int64.
    """
    distances = squared_distances(queries, points)
    order = torch.arange(points.shape[1], device=points.device).to(torch.float32)
    key = torch.where(distances < radius * radius, order, torch.full_like(order, MISS))
    found = torch.topk(key, k, dim=-1, largest=False, sorted=True).values
    first = found[..., :1]
    closest = distances.argmin(-1, keepdim=True).to(torch.float32)
    return torch.where(found < MISS, found, torch.where(first < MISS, first, closest)).to(torch.int64)
