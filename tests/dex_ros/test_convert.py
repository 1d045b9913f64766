# SPDX-License-Identifier: Apache-2.0
import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.errors import DexError, ShapeError
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_ros import convert


def _chunk() -> ActionChunk:
    rng = np.random.default_rng(1)
    arm = ActionSlice("left_arm", "joint_position", rng.normal(size=(4, 2)), ("left_joint1", "left_joint2"))
    hand = ActionSlice("left_hand", "latent", rng.normal(size=(4, 32)), space_hash="ab", residual_m=np.ones(4))
    return ActionChunk(1_700_000_000_123_456_789, "goal", 7, 0.05, 1.0, (arm, hand), "hash", {"observed": 5, "inferred": 9})


def test_chunk_round_trip() -> None:
    chunk = _chunk()
    back = convert.chunk_from_msg(convert.chunk_to_msg(chunk))
    assert (back.stamp_ns, back.goal_id, back.sequence, back.bundle_hash) == (chunk.stamp_ns, "goal", 7, "hash")
    assert back.timing_ns == chunk.timing_ns
    for a, b in zip(back.slices, chunk.slices):
        assert (a.interface, a.space, a.names, a.space_hash) == (b.interface, b.space, b.names, b.space_hash)
        np.testing.assert_allclose(a.data, b.data, atol=1e-6)
        np.testing.assert_allclose(a.residual_m, b.residual_m)


def test_chunk_messages_that_lie_about_their_size_are_refused() -> None:
    for change in ({"rows": 5}, {"rows": 0}, {"cols": 4_000_000_000}, {"rows": 4_000_000_000, "cols": 1}):
        msg = convert.chunk_to_msg(_chunk())
        for key, value in change.items():
            setattr(msg.slices[0], key, value)
        with pytest.raises(ShapeError, match="rows"):
            convert.chunk_from_msg(msg)


@given(st.integers(0, 3), st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_any_non_finite_number_refuses_the_whole_chunk(index: int, bad: float) -> None:
    msg = convert.chunk_to_msg(_chunk())
    msg.slices[0].data[index] = bad
    with pytest.raises(DexError) as caught:
        convert.chunk_from_msg(msg)
    assert caught.value.code == "non_finite"


def test_joint_state_round_trip_and_missing_effort() -> None:
    state = JointState(("a", "b"), np.array([1.0, 2.0]), np.array([0.1, 0.2]), np.array([3.0, 4.0]), 5_000_000_001)
    back = convert.joint_state_from_msg(convert.joint_state_to_msg(state))
    assert back.names == state.names and back.stamp_ns == state.stamp_ns
    np.testing.assert_array_equal(back.effort, state.effort)
    msg = convert.joint_state_to_msg(JointState(("a",), np.zeros(1), np.zeros(1), np.array([np.nan]), 0))
    assert len(msg.effort) == 0 and np.isnan(convert.joint_state_from_msg(msg).effort).all()


def test_joint_state_without_positions_is_an_error_not_zero() -> None:
    msg = convert.joint_state_to_msg(JointState(("a", "b"), np.ones(2), np.ones(2), np.ones(2), 0))
    msg.position = array.array("d", [1.0])
    with pytest.raises(ShapeError):
        convert.joint_state_from_msg(msg)


def test_image_round_trip_bgr_and_padding() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    msg = convert.image_to_msg(image, 3, "cam")
    np.testing.assert_array_equal(convert.image_from_msg(msg), image)
    msg.encoding = "bgr8"
    np.testing.assert_array_equal(convert.image_from_msg(msg), image[:, :, ::-1])
    padded = np.zeros((4, 16), np.uint8)
    padded[:, :15] = image.reshape(4, 15)
    msg.encoding, msg.step, msg.data = "rgb8", 16, array.array("B", padded.tobytes())
    np.testing.assert_array_equal(convert.image_from_msg(msg), image)


@pytest.mark.parametrize(("encoding", "exact_m"), [("32FC1", 1e-7), ("16UC1", 5e-4)])
def test_depth_survives_in_either_encoding(encoding: str, exact_m: float) -> None:
    depth = np.random.default_rng(0).uniform(0.2, 5.0, (4, 5)).astype(np.float32)
    depth[1, 2] = np.nan
    msg = convert.depth_to_msg(depth, 3, "cam", encoding)
    got = convert.depth_from_msg(msg)
    assert (msg.encoding, len(msg.data)) == (encoding, msg.step * 4) and np.isnan(got[1, 2])
    np.testing.assert_allclose(got, depth, atol=exact_m)
    with pytest.raises(ShapeError, match="allowed: 32FC1"):
        convert.depth_to_msg(depth, 3, "cam", "mono8")


def test_pixels_must_be_what_the_encoding_says() -> None:
    assert convert.pixels_from_msg(convert.pixels_to_msg(np.full((2, 3), 7, np.uint16), "mono16", 0, "cam")).tolist() == [[7] * 3] * 2
    with pytest.raises(ShapeError, match="needs uint8 with 3 channels"):
        convert.pixels_to_msg(np.zeros((2, 3), np.uint8), "rgb8", 0, "cam")


@pytest.mark.parametrize("change", [{"encoding": "mono8"}, {"height": 5}, {"step": 3}, {"width": 0}])
def test_images_that_lie_are_refused(change: dict) -> None:
    msg = convert.image_to_msg(np.zeros((4, 5, 3), np.uint8), 0, "cam")
    for key, value in change.items():
        setattr(msg, key, value)
    with pytest.raises(ShapeError):
        convert.image_from_msg(msg)
