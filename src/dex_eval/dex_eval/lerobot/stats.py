# SPDX-License-Identifier: Apache-2.0
"""Statistics as LeRobot's datasets carry them: per number of a vector, per colour of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def of_vectors(rows: NDArray) -> dict[str, list]:
    """Feature statistics of (k, n) numbers: min, max, mean, std, count and five quantiles, each a list of n."""
    whole = np.issubdtype(rows.dtype, np.integer)
    values = rows.astype(np.float64)
    out: dict[str, Any] = {
        "min": (rows if whole else values).min(axis=0), "max": (rows if whole else values).max(axis=0), "mean": values.mean(axis=0),
        "std": values.std(axis=0), "count": np.array([len(rows)]),
    }
    out.update({name: np.quantile(values, q, axis=0) for name, q in QUANTILES.items()})
    return {name: value.tolist() for name, value in out.items()}


class Colours:
    """Statistics of the pixels of many pictures, without keeping them: how often each value of each colour was seen."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self.pictures = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Takes one (H, W, 3) picture."""
        self.pictures += 1
        for channel in range(3):
            self._counts[channel] += np.bincount(image[:, :, channel].ravel(), minlength=256)

    def merge(self, other: Colours) -> None:
        """Takes all pictures of another."""
        self._counts += other._counts
        self.pictures += other.pictures

    def stats(self) -> dict[str, list]:
        """As ``of_vectors``, colours from 0 to 1, each statistic of shape (3, 1, 1); the count is of pictures."""
        values, total = np.arange(256) / 255.0, self._counts.sum(axis=1)
        mean = self._counts @ values / total
        below = np.cumsum(self._counts, axis=1) / total[:, None]
        seen = [np.flatnonzero(row) for row in self._counts]
        out = {
            "min": np.array([values[s[0]] for s in seen]), "max": np.array([values[s[-1]] for s in seen]), "mean": mean,
            "std": np.sqrt(np.maximum(self._counts @ values**2 / total - mean**2, 0.0)),
        }
        out.update({name: np.array([values[int(np.argmax(row >= q))] for row in below]) for name, q in QUANTILES.items()})
        return {**{name: value.reshape(3, 1, 1).tolist() for name, value in out.items()}, "count": [self.pictures]}
