# SPDX-License-Identifier: Apache-2.0
"""The eyes: a small convolutional net that keeps spatial precision, speaks in keypoints and says which objects are there and where."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dex_learn.policy.layout import OBJECTS, OF_TASK

GRID = 56
KEYPOINTS = 18
TAUGHT = (
    "left_can_foot", "left_can_top", "right_can_foot", "right_can_top", "lemon", "lime", "bowl", "left_base", "right_base", "far_left_corner",
    "far_right_corner", "near_edge",
)
POINT_OF = (0, 0, 1, 1, 2, 3, 4)
"""Which object the first taught points belong to; the rest are fixed points of the cell."""
READ = 3 * KEYPOINTS + 10
"""What the last layers read: keypoints, peaks and both tools."""
CENTRE_M = ((0.4, 0.2, 0.05), (0.4, -0.2, 0.05), (0.4, 0.2, 0.05), (0.4, -0.2, 0.05), (0.4, 0.0, 0.02))
SPREAD_M = 0.2
TOGETHER = [[float(any(a in group and b in group for group in OF_TASK.values())) for b in OBJECTS] for a in OBJECTS]
"""Objects of one task are there together: their logits are added up, so one that is hidden is not missed."""


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)
    )


class VisionNet(nn.Module):
    """Picture -> keypoints -> positions of the objects of all tasks, and whether each is there.

    Stride-2 convolutions to a 56 x 56 grid, a 28 x 28 branch for context, a heat map per keypoint, its spatial soft-argmax. The first
    twelve keypoints are taught (points of the objects, bases of the arms, corners of the table), the rest are free. An MLP turns all of
    them into positions: the fixed points let it undo a camera that is not quite where it was, and where the hands are tells it where a
    fruit may be that is hidden in one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 12, 5, stride=2), _conv(12, 24, 3, stride=2))
        line = torch.linspace(-1.0, 1.0, GRID)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("grid", torch.stack([columns, rows]))  # (2, 56, 56): x right, y down
        self.register_buffer("centre", torch.tensor(CENTRE_M).flatten())
        self.register_buffer("together", torch.tensor(TOGETHER, dtype=torch.float32))
        self.down = _conv(26, 40, 3, stride=2)
        self.context = nn.Sequential(_conv(40, 40, 3), _conv(40, 40, 3, dilation=2), _conv(40, 40, 3, dilation=4), _conv(40, 24, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join = _conv(24, 24, 3)
        self.heat = nn.Conv2d(24, KEYPOINTS, 1)
        self.locate = nn.Sequential(nn.Linear(READ, 192), nn.SiLU(), nn.Linear(192, 192), nn.SiLU(), nn.Linear(192, 3 * len(OBJECTS)))
        self.tell = nn.Sequential(nn.Linear(READ, 32), nn.SiLU(), nn.Linear(32, len(OBJECTS)))

    def heat_maps(self, image: Tensor) -> Tensor:
        """(B, 224, 224, 3) uint8 RGB -> (B, 18, 56, 56) logits."""
        x = image.permute(0, 3, 1, 2).to(torch.float32) * (1.0 / 64.0) - 2.0
        fine = self.stem(x)
        grid = self.grid.unsqueeze(0) + 0.0 * fine[:, :2]
        coarse = self.context(self.down(torch.cat([fine, grid], dim=1)))
        return self.heat(self.join(fine + self.up(coarse)))

    def keypoints(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits -> (B, 18, 2) positions in [-1, 1] (x right, y down) and (B, 18) log height of each peak, 1 at a sure and 0 at no peak."""
        share = torch.softmax(logits.flatten(2), dim=-1)  # (B, 18, 3136)
        points = share @ self.grid.flatten(1).transpose(0, 1)
        return points, 1.0 + torch.log(share.amax(dim=-1) + 1e-6) / 8.0

    def objects(self, points: Tensor, peaks: Tensor, tools: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints, peaks and (B, 2, 5) tools -> (B, 5, 3) positions in ``world`` [m] and (B, 5) logits of being there."""
        read = torch.cat([points.flatten(1), peaks, 2.0 * tools.flatten(1)], dim=1)
        return (self.locate(read) * SPREAD_M + self.centre).reshape(-1, len(OBJECTS), 3), self.tell(read)

    def forward(self, image: Tensor, tools: Tensor) -> tuple[Tensor, Tensor]:
        """What there is to see.

        Args:
            image: (B, 224, 224, 3) uint8 RGB.
            tools: (B, 2, 5) measured tools: x, y, z [m], cos and sin of the yaw.

        Returns:
            (B, 5, 3) positions in ``world`` [m], (B, 5) 1 where the object is there, else 0.
        """
        places, logits = self.objects(*self.keypoints(self.heat_maps(image)), tools)
        return places, (logits @ self.together > 0.0).to(torch.float32)
