# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking of flow policies: which steps of the chunk before bind the next one, and how strongly.

Black, Galliker and Levine, "Real-Time Execution of Action Chunking Flow Policies", arXiv 2506.07339: equations 2 to 5 and algorithm 1. Its
names: H the horizon, d the frozen steps (they are executed before the new chunk can arrive), s the steps that are executed between two
chunks; the two chunks overlap in H - s steps, and d <= s <= H - d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dex_core.bundle.flow import DECAYS
from dex_core.errors import ShapeError
from dex_core.types import Array, frozen_array


@dataclass(frozen=True)
class Guidance:
    """How the overlap guides.

    Attributes:
        decay: of the weights beyond the frozen steps: ``exponential`` (equation 5) or ``linear``, from 1 to 0 at the end of the overlap;
            ``ones``, all of it binds; ``zeros``, the frozen steps alone do.
        cap: largest guidance weight, beta of equation 2. With as much as there are Euler steps (the paper has 5 of 5) the last step closes what
            is left of the gap; with half of it a flow with two modes leaves the committed one now and then.
    """

    decay: str = "exponential"
    cap: float = 10.0

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise ShapeError(f"decay is {self.decay!r}; allowed: {list(DECAYS)}")
        if not 0.0 <= self.cap < math.inf:
            raise ShapeError(f"guidance cap is {self.cap}; it must be finite and not negative")


@dataclass(frozen=True)
class Before:
    """The chunk before, row by row as the one to come would have to say it.

    Attributes:
        actions: (H, columns) in the flow's own, normalised, numbers; rows from ``known`` on mean nothing.
        frozen: d: the first rows, which will be executed whatever the new chunk says.
        known: H - s: rows that the chunk before says anything about.
    """

    actions: Array
    frozen: int
    known: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", frozen_array(self.actions, (None, None), "the chunk before"))
        horizon = len(self.actions)
        if not 0 <= self.frozen <= self.known <= horizon - self.frozen:
            raise ShapeError(
                f"{self.frozen} steps of {horizon} are frozen and {self.known} known; expected 0 <= frozen <= known <= horizon - frozen, "
                "that is d <= s <= H - d"
            )

    @staticmethod
    def shifted(actions: Array, by_steps: float, frozen: int) -> Before:
        """From the (H, columns) chunk before itself, whose row 0 lies ``by_steps`` steps before row 0 of the chunk to come.

        Between rows it is interpolated. As many rows are left free at the end as are frozen at the beginning, even where the chunk before
        says something about them.

        Raises:
            ShapeError: it does not reach over the frozen steps.
        """
        horizon = len(actions)
        if not 0.0 <= by_steps < math.inf:
            raise ShapeError(f"the chunk before begins {by_steps} steps earlier; it must be 0 or more")
        known = max(0, min(horizon - math.ceil(by_steps), horizon - frozen))
        where = np.minimum(np.arange(horizon) + by_steps, horizon - 1.0)
        low = np.minimum(where.astype(int), max(0, horizon - 2))
        share = (where - low)[:, None]
        moved = (1.0 - share) * actions[low] + share * actions[np.minimum(low + 1, horizon - 1)]
        return Before(moved, frozen, known)


def prefix_weights(before: Before, decay: str) -> Array:
    """(H,) how much each row is held to the chunk before: W of equation 5; 1 where frozen, 0 where nothing is known."""
    rows = np.arange(len(before.actions))
    if decay == "ones":
        soft = np.ones(len(rows))
    elif decay == "zeros":
        soft = np.zeros(len(rows))
    else:
        soft = np.clip((before.known - rows) / (before.known - before.frozen + 1.0), 0.0, 1.0)
        if decay == "exponential":
            soft = soft * np.expm1(soft) / math.expm1(1.0)
    return np.where(rows < before.frozen, 1.0, np.where(rows < before.known, soft, 0.0))


def guidance_weight(time: float, cap: float) -> float:
    """min(beta, (1 - t) / (t r^2)) with r^2 = (1 - t)^2 / (t^2 + (1 - t)^2), equations 2 and 4; ``time`` t: 0 is noise, 1 the chunk."""
    if time <= 0.0 or time >= 1.0:
        return cap
    return min(cap, (time * time + (1.0 - time) * (1.0 - time)) / (time * (1.0 - time)))
