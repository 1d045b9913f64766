# SPDX-License-Identifier: Apache-2.0
"""The drawn camera keeps the contract of all cameras and says which picture is which."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.config import CameraConfig, load_cell
from dex_core.contracts.camera import CameraContract
from dex_core.encodings import to_millimetres
from dex_perception.cameras.pattern import COUNT, PatternCamera, sequence_of

CONFIG = dataclasses.replace(
    CameraConfig(), driver="pattern", native_wh=(64, 48), crop_xywh=(0, 0, 64, 48), output_wh=(64, 48), rate_hz=100.0, depth=True,
)


class TestContract(CameraContract):
    timeout_s = 1.0

    @pytest.fixture
    def camera(self) -> Iterator[PatternCamera]:
        camera = PatternCamera(CONFIG, load_cell("xarm_bimanual"))
        yield camera
        camera.disconnect()


def test_each_picture_tells_its_number_and_no_two_in_a_row_are_equal() -> None:
    camera = PatternCamera(CONFIG, load_cell("xarm_bimanual"))
    camera.connect()
    frames = [camera.next_frame(1.0) for _ in range(12)]
    camera.disconnect()
    for frame in frames:
        assert sequence_of(frame.rgb.reshape(-1).data) == frame.sequence
        assert to_millimetres(frame.depth_m)[0, 0] == 1000 + frame.sequence % COUNT
    for earlier, later in zip(frames[:-1], frames[1:], strict=True):
        assert not np.array_equal(earlier.rgb, later.rgb)
        assert later.stamp_ns - earlier.stamp_ns == pytest.approx(1e7, abs=1e7), "stamps are when a picture was due"
