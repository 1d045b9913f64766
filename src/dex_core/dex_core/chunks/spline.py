# SPDX-License-Identifier: Apache-2.0
"""Cubic interpolation of evenly spaced knots, by time; between two knots never outside their range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError
from dex_core.types import Array, frozen_array

NS = 1_000_000_000


class Point(NamedTuple):
    """A place on a trajectory: position (..., n) [rad], velocity (..., n) [rad/s], acceleration (..., n) [rad/s^2]."""

    position_rad: Array
    velocity_rad_s: Array
    acceleration_rad_s2: Array


class Spline:
    """T knots (T, n) at ``start_ns + k * dt_s``: Catmull-Rom tangents, flattened so that no segment leaves its knots' range.

    Before the first and after the last knot it stands still there.

    Args:
        start_ns: monotonic time of knot 0 [ns].
        dt_s: time between knots [s].
        knots_rad: (T, n), T >= 1 [rad].
    """

    def __init__(self, start_ns: int, dt_s: float, knots_rad: Array) -> None:
        self.knots_rad = frozen_array(knots_rad, (None, None), "spline knots")
        if not self.knots_rad.shape[0] or not 0.0 < dt_s < float("inf"):
            raise ShapeError(f"spline needs a knot and a positive dt_s, got {self.knots_rad.shape[0]} and {dt_s}")
        self.start_ns, self.dt_s = start_ns, dt_s
        self.end_ns = start_ns + round((self.knots_rad.shape[0] - 1) * dt_s * NS)
        self._still = np.zeros(self.knots_rad.shape[1])
        self._coefficients = _coefficients(self.knots_rad)

    @classmethod
    def resting(cls, at_ns: int, position_rad: Array) -> Spline:
        """Stands still at ``position_rad`` (n,) for ever; ``end_ns`` is ``at_ns``."""
        return cls(at_ns, 1.0, position_rad[None, :])

    def at(self, time_ns: int) -> Point:
        """The trajectory at one monotonic time [ns]: three arrays (n,)."""
        place = (time_ns - self.start_ns) / (self.dt_s * NS)
        if not 0.0 <= place < len(self._coefficients):
            edge = self.knots_rad[0] if place < 0.0 else self.knots_rad[-1]
            return Point(edge, self._still, self._still)
        k = int(place)
        u = place - k
        c0, c1, c2, c3 = self._coefficients[k]
        return Point(
            c0 + u * (c1 + u * (c2 + u * c3)),
            (c1 + u * (2.0 * c2 + 3.0 * u * c3)) / self.dt_s,
            (2.0 * c2 + 6.0 * u * c3) / (self.dt_s * self.dt_s),
        )

    def positions_at(self, times_ns: NDArray[np.int64]) -> Array:
        """Positions (k, n) [rad] at k monotonic times [ns], all at once."""
        last = len(self._coefficients)
        if not last:
            return np.repeat(self.knots_rad, len(times_ns), axis=0)
        place = np.clip((np.asarray(times_ns) - self.start_ns) / (self.dt_s * NS), 0.0, last)
        k = np.minimum(place.astype(np.intp), last - 1)
        u = (place - k)[:, None]
        c0, c1, c2, c3 = np.moveaxis(self._coefficients[k], 1, 0)  # each (k, n)
        return c0 + u * (c1 + u * (c2 + u * c3))

    def steps_before(self, time_ns: int) -> int:
        """How many knots lie before ``time_ns``."""
        place = (time_ns - self.start_ns) / (self.dt_s * NS)
        return int(np.clip(np.ceil(place), 0, len(self.knots_rad)))


def _coefficients(knots: Array) -> Array:
    """(T - 1, 4, n) polynomial coefficients in u = 0..1 of each segment, velocities per step."""
    slopes = np.diff(knots, axis=0)  # (T - 1, n)
    if not len(slopes):
        return np.zeros((0, 4, knots.shape[1]))
    tangents = np.empty_like(knots)
    tangents[0], tangents[-1] = slopes[0], slopes[-1]
    before, after = slopes[:-1], slopes[1:]
    bound = 3.0 * np.minimum(np.abs(before), np.abs(after))  # Fritsch-Carlson: |tangent| <= 3 |slope| on both sides is monotone
    bound[before * after <= 0.0] = 0.0  # an extremum stays at its knot
    tangents[1:-1] = np.clip(0.5 * (before + after), -bound, bound)
    start, end = tangents[:-1], tangents[1:]
    return np.stack([knots[:-1], start, 3.0 * slopes - 2.0 * start - end, start + end - 2.0 * slopes], axis=1)
