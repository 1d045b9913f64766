# SPDX-License-Identifier: Apache-2.0
"""Is what a network gives like what it was trained to give? Flagged beyond 1.2 times the training range, refused beyond 2 times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.stats import Statistic
from dex_core.errors import LimitError

FLAGGED, REFUSED = 1.2, 2.0


class RangeCheck:
    """Range check of one slice; columns that were constant in the data are left to the limits that follow.

    Args:
        stat: training statistics of the slice.
        where: name of the slice, for the text.
    """

    def __init__(self, stat: Statistic, where: str) -> None:
        low, high = np.array(stat.min), np.array(stat.max)
        self._middle = (low + high) / 2.0
        self._half = np.where(np.array(stat.mask, dtype=bool), np.inf, (high - low) / 2.0)
        self._where = where

    def check(self, values: NDArray[np.float64]) -> str:
        """One sentence about (T, columns) values outside the widened range, or nothing.

        Raises:
            LimitError: ``output_range``, beyond twice the training range.
        """
        share = np.abs(values - self._middle) / self._half  # (T, columns), 1 at the edge of the range
        worst = float(share.max())
        if worst <= FLAGGED:
            return ""
        step, column = (int(i) for i in np.unravel_index(int(np.argmax(share)), share.shape))
        text = (
            f"{self._where}: step {step}, column {column} is {values[step, column]:.3f}, {worst:.2f} times the training range "
            f"{self._middle[column] - self._half[column]:.3f} to {self._middle[column] + self._half[column]:.3f}"
        )
        if worst > REFUSED:
            raise LimitError(text, code="output_range")
        return text
