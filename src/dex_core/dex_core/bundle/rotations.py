# SPDX-License-Identifier: Apache-2.0
"""Golden cases must show a graph a rotation that differs from its transpose: one that reads rows for columns would pass any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.manifest import Graph, Slice
from dex_core.bundle.probes import Case
from dex_core.bundle.stats import Statistic
from dex_core.errors import BundleError, DexError
from dex_core.rot6d import rot6d_columns, rotation_from_columns
from dex_core.transforms import tensor_normaliser

LEAST_ASYMMETRY = 0.1
"""Of one entry of a rotation to that on the other side of the diagonal; a hand that points straight down has none, whatever its yaw."""


def check_rotations(spec: Graph, cases: Sequence[Case], outside: Mapping[str, Statistic]) -> int:
    """Every ``wrist_pose`` slice of an input holds such a rotation in one case at least. Outputs are the network's own: nothing is asked of them.

    Args:
        outside: records that the inputs of the cases were normalised with; empty where the graph normalises by itself.

    Returns:
        How many slices were looked at.

    Raises:
        BundleError: ``parity_failed``, naming the slice and the largest difference found.
    """
    looked_at = 0
    for tensor in spec.inputs:
        for s in (s for s in tensor.slices if s.space == "wrist_pose"):
            columns = [inputs[tensor.name].reshape(-1, tensor.shape[-1]) for inputs, _ in cases]
            values = np.concatenate(columns).astype(np.float64)
            if outside:
                values = tensor_normaliser(tensor, outside).inverse(values)
            largest = max((asymmetry(row) for row in values[:, s.at[0] + 3 : s.at[1]]), default=0.0)
            if largest < LEAST_ASYMMETRY:
                raise BundleError(
                    f"{spec.golden.file}: input {tensor.name!r}: no case shows {s.interface} with a rotation that differs from its transpose by "
                    f"{LEAST_ASYMMETRY} in an entry (largest difference {largest:.2g}); a graph that reads rows for columns would pass: "
                    "add a case with a tilted wrist",
                    code="parity_failed",
                )
            looked_at += 1
    return looked_at


def asymmetry(six: NDArray) -> float:
    """Largest difference between the rotation of six numbers and its transpose, 0 to 2; 0 where they are no rotation."""
    try:
        rotation = rotation_from_columns(six)
    except DexError:
        return 0.0
    return float(np.abs(rotation - rotation.T).max())


def turn_wrists(rng: np.random.Generator, slices: Sequence[Slice], values: NDArray) -> NDArray:
    """(..., columns) drawn one by one: the six of each ``wrist_pose`` slice become those of a rotation, any of them with equal chance."""
    out = values.copy()
    for s in (s for s in slices if s.space == "wrist_pose"):
        turns = np.linalg.qr(rng.standard_normal((*values.shape[:-1], 3, 3)))[0]
        out[..., s.at[0] + 3 : s.at[1]] = rot6d_columns(turns * np.sign(np.linalg.det(turns))[..., None, None])
    return out
