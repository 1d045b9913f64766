# SPDX-License-Identifier: Apache-2.0
"""Patches of points to one vector each: a shared network per point, the largest of each column per patch, twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = (128, 512)
"""Columns of the hidden layer in each of the two steps."""

def _two_layers(given: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, out))


class PatchEncoder(nn.Module):
    """(B, S, K, C) points of patches to (B, S, out) vectors; the order of a patch's points does not matter."""

    def __init__(self, columns: int, out: int) -> None:
        super().__init__()
        self.conv1 = _two_layers(columns, HIDDEN[0], HIDDEN[0])
        self.conv2 = _two_layers(2 * HIDDEN[0], HIDDEN[1], out)

    def forward(self, patches: Tensor) -> Tensor:
        """As the class says."""
        points = self.conv1(patches)
        whole = points.amax(2, keepdim=True).expand_as(points)
        return self.conv2(torch.cat((whole, points), dim=-1)).amax(2)


class PatchEmbed(nn.Module):
    """Holds the encoder of the cloud's patches under the name it has upstream."""

    def __init__(self, columns: int, out: int) -> None:
        super().__init__()
        self.patch_encoder = PatchEncoder(columns, out)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, S, K, C) -> (B, S, out)."""
        return self.patch_encoder(patches)
