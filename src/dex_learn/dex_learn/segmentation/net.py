# SPDX-License-Identifier: Apache-2.0
"""A small promptable segmenter of clouds: what a click sees is drawn on a grid, a U-net reads it, and every point asks its cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dex_learn.segmentation.view import CELLS, GRID, View, look

UNIT_M = 2.0
"""One unit of the graphs' coords."""
MASKS = 3
WIDTHS = (16, 32, 64, 128)
HIDDEN = 32
CARRIED = 9
"""Per point, averaged over each cell: depth, height, colour (3), distance, near a click, near a click beside, mask so far."""
DRAWN = 2 + 2 + 3 + 6 + 3 + 3 + 2
OWN = 12
FAR_LOGIT = -12.0
"""Of points outside the picture."""


class ClickNet(nn.Module):
    """Points and clicks in, logits of ``MASKS`` masks and how much each is believed to overlap the object out.

    Attributes:
        half: the U-net computes in bfloat16, for training on processors that do so faster; geometry needs all its digits.
    """

    half = False

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(DRAWN, widths[0]), _conv(widths[0], widths[0]))
        self.down = nn.ModuleList(nn.Sequential(_conv(a, b, 2), _conv(b, b)) for a, b in zip(widths, widths[1:], strict=False))
        self.bottom = _conv(widths[-1], widths[-1])
        self.raised = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(_conv(a, a) for a in widths[:-1])
        self.cell = nn.Linear(widths[0], HIDDEN)
        self.own = nn.Linear(OWN, HIDDEN)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, MASKS))
        self.believed = nn.Sequential(nn.Linear(widths[-1] + widths[0], 64), nn.ReLU(), nn.Linear(64, MASKS))

    def forward(self, points_m: Tensor, colors: Tensor, clicks_m: Tensor, labels: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Masks of one set of clicks per cloud.

        Args:
            points_m: (B, N, 3) from the lens, z up. colors: (B, N, 3) in [0, 1].
            clicks_m: (B, Q, 3). labels: (B, Q) int64: 1, 0, or -1 for no click.
            mask: (B, N) logits to go on from, or None.

        Returns:
            (B, MASKS, N) logits, (B, MASKS) overlap as logits.
        """
        view, batch = look(points_m, clicks_m, labels), clicks_m.shape[0]
        seen_colors = colors.reshape(-1, 3).index_select(0, view.row)
        before = torch.zeros_like(view.depth_m) if mask is None else torch.sigmoid(mask.reshape(-1).index_select(0, view.row)) - 0.5
        means, seen = average(_carried(view, seen_colors, before), view.cell, batch)
        picture = _drawn(means, seen, view.click_height_m)
        features, deep = self._read_half(picture) if self.half else self._read(picture)
        table = torch.cat([self.cell(features.flatten(2).transpose(1, 2)), means[..., :5]], dim=-1)  # (B, cells, HIDDEN + 5)
        asked = table.reshape(batch * CELLS, HIDDEN + 5).index_select(0, view.cell)
        found = self.head(asked[:, :HIDDEN] + self.own(_own(view, seen_colors, before, asked[:, HIDDEN:])))
        found = torch.where(view.blind, torch.full_like(found, FAR_LOGIT), found)
        everywhere = torch.full((points_m.shape[0] * points_m.shape[1], MASKS), FAR_LOGIT, dtype=found.dtype, device=found.device)
        logits = everywhere.index_copy(0, view.row, found).reshape(batch, -1, MASKS)
        middle = slice(GRID // 2 - 2, GRID // 2 + 2)
        summary = torch.cat([deep.mean((2, 3)), features[:, :, middle, middle].mean((2, 3))], dim=-1)
        return logits.transpose(1, 2), self.believed(summary)

    def _read_half(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(picture.device.type, torch.bfloat16):
            features, deep = self._read(picture)
        return features.float(), deep.float()

    def _read(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, widths[0], 64, 64) features of each cell, and the deepest ones."""
        levels = [self.stem(picture)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = deep = levels[-1] + self.bottom(levels[-1])
        for raised, up, level in zip(reversed(self.raised), reversed(self.up), reversed(levels[:-1]), strict=True):
            x = functional.interpolate(raised(x), scale_factor=2.0, mode="nearest") + level
            x = x + up(x)
        return x, deep


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _carried(view: View, colors: Tensor, before: Tensor) -> Tensor:
    """(R, CARRIED) what each point brings to its cell."""
    own = torch.stack([
        view.depth_m, view.height_m.clamp(-0.3, 0.5), torch.tanh(view.distance_m / 0.08), torch.exp(view.distance_m / -0.02),
        torch.exp(view.away_m / -0.02), before,
    ], dim=-1)
    return torch.cat([own[:, :2], colors, own[:, 2:]], dim=-1)


def average(values: Tensor, cell: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Means over the cells; a cell without points takes those of its eight neighbours together.

    Args:
        values: (R, C). cell: (R,) int64. batch: number of pictures.

    Returns:
        (B, cells, C), zeros where even the neighbours are empty, and (B, cells, 2): has points; has, or its neighbours have.
    """
    width = values.shape[1] + 1
    full = torch.cat([values, torch.ones_like(values[:, :1])], dim=-1)
    sums = torch.zeros(batch * CELLS, width, dtype=values.dtype, device=values.device)
    sums = sums.scatter_add(0, cell.unsqueeze(1).expand(-1, width), full).reshape(batch, CELLS, width)
    grid = sums.transpose(1, 2).reshape(batch, width, GRID, GRID)
    around = (functional.avg_pool2d(grid, 3, 1, 1, count_include_pad=True) * 9.0).flatten(2).transpose(1, 2)
    count, near = sums[..., -1:], around[..., -1:]
    filled = torch.where(count > 0.5, sums, around)
    return filled[..., :-1] / filled[..., -1:].clamp_min(1.0), torch.cat([(count > 0.5), (near > 0.5)], dim=-1).to(values.dtype)


def _drawn(means: Tensor, seen: Tensor, click_height_m: Tensor) -> Tensor:
    """(B, DRAWN, 64, 64) the picture that the U-net reads."""
    depth, height, colour, rest = means[..., :1], means[..., 1:2], means[..., 2:5], means[..., 5:]
    there = seen[..., 1:]
    grid = colour.transpose(1, 2).reshape(-1, 3, GRID, GRID)
    middle = grid[:, :, GRID // 2 - 1 : GRID // 2 + 1, GRID // 2 - 1 : GRID // 2 + 1].mean((2, 3)).unsqueeze(1)
    above = height - click_height_m.reshape(-1, 1, 1)
    line = torch.linspace(-1.0, 1.0, GRID, device=means.device)
    where = torch.stack([line.repeat(GRID), line.repeat_interleave(GRID)], dim=-1).unsqueeze(0).expand(means.shape[0], -1, -1)
    shapes = torch.cat([
        seen, torch.tanh(depth / 0.03), depth / 0.2, torch.tanh(height / 0.01), torch.tanh(height / 0.04), height / 0.2,
    ], dim=-1)
    colours = torch.cat([colour - 0.5, colour - middle], dim=-1) * there
    picture = torch.cat([shapes * there, colours, rest[..., :3], torch.tanh(above / 0.02) * there, above / 0.2 * there, rest[..., 3:], where], dim=-1)
    return picture.transpose(1, 2).reshape(-1, DRAWN, GRID, GRID)


def _own(view: View, colors: Tensor, before: Tensor, cell: Tensor) -> Tensor:
    """(R, OWN) how a point differs from its cell; ``cell`` (R, 5): depth, height and colour there."""
    single = torch.stack([
        torch.tanh((view.depth_m - cell[:, 0]) / 0.02), torch.tanh(view.depth_m / 0.05), torch.tanh(view.height_m / 0.01),
        torch.tanh((view.height_m - cell[:, 1]) / 0.01), torch.tanh(view.distance_m / 0.05), torch.exp(view.away_m / -0.02), before,
    ], dim=-1)
    return torch.cat([view.offset, colors - cell[:, 2:5], single], dim=-1)


def parameters_of(net: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in net.parameters())
