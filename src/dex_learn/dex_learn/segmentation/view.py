# SPDX-License-Identifier: Apache-2.0
"""A cloud seen along the sight line through a click: a picture of 64 x 64 cells, fine about the click and coarse far from it.

Every formula works on B clouds of N points at once and exports to ONNX with B and N free. Of all points only those in the picture go on, as R rows
of whichever cloud: in a whole camera picture that is a quarter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

GRID = 64
CELLS = GRID * GRID
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


class View(NamedTuple):
    """The points in the pictures of the clicks, R rows.

    Attributes:
        row: (R,) int64, which point of which cloud: cloud * N + point. cloud: (R,) int64.
        blind: () bool, no click sees any point; then one row stands for none, for nothing can be computed of no rows.
        cell: (R,) int64, cloud * 4096 + row of the picture * 64 + column.
        offset: (R, 2) place in its cell, -0.5 to 0.5.
        depth_m: (R,) along the sight line, 0 at the click, cut to +-0.4.
        height_m: (R,) above what the thing stands on. click_height_m: (B,) of the clicks.
        distance_m: (R,) to the nearest click on the object. away_m: (R,) to the nearest one beside it; 1 where there is none.
    """

    row: Tensor
    blind: Tensor
    cloud: Tensor
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
    centre = torch.gather(clicks_m, 1, first.view(-1, 1, 1).expand(-1, 1, 3)).squeeze(1)  # (B, 3)
    axes, far = _axes(centre)
    turned = torch.matmul(points_m, axes.transpose(1, 2))  # (B, N, 3): right, down, forward
    limit = REACH_M / far * turned[..., 2]
    inside = (turned[..., 0].abs() < limit) & (turned[..., 1].abs() < limit) & (turned[..., 2] > NEAREST_M)
    flat = inside.reshape(-1)
    blind = ~flat.any()
    row = (flat | (blind & (torch.arange(flat.shape[0], device=flat.device) == 0))).nonzero().squeeze(1)  # onnxruntime reduces no empty tensors
    cloud = row // points_m.shape[1]
    turned, points = turned.reshape(-1, 3).index_select(0, row), points_m.reshape(-1, 3).index_select(0, row)
    along, away_m = turned[:, 2].clamp_min(NEAREST_M), far.index_select(0, cloud).squeeze(1)
    grid = SCALE * torch.asinh(turned[:, :2] * (away_m / along).unsqueeze(1) / FINE_M) + 0.5 * GRID
    whole = torch.floor(grid).clamp(0.0, GRID - 1.0)
    cell = cloud * CELLS + (whole[:, 1] * GRID + whole[:, 0]).to(torch.int64)
    depth = (along - away_m).clamp(-DEEP_M, DEEP_M)
    support = _support(points[:, 2], centre[:, 2], cloud, depth.abs() < DEEP_M, along)
    distance, away = _distances(points, cloud, clicks_m, labels)
    height = points[:, 2] - support.index_select(0, cloud)
    return View(row, blind, cloud, cell, grid - whole - 0.5, depth, height, centre[:, 2] - support, distance, away)


def _axes(centre: Tensor) -> tuple[Tensor, Tensor]:
    """Right, down and forward of the views as rows (B, 3, 3), and the clicks' distances (B, 1) [m]."""
    far = centre.square().sum(-1, keepdim=True).clamp_min(NEAREST_M**2).sqrt()
    forward = centre / far
    x, y, z = forward[:, :1], forward[:, 1:2], forward[:, 2:]
    level = torch.cat([y + 1e-6, -x, torch.zeros_like(x)], dim=1)  # forward x up; the 1e-6 decides when looking straight down
    right = level / level.square().sum(-1, keepdim=True).sqrt()
    r, s = right[:, :1], right[:, 1:2]
    down = torch.cat([-z * s, z * r, x * s - y * r], dim=1)  # forward x right
    return torch.stack([right, down, forward], dim=1), far


def _support(z: Tensor, click_z: Tensor, cloud: Tensor, use: Tensor, along: Tensor) -> Tensor:
    """(B,) height of the largest level surface near each click [m]: most area among slices of 1 cm, then the mean of the points about it."""
    area = torch.where(use, along.square(), torch.zeros_like(along))  # a pixel covers the more the further away it is
    slot = ((z - click_z.index_select(0, cloud) + BELOW_M) / BIN_M).clamp(-1.0, float(BINS)).floor().to(torch.int64) + 1
    empty = torch.zeros(click_z.shape[0] * (BINS + 2), dtype=z.dtype, device=z.device)
    counts = empty.scatter_add(0, cloud * (BINS + 2) + slot, area).reshape(-1, BINS + 2)[:, 1 : BINS + 1]  # the outer slots: out of range
    pairs = counts[:, 1:] + counts[:, :-1]
    level = click_z - BELOW_M + (pairs.argmax(1).to(z.dtype) + 1.0) * BIN_M
    above = z - level.index_select(0, cloud)
    near = torch.where(above.abs() < BAND_M, area, torch.zeros_like(area))
    none = torch.zeros_like(click_z)
    return level + none.scatter_add(0, cloud, above * near) / none.scatter_add(0, cloud, near).clamp_min(1e-6)


def _distances(points_m: Tensor, cloud: Tensor, clicks_m: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    squared = (points_m.unsqueeze(1) - clicks_m.index_select(0, cloud)).square().sum(-1)  # (R, Q)
    wanted = labels.index_select(0, cloud)
    one = torch.ones_like(squared)
    on, beside = torch.where(wanted == 1, squared, one), torch.where(wanted == 0, squared, one)
    return on.amin(-1).clamp(max=1.0).sqrt(), beside.amin(-1).clamp(max=1.0).sqrt()
