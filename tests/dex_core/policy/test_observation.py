# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import PolicyConfig, load_cell
from dex_core.errors import ConfigError
from dex_core.policy import (
    InstructionRefused,
    Observation,
    ObservationRefused,
    PolicySpec,
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
LIMITS = PolicyConfig(image_max_age_s=0.25, state_max_age_s=0.1, image_max_apart_s=0.05)
KNOWN = ("Push the two tomato cans together", "Return to the rest pose")


def state(name: str = "left_arm", stamp_ns: int = NOW, offset: float = 0.0) -> JointState:
    i = CELL.interface(name)
    return JointState(i.names, np.array(i.home) + offset, np.zeros(len(i.names)), np.zeros(len(i.names)), stamp_ns)


def refused(image_age_s: float = 0.0, state_apart_s: float = 0.0, **joints: JointState) -> str:
    stamp = NOW - round(image_age_s * NS)
    both = {"left_arm": state(stamp_ns=stamp + round(state_apart_s * NS)), "left_hand": state("left_hand", stamp), **joints}
    try:
        check_observation(Observation(stamp, {"front": IMAGE}, both, ""), SPEC, NOW, LIMITS)
    except ObservationRefused as error:
        return error.code
    return ""


def test_fresh_is_taken_and_stale_is_named() -> None:
    assert refused() == "" and refused(0.24) == "" and refused(0.2, 0.09) == "" and refused(0.2, -0.09) == ""
    assert refused(0.26) == "camera_lost" and refused(-0.2) == "camera_lost"
    assert refused(0.1, 0.11) == "state_stale" and refused(0.1, -0.11) == "state_stale"


def test_missing_state_names_the_interface() -> None:
    with pytest.raises(ObservationRefused, match="left_hand") as info:
        check_observation(Observation(NOW, {"front": IMAGE}, {"left_arm": state()}, ""), SPEC, NOW, LIMITS)
    assert info.value.code == "state_stale"


def test_everything_missing_or_late_is_named_at_once() -> None:
    spec = replace(SPEC, cameras={"front": (240, 320), "wrist": (240, 320), "head": (240, 320)})
    seen = Observation(NOW, {"front": IMAGE, "wrist": IMAGE}, {"left_arm": state(stamp_ns=NOW - NS)}, "", image_stamps_ns={"wrist": NOW + NS})
    with pytest.raises(ObservationRefused) as info:
        check_observation(seen, spec, NOW + NS, LIMITS)
    late = ("picture of front is 1000 ms old", "picture of wrist is 1000 ms from", "no picture of head", "left_arm is 1000 ms")
    for text in (*late, "no joint state of left_hand"):
        assert text in str(info.value)
    assert info.value.code == "camera_lost"


def test_each_stream_may_have_a_limit_of_its_own() -> None:
    own = replace(LIMITS, max_age_s={"left_arm": 0.5, "front": 0.01})
    late_arm = Observation(NOW, {"front": IMAGE}, {"left_arm": state(stamp_ns=NOW - NS // 3), "left_hand": state("left_hand")}, "")
    check_observation(late_arm, SPEC, NOW, own)
    with pytest.raises(ObservationRefused, match="allowed -50 to 10 ms"):
        check_observation(late_arm, SPEC, NOW + NS // 50, own)
    with pytest.raises(ConfigError, match="max_age_s.left_arm"):
        replace(LIMITS, max_age_s={"left_arm": float("nan")})
    with pytest.raises(ConfigError, match="nobody"):
        replace(CELL, policy=replace(CELL.policy, max_age_s={"nobody": 0.1}))


def test_history_is_whole_or_refused() -> None:
    spec, joints = replace(SPEC, history=3, history_dt_s=0.1), {"left_arm": state(), "left_hand": state("left_hand")}

    def at(back_ms: int) -> Observation:
        stamp = NOW - back_ms * 1_000_000
        return Observation(stamp, {"front": IMAGE}, {name: replace(s, stamp_ns=stamp) for name, s in joints.items()}, "")

    check_observation(replace(at(0), past=(at(200), at(100))), spec, NOW, LIMITS)
    check_observation(replace(at(0), past=(at(240), at(60))), spec, NOW, LIMITS)
    for past in ((), (at(100),), (at(200), at(0)), (at(100), at(200)), (at(300), at(100))):
        with pytest.raises(ObservationRefused) as info:
            check_observation(replace(at(0), past=past), spec, NOW, LIMITS)
        assert info.value.code == "history_short"
    with pytest.raises(ObservationRefused, match="left_arm yet 100 ms before"):
        check_observation(replace(at(0), past=(at(200), replace(at(100), joints={"left_hand": joints["left_hand"]}))), spec, NOW, LIMITS)


@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_a_similarity(a: str, b: str) -> None:
    assert 0.0 <= similarity(a, b) <= 1.0 and similarity(a, b) == similarity(b, a)


def test_instructions() -> None:
    assert check_instruction("push the tomato cans TOGETHER!", KNOWN, 0.3) == KNOWN[0]
    assert check_instruction("return to rest", KNOWN, 0.3) == KNOWN[1]
    assert check_instruction("anything", (), 0.3) == "anything"
    with pytest.raises(InstructionRefused, match="Return to the rest pose"):
        check_instruction("open the drawer", KNOWN, 0.3)
