# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.policy import FrozenGuard, Observation, ObservationRefused
from dex_core.types import JointState

NS = 1_000_000_000
RNG = np.random.default_rng(0)
IMAGES = {camera: RNG.integers(0, 255, (24, 32, 3), dtype=np.uint8) for camera in ("front", "wrist")}
NAMES = tuple(f"joint{k}" for k in range(6))


def state(offset_rad: float = 0.0, time_s: float = 0.0, effort: float | None = 1.0) -> JointState:
    """Of a device with analogue effort, or without any."""
    full = np.full(6, np.nan if effort is None else effort)
    return JointState(NAMES, np.full(6, 0.1 + offset_rad), np.zeros(6), full, round(time_s * NS))


def seen(time_s: float, images: dict[str, np.ndarray] = IMAGES, **joints: JointState) -> Observation:
    return Observation(round(time_s * NS), images, joints, "")


def changed(*cameras: str) -> dict[str, np.ndarray]:
    return {name: RNG.integers(0, 255, image.shape, dtype=np.uint8) if name in cameras else image for name, image in IMAGES.items()}


def code_of(guard: FrozenGuard, observation: Observation) -> str:
    try:
        guard.check(observation)
    except ObservationRefused as error:
        return error.code
    return ""


def test_a_picture_is_frozen_only_when_an_arm_moved() -> None:
    guard = FrozenGuard()
    for k in range(5):
        guard.check(seen(k, left_arm=state(time_s=k, effort=k)))
    assert code_of(guard, seen(5, left_arm=state(0.04, 5))) == ""
    assert code_of(guard, seen(6, left_arm=state(0.06, 6))) == "camera_frozen"
    one_bit = {name: image.copy() for name, image in IMAGES.items()}
    for image in one_bit.values():
        image[0, 0, 0] ^= 1
    assert code_of(guard, seen(7, one_bit, left_arm=state(0.06, 7))) == ""
    guard.reset()
    assert code_of(guard, seen(8, one_bit, left_arm=state(0.5, 8))) == ""


def test_each_camera_is_watched() -> None:
    guard = FrozenGuard()
    guard.check(seen(0, left_arm=state()))
    with pytest.raises(ObservationRefused, match="camera 'wrist'") as info:
        guard.check(seen(1, changed("front"), left_arm=state(0.2, 1)))
    assert "front" not in str(info.value)


@pytest.mark.parametrize(
    ("later", "code"),
    [
        (dict(left_arm=state(time_s=1.0), right_arm=state(0.2, 1.0)), "state_frozen"),
        (dict(left_arm=state(time_s=1.0), right_arm=state(0.01, 1.0, 2.0)), ""),  # nothing moved far
        (dict(left_arm=state(time_s=1.0, effort=1.0 + 1e-12), right_arm=state(0.2, 1.0)), ""),  # at rest, but its effort lives
        (dict(left_arm=state(1e-15, 1.0), right_arm=state(0.2, 1.0)), ""),
        (dict(left_arm=state(time_s=0.1), right_arm=state(0.2, 0.1)), ""),  # not for long enough
        (dict(left_arm=state(time_s=1.0)), ""),  # nobody else to compare with
    ],
)
def test_a_joint_state_that_repeats_itself_to_the_last_bit(later: dict[str, JointState], code: str) -> None:
    guard = FrozenGuard()
    guard.check(seen(0.0, left_arm=state(), right_arm=state()))
    assert code_of(guard, seen(1.0, changed("front", "wrist"), **later)) == code


def test_a_register_at_rest_is_no_frozen_sensor() -> None:
    guard = FrozenGuard()
    for k in range(20):
        guard.check(seen(k, changed("front", "wrist"), left_hand=state(time_s=k, effort=None), left_arm=state(0.1 * k, k, float(k))))


def test_another_hand_has_not_moved() -> None:
    guard, other = FrozenGuard(), JointState(("a",), np.array([3.0]), np.zeros(1), np.zeros(1), NS)
    guard.check(seen(0, left_arm=state(), left_hand=state(effort=None)))
    guard.check(seen(1, changed("front", "wrist"), left_arm=state(time_s=1), left_hand=other))
