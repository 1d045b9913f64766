# SPDX-License-Identifier: Apache-2.0
"""Joints of one naming, order, direction and unit to those of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config.strict import choice
from dex_core.errors import ConfigError, JointNameError, ShapeError
from dex_core.types import Array, index_map

RAD_PER = {"rad": 1.0, "deg": np.pi / 180.0}


@dataclass(frozen=True)
class JointMap:
    """Columns in the order of ``names``, in rad -> columns in the order of ``to``, signed, in ``unit``.

    Attributes:
        names: order of what comes. to: order of what goes: the same names, once each.
        sign: +1 or -1 per joint of ``to``; empty: all +1.
        unit: of what goes, rad or deg.
    """

    names: tuple[str, ...]
    to: tuple[str, ...]
    sign: tuple[float, ...] = ()
    unit: str = choice(*RAD_PER, default="rad")

    def __post_init__(self) -> None:
        try:
            index_map(self.names, self.to, "joint map")
        except JointNameError as error:
            raise ConfigError(str(error)) from error
        if self.sign and (len(self.sign) != len(self.to) or set(self.sign) - {1.0, -1.0}):
            raise ConfigError(f"sign is {list(self.sign)}; expected +1 or -1 for each of {list(self.to)}")

    def __call__(self, values: NDArray) -> Array:
        """(..., n) [rad], order of ``names`` -> (..., n) [unit], order of ``to``."""
        return self._checked(values)[..., index_map(self.names, self.to, "joint map")] * self._factor

    def inverse(self, values: NDArray) -> Array:
        """Back to rad in the order of ``names``."""
        return (self._checked(values) / self._factor)[..., index_map(self.to, self.names, "joint map")]

    @property
    def _factor(self) -> Array:
        return np.array(self.sign or (1.0,) * len(self.to)) / RAD_PER[self.unit]

    def _checked(self, values: NDArray) -> Array:
        out = np.asarray(values, dtype=np.float64)
        if out.ndim == 0 or out.shape[-1] != len(self.to):
            raise ShapeError(f"joints of shape {out.shape}; expected (..., {len(self.to)}): {list(self.to)}")
        return out
