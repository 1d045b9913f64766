# SPDX-License-Identifier: Apache-2.0
"""A cloud seen along the sight line through a click: a picture of 64 x 64 cells, fine about the click and coarse far from it.

Every formula works on B clouds of N points at once and exports to ONNX with B and N free.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

GRID = 64
REACH_M = 0.34
"""Half the width of the picture at the click's distance."""
FINE_M = 0.07
"""Up to about here a cell is 5 mm wide; further out its width grows with the distance."""
SCALE = 0.5 * GRID / math.asinh(REACH_M / FINE_M)
DEEP_M = 0.4
"""Depths beside the click's are cut off here."""
NEAREST_M = 0.05
BELOW_M, ABOVE_M, BIN_M = 0.45, 0.10, 0.01
BINS = round((BELOW_M + ABOVE_M) / BIN_M)
BAND_M = 0.012
OUTSIDE = GRID * GRID


class View(NamedTuple):
    """What each point is in the picture of a click.

    Attributes:
        cell: (B, N) int64, row * 64 + column, ``OUTSIDE`` for points beyond the picture or behind the lens.
        offset: (B, N, 2) place in its cell, -0.5 to 0.5.
        depth_m: (B, N) along the sight line, 0 at the click, cut to +-0.4.
        height_m: (B, N) above what the thing stands on. click_height_m: (B, 1) of the click.
        distance_m: (B, N) to the nearest click on the object. away_m: (B, N) to the nearest one beside it; 1 where there is none.
    """

    cell: Tensor
    offset: Tensor
    depth_m: Tensor
    height_m: Tensor
    click_height_m: Tensor
    distance_m: Tensor
    away_m: Tensor


def look(points_m: Tensor, clicks_m: Tensor, labels: Tensor) -> View:
    """The view of each cloud along its first click on the object.

    Args:
        points_m: (B, N, 3) from the lens, z up. clicks_m: (B, Q, 3) likewise.
        labels: (B, Q) int64: 1 on the object, 0 beside it, -1 no click.
    """
    first = (labels == 1).to(torch.int64).argmax(1)
    centre = torch.gather(clicks_m, 1, first.view(-1, 1, 1).expand(-1, 1, 3))  # (B, 1, 3)
    right, down, forward, far = _axes(centre)
    along = (points_m * forward).sum(-1)
    scale = far / along.clamp_min(NEAREST_M)
    place = torch.stack([(points_m * right).sum(-1) * scale, (points_m * down).sum(-1) * scale], dim=-1)  # (B, N, 2)
    grid = SCALE * torch.asinh(place / FINE_M) + 0.5 * GRID
    whole = torch.floor(grid.clamp(-1.0, GRID + 1.0))
    inside = ((whole >= 0.0) & (whole < GRID)).all(-1) & (along > NEAREST_M)
    cell = torch.where(inside, (whole[..., 1] * GRID + whole[..., 0]).to(torch.int64), OUTSIDE)
    depth = (along - far).clamp(-DEEP_M, DEEP_M)
    support = _support(points_m[..., 2], centre[..., 2], inside & (depth.abs() < DEEP_M), along)
    distance, away = _distances(points_m, clicks_m, labels)
    return View(cell, (grid - whole - 0.5).clamp(-0.5, 0.5), depth, points_m[..., 2] - support, centre[..., 2] - support, distance, away)


def _axes(centre: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Right, down and forward (B, 1, 3) of the view, and the click's distance (B, 1) [m]."""
    far = centre.square().sum(-1).clamp_min(NEAREST_M**2).sqrt()
    forward = centre / far.unsqueeze(-1)
    x, y = forward[..., :1], forward[..., 1:2]
    level = torch.cat([y + 1e-6, -x, torch.zeros_like(x)], dim=-1)  # forward x up; the 1e-6 decides when looking straight down
    right = level / level.square().sum(-1, keepdim=True).sqrt()
    down = torch.stack([
        forward[..., 1] * right[..., 2] - forward[..., 2] * right[..., 1],
        forward[..., 2] * right[..., 0] - forward[..., 0] * right[..., 2],
        forward[..., 0] * right[..., 1] - forward[..., 1] * right[..., 0],
    ], dim=-1)
    return right, down, forward, far


def _support(z: Tensor, click_z: Tensor, use: Tensor, along: Tensor) -> Tensor:
    """(B, 1) height of the largest level surface near the click [m]: most area among slices of 1 cm, then the mean of the points about it."""
    area = torch.where(use, along.square(), torch.zeros_like(along))  # a pixel covers the more the further away it is
    slot = ((z - click_z + BELOW_M) / BIN_M).clamp(-1.0, float(BINS)).floor().to(torch.int64) + 1  # 0 and BINS + 1: out of range
    counts = torch.zeros(z.shape[0], BINS + 2, dtype=z.dtype, device=z.device).scatter_add(1, slot, area)[:, 1 : BINS + 1]
    pairs = counts[:, 1:] + counts[:, :-1]
    level = click_z - BELOW_M + (pairs.argmax(1, keepdim=True).to(z.dtype) + 1.0) * BIN_M
    near = torch.where((z - level).abs() < BAND_M, area, torch.zeros_like(area))
    return level + ((z - level) * near).sum(1, keepdim=True) / near.sum(1, keepdim=True).clamp_min(1e-6)


def _distances(points_m: Tensor, clicks_m: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    squared = (points_m.unsqueeze(2) - clicks_m.unsqueeze(1)).square().sum(-1)  # (B, N, Q)
    wanted = labels.unsqueeze(1)
    one = torch.ones_like(squared)
    on, beside = torch.where(wanted == 1, squared, one), torch.where(wanted == 0, squared, one)
    return on.amin(-1).clamp(max=1.0).sqrt(), beside.amin(-1).clamp(max=1.0).sqrt()
