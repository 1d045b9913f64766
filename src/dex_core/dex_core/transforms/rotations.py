# SPDX-License-Identifier: Apache-2.0
"""Rotations and poses <-> the columns of an action space."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

from dex_core.config.strict import choice
from dex_core.rot6d import pose_columns, poses_from_columns, rot6d_columns, rot6d_rows, rotation_from_columns, rotation_from_rows
from dex_core.types import Array


@dataclass(frozen=True)
class Rot6d:
    """(..., 3, 3) rotation matrices <-> (..., 6): the first two ``columns``, or the first two ``rows``."""

    layout: str = choice("columns", "rows", default="columns")

    def __call__(self, values: NDArray) -> Array:
        """Matrices -> six numbers."""
        return (rot6d_columns if self.layout == "columns" else rot6d_rows)(values)

    def inverse(self, values: NDArray) -> Array:
        """Six numbers -> the nearest rotation. Raises DexError ``rotation`` where there is none."""
        return (rotation_from_columns if self.layout == "columns" else rotation_from_rows)(values)


@dataclass(frozen=True)
class PoseColumns:
    """(..., 4, 4) poses <-> (..., 9) ``POSE_COLUMNS`` of a ``wrist_pose`` slice."""

    def __call__(self, values: NDArray) -> Array:
        """Poses -> columns."""
        return pose_columns(values)

    def inverse(self, values: NDArray) -> Array:
        """Columns -> poses, rotations orthonormal. Raises DexError ``rotation``."""
        return poses_from_columns(values)
