# SPDX-License-Identifier: Apache-2.0
"""Normalisation of columns, by mean and deviation or by a range; constant columns pass as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ConfigError, ShapeError
from dex_core.types import Array

if TYPE_CHECKING:  # the bundle package imports the configuration, which holds transforms
    from dex_core.bundle.stats import Statistic

MIN_SPAN, MIN_STD = 1e-3, 1e-6
"""A range or a deviation smaller than this blows noise up: such a column must be masked."""


@dataclass(frozen=True)
class ZScore:
    """(x - mean) / std of each column.

    Attributes:
        mean, std: per column, in its unit.
        mask: true for columns that pass unchanged, constants of the training data; empty: none.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    mask: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(self.mask, mean=self.mean, std=self.std)
        for i, std in enumerate(self.std):
            if std < MIN_STD and not _masked(self.mask, i):
                raise ConfigError(f"std of column {i} is {std}; at least {MIN_STD} is needed, or mask it")

    def __call__(self, values: NDArray) -> Array:
        """(..., columns) in their units -> mean 0, deviation 1."""
        return (_columns(values, len(self.mean)) - self._offset) / self._scale

    def inverse(self, values: NDArray) -> Array:
        """Back to the units."""
        return _columns(values, len(self.mean)) * self._scale + self._offset

    @property
    def _offset(self) -> Array:
        return _unless(self.mask, self.mean, 0.0)

    @property
    def _scale(self) -> Array:
        return _unless(self.mask, self.std, 1.0)


@dataclass(frozen=True)
class Range:
    """Each column's [low, high] to [-1, 1]; beyond it goes on straight, nothing is clipped.

    Attributes:
        low, high: per column, in its unit: least and greatest of the training data, their 1 and 99 % quantiles, or joint limits.
        mask: as of ZScore.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    mask: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(self.mask, low=self.low, high=self.high)
        for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if high - low < MIN_SPAN and not _masked(self.mask, i):
                raise ConfigError(f"column {i} spans {low} to {high}; at least {MIN_SPAN} is needed, or mask it")

    def __call__(self, values: NDArray) -> Array:
        """(..., columns) in their units -> [-1, 1]."""
        return (_columns(values, len(self.low)) - self._middle) / self._half

    def inverse(self, values: NDArray) -> Array:
        """Back to the units."""
        return _columns(values, len(self.low)) * self._half + self._middle

    @property
    def _middle(self) -> Array:
        return _unless(self.mask, (np.array(self.low) + np.array(self.high)) / 2.0, 0.0)

    @property
    def _half(self) -> Array:
        return _unless(self.mask, (np.array(self.high) - np.array(self.low)) / 2.0, 1.0)


@dataclass(frozen=True)
class Unchanged:
    """Passes (..., columns) as they are."""

    def __call__(self, values: NDArray) -> Array:
        """The same numbers."""
        return np.asarray(values, dtype=np.float64)

    inverse = __call__


def normaliser(stat: Statistic) -> ZScore | Range | Unchanged:
    """What ``stats.json`` asks for: its ``method`` says which of its fields count. Raises ConfigError for degenerate columns."""
    if stat.method == "zscore":
        return ZScore(stat.mean, stat.std, stat.mask)
    bounds = {"minmax": (stat.min, stat.max), "quantile": (stat.q01, stat.q99), "limits": (stat.lo, stat.hi)}.get(stat.method)
    return Unchanged() if bounds is None else Range(*bounds, stat.mask)


def _check_columns(mask: tuple[bool, ...], **fields: tuple[float, ...]) -> None:
    lengths = {name: len(values) for name, values in fields.items()} | ({"mask": len(mask)} if mask else {})
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ConfigError(f"columns: {lengths}; all must have as many, at least one")
    for name, values in fields.items():
        if not np.isfinite(values).all():
            raise ConfigError(f"{name} is {list(values)}; every number must be finite")


def _masked(mask: tuple[bool, ...], column: int) -> bool:
    return bool(mask) and mask[column]


def _unless(mask: tuple[bool, ...], values: tuple[float, ...] | Array, masked: float) -> Array:
    return np.where(mask, masked, values) if mask else np.asarray(values, dtype=np.float64)


def _columns(values: NDArray, count: int) -> Array:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim == 0 or out.shape[-1] != count:
        raise ShapeError(f"numbers of shape {out.shape}; expected (..., {count})")
    return out
