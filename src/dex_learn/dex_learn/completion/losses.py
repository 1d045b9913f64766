# SPDX-License-Identifier: Apache-2.0
"""How far a completed cloud is from the thing: Chamfer distance both ways, and normals where they meet."""

from __future__ import annotations

import torch
from torch import Tensor

from dex_learn.points import gather

TINY = 1e-6
NORMAL_WEIGHT = 0.03
DRAWN = 768
"""Points of the fine cloud that count in one step."""


def matches(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest of b to each of a, and the other way: (B, N) and (B, M) int64, for (B, N, 3) and (B, M, 3).

    One thing after the other: a matrix of distances that stays in the cache is several times faster than one for the whole batch.
    """
    to_b, to_a = [], []
    with torch.no_grad():
        for one, other in zip(a, b, strict=True):
            product = one @ other.T
            to_b.append((0.5 * other.square().sum(-1) - product).argmin(1))
            to_a.append((0.5 * one.square().sum(-1) - product.T).argmin(1))
    return torch.stack(to_b), torch.stack(to_a)


def chamfer(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance to the nearest point of the other cloud, averaged over both directions; and the match of each of a in b (B, N)."""
    to_b, to_a = matches(a, b)
    there = (a - gather(b, to_b)).square().sum(-1).add(TINY).sqrt().mean()
    back = (b - gather(a, to_a)).square().sum(-1).add(TINY).sqrt().mean()
    return 0.5 * (there + back), to_b


def loss(out: tuple[Tensor, Tensor, Tensor], whole: Tensor, normals: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Weighted terms by name; a part of the fine cloud is drawn anew each time."""
    seeds, cloud, facing = out
    coarse, _ = chamfer(seeds, whole)
    rows = torch.randperm(cloud.shape[1], generator=generator)[:DRAWN]
    fine, to_whole = chamfer(cloud[:, rows], whole)
    cosine = torch.nn.functional.cosine_similarity(facing[:, rows], gather(normals, to_whole), dim=-1)
    return {"coarse": 0.5 * coarse, "fine": fine, "normals": NORMAL_WEIGHT * (1.0 - cosine).mean()}
