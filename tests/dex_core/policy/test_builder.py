# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import PolicyConfig, load_cell
from dex_core.config.camera import CameraConfig
from dex_core.errors import ConfigError, NonFiniteError, ShapeError
from dex_core.images import crop_and_resize
from dex_core.policy import ObservationBuilder, ObservationRefused, PolicySpec, check_observation
from dex_core.policy.builder import Sample, Stream, fitted
from dex_core.types import JointState

MS = 1_000_000
NOW = 1_700_000_000_000 * MS
BASE = load_cell("xarm_bimanual")
CELL = dataclasses.replace(BASE, cameras={"front": BASE.cameras["front"], "wrist": CameraConfig(driver="external")})
SPEC = PolicySpec("p", "h", "cpu", {"front": (240, 320), "wrist": (240, 320)}, ("left_arm", "left_hand"), ("left_arm",), 64, 0.05, 1.0, ())
LIMITS = PolicyConfig()
NATIVE = np.random.default_rng(1).integers(0, 255, (540, 960, 3), dtype=np.uint8)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)


def state(interface: str, stamp_ns: int) -> JointState:
    i = CELL.interface(interface)
    return JointState(i.names, np.array(i.home), np.zeros(len(i.names)), np.full(len(i.names), stamp_ns % 97), stamp_ns)


def fill(builder: ObservationBuilder, spec: PolicySpec = SPEC, first_ms: int = -1000, last_ms: int = 20) -> ObservationBuilder:
    """Joint states every 10 ms, pictures every 50 ms, the wrist's 13 ms later."""
    for ms in range(first_ms, last_ms + 1, 10):
        for name in spec.joint_interfaces:
            builder.add_state(name, NOW + ms * MS, partial(state, name, NOW + ms * MS))
        if ms % 50 == 0:
            for camera, shift in zip(spec.cameras, (0, 13), strict=False):
                builder.add_picture(camera, NOW + (ms + shift) * MS, partial(picture, ms + 10_000 + shift))
    return builder


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=40), st.integers(0, 1000), st.integers(-1, 1000))
def test_a_stream_gives_the_nearest_that_was_known(stamps: list[tuple[int, int]], wanted: int, known: int) -> None:
    stream: Stream[int] = Stream(1e9)
    for number, (stamp, received) in enumerate(stamps):
        stream.add(Sample(stamp, received, lambda number=number: number))
    found, there = stream.nearest(wanted, known), [s for s, received in stamps if received <= known]
    if not there:
        assert found is None
        return
    least = min(abs(s - wanted) for s in there)
    assert found is not None and found.received_ns <= known and abs(found.stamp_ns - wanted) == least
    assert found.stamp_ns <= wanted or wanted - least not in there, "of two as near, the earlier"


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60))
def test_a_stream_keeps_what_may_still_be_asked_for_and_no_more(stamps: list[int]) -> None:
    stream: Stream[int] = Stream(1.0)
    for stamp in stamps:
        stream.add(Sample(stamp, 0, lambda: 0))
    newest = max(stamps)
    kept = stream.nearest(newest - 10**9)
    assert kept is not None and kept.stamp_ns >= newest - 10**9 and len(stream) <= sum(s >= newest - 10**9 for s in stamps)


def test_every_stream_is_taken_where_it_is_nearest_to_the_first_picture() -> None:
    builder = fill(ObservationBuilder(CELL, SPEC))
    seen = builder.build(NOW, "words")
    assert seen.stamp_ns == NOW and seen.instruction == "words" and list(seen.images) == ["front", "wrist"]
    assert seen.image_stamps_ns == {"front": NOW, "wrist": NOW + 13 * MS}
    np.testing.assert_array_equal(seen.images["wrist"], picture(10_013))
    assert {s.stamp_ns for s in seen.joints.values()} == {NOW}
    check_observation(seen, SPEC, NOW + 30 * MS, LIMITS)


def test_what_has_not_come_is_missing_and_named_never_made_up() -> None:
    builder = ObservationBuilder(CELL, SPEC)
    with pytest.raises(ObservationRefused, match="'front'") as info:
        builder.build(NOW)
    assert info.value.code == "camera_lost"
    builder.add_picture("front", NOW, partial(picture, 0))
    seen = builder.build(NOW)
    assert set(seen.images) == {"front"} and not seen.joints and not seen.past
    with pytest.raises(ObservationRefused, match="wrist.*left_arm.*left_hand"):
        check_observation(seen, SPEC, NOW, LIMITS)


@given(st.integers(2, 5), st.sampled_from([0.05, 0.1]))
def test_history_is_oldest_first_at_its_distance(history: int, dt_s: float) -> None:
    spec = dataclasses.replace(SPEC, history=history, history_dt_s=dt_s)
    seen = fill(ObservationBuilder(CELL, spec), spec).build(NOW)
    wanted = [NOW - round(k * dt_s * 1e9) for k in range(history - 1, 0, -1)]
    assert [p.stamp_ns for p in seen.past] == wanted and not any(p.past for p in seen.past)
    check_observation(seen, spec, NOW, LIMITS)
    young = fill(ObservationBuilder(CELL, spec), spec, first_ms=-40).build(NOW)
    with pytest.raises(ObservationRefused) as info:
        check_observation(young, spec, NOW, LIMITS)
    assert info.value.code == "history_short", "a goal that has just begun waits for its history"


def test_replay_sees_no_more_than_was_known() -> None:
    builder = ObservationBuilder(CELL, SPEC)
    builder.add_picture("front", NOW, partial(picture, 0), NOW + 90 * MS)
    for ms in (-30, 5):
        builder.add_state("left_arm", NOW + ms * MS, partial(state, "left_arm", NOW + ms * MS), NOW + (ms + 6) * MS)
    assert builder.build(NOW).joints["left_arm"].stamp_ns == NOW + 5 * MS
    assert builder.build(NOW, known_ns=NOW + 10 * MS).joints["left_arm"].stamp_ns == NOW - 30 * MS


def test_a_picture_of_an_external_camera_is_cut_as_the_cell_says() -> None:
    camera = CELL.cameras["wrist"]
    expected = crop_and_resize(NATIVE, camera.crop_xywh, camera.output_wh)
    np.testing.assert_array_equal(fitted(NATIVE, camera), expected)
    np.testing.assert_array_equal(fitted(expected, camera), expected)
    own = dataclasses.replace(camera, driver="realsense")
    assert fitted(NATIVE, own) is NATIVE, "drivers of this stack cut themselves; a wrong size is refused later"
    builder = fill(ObservationBuilder(CELL, SPEC), last_ms=-100)
    builder.add_picture("front", NOW, partial(picture, 0))
    builder.add_picture("wrist", NOW, lambda: NATIVE)
    np.testing.assert_array_equal(builder.build(NOW).images["wrist"], expected)


def test_what_cannot_be_read_is_told_with_its_stream() -> None:
    def broken() -> np.ndarray:
        raise ShapeError("7 bytes")

    def infinite() -> JointState:
        raise NonFiniteError("inf at 3")

    builder = fill(ObservationBuilder(CELL, SPEC))
    builder.add_picture("wrist", NOW + 1, broken)
    with pytest.raises(ObservationRefused, match="picture of wrist: 7 bytes") as info:
        builder.build(NOW)
    assert info.value.code == "image_shape"
    builder = fill(ObservationBuilder(CELL, SPEC), first_ms=20)
    builder.add_picture("front", NOW, partial(picture, 0))
    builder.add_state("left_hand", NOW, infinite)
    with pytest.raises(ObservationRefused, match="joint state of left_hand: inf") as info:
        builder.build(NOW)
    assert info.value.code == "non_finite"


@pytest.mark.parametrize(
    "wrong", [dict(cameras={"nowhere": (240, 320)}), dict(joint_interfaces=("third_arm",)), dict(pose_interfaces=("third_arm",))]
)
def test_a_stream_that_the_cell_does_not_have(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ObservationBuilder(CELL, dataclasses.replace(SPEC, **wrong))  # type: ignore[arg-type]
