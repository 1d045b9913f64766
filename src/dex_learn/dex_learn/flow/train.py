# SPDX-License-Identifier: Apache-2.0
"""Training of a flow: straight paths from noise to chunks (flow matching), if wanted with delays simulated, so that it continues a chunk itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Show = Callable[[float, str], None]


@dataclass(frozen=True)
class FlowTraining:
    """Numbers of one training.

    Attributes:
        steps, batch, rate: of Adam; the rate falls to nothing along a cosine.
        longest_delay: with a time of each row, so many first rows at most are given as they are; how many is drawn evenly (arXiv 2512.05964,
            section III). 0: none, one time for all rows.
        seed: of batches, noise, times and delays.
    """

    steps: int = 2000
    batch: int = 64
    rate: float = 1e-3
    longest_delay: int = 0
    seed: int = 0


def flow_loss(step: nn.Module, features: Tensor, chunk: Tensor, rng: torch.Generator, longest_delay: int = 0) -> Tensor:
    """Mean squared error of the velocity (), over the rows that are not given.

    Args:
        step: (x, time, features) -> velocity; it takes a time of each row exactly when ``longest_delay`` is above 0.
        features, chunk: (B, width) and (B, H, columns), normalised.
        rng: of noise, times and delays.
    """
    batch, horizon, _ = chunk.shape
    noise, time = torch.randn(chunk.shape, generator=rng), torch.rand(batch, generator=rng)
    if not longest_delay:
        x = noise + time[:, None, None] * (chunk - noise)
        return (step(x, time, features) - (chunk - noise)).square().mean()
    delay = torch.randint(0, longest_delay + 1, (batch,), generator=rng)
    given = torch.arange(horizon)[None] < delay[:, None]
    times = torch.where(given, 1.0, time[:, None])
    x = noise + times[:, :, None] * (chunk - noise)
    error = (step(x, times, features) - (chunk - noise)).square().mean(dim=2)
    return error[~given].mean()


def train_flow(
    prefix: nn.Module, step: nn.Module, seen: Tensor, chunks: Tensor, settings: FlowTraining, show: Show = lambda done, note: None,
) -> list[float]:
    """Trains both in place; returns the loss of every hundredth step.

    Args:
        seen, chunks: (N, observed) and (N, H, columns), normalised.
        show: (step, note) now and then.
    """
    rng = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.Adam([*prefix.parameters(), *step.parameters()], settings.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    prefix.train()
    step.train()
    curve, recent = [], []
    for number in range(1, settings.steps + 1):
        rows = torch.randint(len(seen), (settings.batch,), generator=rng)
        loss = flow_loss(step, prefix(seen[rows]), chunks[rows], rng, settings.longest_delay)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*prefix.parameters(), *step.parameters()], 1.0)
        optimiser.step()
        falling.step()
        recent.append(float(loss.detach()))
        if number % 100 == 0 or number == settings.steps:
            curve.append(sum(recent) / len(recent))
            recent = []
            show(number, f"loss {curve[-1]:.4f}")
    prefix.eval()
    step.eval()
    return curve
