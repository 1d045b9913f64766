# SPDX-License-Identifier: Apache-2.0
"""The lens of a camera that cannot tell it: from a calibration file as ROS writes it, else from its field of view."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dex_core.config.strict import build, read_yaml
from dex_core.devices.camera import DISTORTION_SIZES, Intrinsics
from dex_core.errors import ConfigError

MODELS = ("plumb_bob", "rational_polynomial")


@dataclass(frozen=True)
class Matrix:
    """A matrix of ``camera_calibration`` (ROS): row by row."""

    rows: int
    cols: int
    data: tuple[float, ...]


@dataclass(frozen=True)
class LensFile:
    """What ``camera_calibration`` (ROS) saves; rectification and projection are for stereo and are not used."""

    image_width: int
    image_height: int
    camera_matrix: Matrix
    distortion_coefficients: Matrix
    distortion_model: str = MODELS[0]
    camera_name: str = ""
    rectification_matrix: dict[str, Any] = field(default_factory=dict)
    projection_matrix: dict[str, Any] = field(default_factory=dict)


def load_lens(path: Path, size_wh: tuple[int, int]) -> Intrinsics:
    """Intrinsics from a calibration file.

    Raises:
        ConfigError: no such file, another form, another size than ``size_wh`` [px], or a model that OpenCV does not have.
    """
    lens: LensFile = build(LensFile, read_yaml(path), str(path))
    k, d = lens.camera_matrix, lens.distortion_coefficients
    if (lens.image_width, lens.image_height) != tuple(size_wh):
        raise ConfigError(f"{path} is for pictures of {lens.image_width} x {lens.image_height} pixels; the camera gives {size_wh[0]} x {size_wh[1]}")
    if (k.rows, k.cols, len(k.data)) != (3, 3, 9) or not (k.data[0] > 0.0 and k.data[4] > 0.0):
        raise ConfigError(f"{path}: camera_matrix must be 3 x 3 with positive focal lengths, got {k}")
    if lens.distortion_model not in MODELS or len(d.data) not in DISTORTION_SIZES:
        raise ConfigError(f"{path}: distortion_model {lens.distortion_model!r} with {len(d.data)} coefficients; "
                          f"allowed: {list(MODELS)} with one of {list(DISTORTION_SIZES)}")
    return Intrinsics(*size_wh, k.data[0], k.data[4], k.data[2], k.data[5], d.data if any(d.data) else ())
