# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.decode.mounted import MountedHand
from dex_core.errors import DexError
from dex_ros.mounted import mounted_from_msg, mounted_to_msg, quaternion_xyzw, rotation_of


def rotation(seed: int) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    q[:, 2] *= np.linalg.det(q)
    return q


@given(st.integers(0, 2**31))
def test_quaternions_there_and_back(seed: int) -> None:
    matrix = rotation(seed)
    q = quaternion_xyzw(matrix)
    assert np.linalg.norm(q) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation_of(q), matrix, atol=1e-12)
    np.testing.assert_allclose(rotation_of(-q), matrix, atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_quaternions_of_half_and_quarter_turns(axis: int) -> None:
    half = -np.eye(3)
    half[axis, axis] = 1.0
    assert abs(quaternion_xyzw(half)[axis]) == pytest.approx(1.0)
    quarter, (a, b) = np.eye(3), [i for i in range(3) if i != axis]
    quarter[[a, b], [a, b]] = 0.0
    sign = -1.0 if axis == 1 else 1.0
    quarter[b, a], quarter[a, b] = sign, -sign
    expected = np.zeros(4)
    expected[[axis, 3]] = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion_xyzw(quarter) * np.sign(quaternion_xyzw(quarter)[3]), expected, atol=1e-12)


def test_mounted_hands_there_and_back() -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation(4), (0.1, -0.2, 0.3)
    hand = MountedHand("right", "leap", "right_link_eef", pose, "ab" * 32)
    message = mounted_to_msg(hand)
    back = mounted_from_msg(message)
    assert (back.side, back.hand, back.flange, back.decoder_sha256) == ("right", "leap", "right_link_eef", "ab" * 32)
    np.testing.assert_allclose(back.grasp_in_flange, pose, atol=1e-12)
    assert mounted_from_msg(message) == back, "the same message is the same hand"


def test_bad_messages_are_refused() -> None:
    good = MountedHand("left", "leap", "left_link_eef", np.eye(4))
    for change in (
        lambda m: setattr(m, "side", "middle"),
        lambda m: setattr(m.grasp.orientation, "w", 0.5),
        lambda m: setattr(m.grasp.position, "x", np.nan),
    ):
        message = mounted_to_msg(good)
        change(message)
        with pytest.raises(DexError):
            mounted_from_msg(message)
