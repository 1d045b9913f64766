# SPDX-License-Identifier: Apache-2.0
"""The scene of ``dex bench clouds`` as one picture: colour and depth, normals, how far they are off; a column each for ours and for open3d."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import analytic
from dex_core.errors import ConfigError

WORST_DEG = 20.0
"""Yellow in the pictures of errors."""
_HEIGHT, _LABEL = 240, 24


def draw(path: Path, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], true: NDArray, found: Mapping[str, NDArray[np.float32]]) -> None:
    """Writes the picture.

    Args:
        path: a file that OpenCV can write, .png say.
        rgb, depth_m, true: of the scene.
        found: whose normals -> (H, W, 3), NaN where there are none.

    Raises:
        ConfigError: the file cannot be written.
    """
    columns = [[("colour", rgb), ("depth, grey where there is none", _shaded(depth_m, float(np.nanmin(depth_m)), float(np.nanmax(depth_m))))]]
    for name, normals in found.items():
        angle = np.degrees(analytic.angles_rad(normals, true))
        half = float(np.nanmedian(np.where(np.isfinite(depth_m), angle, np.nan)))
        error = f"error, 0 to {WORST_DEG:g} degrees; median {half:.1f}"
        columns.append([(f"normals, {name}", _coloured(normals)), (error, _shaded(angle, 0.0, WORST_DEG))])
    picture = np.hstack([np.vstack([_panel(*panel) for panel in column]) for column in columns])
    try:
        written = cv2.imwrite(str(path), picture[:, :, ::-1])
    except cv2.error as error:
        raise ConfigError(f"{path}: {error.err}") from error
    if not written:
        raise ConfigError(f"{path} cannot be written")


def _coloured(normals: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Right is red, down green, towards the camera blue; grey where unknown."""
    colour = 127.5 * (normals * [1.0, 1.0, -1.0] + 1.0)
    return np.where(np.isfinite(colour), colour, 128.0).astype(np.uint8)


def _shaded(values: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0) * 255.0
    colour = cv2.applyColorMap(np.nan_to_num(scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    return np.where(np.isfinite(values)[..., None], colour, 128).astype(np.uint8)


def _panel(label: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = round(_HEIGHT * picture.shape[1] / picture.shape[0])
    small = cv2.resize(picture, (width, _HEIGHT), interpolation=cv2.INTER_AREA)
    strip = np.full((_LABEL, width, 3), 255, np.uint8)
    cv2.putText(strip, label, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, small])
