# SPDX-License-Identifier: Apache-2.0
"""Stored scenes as clouds seen from the lens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_learn.tabletop.store import STEP_M, Scenes

MIN_PIXELS = 40
"""Things with fewer pixels in which depth is known are not clicked on."""


class Cloud(NamedTuple):
    """The pixels of a scene in which depth is known: ``points_m`` (P, 3) from the lens, z up, ``colors`` (P, 3) in [0, 1], ``labels`` (P,),
    ``pixels`` (P,) flat index."""

    points_m: NDArray[np.float32]
    colors: NDArray[np.float32]
    labels: NDArray[np.uint8]
    pixels: NDArray[np.int64]


def cloud_of(scenes: Scenes, number: int, window: tuple[slice, slice] | None = None) -> Cloud:
    """One scene's points, or those of a window (rows, columns) of its picture."""
    rows, columns = window if window is not None else (slice(None), slice(None))
    lens, turn = scenes.intrinsics(number), scenes.poses[number][:3, :3].astype(np.float32)
    steps = scenes.depth[number][rows, columns]
    known = steps > 0
    v, u = np.nonzero(known)
    v, u = v + (rows.start or 0), u + (columns.start or 0)
    z = steps[known].astype(np.float32) * np.float32(STEP_M)
    aside = (u - lens.cx).astype(np.float32) / np.float32(lens.fx), (v - lens.cy).astype(np.float32) / np.float32(lens.fy)
    local = np.stack([aside[0] * z, aside[1] * z, z], axis=1)
    colors = scenes.rgb[number][rows, columns][known].astype(np.float32) / np.float32(255.0)
    return Cloud(local @ turn.T, colors, scenes.labels[number][rows, columns][known], v * lens.width + u)


def things_in(scenes: Scenes, number: int) -> NDArray[np.int64]:
    """Labels that enough pixels with depth show."""
    counts = np.bincount(scenes.labels[number][scenes.depth[number] > 0], minlength=1)
    return np.flatnonzero(counts[1:] >= MIN_PIXELS) + 1
