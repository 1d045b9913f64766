# SPDX-License-Identifier: Apache-2.0
"""A hand's encoder and decoder in XL-VLA's shape (32-d latent, MLP 64-128-64 with LayerNorm), trained by reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.config import RobotConfig
from dex_core.errors import ShapeError
from dex_learn.progress import progress

LATENT_DIM = 32
MAX_LATENT = 20.0
OVERSHOOT = 1.1


@dataclass(frozen=True)
class LatentTraining:
    """How a latent space is trained.

    Attributes:
        steps, batch: optimiser steps and joint vectors per step.
        learning_rate: AdamW's first rate; falls to zero along a cosine.
        latent_noise: standard deviation of the noise on the latent before decoding: makes the space smooth.
        kl_weight: weight of KL(N(mean, noise) || N(0, 1)); keeps the latent's scale near one.
        edge_share: share of the samples whose joints are pushed onto a limit, so fully open and closed hands decode exactly.
        seed: of weights and samples.
    """

    steps: int = 6000
    batch: int = 512
    learning_rate: float = 2e-3
    latent_noise: float = 0.05
    kl_weight: float = 1e-5
    edge_share: float = 0.3
    seed: int = 1


def inner_limits(lower_rad: Sequence[float], upper_rad: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The limits as float32, rounded inwards, so no float32 between them breaks the float64 limit. Shapes (n,), (n,) [rad]."""
    low64, high64 = np.asarray(lower_rad, dtype=np.float64), np.asarray(upper_rad, dtype=np.float64)
    if low64.shape != high64.shape or low64.ndim != 1 or not (low64 < high64).all():
        raise ShapeError(f"limits must be two vectors with lower < upper, got {list(low64)} and {list(high64)}")
    low, high = low64.astype(np.float32), high64.astype(np.float32)
    low = np.where(low.astype(np.float64) < low64, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high.astype(np.float64) > high64, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high


def _mlp(sizes: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU()]
    return layers


class HandEncoder(nn.Module):
    """Joint positions (B, n) [rad] -> latent (B, 32). Values beyond the limits are read as the limit."""

    def __init__(self, lower_rad: np.ndarray, upper_rad: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(lower_rad))
        self.register_buffer("span", torch.tensor(upper_rad - lower_rad))
        self.body = nn.Sequential(*_mlp((len(lower_rad), 64, 128, 64)), nn.Linear(64, LATENT_DIM))

    def normalise(self, q: Tensor) -> Tensor:
        """(B, n) [rad] -> (B, n) in [-1, 1]."""
        return (2.0 * (q - self.low) / self.span - 1.0).clamp(-1.0, 1.0)

    def forward(self, q: Tensor) -> Tensor:
        """(B, n) [rad] -> (B, 32)."""
        return self.body(self.normalise(q))


class HandDecoder(nn.Module):
    """Latent (B, 32) -> joint positions (B, n) [rad], inside the limits whatever the latent.

    The last layer is a tanh stretched by a tenth and cut at one, so a limit itself is reached without an endless pre-activation.
    """

    def __init__(self, lower_rad: np.ndarray, upper_rad: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(lower_rad))
        self.register_buffer("high", torch.tensor(upper_rad))
        self.body = nn.Sequential(*_mlp((LATENT_DIM, 64, 128, 64)), nn.Linear(64, len(lower_rad)))

    def stretched(self, z: Tensor) -> Tensor:
        """(B, 32) -> (B, n) in [-1.1, 1.1]: what training compares."""
        return OVERSHOOT * torch.tanh(self.body(z.clamp(-MAX_LATENT, MAX_LATENT)))

    def forward(self, z: Tensor) -> Tensor:
        """(B, 32) -> (B, n) [rad]."""
        u = self.stretched(z).clamp(-1.0, 1.0)
        q = self.low + (u + 1.0) * 0.5 * (self.high - self.low)
        return torch.minimum(torch.maximum(q, self.low), self.high)


@dataclass(frozen=True)
class HandCodec:
    """A trained pair, in eval mode, and the joints it speaks of (hardware order, no side prefix)."""

    names: tuple[str, ...]
    encoder: HandEncoder
    decoder: HandDecoder


def build_codec(robot: RobotConfig) -> HandCodec:
    """An untrained pair for one hand; limits and names from its configuration."""
    limits = [robot.limits[j] for j in robot.actuated]
    low, high = inner_limits([x.lower_rad for x in limits], [x.upper_rad for x in limits])
    return HandCodec(tuple(robot.actuated), HandEncoder(low, high), HandDecoder(low, high))


def sample_joints(codec: HandCodec, count: int, generator: torch.Generator, edge_share: float) -> Tensor:
    """(count, n) [rad] uniform inside the limits; a share of the rows has each joint on a limit with probability one half."""
    n = len(codec.names)
    u = torch.rand((count, n), generator=generator)
    edge = torch.rand((count, 1), generator=generator) < edge_share
    onto = torch.rand((count, n), generator=generator) < 0.5
    u = torch.where(edge & onto, u.round(), u)
    return codec.decoder.low + u * (codec.decoder.high - codec.decoder.low)


def train_codec(robot: RobotConfig, training: LatentTraining) -> tuple[HandCodec, list[float]]:
    """Trains one hand's encoder and decoder by reconstruction; no demonstrations are used.

    Returns:
        The pair in eval mode, and the loss every 100 steps (mean squared error of normalised joints).
    """
    torch.manual_seed(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    codec = build_codec(robot)
    parameters = [*codec.encoder.parameters(), *codec.decoder.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    curve: list[float] = []
    with progress(f"{robot.name} latent space", training.steps) as show:
        for step in range(training.steps):
            loss = _train_step(codec, training, generator, optimiser)
            schedule.step()
            if step % 100 == 0 or step + 1 == training.steps:
                curve.append(loss)
                show(step + 1, f"reconstruction {loss:.2e}")
    codec.encoder.eval()
    codec.decoder.eval()
    return codec, curve


def _train_step(codec: HandCodec, training: LatentTraining, generator: torch.Generator, optimiser: torch.optim.Optimizer) -> float:
    q = sample_joints(codec, training.batch, generator, training.edge_share)
    u = codec.encoder.normalise(q)
    mean = codec.encoder(q)
    z = mean + training.latent_noise * torch.randn(mean.shape, generator=generator)
    reconstruction = (codec.decoder.stretched(z) - u).square().mean()
    kl = 0.5 * mean.square().sum(dim=1).mean()  # the noise is fixed, so only the mean's part moves
    loss = reconstruction + training.kl_weight * kl
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return float(reconstruction.detach())
