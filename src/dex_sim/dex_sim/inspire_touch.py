# SPDX-License-Identifier: Apache-2.0
"""What the tactile areas of a simulated RH56DFTP feel: each fingertip's force, spread over its cells."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOUCH = range(3000, 5124)
"""Byte addresses of all tactile cells."""
TIPS = {0: 3018, 1: 3388, 2: 3758, 3: 4128, 4: 4498}
"""Finger, in the hand's order -> byte address of its fingertip area, 12 x 8 cells."""
ROWS, COLUMNS, HIGHEST = 12, 8, 4095
_ROW, _COLUMN = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
SPOT = np.exp(-(((_ROW - 7.5) / 2.5) ** 2) - ((_COLUMN - 3.5) / 2.0) ** 2)
"""A round spot on the pad: a model, as is one count per gram-force at its middle."""


def tip_cells(force_g: float) -> NDArray[np.int64]:
    """(96,) counts of one fingertip under a closing force, row by row."""
    return np.clip(np.rint(max(force_g, 0.0) * SPOT), 0, HIGHEST).astype(np.int64).reshape(-1)
