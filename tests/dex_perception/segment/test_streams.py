# SPDX-License-Identifier: Apache-2.0
"""Pairs of pictures, what is wrong with a camera, and where frames were at a stamp."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import NS
from dex_perception.segment.codes import PICTURE, PictureError
from dex_perception.segment.intake import Intake, intrinsics_of
from dex_perception.segment.pairing import Pairing
from dex_perception.segment.transforms import TransformBuffer
from dex_perception.segment.view import Picture, Workspace, check_content, see

MS = NS // 1000
K = [150.0, 0.0, 79.5, 0.0, 150.0, 59.5, 0.0, 0.0, 1.0]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=60), st.integers(0, 30))
def test_pairs_are_near_new_and_in_order(arrivals: list[tuple[bool, int]], limit_ms: int) -> None:
    pairing: Pairing[int, int] = Pairing(limit_ms * 1e-3)
    last = -1
    for is_colour, stamp_ms in arrivals:
        (pairing.add_colour if is_colour else pairing.add_depth)(stamp_ms, stamp_ms * MS)
        pair = pairing.newest()
        if pair is not None:
            assert abs(pair.colour - pair.depth) <= limit_ms and pair.depth_later_ns == (pair.depth - pair.colour) * MS
            assert pair.colour > last and pair.stamp_ns == pair.colour * MS
            last = pair.colour
    assert pairing.newest() is None


def test_the_newest_pair_wins() -> None:
    pairing: Pairing[str, str] = Pairing(0.005)
    for k, stamp in enumerate((0, 33, 66)):
        pairing.add_colour(f"c{k}", stamp * MS)
    pairing.add_depth("d2", 68 * MS)
    pair = pairing.newest()
    assert pair is not None and (pair.colour, pair.depth) == ("c2", "d2")


@pytest.fixture
def intake() -> Intake[str]:
    made: Intake[str] = Intake(pairing_s=0.01, max_age_s=0.5, frozen_after=3)
    made.restart(0, 0.5)
    return made


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(PictureError) as caught:
        action()
    assert caught.value.code in PICTURE
    return caught.value.code


def test_silence_is_told_by_what_is_missing(intake: Intake[str]) -> None:
    assert intake.newest(100 * MS) is None
    assert code_of(lambda: intake.newest(600 * MS)) == "camera_lost"
    intake.colour("c", 0, 600 * MS)
    assert code_of(lambda: intake.newest(610 * MS)) == "depth_missing"
    intake.depth("d", 50 * MS, 620 * MS)
    assert code_of(lambda: intake.newest(620 * MS)) == "depth_missing"
    intake.depth("d", 5 * MS, 630 * MS)
    pair = intake.newest(630 * MS)
    assert pair is not None and pair.depth == "d"
    assert code_of(lambda: intake.intrinsics) == "camera_info_missing"
    intake.info(intrinsics_of(160, 120, K, [], "plumb_bob"))
    assert intake.intrinsics.width == 160


def picture(stamp_ns: int, seed: int = 0, frame: str = "optical") -> Picture:
    rgb = np.random.default_rng(seed).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    intrinsics = intrinsics_of(160, 120, K, [0.0] * 5, "plumb_bob")
    assert not isinstance(intrinsics, PictureError) and intrinsics.distortion == ()
    return Picture(rgb, np.full((120, 160), 0.8, dtype=np.float32), intrinsics, stamp_ns, frame)


def test_pictures_are_judged_in_a_row(intake: Intake[str]) -> None:
    for k in range(3):
        intake.judge(picture(k * 33 * MS, seed=k), "optical", k * 33 * MS + 10 * MS)
    assert code_of(lambda: intake.judge(picture(66 * MS, seed=9), "optical", 100 * MS)) == "camera_frozen"  # the same stamp again
    assert code_of(lambda: intake.judge(picture(99 * MS, seed=3), "optical", 700 * MS)) == "image_late"
    assert code_of(lambda: intake.judge(picture(999 * MS, seed=3), "optical", 700 * MS)) == "image_future"
    for k in range(3):
        intake.judge(picture((1100 + 33 * k) * MS, seed=5), "optical", (1110 + 33 * k) * MS)
    assert code_of(lambda: intake.judge(picture(1199 * MS, seed=5), "optical", 1209 * MS)) == "camera_frozen"
    assert code_of(lambda: intake.judge(picture(1300 * MS, seed=6), "depth_optical", 1310 * MS)) == "frame_wrong"
    assert code_of(lambda: intake.judge(picture(1300 * MS, seed=6, frame=""), "", 1310 * MS)) == "frame_wrong"


@pytest.mark.parametrize(
    ("info", "text"),
    [
        ((160, 120, [0.0] * 9, [], ""), "not calibrated"), ((0, 0, K, [], ""), "not calibrated"),
        ((160, 120, [math.nan] * 9, [], ""), "not calibrated"),
        ((160, 120, K, [0.1] * 4, "equidistant"), "'equidistant'; read are"), ((160, 120, K, [0.1] * 3, "plumb_bob"), "3 distortion coefficients"),
        ((160, 120, K, [math.inf] * 5, "plumb_bob"), "distortion coefficients"),
    ],
)
def test_camera_infos_that_say_nothing(info: tuple, text: str) -> None:
    found = intrinsics_of(*info)
    assert isinstance(found, PictureError) and text in str(found) and found.code == "camera_info_missing"


def test_content_faults(scene: Callable) -> None:
    good, _ = scene().render()
    check_content(good)

    def changed(**fields: object) -> Picture:
        return Picture(**{**good.__dict__, **fields})  # type: ignore[arg-type]

    assert code_of(lambda: check_content(changed(rgb=np.zeros_like(good.rgb)))) == "image_blank"
    assert code_of(lambda: check_content(changed(rgb=good.rgb[:60]))) == "image_size"
    assert code_of(lambda: check_content(changed(depth_m=good.depth_m[:, :80]))) == "image_size"
    for value in (np.nan, 0.0, -1.0):
        assert code_of(lambda value=value: check_content(changed(depth_m=np.full_like(good.depth_m, value)))) == "depth_empty"
    away = Workspace((5.0, 5.0, 5.0), (6.0, 6.0, 6.0))
    assert code_of(lambda: see(good, scene().pose(), away)) == "depth_empty"
    assert code_of(lambda: see(changed(depth_m=np.full_like(good.depth_m, np.inf)), scene().pose(), Workspace())) == "depth_empty"


def turn(angle: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, math.sin(0.5 * angle), math.cos(0.5 * angle))


def test_fixed_and_moving_frames_compose() -> None:
    buffer = TransformBuffer()
    buffer.add("world", "base", (1.0, 0.0, 0.0), turn(math.pi / 2), 0, fixed=True)
    for k in range(3):
        buffer.add("base", "tool", (0.1 * k, 0.0, 0.0), turn(0.2 * k), k * 100 * MS, fixed=False)
    buffer.add("tool", "camera", (0.0, 0.0, 0.5), turn(0.0), 0, fixed=True)
    pose = buffer.pose("world", "camera", 150 * MS)
    np.testing.assert_allclose(pose[:3, 3], (1.0, 0.15, 0.5), atol=1e-9)
    np.testing.assert_allclose(np.arctan2(pose[1, 0], pose[0, 0]), math.pi / 2 + 0.3, atol=1e-9)
    np.testing.assert_allclose(buffer.pose("camera", "world", 150 * MS) @ pose, np.eye(4), atol=1e-9)
    buffer.add("base", "other", (0.0, 1.0, 0.0), turn(0.0), 0, fixed=True)
    side = buffer.pose("other", "camera", 100 * MS)
    np.testing.assert_allclose(side, np.linalg.inv(buffer.pose("world", "other", 0)) @ buffer.pose("world", "camera", 100 * MS), atol=1e-9)


def test_missing_future_old_and_looping_transforms_fail_closed() -> None:
    buffer = TransformBuffer(ahead_s=0.02)
    assert code_of(lambda: buffer.pose("world", "camera", 0)) == "tf_missing"
    buffer.add("world", "camera", (0.0, 0.0, 1.0), turn(0.0), 100 * MS, fixed=False)
    np.testing.assert_allclose(buffer.pose("world", "camera", 115 * MS)[2, 3], 1.0)
    assert code_of(lambda: buffer.pose("world", "camera", 130 * MS)) == "tf_future"
    assert code_of(lambda: buffer.pose("world", "camera", 90 * MS)) == "tf_old"
    buffer.add("camera", "world", (0.0, 0.0, 1.0), turn(0.0), 100 * MS, fixed=False)
    assert code_of(lambda: buffer.pose("nowhere", "camera", 100 * MS)) == "tf_missing"


@pytest.mark.parametrize(
    "numbers", [((math.nan, 0, 0), (0, 0, 0, 1)), ((0, 0, 0), (0, 0, 0, 0)), ((0, 0, 0), (0, 0, 0, 2)), ((0, 0, 0), (0, 0, math.nan, 1))],
)
def test_what_is_no_pose_is_left_out(numbers: tuple) -> None:
    buffer = TransformBuffer()
    buffer.add("world", "camera", *numbers, 0, fixed=True)
    assert buffer.refused == 1 and code_of(lambda: buffer.pose("world", "camera", 0)) == "tf_missing"


def test_history_is_bounded_and_a_clock_set_back_starts_anew() -> None:
    buffer = TransformBuffer()
    for k in range(300):
        buffer.add("world", "tool", (float(k), 0.0, 0.0), turn(0.0), k * 100 * MS, fixed=False)
    assert code_of(lambda: buffer.pose("world", "tool", 10 * NS)) == "tf_old"
    buffer.add("world", "tool", (7.0, 0.0, 0.0), turn(0.0), 5 * NS, fixed=False)
    assert buffer.pose("world", "tool", 5 * NS)[0, 3] == 7.0
    assert code_of(lambda: buffer.pose("world", "tool", 29 * NS)) == "tf_future"
