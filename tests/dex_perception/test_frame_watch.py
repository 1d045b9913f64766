# SPDX-License-Identifier: Apache-2.0
"""Pictures nobody may infer from are told from live ones (F17)."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clock import NS
from dex_core.devices.camera import Frame
from dex_perception.frame_watch import FrameWatch

NOW = 1_000 * NS


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def frame(stamp_ns: int, sequence: int, rgb: np.ndarray) -> Frame:
    return Frame(rgb, None, stamp_ns, sequence)


def judge(watch: FrameWatch, k: int, rgb: np.ndarray, *, stamp_ns: int | None = None, sequence: int | None = None) -> str:
    now_ns = NOW + k * NS // 20
    return watch.judge(frame(now_ns if stamp_ns is None else stamp_ns, k if sequence is None else sequence, rgb), rgb, now_ns)


def test_live_pictures_pass() -> None:
    watch = FrameWatch()
    assert [judge(watch, k, picture(k)) for k in range(20)] == [""] * 20
    assert watch.passed == 20 and not sum(watch.refused.values())


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_picture_is_blank(value: int) -> None:
    watch = FrameWatch()
    assert judge(watch, 0, np.full((24, 32, 3), value, dtype=np.uint8)) == "blank"
    assert judge(watch, 1, picture()) == ""


def test_the_same_pixels_thrice_more_are_frozen_and_a_change_heals() -> None:
    watch = FrameWatch(frozen_after=3)
    still = picture()
    assert [judge(watch, k, still.copy()) for k in range(5)] == ["", "", "", "frozen", "frozen"]
    assert judge(watch, 5, picture(9)) == ""
    assert watch.refused["frozen"] == 2


def test_a_still_rendered_scene_is_not_frozen() -> None:
    watch = FrameWatch(frozen_after=0)
    still = picture()
    assert [judge(watch, k, still) for k in range(10)] == [""] * 10


@pytest.mark.parametrize("back_ns, sequence", [(0, 1), (-1, 1), (NS // 1000, 0)])
def test_an_exposure_that_came_before_is_repeated(back_ns: int, sequence: int) -> None:
    watch = FrameWatch(frozen_after=0)
    judge(watch, 0, picture(), sequence=0)
    assert judge(watch, 0, picture(1), stamp_ns=NOW + back_ns, sequence=sequence) == "repeated"


def test_stamps_far_from_now_are_refused() -> None:
    watch = FrameWatch(max_age_s=0.5, max_future_s=0.1)
    assert judge(watch, 0, picture(), stamp_ns=NOW - NS) == "late"
    assert judge(watch, 0, picture(), stamp_ns=NOW + NS) == "future"
    assert judge(watch, 0, picture()) == ""
    assert watch.refused["late"] == watch.refused["future"] == 1


def test_after_a_reconnect_stamps_may_start_anew() -> None:
    watch = FrameWatch(frozen_after=0, max_age_s=100.0)
    judge(watch, 10, picture(), sequence=500)
    watch.restart()
    assert judge(watch, 10, picture(), stamp_ns=NOW, sequence=0) == ""


def test_a_clock_that_is_set_back_does_not_blind_the_camera() -> None:
    watch = FrameWatch(frozen_after=0)
    judge(watch, 0, picture(), sequence=0)
    earlier_ns = NOW - 10 * NS
    assert watch.judge(frame(earlier_ns, 1, picture(1)), picture(1), earlier_ns) == ""
    assert watch.judge(frame(earlier_ns + NS // 20, 2, picture(2)), picture(2), earlier_ns + NS // 20) == ""


def test_an_exposure_repeated_for_long_is_still_called_repeated() -> None:
    watch = FrameWatch(max_age_s=0.25)
    judge(watch, 0, picture(), sequence=7)
    assert judge(watch, 40, picture(), stamp_ns=NOW, sequence=7) == "repeated"


@pytest.mark.parametrize("rgb, depth", [
    (np.zeros((24, 31, 3), np.uint8), None), (np.zeros((24, 32), np.uint8), None), (np.zeros((24, 32, 4), np.uint8), None),
    (np.zeros((24, 32, 3), np.float32), None), (picture(), np.ones((12, 16), np.float32)), (picture(), np.ones((24, 32), np.uint16)),
])
def test_what_is_of_another_shape_or_kind_is_malformed(rgb: np.ndarray, depth: np.ndarray | None) -> None:
    watch = FrameWatch()
    watch.restart((32, 24))
    assert watch.fits(Frame(picture(), np.ones((24, 32), np.float32), NOW, 1)) and watch.fits(Frame(picture(), None, NOW, 1))
    assert not watch.fits(Frame(rgb, depth, NOW, 1))
    assert watch.newest == "malformed" and watch.refused["malformed"] == 1


def test_any_size_fits_before_the_intrinsics_are_known() -> None:
    assert FrameWatch().fits(Frame(picture(), None, NOW, 1)) and not FrameWatch().fits(Frame(picture()[:, :, :2], None, NOW, 1))
