# SPDX-License-Identifier: Apache-2.0
"""Farthest-point sampling in torch: a loop where it runs, one ONNX ``Scan`` where it is exported."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

ORIGIN_M2 = 1e-3
"""Squared distance to the origin up to which pointnet2's kernel does not see a point."""


def farthest_points(points: Tensor, count: int, skip_origin: bool = False) -> Tensor:
    """Indices of points far from each other: index 0 first, then always the one farthest from those taken; the lowest index among equals.

    The count is a constant of an exported graph; batch and number of points are free.

    Args:
        points: (B, N, 3), N at least ``count`` (where there are fewer different points, index 0 repeats).
        count: how many, at least 1.
        skip_origin: as pointnet2's CUDA kernel, never take a point with |p|^2 <= 1e-3 (but index 0); weights trained with that kernel
            (SnowflakeNet's) were trained so.

    Returns:
        (B, count) int64.
    """
    points = points.contiguous()  # scan demands equal strides of what it carries
    nearest = _start(points, skip_origin)
    last = torch.zeros(points.shape[0], dtype=torch.int64, device=points.device)
    first = last.unsqueeze(1)
    if count == 1:
        return first
    if torch.compiler.is_compiling():
        return torch.cat((first, _scanned(points, nearest, last, count - 1)), dim=1)
    taken = [last]
    for _ in range(count - 1):
        nearest, last = _step(points, nearest, last)
        taken.append(last)
    return torch.stack(taken, dim=1)


def _start(points: Tensor, skip_origin: bool) -> Tensor:
    """(B, N) squared distance of each point to the points taken before any is: infinite, or -1 where it must never be the largest."""
    start = torch.full((points.shape[0], points.shape[1]), torch.inf, dtype=points.dtype, device=points.device)
    if not skip_origin:
        return start
    return torch.where((points * points).sum(-1) <= ORIGIN_M2, torch.full_like(start, -1.0), start)


def _step(points: Tensor, nearest: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """The distances with the last point counted in, and the farthest point by them."""
    centre = torch.gather(points, 1, last.reshape(-1, 1, 1).expand(-1, 1, 3))
    nearest = torch.minimum(nearest, (points - centre).square().sum(-1))
    return nearest, nearest.argmax(1)


def _scanned(points: Tensor, nearest: Tensor, last: Tensor, steps: int) -> Tensor:
    def combine(carry: tuple[Tensor, Tensor], _: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        carry = _step(points, *carry)
        return carry, carry[1].clone()  # what is emitted may not be the carry itself

    _, taken = scan(combine, (nearest, last), torch.zeros(steps, dtype=points.dtype, device=points.device))
    return taken.transpose(0, 1)
