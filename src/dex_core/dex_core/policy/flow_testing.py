# SPDX-License-Identifier: Apache-2.0
"""A flow in closed form: chunks are one of several trajectories, give or take a little; nothing is learnt."""

from __future__ import annotations

import numpy as np

from dex_core.policy.flow import Floats
from dex_core.types import Array


class Mixture:
    """The velocity field from N(0, 1) to an equal mixture of N(mode, sigma^2), along straight conditional paths x_t = (1 - t) noise + t chunk.

    Given mode k, x_t is N(t m_k, s^2) with s^2 = (1 - t)^2 + t^2 sigma^2, and the mean velocity m_k + a (x - t m_k) with
    a = (t sigma^2 - (1 - t)) / s^2; the field is the mean of those over the modes' probabilities given x.

    Args:
        modes: (K, H, columns).
    """

    conditioned = False

    def __init__(self, modes: Array, sigma: float = 0.05, *, guides: bool = True) -> None:
        self.modes, self.guides, self._variance, self.calls = modes, guides, sigma * sigma, 0

    def velocity(self, x: Floats, times: Floats) -> Floats:
        """See Flow."""
        self.calls += 1
        _, _, _, velocity = self._at(x, float(times[0]))
        return velocity.astype(np.float32)

    def guided(self, x: Floats, times: Floats, target: Floats, weights: Floats) -> Floats:
        """See Flow."""
        time = float(times[0])
        slope, share, modal, velocity = self._at(x, time)
        denoised = x + (1.0 - time) * velocity
        error = weights[:, None].astype(np.float64) * (target - denoised)
        pulls = -(x - time * self.modes) / ((1.0 - time) ** 2 + time**2 * self._variance)  # gradient of the log of each mode's density
        pulls -= np.tensordot(share, pulls, 1)
        along = share * np.tensordot(modal, error, 2)
        through_velocity = slope * error + np.tensordot(along, pulls, 1)
        return (velocity + error + (1.0 - time) * through_velocity).astype(np.float32)

    def mode_of(self, x: Floats) -> int:
        """Which trajectory a chunk is."""
        return int(np.argmin([np.linalg.norm(x - mode) for mode in self.modes]))

    def _at(self, x: Array, time: float) -> tuple[float, Array, Array, Array]:
        """Slope of each mode's velocity, the modes' probabilities (K,), their velocities (K, H, columns), and the field (H, columns)."""
        variance = (1.0 - time) ** 2 + time**2 * self._variance
        slope = (time * self._variance - (1.0 - time)) / variance
        off = x.astype(np.float64) - time * self.modes
        log = -0.5 * (off**2).sum(axis=(1, 2)) / variance
        share = np.exp(log - log.max())
        share /= share.sum()
        modal = self.modes + slope * off
        return slope, share, modal, np.tensordot(share, modal, 1)


def around_an_obstacle(horizon: int = 16) -> Array:
    """(2, H, 2): forward, and past something in the way on its left or on its right."""
    along = np.linspace(0.0, 1.0, horizon)
    aside = np.sin(np.pi * along)
    return np.stack([np.stack([2.0 * along - 1.0, side * aside], axis=1) for side in (1.0, -1.0)])
