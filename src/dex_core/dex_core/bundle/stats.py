# SPDX-License-Identifier: Apache-2.0
"""Statistics of the training data, one record per named slice: they give the ranges that a policy's output is checked against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config.strict import bounded, build, choice
from dex_core.errors import BundleError, ConfigError

MIN_SPAN = 1e-3
MIN_STD = 1e-6


@dataclass(frozen=True)
class Statistic:
    """Per column of one slice. ``mask`` true: the column was constant in the data and is not range-checked.

    Attributes:
        method: how the graph normalises it; says which of the fields it used.
        min, max, mean, std, q01, q99: of the training data, in the slice's unit.
        lo, hi: bounds that ``limits`` normalisation used; empty otherwise.
    """

    method: str = choice("none", "limits", "minmax", "quantile", "zscore")
    count: int = bounded(1, 10**15)
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    q01: tuple[float, ...] = ()
    q99: tuple[float, ...] = ()
    mask: tuple[bool, ...] = ()
    lo: tuple[float, ...] = ()
    hi: tuple[float, ...] = ()

    @staticmethod
    def of(data: ArrayLike, method: str = "none") -> Statistic:
        """Measures (..., columns) data; columns that hardly move are masked."""
        rows = np.asarray(data, dtype=np.float64)
        rows = rows.reshape(-1, rows.shape[-1])
        low, high, std = rows.min(axis=0), rows.max(axis=0), rows.std(axis=0)
        q01, q99 = np.quantile(rows, [0.01, 0.99], axis=0)
        mask = ((high - low) < MIN_SPAN) | (std < MIN_STD)

        def numbers(values: Any) -> tuple[float, ...]:
            return tuple(float(v) for v in values)

        return Statistic(
            method,
            int(rows.shape[0]),
            numbers(low),
            numbers(high),
            numbers(rows.mean(axis=0)),
            numbers(std),
            numbers(np.clip(q01, low, high)),
            numbers(np.clip(q99, low, high)),
            tuple(bool(m) for m in mask),
        )


def parse_stats(blob: bytes, where: str) -> dict[str, Statistic]:
    """stats.json: ``<tensor>/<interface>`` -> Statistic. Raises BundleError ``stats_invalid``."""
    try:
        data = json.loads(blob.decode("utf-8"))
        if not isinstance(data, dict):
            raise ConfigError(f"{where}: expected an object, got {type(data).__name__}")
        return {key: build(Statistic, value, f"{where}: {key}") for key, value in data.items()}
    except (ValueError, RecursionError, ConfigError) as error:
        raise BundleError(str(error) if isinstance(error, ConfigError) else f"{where}: {error}", code="stats_invalid") from error


def check_statistic(stat: Statistic, width: int, where: str) -> None:
    """Lengths, order and spread of one record. Raises BundleError ``stats_invalid`` naming field and column."""
    for name in ("min", "max", "mean", "std", "q01", "q99", "mask"):
        if len(getattr(stat, name)) != width:
            raise BundleError(f"{where}: {name} has {len(getattr(stat, name))} entries, the slice has {width} columns", code="stats_invalid")
    for name in ("lo", "hi"):
        needed = width if stat.method == "limits" else None
        if len(getattr(stat, name)) not in ({needed} if needed else {0, width}):
            raise BundleError(f"{where}: {name} has {len(getattr(stat, name))} entries, method {stat.method!r} needs {width}", code="stats_invalid")
    for i in range(width):
        _check_column(stat, i, f"{where}: column {i}")


def _check_column(stat: Statistic, i: int, where: str) -> None:
    low, q01, q99, high = stat.min[i], stat.q01[i], stat.q99[i], stat.max[i]
    if not low <= q01 <= q99 <= high:
        raise BundleError(f"{where}: expected min <= q01 <= q99 <= max, got {low} {q01} {q99} {high}", code="stats_invalid")
    if stat.lo and not stat.lo[i] < stat.hi[i]:
        raise BundleError(f"{where}: lo {stat.lo[i]} must be below hi {stat.hi[i]}", code="stats_invalid")
    if stat.mask[i]:
        return
    if high - low < MIN_SPAN or (stat.method == "quantile" and q99 - q01 < MIN_SPAN):
        raise BundleError(
            f"{where}: spans {min(high - low, q99 - q01):.3g}, at least {MIN_SPAN} is needed; mask a constant column", code="stats_invalid"
        )
    if stat.std[i] < MIN_STD:
        raise BundleError(f"{where}: std {stat.std[i]} is below {MIN_STD}; mask a constant column", code="stats_invalid")
