# SPDX-License-Identifier: Apache-2.0
"""Is what a network gives, or is shown, like what it was trained on? Flagged beyond 1.2 times the training range, refused beyond 2 times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.stats import Statistic
from dex_core.errors import LimitError

FLAGGED, REFUSED = 1.2, 2.0
POSE_HALF_RANGE = 0.1
"""Half a range of a wrist pose counts as no smaller [m, or parts of a unit vector]: an upright hand's columns hardly vary, yet must stay near."""


class RangeCheck:
    """Range check of one slice; columns that were constant in the data are left to the limits that follow, those of a wrist pose are not.

    Args:
        stat: training statistics of the slice.
        where: name of the slice, for the text.
        space: action space of the slice.
    """

    def __init__(self, stat: Statistic, where: str, space: str = "") -> None:
        low, high = np.array(stat.min), np.array(stat.max)
        self._middle, half = (low + high) / 2.0, (high - low) / 2.0
        constant = np.array(stat.mask, dtype=bool)
        self._half = np.maximum(half, POSE_HALF_RANGE) if space == "wrist_pose" else np.where(constant, np.inf, half)
        self._where = where

    def check(self, values: NDArray[np.float64]) -> str:
        """One sentence about (T, columns) values outside the widened range, or nothing.

        Raises:
            LimitError: ``output_range``, beyond twice the training range.
        """
        worst, text = self._worst(values)
        if worst > REFUSED:
            raise LimitError(text, code="output_range")
        return text

    def flag(self, values: NDArray[np.float64]) -> str:
        """The sentence alone, however far outside the values are."""
        return self._worst(values)[1]

    def _worst(self, values: NDArray[np.float64]) -> tuple[float, str]:
        share = np.abs(values - self._middle) / self._half  # (T, columns), 1 at the edge of the range
        worst = float(share.max())
        if worst <= FLAGGED:
            return worst, ""
        step, column = (int(i) for i in np.unravel_index(int(np.argmax(share)), share.shape))
        text = (
            f"{self._where}: step {step}, column {column} is {values[step, column]:.3f}, {worst:.2f} times the training range "
            f"{self._middle[column] - self._half[column]:.3f} to {self._middle[column] + self._half[column]:.3f}"
        )
        return worst, text
