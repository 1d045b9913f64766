# SPDX-License-Identifier: Apache-2.0
"""What belongs to a picture comes in any order and late; a picture goes out complete, or not at all and counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dex_core.clock import NS
from dex_core.config import CellConfig, load_cell
from dex_perception.keypoints.assemble import MOST_WAITING, Assembler, Limits
from dex_perception.keypoints.sample import Sample
from dex_perception.keypoints.testing import OPTICAL, lens

MS = NS // 1000
START = 1_795_000_000 * NS
RGB = np.zeros((240, 320, 3), dtype=np.uint8)
DEPTH = np.ones((240, 320), dtype=np.float32)


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


class Feed:
    """An assembler with its camera known, fed at times in ms."""

    def __init__(self, cell: CellConfig, limits: Limits | None = None, info: bool = True, tf: bool = True) -> None:
        self.cell, self.assembler = cell, Assembler(cell, limits or Limits())
        if info:
            self.assembler.put_intrinsics(OPTICAL, lens())
        if tf:
            self.assembler.transforms.add("world", "camera_link", (1.0, 0.0, 0.5), (0.0, 0.0, 0.0, 1.0), START, fixed=True)
            self.assembler.transforms.add("camera_link", OPTICAL, (0.0, 0.0, 0.0), (-0.5, 0.5, -0.5, 0.5), START, fixed=True)

    def joints(self, *times_ms: float, leave_out: str = "") -> None:
        for t in times_ms:
            for name, interface in self.cell.interfaces.items():
                if name != leave_out:
                    self.assembler.put_joints(name, START + round(t * MS), interface.names, np.full(len(interface.names), t))

    def picture(self, ms: float, decode: Callable[[], np.ndarray] = lambda: RGB) -> None:
        self.assembler.put_picture(START + round(ms * MS), OPTICAL, decode, START + round(ms * MS))

    def depth(self, ms: float) -> None:
        self.assembler.put_depth(START + round(ms * MS), lambda: DEPTH)

    def ready(self, ms: float) -> list[Sample]:
        return list(self.assembler.ready(START + round(ms * MS)))


def test_a_picture_waits_until_joints_came_after_it(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.joints(0.0)
    feed.picture(5.0)
    assert feed.ready(6.0) == []
    feed.joints(10.0)
    (sample,) = feed.ready(11.0)
    assert np.allclose(sample.position_rad, 5.0) and sample.depth_m is None and sample.object_mask is None
    assert np.allclose(sample.pose_in_mount[:3, 3], (1.0, 0.0, 0.5)) and np.allclose(sample.pose_in_mount[:3, 2], (1.0, 0.0, 0.0)), "it looks along x"
    assert feed.ready(12.0) == [] and feed.assembler.given == 1 and not feed.assembler.skipped


def test_pictures_keep_their_order(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.joints(0.0)
    for ms in (1.0, 4.0, 8.0):
        feed.picture(ms)
    feed.joints(6.0, 20.0)
    assert [round((s.stamp_ns - START) / MS) for s in feed.ready(20.0)] == [1, 4, 8]


def test_depth_is_waited_for_where_there_is_any_and_must_be_of_the_same_time(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.joints(*range(0, 400, 10))
    feed.depth(33.0)
    feed.picture(33.0)
    assert feed.ready(34.0)[0].depth_m is DEPTH
    feed.picture(66.0)
    assert feed.ready(70.0) == []
    feed.depth(66.0)
    assert feed.ready(71.0)[0].depth_m is DEPTH
    feed.picture(100.0)
    feed.depth(120.0)
    assert feed.ready(130.0) == []
    (late,) = feed.ready(100.0 + 501.0)
    assert late.depth_m is None, "its own never came; another's is not taken"


def test_a_mask_goes_with_its_own_picture(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.joints(*range(0, 200, 10))
    mask = np.ones((240, 320), dtype=bool)
    feed.picture(20.0)
    feed.assembler.put_mask(START + 20 * MS, lambda: mask)
    assert feed.ready(21.0)[0].object_mask is mask


@pytest.mark.parametrize(("setting", "code"), [
    ({"info": False}, "camera_info_missing"), ({"tf": False}, "tf_missing"),
])
def test_without_lens_or_place_of_the_camera_nothing_goes_out(cell: CellConfig, setting: dict[str, bool], code: str) -> None:
    feed = Feed(cell, **setting)
    feed.joints(0.0, 10.0)
    feed.picture(5.0)
    assert feed.ready(600.0) == [] and feed.assembler.skipped == {code: 1} and feed.assembler.newest_problem


def test_each_way_of_not_knowing_the_joints_is_counted_by_its_name(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.picture(0.0)
    feed.ready(600.0)
    feed.joints(610.0, 620.0)
    feed.picture(605.0)
    feed.joints(900.0)
    feed.picture(700.0)
    feed.picture(901.0)
    assert feed.ready(905.0) == []
    feed.ready(1500.0)
    assert feed.assembler.skipped == {"joints_missing": 1, "joints_early": 1, "joints_gap": 1, "joints_late": 1}


def test_a_silent_robot_costs_every_picture(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.joints(0.0, 10.0, 20.0, leave_out="left_hand")
    feed.picture(5.0)
    assert feed.ready(600.0) == [] and "left_hand" in feed.assembler.newest_problem


def test_a_repeated_picture_is_left_out_and_a_clock_set_back_is_not_an_error(cell: CellConfig) -> None:
    feed = Feed(cell)
    feed.joints(*range(0, 100, 10))
    feed.picture(50.0)
    feed.picture(50.0)
    feed.picture(40.0)
    assert len(feed.ready(51.0)) == 1 and feed.assembler.skipped == {"picture_repeated": 2}
    feed.joints(*range(-60_000, -59_900, 10))
    feed.picture(-59_950.0)
    assert len(feed.ready(52.0)) == 1


def test_a_picture_that_does_not_decode_is_counted_and_the_next_one_goes_on(cell: CellConfig) -> None:
    from dex_core.errors import ShapeError

    def broken() -> np.ndarray:
        raise ShapeError("no picture")

    feed = Feed(cell)
    feed.joints(*range(0, 100, 10))
    feed.picture(10.0, broken)
    feed.picture(20.0)
    feed.picture(30.0, lambda: np.zeros((10, 10, 3), dtype=np.uint8))
    assert len(feed.ready(40.0)) == 1 and feed.assembler.skipped == {"shape": 1, "image_size": 1}


def test_what_waits_is_bounded(cell: CellConfig) -> None:
    feed = Feed(cell, Limits(patience_s=1000.0))
    for ms in range(MOST_WAITING + 5):
        feed.picture(float(ms))
    assert feed.assembler.skipped == {"overrun": 5}
