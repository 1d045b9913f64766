# SPDX-License-Identifier: Apache-2.0
"""The policy, XL-VLA's shape in small: picture, words, previous latent chunk and arm joints -> the next chunk of 64 steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.config import CellConfig
from dex_core.text import BUCKETS
from dex_learn.arm_chain import MIRROR, ArmChain, check_mirror
from dex_learn.latents import LATENT_DIM
from dex_learn.records import HAND_STEPS, PREVIOUS_STEPS
from dex_learn.vision_net import VisionNet

STEPS, ARM_JOINTS = 64, 14
WIDTH, BLOCKS, WORDS = 320, 3, 24
SCENE = 33


@dataclass(frozen=True)
class ChunkBasis:
    """Constants of the output, made from the training labels; right arms count mirrored.

    Attributes:
        arm: (K, 64) temporal modes of an arm joint's motion away from where it is now.
        arm_scale: (K, 7) size of each mode's coefficient [rad].
        hand_mean, hand_std: (32,) of the labels' latents.
        joint_mean, joint_std: (7,) of the measured arm joints [rad].
    """

    arm: np.ndarray
    arm_scale: np.ndarray
    hand_mean: np.ndarray
    hand_std: np.ndarray
    joint_mean: np.ndarray
    joint_std: np.ndarray

    @staticmethod
    def fit(joints: np.ndarray, arms: np.ndarray, latents: np.ndarray, modes: int = 12) -> ChunkBasis:
        """From (N, 14) measured joints, (N, 64, 14) labels [rad] and (M, 32) label latents."""
        mirror = np.concatenate([np.ones(7), MIRROR])
        own = (joints * mirror).reshape(-1, 7)
        motion = ((arms - joints[:, None]) * mirror).transpose(0, 2, 1).reshape(-1, 7, STEPS)  # (2 N, 7, 64)
        flat = motion.reshape(-1, STEPS).astype(np.float64)
        _, vectors = np.linalg.eigh(flat.T @ flat)
        basis = vectors[:, ::-1][:, :modes].T  # (K, 64), orthonormal
        scale = np.sqrt(np.mean((motion @ basis.T) ** 2, axis=0)).T + 0.02  # (K, 7)
        return ChunkBasis(basis, scale, latents.mean(axis=0), latents.std(axis=0) + 0.02, own.mean(axis=0), own.std(axis=0) + 0.05)


def interpolation(steps: tuple[int, ...]) -> np.ndarray:
    """(len(steps), 64) weights of the linear interpolation between values at ``steps``."""
    eye = np.eye(len(steps))
    return np.stack([np.interp(np.arange(STEPS), steps, row) for row in eye])


class Trunk(nn.Module):
    """Cans, arm joints, words and previous latents -> chunk.

    One network serves both arms: the right one sees the scene in the mirror. It knows where the hand is, because the arm's kinematics
    are constants inside, and how the hand lies to the line through the two cans.
    """

    def __init__(self, cell: CellConfig, basis: ChunkBasis) -> None:
        super().__init__()
        check_mirror(cell)
        self.chain = ArmChain(cell, "left")
        for name in ("arm", "arm_scale", "hand_mean", "hand_std", "joint_mean", "joint_std"):
            self.register_buffer(name, torch.tensor(np.ascontiguousarray(getattr(basis, name)), dtype=torch.float32))
        self.register_buffer("between", torch.tensor(interpolation(HAND_STEPS), dtype=torch.float32))  # (8, 64)
        self.register_buffer("mirror", torch.tensor([[1.0] * 7, list(MIRROR)]))  # (2, 7)
        self.register_buffer("flip", torch.tensor([[1.0, 1.0], [1.0, -1.0]]))  # (2, 2): x, y per side
        self.words = nn.Embedding(BUCKETS, WORDS)
        self.look_back = nn.Sequential(nn.Linear(len(PREVIOUS_STEPS) * LATENT_DIM, 32), nn.SiLU(), nn.Linear(32, 16))
        self.enter = nn.Linear(SCENE + 7 + WORDS + 16, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(BLOCKS)
        )
        self.leave = nn.LayerNorm(WIDTH)
        self.to_arms = nn.Linear(WIDTH, basis.arm.shape[0] * 7)
        self.to_hands = nn.Linear(WIDTH, len(HAND_STEPS) * LATENT_DIM)

    def read_words(self, tokens: Tensor) -> Tensor:
        """(B, 24) ids, 0 pads -> (B, 24) mean of the words' vectors."""
        there = (tokens > 0).to(torch.float32).unsqueeze(-1)
        return (self.words(tokens) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)

    def mirrored(self, joints: Tensor) -> Tensor:
        """(B, 14) [rad] -> (2 B, 7), rows left, right, left, ...; the right arm as the left one would stand in the mirror."""
        return (joints.reshape(-1, 2, 7) * self.mirror).reshape(-1, 7)

    def scene(self, cans: Tensor, own_joints: Tensor) -> Tensor:
        """How the hand, its can and the other can lie to each other, in units of 10 to 20 cm: (2 B, 33)."""
        pair = cans.reshape(-1, 2, 2)
        own = (pair * self.flip).reshape(-1, 2)
        other = (torch.flip(pair, [1]) * self.flip).reshape(-1, 2)
        pose = self.chain(own_joints)
        place, turn = pose[:, :3, 3], pose[:, :2, :3]
        line = own - other
        length = torch.sqrt(line.square().sum(dim=1, keepdim=True) + 1e-6)
        away = line / length
        beside = torch.stack([-away[:, 1], away[:, 0]], dim=1)
        offset = place[:, :2] - own
        along = torch.stack([(offset * away).sum(dim=1), (offset * beside).sum(dim=1)], dim=1)
        heading = torch.cat([(turn * away.unsqueeze(2)).sum(dim=1), (turn * beside.unsqueeze(2)).sum(dim=1)], dim=1)  # (2 B, 6)
        middle = 0.5 * (own + other)
        return torch.cat(
            [5.0 * own, 5.0 * other, 5.0 * place, 10.0 * place[:, 2:], turn.flatten(1), 8.0 * offset, 8.0 * along, heading, away, 5.0 * length,
             5.0 * middle, 5.0 * (place[:, :2] - middle), length.reciprocal() * 0.1, offset.square().sum(dim=1, keepdim=True) * 20.0], dim=1
        )

    def forward(self, cans: Tensor, tokens: Tensor, joints: Tensor, previous: Tensor) -> Tensor:
        """(B, 4) [m], (B, 24), (B, 14) [rad], (B, 2, 4, 32) latents at ``PREVIOUS_STEPS`` -> (B, 64, 78)."""
        arms, hands = self.knots(cans, tokens, joints, previous)
        latents = (hands.permute(0, 1, 3, 2) @ self.between).permute(0, 3, 1, 2).flatten(2)  # (B, 64, 64)
        return torch.cat([arms, latents], dim=2)

    def knots(self, cans: Tensor, tokens: Tensor, joints: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """The chunk as training compares it: arms (B, 64, 14) [rad], latents (B, 2, 8, 32) at ``HAND_STEPS``."""
        own = self.mirrored(joints)
        back = self.look_back(previous.flatten(2)).reshape(-1, 16)
        said = self.read_words(tokens).unsqueeze(1).expand(-1, 2, -1).reshape(-1, WORDS)
        x = self.enter(torch.cat([self.scene(cans, own), (own - self.joint_mean) / self.joint_std, said, back], dim=1))
        for block in self.blocks:
            x = x + block(x)
        x = self.leave(x)
        modes = self.to_arms(x).reshape(-1, *self.arm_scale.shape) * self.arm_scale  # (2 B, K, 7)
        motion = (self.arm.transpose(0, 1) @ modes).reshape(-1, 2, STEPS, 7) * self.mirror.unsqueeze(1)
        arms = joints.unsqueeze(1) + motion.permute(0, 2, 1, 3).flatten(2)
        hands = self.to_hands(x).reshape(-1, 2, len(HAND_STEPS), LATENT_DIM) * self.hand_std + self.hand_mean
        return arms, hands


class PushCansPolicy(nn.Module):
    """The whole graph: what is exported."""

    def __init__(self, vision: VisionNet, trunk: Trunk) -> None:
        super().__init__()
        self.vision, self.trunk = vision, trunk
        self.register_buffer("picked", torch.tensor(PREVIOUS_STEPS))

    def forward(self, image: Tensor, tokens: Tensor, joints: Tensor, previous_latents: Tensor) -> Tensor:
        """``image`` (B, 224, 224, 3) uint8, ``tokens`` (B, 24), ``joints`` (B, 14) [rad], ``previous_latents`` (B, 2, 64, 32) -> (B, 64, 78)."""
        cans = self.vision(image)
        return self.trunk(cans, tokens, joints, previous_latents.index_select(2, self.picked))


__all__ = ["ARM_JOINTS", "STEPS", "ChunkBasis", "PushCansPolicy", "Trunk", "interpolation"]
