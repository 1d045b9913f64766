# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.policy import (
    FrozenPictureGuard,
    InstructionRefused,
    Observation,
    ObservationRefused,
    PolicySpec,
    StateHistory,
    check_instruction,
    check_observation,
)
from dex_core.policy.instruction import similarity
from dex_core.types import JointState

NS = 1_000_000_000
NOW = 1_700_000_000 * NS
CELL = load_cell("xarm_bimanual")
SPEC = PolicySpec("p", "h", "cpu", {"front": (240, 320)}, ("left_arm", "left_hand"), ("left_arm",), 64, 0.05, 1.0, ())
IMAGE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
KNOWN = ("Push the two tomato cans together", "Return to the rest pose")


def state(name: str = "left_arm", stamp_ns: int = NOW, offset: float = 0.0) -> JointState:
    i = CELL.interface(name)
    return JointState(i.names, np.array(i.home) + offset, np.zeros(len(i.names)), np.zeros(len(i.names)), stamp_ns)


def refused(image_age_s: float = 0.0, state_apart_s: float = 0.0, **joints: JointState) -> str:
    stamp = NOW - round(image_age_s * NS)
    both = {"left_arm": state(stamp_ns=stamp + round(state_apart_s * NS)), "left_hand": state("left_hand", stamp), **joints}
    try:
        check_observation(Observation(stamp, {"front": IMAGE}, both, ""), SPEC, NOW, 0.25, 0.1)
    except ObservationRefused as error:
        return error.code
    return ""


def test_fresh_is_taken_and_stale_is_named() -> None:
    assert refused() == "" and refused(0.24) == "" and refused(0.2, 0.09) == "" and refused(0.2, -0.09) == ""
    assert refused(0.26) == "camera_lost" and refused(-0.2) == "camera_lost"
    assert refused(0.1, 0.11) == "state_stale" and refused(0.1, -0.11) == "state_stale"


def test_missing_state_names_the_interface() -> None:
    with pytest.raises(ObservationRefused, match="left_hand") as info:
        check_observation(Observation(NOW, {"front": IMAGE}, {"left_arm": state()}, ""), SPEC, NOW, 0.25, 0.1)
    assert info.value.code == "state_stale"


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40), st.integers(0, 10**9))
def test_history_gives_the_nearest(stamps: list[int], wanted: int) -> None:
    history = StateHistory(depth=64)
    for stamp in stamps:
        history.add(state(stamp_ns=stamp))
    nearest = history.nearest(wanted)
    assert nearest is not None and abs(nearest.stamp_ns - wanted) == min(abs(s - wanted) for s in stamps)
    newest = history.newest()
    assert newest is not None and newest.stamp_ns == max(stamps)


def test_history_is_short_and_empty_at_first() -> None:
    history = StateHistory(depth=3)
    assert history.nearest(0) is None
    for stamp in range(10):
        history.add(state(stamp_ns=stamp))
    nearest = history.nearest(0)
    assert nearest is not None and nearest.stamp_ns == 7


def test_frozen_picture_needs_motion() -> None:
    guard = FrozenPictureGuard()
    for _ in range(5):
        guard.check(IMAGE, {"left_arm": state()})
    guard.check(IMAGE, {"left_arm": state(offset=0.04)})
    with pytest.raises(ObservationRefused) as info:
        guard.check(IMAGE, {"left_arm": state(offset=0.06)})
    assert info.value.code == "camera_frozen"
    changed = IMAGE.copy()
    changed[0, 0, 0] ^= 1
    guard.check(changed, {"left_arm": state(offset=0.06)})
    guard.reset()
    guard.check(changed, {"left_arm": state(offset=0.5)})


@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_a_similarity(a: str, b: str) -> None:
    assert 0.0 <= similarity(a, b) <= 1.0 and similarity(a, b) == similarity(b, a)


def test_instructions() -> None:
    assert check_instruction("push the tomato cans TOGETHER!", KNOWN, 0.3) == KNOWN[0]
    assert check_instruction("return to rest", KNOWN, 0.3) == KNOWN[1]
    assert check_instruction("anything", (), 0.3) == "anything"
    with pytest.raises(InstructionRefused, match="Return to the rest pose"):
        check_instruction("open the drawer", KNOWN, 0.3)
