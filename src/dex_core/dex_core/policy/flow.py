# SPDX-License-Identifier: Apache-2.0
"""From noise to a chunk: Euler steps along a learnt flow, bound to the chunk before where there is one.

Three ways to mind the chunk before, by what the flow can do:

- it cannot: plain sampling;
- guided: real-time chunking, arXiv 2506.07339: every step is pulled by the vector-Jacobian product of the denoiser;
- conditioned: Black, Ren, Equi and Levine, "Training-Time Action Conditioning for Efficient Real-Time Chunking", arXiv 2512.05964: the flow was
  trained with a time of its own for every row of the chunk; frozen rows stand at their place with time 1.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError
from dex_core.policy.flow_guidance import Before, Guidance, guidance_weight, prefix_weights

Floats = NDArray[np.float32]
PAPER = Guidance()


class Flow(Protocol):
    """A learnt velocity field over chunks, for one observation; time 0 is noise, time 1 the chunk.

    Attributes:
        guides: ``guided`` may be called.
        conditioned: it minds a time of each row; otherwise all rows of ``times`` are equal.
    """

    guides: bool
    conditioned: bool

    def velocity(self, x: Floats, times: Floats) -> Floats:
        """(H, columns) velocity at ``x`` (H, columns) and ``times`` (H,)."""
        ...

    def guided(self, x: Floats, times: Floats, target: Floats, weights: Floats) -> Floats:
        """Velocity plus the product of ``weights`` (H,) times (``target`` - denoised x) with the Jacobian of the denoised x by x."""
        ...


class Sampled(NamedTuple):
    """A chunk in the flow's own numbers.

    Attributes:
        actions: (H, columns); frozen rows are those of the chunk before, exactly.
        missed: how far the frozen rows came out from that, at most, before they were put there; 0 without any.
    """

    actions: Floats
    missed: float


def sample(flow: Flow, noise: Floats, steps: int, before: Before | None = None, guidance: Guidance = PAPER) -> Sampled:
    """Follows the flow from ``noise`` (H, columns) in so many Euler steps.

    A flow that neither guides nor is conditioned does not mind ``before``, and nor does one whose weights are all zero: it is then the plain
    sampler, bit for bit.

    Raises:
        ShapeError: no step, or a chunk before of another shape.
    """
    if steps < 1:
        raise ShapeError(f"{steps} Euler steps; at least 1 is needed")
    if before is not None and before.actions.shape != noise.shape:
        raise ShapeError(f"the chunk before is {before.actions.shape}, the noise {noise.shape}")
    x, dt = np.array(noise, dtype=np.float32), np.float32(1.0 / steps)
    if before is not None and flow.conditioned:
        return _conditioned(flow, x, dt, steps, before)
    weights = np.zeros(len(x)) if before is None or not flow.guides else prefix_weights(before, guidance.decay)
    if before is None or not weights.any():
        for k in range(steps):
            x = x + dt * flow.velocity(x, np.full(len(x), k / steps, np.float32))
        return Sampled(x, 0.0)
    target = _target(before)
    for k in range(steps):
        pull = (guidance_weight(k / steps, guidance.cap) * weights).astype(np.float32)
        x = x + dt * flow.guided(x, np.full(len(x), k / steps, np.float32), target, pull)
    held = target[: before.frozen]
    missed = float(np.max(np.abs(x[: before.frozen] - held), initial=0.0))
    x[: before.frozen] = held
    return Sampled(x, missed)


def _conditioned(flow: Flow, x: Floats, dt: np.float32, steps: int, before: Before) -> Sampled:
    held = _target(before)[: before.frozen]
    x[: before.frozen] = held
    for k in range(steps):
        times = np.full(len(x), k / steps, np.float32)
        times[: before.frozen] = 1.0
        x = x + dt * flow.velocity(x, times)
        x[: before.frozen] = held
    return Sampled(x, 0.0)


def _target(before: Before) -> Floats:
    """What guides, in the flow's own precision; nothing where nothing is known."""
    target = before.actions.astype(np.float32)
    target[before.known :] = 0.0
    return target
