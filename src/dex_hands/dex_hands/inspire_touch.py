# SPDX-License-Identifier: Apache-2.0
"""Tactile areas of an Inspire RH56DFTP: 17 areas of 1062 cells, read block by block so that no reading of angles waits for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from dex_core.types import Array

HIGHEST = 4095


class Area(NamedTuple):
    """Cells of one area, row by row; of the palm column by column, the last row first."""

    name: str
    rows: int
    columns: int


def _finger(name: str) -> list[list[Area]]:
    return [[Area(f"{name}_tip", 3, 3), Area(f"{name}_nail", 12, 8)], [Area(f"{name}_pad", 10, 8)]]


BLOCKS: list[tuple[int, list[Area]]] = list(zip(
    (3000, 3210, 3370, 3580, 3740, 3950, 4110, 4320, 4480, 4690, 4900),
    [
        *_finger("little"), *_finger("ring"), *_finger("middle"), *_finger("index"),
        [Area("thumb_tip", 3, 3), Area("thumb_nail", 12, 8)], [Area("thumb_middle", 3, 3), Area("thumb_pad", 12, 8)], [Area("palm", 8, 14)],
    ], strict=True,
))
"""Byte address of a block that one request reads, and its areas one after the other."""


class TouchReader:
    """Reads one block at each call, in turn; eleven calls read the whole hand.

    Args:
        read: words of the hand: byte address, number of words -> signed words.
    """

    def __init__(self, read: Callable[[int, int], list[int]]) -> None:
        self._read = read
        self._next = 0
        self._areas: dict[str, Array] = {}

    def step(self) -> None:
        """The next block. Raises what ``read`` raises."""
        address, areas = BLOCKS[self._next]
        words = np.array(self._read(address, sum(area.rows * area.columns for area in areas)), dtype=np.float64)
        first, newest = 0, {}
        for area in areas:
            cells = words[first : first + area.rows * area.columns]
            newest[area.name] = _laid_out(area, np.clip(cells, 0, HIGHEST))
            first += len(cells)
        self._areas = {**self._areas, **newest}  # one assignment: who reads meanwhile sees the old or the new
        self._next = (self._next + 1) % len(BLOCKS)

    def areas(self) -> Mapping[str, Array]:
        """Area -> (rows, columns) newest counts; areas that were not read yet are left out."""
        return self._areas


def _laid_out(area: Area, cells: Array) -> Array:
    return cells.reshape(area.columns, area.rows)[:, ::-1].T if area.name == "palm" else cells.reshape(area.rows, area.columns)
