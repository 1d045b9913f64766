# SPDX-License-Identifier: Apache-2.0
"""Absolute actions <-> differences. Made anew for each observation, from what was measured in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError
from dex_core.types import Array, frozen_array


@dataclass(frozen=True, eq=False)
class DeltaToObservation:
    """Steps less the measured state: (T, n) absolute -> (T, n) relative to ``measured`` (n,)."""

    measured: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "measured", frozen_array(self.measured, (None,), "measured state"))

    def __call__(self, values: NDArray) -> Array:
        """Absolute -> relative."""
        return _steps(values, self.measured) - self.measured

    def inverse(self, values: NDArray) -> Array:
        """Relative -> absolute."""
        return _steps(values, self.measured) + self.measured


@dataclass(frozen=True, eq=False)
class DeltaToPrevious:
    """Each step less the one before, the first less the measured state (n,)."""

    measured: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "measured", frozen_array(self.measured, (None,), "measured state"))

    def __call__(self, values: NDArray) -> Array:
        """Absolute -> increments."""
        return np.diff(_steps(values, self.measured), axis=-2, prepend=self._first(values))

    def inverse(self, values: NDArray) -> Array:
        """Increments -> absolute."""
        return np.cumsum(_steps(values, self.measured), axis=-2) + self.measured

    def _first(self, values: NDArray) -> Array:
        return np.broadcast_to(self.measured, (*values.shape[:-2], 1, len(self.measured)))


@dataclass(frozen=True, eq=False)
class PoseDelta:
    """Poses (..., 4, 4) in ``world`` -> in the frame of the ``measured`` pose (4, 4): T_measured_target = T_world_measured^-1 T_world_target."""

    measured: Array

    def __post_init__(self) -> None:
        pose = frozen_array(self.measured, (4, 4), "measured pose")
        rotation = pose[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or not np.array_equal(pose[3], [0.0, 0.0, 0.0, 1.0]):
            raise ShapeError(f"measured pose is no rigid transform: {pose.round(4).tolist()}")
        object.__setattr__(self, "measured", pose)

    def __call__(self, values: NDArray) -> Array:
        """World -> measured frame."""
        inverse = np.eye(4)
        rotation = self.measured[:3, :3].T
        inverse[:3, :3], inverse[:3, 3] = rotation, -rotation @ self.measured[:3, 3]
        return inverse @ np.asarray(values, dtype=np.float64)

    def inverse(self, values: NDArray) -> Array:
        """Measured frame -> world."""
        return self.measured @ np.asarray(values, dtype=np.float64)


DELTAS = {"delta_to_observation": DeltaToObservation, "delta_to_previous": DeltaToPrevious}
"""Kind of an action tensor that is not ``absolute`` -> what it is relative to."""


def _steps(values: NDArray, measured: Array) -> Array:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim < 2 or out.shape[-1] != len(measured):
        raise ShapeError(f"steps of shape {out.shape}; expected (..., T, {len(measured)})")
    return out
