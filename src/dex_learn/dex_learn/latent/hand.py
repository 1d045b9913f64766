# SPDX-License-Identifier: Apache-2.0
"""Fingertips of several hands at once as a torch module: batched, differentiable, couplings inside, axes of the palm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.config import FINGERS, RobotConfig, load_robot
from dex_core.errors import ConfigError, ShapeError
from dex_core.kinematics.tree import KinematicTree
from dex_core.retarget import TargetHand
from dex_core.retarget.grasp import PinchingHand
from dex_core.types import Array

HANDS = ("ability", "inspire", "xhand1", "dexh13", "leap")
OTHERS = FINGERS[1:]
"""The fingers that meet the thumb, in the order of every pinch tensor."""


def inner_limits(lower_rad: Sequence[float], upper_rad: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The limits as float32, rounded inwards, so no float32 between them breaks the float64 limit. Shapes (n,), (n,) [rad]."""
    low64, high64 = np.asarray(lower_rad, dtype=np.float64), np.asarray(upper_rad, dtype=np.float64)
    if low64.shape != high64.shape or low64.ndim != 1 or not (low64 < high64).all():
        raise ShapeError(f"limits must be two vectors with lower < upper, got {list(low64)} and {list(high64)}")
    low, high = low64.astype(np.float32), high64.astype(np.float32)
    low = np.where(low.astype(np.float64) < low64, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high.astype(np.float64) > high64, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high


@dataclass(frozen=True)
class LatentHand:
    """A hand of one side as the latent space sees it.

    Attributes:
        robot: its configuration, with what this side differs in.
        side: left or right.
        target: its palm and kinematics.
        low, high: (n,) float32 limits, rounded inwards [rad].
    """

    robot: RobotConfig
    side: str
    target: TargetHand
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def load(cls, name: str, side: str) -> LatentHand:
        """A hand of ``config/hands`` by name or alias. Raises ConfigError; says what there is."""
        robot = load_robot(name).for_side(side)
        limits = [robot.limits[j] for j in robot.actuated]
        low, high = inner_limits([x.lower_rad for x in limits], [x.upper_rad for x in limits])
        return cls(robot, side, TargetHand.load(name, side), low, high)

    @property
    def name(self) -> str:
        """``<side>_<hand>``."""
        return f"{self.side}_{self.robot.name}"

    @property
    def joints(self) -> tuple[str, ...]:
        """Actuated joints in the hardware's order, without prefix."""
        return tuple(self.robot.actuated)

    @property
    def present(self) -> np.ndarray:
        """(4,) bool: which of index, middle, ring, little it has."""
        return np.array([f in self.target.fingers for f in OTHERS])


@cache
def common_pinch(model: str, side: str) -> tuple[dict[str, float], tuple[float, float, float]]:
    """The pinch that all hands share (:class:`PinchingHand`): actuated joints by name [rad], and its middle on the palm's axes [m].

    Takes about a second.
    """
    pinching = PinchingHand(model, side)
    hand, q = pinching.hand, pinching.pinch()
    tips = hand.in_palm(hand.kinematics.fingertips(q))
    thumb, index = (tips[hand.fingers.index(finger)] for finger in FINGERS[:2])
    x, y, z = (round(float(v), 4) for v in 0.5 * (thumb + index))
    return dict(zip(hand.kinematics.names, map(float, q), strict=True)), (x, y, z)


def pinches_of(tips: Tensor) -> Tensor:
    """(H, 5, B, 3) tips -> (H, B, 4, 3) thumb tip to the tips of index, middle, ring, little, in the tips' unit."""
    return (tips[:, 1:] - tips[:, :1]).transpose(1, 2)


class FingerChains(nn.Module):
    """Fingertips of H hands from their joints, on palm axes; a left hand's are mirrored (y -> -y), as a right hand would stand.

    A joint moves a point ``p`` of its child to ``offset + R (A + sin(q) B + cos(q) C) p`` (Rodrigues): three constant matrices, so a level
    of all chains is one batched product. Chains are padded to the longest with levels that do nothing.

    Args:
        hands: H of them.

    Attributes:
        count: H. width: joints of the widest hand; columns beyond a hand's own are not read.
    """

    def __init__(self, hands: Sequence[LatentHand]) -> None:
        super().__init__()
        trees = [hand.target.kinematics.tree for hand in hands]
        self.count, self.width = len(hands), max(len(tree.names) for tree in trees)
        chains = [[_chain(hand, tree, finger) for finger in FINGERS] for hand, tree in zip(hands, trees, strict=True)]
        self.depth = max(len(rows) for hand in chains for rows in hand)
        h, f, levels = len(hands), len(FINGERS), self.depth
        turn, offset = np.zeros((levels, h * f, 3, 3, 3)), np.zeros((levels, h * f, 3, 1))  # level, chain, which of A, B, C
        turn[:, :, 0] = np.eye(3)
        gain, shift, tips = np.zeros((h, self.width, levels, f)), np.zeros((h, 1, levels, f)), np.zeros((h * f, 3, 1))
        for k, (hand, tree) in enumerate(zip(hands, trees, strict=True)):
            for m, finger in enumerate(FINGERS):
                if finger not in hand.target.fingers:
                    continue
                place = tree.place(hand.target.kinematics.tips[hand.target.fingers.index(finger)])
                tips[k * f + m, :, 0] = place.position_m
                for level, row in enumerate(chains[k][m]):
                    matrices, at = _level(hand, tree, row)
                    turn[level, k * f + m], offset[level, k * f + m, :, 0] = matrices, at
                    gain[k, tree.actuated[row], level, m], shift[k, 0, level, m] = tree.coupling[row]
        one, sine, cosine = turn[:, :, 0], turn[:, :, 1], turn[:, :, 2]
        tensors = {
            "forth": np.concatenate([one, sine, cosine], axis=3), "lever": np.concatenate([0.0 * one, -cosine, sine], axis=3),
            "back": np.concatenate([m.transpose(0, 1, 3, 2) for m in (one, sine, cosine)], axis=3), "offset": offset, "tips": tips,
            "gain": gain.reshape(h, self.width, -1), "shift": shift.reshape(h, 1, -1),
        }
        for name, value in tensors.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, q: Tensor) -> Tensor:
        """(H, B, width) joints [rad] -> (H, 5, B, 3) tips of thumb, index, middle, ring, little [m]; of a finger that is missing: zeros."""
        return self._sweep(q)[0]

    def pinches(self, q: Tensor) -> Tensor:
        """(H, B, width) joints [rad] -> (H, B, 4, 3) thumb tip to the tips of index, middle, ring, little [m]."""
        return pinches_of(self(q))

    def towards(self, q: Tensor, pull: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Fingertips, and where forces on them would move the joints (the transposed Jacobian times the forces).

        Args:
            q: (H, B, width) joints [rad].
            pull: (H, 5, B, 3) tips [m] -> forces on them, zeros where a finger is missing.

        Returns:
            (H, 5, B, 3) tips [m], and (H, B, width) force times metres per radian.
        """
        tips, sine, cosine, places = self._sweep(q)
        arm = pull(tips).transpose(2, 3).reshape(len(self.tips), 3, -1)
        torque = []
        for level in range(self.depth):
            torque.append((arm * torch.bmm(self.lever[level], places[level])).sum(dim=1, keepdim=True))
            if level + 1 < self.depth:
                arm = torch.bmm(self.back[level], torch.cat([arm, sine[level] * arm, cosine[level] * arm], dim=1))
        h, f = self.count, len(FINGERS)
        angles = torch.cat(torque, dim=1).reshape(h, f, self.depth, -1).transpose(1, 2).reshape(h, self.depth * f, -1)
        return tips, torch.bmm(self.gain, angles).transpose(1, 2)

    def _sweep(self, q: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...], list[Tensor]]:
        """Tips (H, 5, B, 3), and of every level sine and cosine (H 5, 1, B) and the child's point by 1, sine and cosine (H 5, 9, B)."""
        h, f = self.count, len(FINGERS)
        angle = (torch.bmm(q, self.gain) + self.shift).reshape(h, -1, self.depth, f).permute(2, 0, 3, 1).reshape(self.depth * h * f, 1, -1)
        sine, cosine = torch.sin(angle).split(h * f), torch.cos(angle).split(h * f)
        point, places = self.tips, []
        for level in range(self.depth - 1, -1, -1):
            still = point if places else self.tips + 0.0 * sine[level]
            places.insert(0, torch.cat([still, sine[level] * still, cosine[level] * still], dim=1))
            point = torch.bmm(self.forth[level], places[0]) + self.offset[level]
        return point.reshape(h, f, 3, -1).transpose(2, 3), sine, cosine, places


def _chain(hand: LatentHand, tree: KinematicTree, finger: str) -> list[int]:
    """Rows of the joints from the root to a finger's tip."""
    if finger not in hand.target.fingers:
        return []
    joint, rows = tree.place(hand.target.kinematics.tips[hand.target.fingers.index(finger)]).joint, []
    while joint >= 0:
        if tree.prismatic[joint] or tree.four_bar[joint, 0]:
            name = tree.joints[joint]
            raise ConfigError(f"{hand.name}: joint {name!r} slides or hangs on a four-bar linkage; allowed: linear couplings of turning joints")
        rows.insert(0, joint)
        joint = int(tree.parent[joint])
    return rows


def _level(hand: LatentHand, tree: KinematicTree, row: int) -> tuple[Array, Array]:
    """(3, 3, 3) matrices A, B, C and (3,) offset of one joint; the first joint's lead to the palm's axes."""
    x, y, z = tree.axis[row]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    square = cross @ cross
    before, at = tree.rotation[row], tree.offset_m[row]
    if tree.parent[row] < 0:
        mirror = np.diag([1.0, 1.0 if hand.side == "right" else -1.0, 1.0])
        palm = mirror @ hand.target.palm.T
        before, at = palm @ before, palm @ at
    return np.stack([before @ m for m in (np.eye(3) + square, cross, -square)]), at


def pad_joints(hands: Sequence[LatentHand], values: Sequence[np.ndarray], fill: float) -> Tensor:
    """(H, width) one row per hand of its (n,) numbers, the rest ``fill``."""
    width = max(len(hand.joints) for hand in hands)
    return torch.tensor(np.stack([np.pad(np.asarray(v, np.float32), (0, width - len(v)), constant_values=fill) for v in values]))
