# SPDX-License-Identifier: Apache-2.0
"""One latent per chunk of 64 frames: a compressor of trajectories of frame latents, the same for every hand, around frozen frame networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dex_learn.latent.hand import LatentHand
from dex_learn.latent.net import LATENT_DIM, LatentNets, StackedMlp

FRAMES = 64
TERMS = 10
"""Cosines that a trajectory is made of: up to about five bends in a chunk."""
CHUNK_DIM = 96
HIDDEN = 256


def cosine_basis() -> Tensor:
    """(64, 10) orthonormal columns, a constant and ever faster cosines over the chunk."""
    at = (torch.arange(FRAMES) + 0.5) / FRAMES
    columns = torch.cos(math.pi * at[:, None] * torch.arange(TERMS)[None])
    return columns / columns.norm(dim=0, keepdim=True)


class Compressor(nn.Module):
    """(R, 64, 32) frame latents <-> (R, 96) chunk latents. It knows no hand: what it learned of some holds for all."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        width = TERMS * LATENT_DIM
        self.register_buffer("basis", cosine_basis())
        self.pack = StackedMlp(1, (width, HIDDEN, CHUNK_DIM), generator)
        self.unpack = StackedMlp(1, (CHUNK_DIM, HIDDEN, width), generator)

    def compress(self, frames: Tensor) -> Tensor:
        """(R, 64, 32) -> (R, 96)."""
        terms = torch.matmul(frames.transpose(1, 2), self.basis) * FRAMES**-0.5  # (R, 32, 10), about one
        return self.pack(terms.flatten(1)[None])[0]

    def expand(self, code: Tensor) -> Tensor:
        """(R, 96) -> (R, 64, 32)."""
        terms = self.unpack(code[None])[0].unflatten(1, (LATENT_DIM, TERMS)) * FRAMES**0.5
        return torch.matmul(terms, self.basis.T).transpose(1, 2)


class ChunkEncoder(nn.Module):
    """Joint positions (B, 64, n) [rad] of one hand -> chunk latent (B, 96)."""

    def __init__(self, nets: LatentNets, row: int, compressor: Compressor) -> None:
        super().__init__()
        self.nets, self.compressor = nets.cut(row), compressor

    def forward(self, q: Tensor) -> Tensor:
        """(B, 64, n) [rad] -> (B, 96)."""
        u = self.nets.normalise(q.flatten(0, 1)[None])
        z = self.nets.encode(u, self.nets.chains(self.nets.joints(u)))[0]
        return self.compressor.compress(z.unflatten(0, (-1, FRAMES)))


class ChunkDecoder(nn.Module):
    """Chunk latent (B, 96) -> joint positions (B, 64, n) [rad] of one hand, inside the limits whatever the latent."""

    def __init__(self, nets: LatentNets, row: int, compressor: Compressor) -> None:
        super().__init__()
        self.nets, self.compressor = nets.cut(row), compressor

    def forward(self, code: Tensor) -> Tensor:
        """(B, 96) -> (B, 64, n) [rad]."""
        nets = self.nets
        q = nets.joints(nets.unbounded(self.compressor.expand(code).flatten(0, 1)[None]).clamp(-1.0, 1.0))[0]
        return torch.minimum(torch.maximum(q, nets.low[0]), nets.high[0]).unflatten(0, (-1, FRAMES))


def trajectories(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(H, count, 64, n) smooth joint trajectories in [-1, 1]: through two to four postures of the pool (H, N, n), with rests where they turn."""
    picks = pool[:, torch.randint(pool.shape[1], (4 * count,), generator=generator)].unflatten(1, (count, 4))
    legs = torch.randint(1, 4, (count, 1), generator=generator).to(pool.dtype)
    start = torch.rand((count, 1), generator=generator) * (3.0 - legs)  # a chunk may begin in the middle of a movement
    at = start + legs * torch.linspace(0.0, 1.0, FRAMES)[None]
    before = at.floor().clamp(0.0, 2.0)
    eased = at - before
    eased = (eased * eased * (3.0 - 2.0 * eased)).to(pool.device)[None, :, :, None]
    index = before.long().to(pool.device)[None, :, :, None].expand(len(pool), -1, -1, pool.shape[-1])
    return torch.gather(picks, 2, index) * (1.0 - eased) + torch.gather(picks, 2, index + 1) * eased


def chunk_example(hand: LatentHand, rows: int) -> Tensor:
    """(rows, 64, n) joints in the middle of their ranges [rad]: to trace a graph with."""
    return torch.tensor(0.5 * (hand.low + hand.high)).expand(rows, FRAMES, -1).contiguous()
