# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks after one click beside the truth, for people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_learn.segmentation.clouds import cloud_of, things_in
from dex_learn.segmentation.scores import Open
from dex_learn.tabletop.store import Scenes

COLUMNS = 3
FOUND_BGR, MISSED_BGR, ADDED_BGR = (80, 200, 60), (40, 40, 230), (230, 140, 30)
STRENGTH = 0.6


def draw_masks(file: Path, open_cloud: Open, scenes: Scenes, count: int = 6, seed: int = 0) -> None:
    """A sheet of scenes, every thing clicked on once: found green, missed red, wrongly added blue, clicks as white rings.

    Raises:
        DexError: ``file_unwritable``.
    """
    tiles = [_tile(open_cloud, scenes, number, np.random.default_rng(seed + number)) for number in range(min(count, len(scenes)))]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    sheet = np.concatenate([np.concatenate(tiles[k : k + COLUMNS], axis=1) for k in range(0, len(tiles), COLUMNS)])
    file.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(file), sheet):
        raise DexError(f"{file} could not be written", code="file_unwritable")


def _tile(open_cloud: Open, scenes: Scenes, number: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    cloud = cloud_of(scenes, number)
    ask = open_cloud(cloud, scenes.poses[number])
    picture = scenes.rgb[number][..., ::-1].astype(np.float64).reshape(-1, 3)
    marks = []
    for label in things_in(scenes, number):
        truth = cloud.labels == label
        click = int(rng.choice(np.flatnonzero(truth)))
        inside = ask(cloud.points_m[[click]], np.array([True]), None).logits > 0.0
        for chosen, colour in ((inside & truth, FOUND_BGR), (truth & ~inside, MISSED_BGR), (inside & ~truth, ADDED_BGR)):
            pixels = cloud.pixels[chosen]
            picture[pixels] = (1.0 - STRENGTH) * picture[pixels] + STRENGTH * np.array(colour)
        marks.append(divmod(int(cloud.pixels[click]), scenes.labels.shape[2]))
    tile = np.ascontiguousarray(picture.reshape(*scenes.labels.shape[1:], 3).astype(np.uint8))
    for row, column in marks:
        cv2.circle(tile, (column, row), 3, (255, 255, 255), 1)
    return tile
