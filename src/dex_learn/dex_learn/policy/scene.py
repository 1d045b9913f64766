# SPDX-License-Identifier: Apache-2.0
"""What one side sees of the scene: its own hand, the other hand and the objects of either task, mirrored for the right side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dex_learn.policy.layout import SEEN_BY_RIGHT

FEATURES = 77


class Scene(nn.Module):
    """Features of both sides in units of some centimetres. Of objects that are not there every feature is zero.

    One number says which side it is, where there is a bowl that only one hand can be over: the left one goes first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([[0, 1, 2, 3, 4], list(SEEN_BY_RIGHT)]))
        self.register_buffer("side", torch.tensor([[1.0], [-1.0]]))
        self.register_buffer("flip", torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]))  # (2, 3): x, y, z per side
        self.register_buffer("flip_tool", torch.tensor([[1.0] * 5, [1.0, -1.0, 1.0, 1.0, -1.0]]))

    def mirrored(self, tools: Tensor) -> Tensor:
        """(B, 2, 5) x, y, z [m], cos yaw, sin yaw -> (2 B, 5), rows left, right, left, ...; the right hand as seen in the mirror."""
        return (tools * self.flip_tool).reshape(-1, 5)

    def forward(self, objects: Tensor, there: Tensor, tools: Tensor) -> Tensor:
        """(B, 5, 3) [m], (B, 5) 0 or 1, (B, 2, 5) -> (2 B, 77)."""
        seen = torch.stack([objects, objects[:, self.order[1]]], dim=1) * self.flip.unsqueeze(1)  # (B, 2, 5, 3)
        shown = torch.stack([there, there[:, self.order[1]]], dim=1).reshape(-1, 5, 1)
        places = seen.reshape(-1, 5, 3) * shown
        own = self.mirrored(tools)
        other = (torch.flip(tools, [1]) * self.flip_tool).reshape(-1, 5)
        cans = _cans(places[:, 0], places[:, 1], own) * (shown[:, 0] * shown[:, 1])
        fruits = _fruits(places[:, 2], places[:, 3], places[:, 4], own)
        fruits = fruits * (shown[:, 2] * shown[:, 3] * shown[:, 4])
        hands = torch.cat(
            [5.0 * own[:, :2], 10.0 * own[:, 2:3], own[:, 3:], 5.0 * other[:, :3], other[:, 3:], 5.0 * (own[:, :3] - other[:, :3])], dim=1
        )
        first = (self.side * there[:, None, 4:]).reshape(-1, 1)
        return torch.cat([hands, cans, fruits, shown.flatten(1), first], dim=1)


def _turned(offset: Tensor, direction: Tensor) -> Tensor:
    """(B, 2) offsets along and beside (B, 2) unit directions."""
    beside = torch.stack([-direction[:, 1], direction[:, 0]], dim=1)
    return torch.stack([(offset * direction).sum(dim=1), (offset * beside).sum(dim=1)], dim=1)


def _length(offset: Tensor) -> Tensor:
    return torch.sqrt(offset.square().sum(dim=1, keepdim=True) + 1e-6)


def _cans(own_can: Tensor, other_can: Tensor, tool: Tensor) -> Tensor:
    """(B, 22) how the hand, its can and the other can lie to each other."""
    can, other = own_can[:, :2], other_can[:, :2]
    line = can - other
    length = _length(line)
    away = line / length
    offset = tool[:, :2] - can
    middle = 0.5 * (can + other)
    return torch.cat(
        [5.0 * can, 5.0 * other, 8.0 * offset, 8.0 * _turned(offset, away), _turned(tool[:, 3:], away), away, 5.0 * length, 0.1 / length,
         5.0 * middle, 5.0 * (tool[:, :2] - middle), 20.0 * offset.square().sum(dim=1, keepdim=True), 3.0 * _length(offset), 10.0 * own_can[:, 2:],
         _length(tool[:, :2] - middle)], dim=1
    )


def _fruits(fruit: Tensor, other: Tensor, bowl: Tensor, tool: Tensor) -> Tensor:
    """(B, 36) how the hand, its fruit, the other fruit and the bowl lie to each other."""
    heading = tool[:, 3:]
    to_fruit, to_bowl, left = tool[:, :3] - fruit, tool[:, :3] - bowl, fruit - bowl
    line = left[:, :2] / _length(left[:, :2])
    return torch.cat(
        [5.0 * fruit, 5.0 * other, 5.0 * bowl, 8.0 * to_fruit[:, :2], 12.0 * to_fruit[:, 2:], (30.0 * to_fruit).clamp(-3.0, 3.0),
         8.0 * _turned(to_fruit[:, :2], heading),
         8.0 * to_bowl, 8.0 * _turned(to_bowl[:, :2], heading), 8.0 * left, 8.0 * (other - bowl), line, _turned(heading, line),
         3.0 * _length(to_fruit), 5.0 * _length(to_fruit[:, :2]), 3.0 * _length(to_bowl[:, :2]), 5.0 * _length(left[:, :2])], dim=1
    )
