# SPDX-License-Identifier: Apache-2.0
"""The lens of a camera that cannot tell it."""
from __future__ import annotations

import math
from pathlib import Path

import pytest

from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError
from dex_perception.cameras.uvc_lens import load_lens

TEXT = """image_width: 640
image_height: 480
camera_name: eye
camera_matrix:
  rows: 3
  cols: 3
  data: [500.5, 0, 320.25, 0, 501.0, 239.75, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, -0.002, 0.05]
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [500, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]}
"""


def lens(folder: Path, text: str):
    path = folder / "eye.yaml"
    path.write_text(text)
    return load_lens(path, (640, 480))


def test_a_file_of_camera_calibration(tmp_path: Path) -> None:
    inner = lens(tmp_path, TEXT)
    assert (inner.width, inner.height, inner.fx, inner.fy, inner.cx, inner.cy) == (640, 480, 500.5, 501.0, 320.25, 239.75)
    assert inner.distortion == (0.1, -0.2, 0.001, -0.002, 0.05)
    assert lens(tmp_path, TEXT.replace("[0.1, -0.2, 0.001, -0.002, 0.05]", "[0, 0, 0, 0, 0]")).distortion == ()


@pytest.mark.parametrize("change, message", [
    (("width: 640", "width: 320"), "is for pictures of 320 x 480 pixels; the camera gives 640 x 480"),
    (("rows: 3\n", "rows: 2\n"), "camera_matrix must be 3 x 3"),
    (("[500.5", "[-500.5"), "positive focal lengths"),
    (("plumb_bob", "equidistant"), "distortion_model 'equidistant' with 5 coefficients; allowed"),
    ((", 0.05]", ", 0.05, 0.1]"), "with 6 coefficients"),
    (("[0.1,", "[.nan,"), "nan; it must be finite"),
    (("camera_name", "camera_nam"), "unknown key 'camera_nam'"),
    (("image_width: 640", ""), "image_width.* is missing"),
])
def test_what_cannot_be_used(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in TEXT
    with pytest.raises(ConfigError, match=message):
        lens(tmp_path, TEXT.replace(*change, 1))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml"):
        load_lens(tmp_path / "none.yaml", (640, 480))


def test_a_pinhole_as_wide_as_configured() -> None:
    inner = Intrinsics.of_view((640, 480), math.pi / 2)
    assert inner.fx == inner.fy == pytest.approx(240.0) and (inner.cx, inner.cy) == (319.5, 239.5) and not inner.distortion
