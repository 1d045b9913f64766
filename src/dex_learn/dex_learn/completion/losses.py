# SPDX-License-Identifier: Apache-2.0
"""How far a completed cloud is from the thing: Chamfer distance both ways, and normals where they meet."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dex_core.clouds import nearest
from dex_learn.points import gather

TINY = 1e-6
NORMAL_WEIGHT = 0.03
DRAWN = 768
"""Points of a cloud that count in one step; they are matched among all of the other, so that the cloud learns to be even."""


def matches(a: Tensor, b: Tensor) -> Tensor:
    """(B, N) int64: the nearest of b (B, M, 3) to each of a (B, N, 3)."""
    pairs = zip(a.detach().numpy(), b.detach().numpy(), strict=True)
    return torch.from_numpy(np.stack([nearest(one, other).indices[:, 0] for one, other in pairs]))


def apart(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of a (B, N, 3) to the nearest of b (B, M, 3), and which that is (B, N)."""
    index = matches(a, b)
    return (a - gather(b, index)).square().sum(-1).add(TINY).sqrt().mean(), index


def loss(out: tuple[Tensor, Tensor, Tensor], whole: Tensor, normals: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Weighted terms by name. ``DRAWN`` points of either cloud look for the nearest of all of the other."""
    seeds, cloud, facing = out
    rows = torch.randperm(cloud.shape[1], generator=generator)[:DRAWN]
    some = whole[:, torch.randperm(whole.shape[1], generator=generator)[:DRAWN]]
    there, match = apart(cloud[:, rows], whole)
    back, _ = apart(some, cloud)
    coarse = apart(seeds, whole)[0] + apart(some, seeds)[0]
    cosine = torch.nn.functional.cosine_similarity(facing[:, rows], gather(normals, match), dim=-1)
    return {"coarse": 0.25 * coarse, "fine": 0.5 * (there + back), "normals": NORMAL_WEIGHT * (1.0 - cosine).mean()}
