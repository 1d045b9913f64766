# SPDX-License-Identifier: Apache-2.0
"""The policy's trunk and the whole graph: objects, measured tool poses, words and previous hand codes -> the next chunk of 64 steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.text import BUCKETS
from dex_learn.policy.layout import HAND_STEPS, PREVIOUS_STEPS, STEPS
from dex_learn.policy.scene import FEATURES, Scene
from dex_learn.policy.vision import VisionNet

WIDTH, BLOCKS, WORDS, MEMORY = 256, 3, 24, 24


@dataclass(frozen=True)
class ChunkBasis:
    """Constants of the output, made from the training labels; right sides count mirrored.

    Attributes:
        modes: (K, 64) temporal modes of a tool's motion away from where it is now.
        scale: (K, 4) size of each mode's coefficient, x, y, z [m], yaw [rad].
        code_mean, code_std: (D,) of the labels' hand codes.
    """

    modes: np.ndarray
    scale: np.ndarray
    code_mean: np.ndarray
    code_std: np.ndarray

    @staticmethod
    def fit(tools: np.ndarray, paths: np.ndarray, codes: np.ndarray, used: np.ndarray | None = None, modes: int = 16) -> ChunkBasis:
        """From (N, 2, 4) measured tool poses, (N, 64, 2, 4) labels and (M, D) label codes, of which ``used`` (M, D) count."""
        motion = motions(tools, paths).transpose(0, 2, 3, 1).reshape(-1, 4, STEPS)  # (2 N, 4, 64)
        flat = (motion * np.array([1.0, 1.0, 1.0, 0.2])[:, None]).reshape(-1, STEPS).astype(np.float64)
        _, vectors = np.linalg.eigh(flat.T @ flat)
        basis = vectors[:, ::-1][:, :modes].T  # (K, 64), orthonormal
        scale = np.sqrt(np.mean((motion @ basis.T) ** 2, axis=0)).T + np.array([0.003, 0.003, 0.003, 0.01])  # (K, 4)
        weight = np.ones(codes.shape) if used is None else used.astype(float)
        count = np.maximum(weight.sum(axis=0), 1.0)
        mean = (weight * codes).sum(axis=0) / count
        std = np.sqrt((weight * (codes - mean) ** 2).sum(axis=0) / count) + 0.02
        return ChunkBasis(basis, scale, mean, std)


def motions(tools: np.ndarray, paths: np.ndarray) -> np.ndarray:
    """(N, 64, 2, 4) motion of (N, 64, 2, 4) paths away from (N, 2, 4) poses; the right side mirrored; turns the short way round, then unwrapped."""
    moved = paths - tools[:, None]
    first = (moved[:, :1, :, 3] + np.pi) % (2.0 * np.pi) - np.pi
    moved[..., 3] = np.unwrap(np.concatenate([first, moved[..., 3]], axis=1), axis=1)[:, 1:]
    return moved * np.array([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0]])


def interpolation(steps: tuple[int, ...]) -> np.ndarray:
    """(len(steps), 64) weights of the linear interpolation between values at ``steps``."""
    eye = np.eye(len(steps))
    return np.stack([np.interp(np.arange(STEPS), steps, row) for row in eye])


class Trunk(nn.Module):
    """Objects, tool poses, words and previous codes -> tool poses and hand codes.

    One network serves both sides: the right one sees the scene in the mirror, and codes of left hands mean mirrored poses. It knows
    neither arm nor hand.
    """

    def __init__(self, basis: ChunkBasis) -> None:
        super().__init__()
        for name in ("modes", "scale", "code_mean", "code_std"):
            self.register_buffer(name, torch.tensor(np.ascontiguousarray(getattr(basis, name)), dtype=torch.float32))
        self.dim = int(self.code_mean.shape[0])
        self.scene = Scene()
        self.register_buffer("between", torch.tensor(interpolation(HAND_STEPS), dtype=torch.float32))  # (13, 64)
        self.register_buffer("mirror", torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0]]))  # (2, 4)
        self.words = nn.Embedding(BUCKETS, WORDS)
        self.look_back = nn.Sequential(nn.Linear(len(PREVIOUS_STEPS) * self.dim, 64), nn.SiLU(), nn.Linear(64, MEMORY))
        self.enter = nn.Linear(FEATURES + WORDS + MEMORY, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(BLOCKS)
        )
        self.leave = nn.LayerNorm(WIDTH)
        self.to_path = nn.Linear(WIDTH, self.scale.numel())
        self.to_codes = nn.Linear(WIDTH, len(HAND_STEPS) * self.dim)

    def read_words(self, tokens: Tensor) -> Tensor:
        """(B, 24) ids, 0 pads -> (B, 24) mean of the words' vectors."""
        there = (tokens > 0).to(torch.float32).unsqueeze(-1)
        return (self.words(tokens) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)

    def forward(self, objects: Tensor, there: Tensor, tools: Tensor, tokens: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The chunk as training compares it.

        Args:
            objects, there: (B, 5, 3) [m] and (B, 5). tools: (B, 2, 5) x, y, z [m], cos yaw, sin yaw. tokens: (B, 24).
            previous: (B, 2, 6, D) codes of the chunk before at ``PREVIOUS_STEPS``.

        Returns:
            Places (B, 64, 2, 3) [m], headings (B, 64, 2, 2) cos and sin of the yaw, codes (B, 2, 13, D) at ``HAND_STEPS``.
        """
        back = self.look_back(((previous - self.code_mean) / self.code_std).clamp(-6.0, 6.0).flatten(2)).reshape(-1, MEMORY)
        said = self.read_words(tokens).unsqueeze(1).expand(-1, 2, -1).reshape(-1, WORDS)
        x = self.enter(torch.cat([self.scene(objects, there, tools), said, back], dim=1))
        for block in self.blocks:
            x = x + block(x)
        x = self.leave(x)
        modes = self.to_path(x).reshape(-1, *self.scale.shape) * self.scale  # (2 B, K, 4)
        motion = (self.modes.transpose(0, 1) @ modes).reshape(-1, 2, STEPS, 4) * self.mirror.unsqueeze(1)
        motion = motion.permute(0, 2, 1, 3)  # (B, 64, 2, 4)
        cosine, sine = torch.cos(motion[..., 3]), torch.sin(motion[..., 3])
        c, s = tools[:, None, :, 3], tools[:, None, :, 4]
        heading = torch.stack([c * cosine - s * sine, s * cosine + c * sine], dim=-1)
        codes = self.to_codes(x).reshape(-1, 2, len(HAND_STEPS), self.dim) * self.code_std + self.code_mean
        return tools[:, None, :, :3] + motion[..., :3], heading, codes


class TabletopPolicy(nn.Module):
    """The whole graph: what is exported."""

    def __init__(self, vision: VisionNet, trunk: Trunk) -> None:
        super().__init__()
        self.vision, self.trunk = vision, trunk
        self.register_buffer("picked", torch.tensor(PREVIOUS_STEPS))

    def forward(self, image: Tensor, tokens: Tensor, poses: Tensor, previous_latents: Tensor) -> Tensor:
        """One chunk.

        Args:
            image: (B, 224, 224, 3) uint8. tokens: (B, 24).
            poses: (B, 18) measured poses of the two grasp frames in ``world``, 9 columns each.
            previous_latents: (B, 2, 64, D) hand codes of the chunk before.

        Returns:
            (B, 64, 18 + 2 D): left pose 9, right pose 9 (orthonormal columns, fingers down), left codes, right codes.
        """
        tools = tools_of(poses)
        objects, there = self.vision(image, tools)
        place, heading, codes = self.trunk(objects, there, tools, tokens, previous_latents.index_select(2, self.picked))
        c, s = heading[..., :1], heading[..., 1:]
        zero = 0.0 * c
        columns = torch.cat([place, c, s, zero, s, -c, zero], dim=-1).flatten(2)  # (B, 64, 18)
        codes = (codes.permute(0, 1, 3, 2) @ self.trunk.between).permute(0, 3, 1, 2).flatten(2)  # (B, 64, 2 D)
        return torch.cat([columns, codes], dim=2)


def tools_of(poses: Tensor) -> Tensor:
    """(B, 18) pose columns -> (B, 2, 5) place and heading; a hand's tilt is dropped."""
    pose = poses.reshape(-1, 2, 9)
    heading = pose[..., 3:5]
    heading = heading / torch.sqrt(heading.square().sum(dim=-1, keepdim=True) + 1e-9)
    return torch.cat([pose[..., :3], heading], dim=-1)
