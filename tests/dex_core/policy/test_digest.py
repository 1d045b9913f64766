# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dex_core.policy import Observation, differences, stream_digests, whole_digest
from dex_core.types import JointState

IMAGE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
STATE = JointState(("a", "b"), np.array([0.1, 0.2]), np.zeros(2), np.full(2, np.nan), 17)
SEEN = Observation(17, {"front": IMAGE, "wrist": IMAGE}, {"left_arm": STATE}, "push", {"left_arm": np.eye(4)}, image_stamps_ns={"wrist": 18})


def turned(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[::-1])


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (replace(SEEN, stamp_ns=18, image_stamps_ns={"front": 17, "wrist": 18}), "stamp"),
        (replace(SEEN, instruction="pull"), "instruction"),
        (replace(SEEN, images={"front": IMAGE, "wrist": turned(IMAGE)}), "image/wrist"),
        (replace(SEEN, images={"front": IMAGE}), "image/wrist"),
        (replace(SEEN, images={"front": IMAGE.transpose(1, 0, 2), "wrist": IMAGE}), "image/front"),
        (replace(SEEN, image_stamps_ns={"wrist": 19}), "image/wrist"),
        (replace(SEEN, joints={"left_arm": replace(STATE, stamp_ns=18)}), "joints/left_arm"),
        (replace(SEEN, joints={"left_arm": replace(STATE, position_rad=np.array([0.1, np.nextafter(0.2, 1.0)]))}), "joints/left_arm"),
        (replace(SEEN, joints={"left_arm": replace(STATE, names=("b", "a"))}), "joints/left_arm"),
        (replace(SEEN, poses={"left_arm": np.eye(4) * 1.00001}), "pose/left_arm"),
        (replace(SEEN, past=(replace(SEEN, stamp_ns=1),)), "-1/image/front"),
    ],
)
def test_another_observation_has_another_digest_and_the_part_is_named(other: Observation, part: str) -> None:
    mine, theirs = stream_digests(SEEN), stream_digests(other)
    assert differences(mine, theirs)[0] == part and whole_digest(mine) != whole_digest(theirs)


def test_the_same_observation_has_the_same_digest() -> None:
    computed_elsewhere = replace(SEEN, images={k: v.copy() for k, v in SEEN.images.items()}, poses={"left_arm": np.eye(4) + 1e-13})
    mine = stream_digests(SEEN)
    assert differences(mine, stream_digests(computed_elsewhere)) == ()
    assert whole_digest(dict(reversed(mine.items()))) == whole_digest(mine) != 0
    assert set(mine) == {"stamp", "instruction", "image/front", "image/wrist", "joints/left_arm", "pose/left_arm"}


def test_digests_are_numbers_that_a_recording_of_another_year_has_too() -> None:
    assert stream_digests(Observation(17, {}, {}, "push")) == {"stamp": 17359615390972982557, "instruction": 14617231534833004110}
