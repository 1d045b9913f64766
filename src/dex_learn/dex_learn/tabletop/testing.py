# SPDX-License-Identifier: Apache-2.0
"""A stored scene made by hand: a level table and two boxes, without any rendering."""
from __future__ import annotations

import numpy as np

from dex_learn.tabletop.store import STEP_M, Scenes

HEIGHT, WIDTH, FOCAL = 240, 320, 250.0
CAMERA_M = np.array([0.0, 0.0, 0.8])
TOPS = {1: ((60, 100), (60, 110), 0.06), 2: ((130, 190), (180, 240), 0.1)}
"""Label -> rows, columns and height [m] of a box seen from straight above."""


def two_boxes(count: int = 1) -> Scenes:
    """Boxes of two heights on a table 0.8 m below a camera that looks straight down; an unknown stripe of depth across the first one."""
    depth, labels = np.full((HEIGHT, WIDTH), CAMERA_M[2]), np.zeros((HEIGHT, WIDTH), np.uint8)
    rgb = np.full((HEIGHT, WIDTH, 3), (180, 170, 150), np.uint8)
    for label, ((top, bottom), (left, right), height) in TOPS.items():
        part = (slice(top, bottom), slice(left, right))
        depth[part], labels[part], rgb[part] = CAMERA_M[2] - height, label, (200 * (label == 1), 40, 200 * (label == 2))
    steps = np.rint(depth / STEP_M).astype(np.uint16)
    steps[70:72] = 0
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]), CAMERA_M
    return Scenes(
        np.stack([rgb] * count), np.stack([steps] * count), np.stack([labels] * count), np.full(count, FOCAL), np.stack([pose] * count),
        (("box", "cone"),) * count, ((True, False),) * count, ("none",) * count,
    )
