# SPDX-License-Identifier: Apache-2.0
"""A small conditional flow over chunks: what is seen becomes features once, and every Euler step mixes them with the noisy chunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WAVES = 8


class Encoder(nn.Module):
    """(B, observed) -> (B, width) features: the prefix graph of a flow that sees plain numbers."""

    def __init__(self, observed: int, width: int = 128) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(observed, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, observed: Tensor) -> Tensor:
        """See the class."""
        return self.net(observed)


class Mixer(nn.Module):
    """One block of an MLP-Mixer (arXiv 2105.01601): rows are mixed, then columns; both are scaled and shifted by the condition."""

    def __init__(self, horizon: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Sequential(nn.Linear(horizon, 2 * horizon), nn.GELU(), nn.Linear(2 * horizon, horizon))
        self.columns = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width, elementwise_affine=False) for _ in range(2)])
        self.condition = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(B, H, width) with (B, H, width) or (B, 1, width) condition."""
        shift_r, scale_r, gate_r, shift_c, scale_c, gate_c = self.condition(condition).chunk(6, dim=-1)
        rows = self.norms[0](hidden) * (1.0 + scale_r) + shift_r
        hidden = hidden + (1.0 + gate_r) * self.rows(rows.transpose(1, 2)).transpose(1, 2)
        columns = self.norms[1](hidden) * (1.0 + scale_c) + shift_c
        return hidden + (1.0 + gate_c) * self.columns(columns)


class FlowHead(nn.Module):
    """(x (B, H, columns), time, features (B, width)) -> velocity (B, H, columns): the step graph.

    Args:
        horizon, columns: of a chunk. width: of the features.
        row_times: a time of its own for each row, (B, H), as training-time real-time chunking needs it (arXiv 2512.05964); otherwise one, (B,).
    """

    def __init__(self, horizon: int, columns: int, width: int = 128, blocks: int = 3, *, row_times: bool = False) -> None:
        super().__init__()
        self.row_times = row_times
        self.register_buffer("waves", torch.pi * 2.0 ** torch.arange(WAVES))
        self.into = nn.Linear(columns, width)
        self.time = nn.Sequential(nn.Linear(2 * WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList([Mixer(horizon, width) for _ in range(blocks)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, columns))

    def forward(self, x: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """See the class."""
        times = time if self.row_times else time.unsqueeze(1)  # (B, H) or (B, 1)
        angles = times.unsqueeze(2) * self.waves
        condition = self.time(torch.cat([angles.sin(), angles.cos()], dim=2)) + features.unsqueeze(1)
        hidden = self.into(x)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.out(hidden)
