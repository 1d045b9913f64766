# SPDX-License-Identifier: Apache-2.0
"""The image encoder: a small convolutional net that keeps spatial precision and speaks in keypoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GRID = 56
KEYPOINTS = 16
TAUGHT = (
    "left_can_foot", "left_can_top", "right_can_foot", "right_can_top", "left_base", "right_base", "far_left_corner", "far_right_corner", "near_edge",
)


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)
    )


class VisionNet(nn.Module):
    """Picture -> keypoints -> positions of the two cans.

    Stride-2 convolutions to a 56 x 56 grid, a 28 x 28 branch for context, a heat map per keypoint, its spatial soft-argmax. The first nine
    keypoints are taught in training (feet and tops of the cans, bases of the arms, corners of the table); the rest are free. An MLP
    turns all keypoints into the cans' positions on the table: the fixed points let it undo a camera that is not quite where it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 12, 5, stride=2), _conv(12, 24, 3, stride=2))
        line = torch.linspace(-1.0, 1.0, GRID)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("grid", torch.stack([columns, rows]))  # (2, 56, 56): x right, y down
        self.down = _conv(26, 40, 3, stride=2)
        self.context = nn.Sequential(_conv(40, 40, 3), _conv(40, 40, 3, dilation=2), _conv(40, 40, 3, dilation=4), _conv(40, 24, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join = _conv(24, 24, 3)
        self.heat = nn.Conv2d(24, KEYPOINTS, 1)
        self.locate = nn.Sequential(nn.Linear(3 * KEYPOINTS, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 4))

    def heat_maps(self, image: Tensor) -> Tensor:
        """(B, 224, 224, 3) uint8 RGB -> (B, 16, 56, 56) logits."""
        x = image.permute(0, 3, 1, 2).to(torch.float32) * (1.0 / 64.0) - 2.0
        fine = self.stem(x)
        grid = self.grid.unsqueeze(0) + 0.0 * fine[:, :2]
        coarse = self.context(self.down(torch.cat([fine, grid], dim=1)))
        return self.heat(self.join(fine + self.up(coarse)))

    def keypoints(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits -> (B, 16, 2) positions in [-1, 1] (x right, y down) and (B, 16) height of each peak in [0, 1]."""
        share = torch.softmax(logits.flatten(2), dim=-1)  # (B, 16, 3136)
        points = share @ self.grid.flatten(1).transpose(0, 1)
        return points, share.amax(dim=-1)

    def cans(self, points: Tensor, peaks: Tensor) -> Tensor:
        """Keypoints and peaks -> (B, 4) cans on the table [m]: left x, left y, right x, right y."""
        return self.locate(torch.cat([points.flatten(1), peaks], dim=1)) * 0.2 + torch.tensor([0.4, 0.2, 0.4, -0.2], device=points.device)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 224, 224, 3) uint8 RGB -> (B, 4) cans on the table [m]: left x, left y, right x, right y."""
        return self.cans(*self.keypoints(self.heat_maps(image)))
