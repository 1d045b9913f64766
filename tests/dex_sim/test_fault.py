# SPDX-License-Identifier: Apache-2.0
"""One line with each fault on it, messages falsified by their own fields, and the fault words on device simulators."""

from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image, JointState

from dex_core.config import load_cell
from dex_core.errors import ConfigError
from dex_msgs.msg import ActionChunk, ActionSlice, JointCommand
from dex_ros.testing import wait_for
from dex_sim.fault import KINDS, QUEUE_MAX, FaultLine
from dex_sim.fault_device import DeviceFaults, hooks_of
from dex_sim.fault_message import garble, restamp, shift
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller import XArmController

S = 1_000_000_000


class Words:
    """Content that says what was done to it."""

    def again(self, old: bytes, new: bytes) -> bytes:
        return b"again " + old + b" at " + new

    def garbage(self, data: bytes) -> bytes:
        return b"garbage"

    def wrong(self, data: bytes, amount: float) -> bytes:
        return data + f"+{amount:g}".encode()


def line(kind: str, amount: float = 0.0) -> FaultLine:
    made = FaultLine(Words())
    assert made.put(b"before", 0) == [b"before"]
    made.set(kind, amount, 0)
    return made


@pytest.mark.parametrize(("kind", "out"), [
    ("ok", [b"a"]), ("off", []), ("stuck", [b"again before at a"]), ("garbage", [b"garbage"]), ("wrong", [b"a+0.5"]), ("delayed", []), ("slow", []),
])
def test_each_kind_does_what_its_words_say(kind: str, out: list[bytes]) -> None:
    assert line(kind).put(b"a", S) == out


def test_slow_lets_every_nth_on_and_delayed_keeps_the_order() -> None:
    slow = line("slow", 3.0)
    assert [len(slow.put(b"a", k)) for k in range(7)] == [0, 0, 1, 0, 0, 1, 0]
    late = line("delayed", 0.5)
    for k in range(3):
        assert late.put(bytes([k]), k * S // 10) == []
    assert late.due(S // 2 - 1) == []
    assert late.due(6 * S // 10) == [b"\x00", b"\x01"] and late.due(S) == [b"\x02"]


def test_a_delay_holds_only_so_much() -> None:
    late = line("delayed", 100.0)
    for k in range(QUEUE_MAX + 5):
        late.put(b"a", k)
    assert late.dropped == 5 and len(late.due(200 * S)) == QUEUE_MAX


def test_intermittent_is_off_for_half_of_each_period() -> None:
    on = line("intermittent", 1.0)
    assert [len(on.put(b"a", round(share * S))) for share in (0.1, 0.4, 0.6, 0.9, 1.2, 1.7)] == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(("kind", "amount", "words"), [
    ("broken", 0.0, "allowed: ok, off"), ("delayed", -1.0, "0 (its default"), ("delayed", float("nan"), "allowed"), ("slow", 0.2, "at least 1"),
])
def test_what_is_no_fault_is_refused(kind: str, amount: float, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FaultLine(Words()).set(kind, amount, 0)
    assert words in str(caught.value)


def test_every_kind_tells_what_happens_now() -> None:
    assert all(FaultLine(Words()).set(kind, 0.0, 0) for kind in KINDS)


# --- messages -----------------------------------------------------------------------------------------------------------


def test_garbage_leaves_names_and_stamps_and_spoils_every_number() -> None:
    command = JointCommand(names=["a", "b", "c"], positions=[0.1, 0.2, 0.3], velocities=[0.0, 0.0, 0.0], sequence=7)
    command.header.stamp.sec = 5
    seen = set()
    for seed in range(20):
        garble(command, np.random.default_rng(seed))
        assert list(command.names) == ["a", "b", "c"] and command.header.stamp.sec == 5 and command.sequence == 7
        seen |= {"nan" if np.isnan(v) else "inf" if np.isinf(v) else "finite" for v in command.positions}
    assert seen == {"nan", "inf", "finite"}


def test_nested_slices_and_pictures_are_reached() -> None:
    chunk = ActionChunk(bundle_hash="model", slices=[ActionSlice(data=array.array("f", [0.5, 0.5]))])
    shift(chunk, 0.25)
    assert list(chunk.slices[0].data) == [0.75, 0.75] and chunk.bundle_hash == "another model"
    picture = Image(height=1, width=2, data=array.array("B", [1, 2, 3, 4, 5, 6]))
    shift(picture, 1.0)
    assert list(picture.data) == [4, 5, 6, 1, 2, 3] and picture.width == 2


def test_stuck_is_old_numbers_under_a_new_stamp() -> None:
    old, new = JointState(position=[1.0]), JointState(position=[2.0])
    new.header.stamp.sec = 9
    again = restamp(old, new)
    assert list(again.position) == [1.0] and again.header.stamp.sec == 9


# --- devices ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def arm():
    part = load_cell("xarm_bimanual").interface("left_arm")
    with XArmController(KinematicPlant(part.names, part.home), "127.0.54.77:25477") as controller:
        yield controller


def test_only_what_was_allowed_can_be_faulted(arm: XArmController) -> None:
    faults = DeviceFaults(lambda: {"left_arm": arm}, ("left_arm", "right_hand"))
    assert "left_arm is wrong" in faults.inject("left_arm", "wrong", 0.0)
    assert arm.controller.error == 31
    assert faults.inject("left_arm", "wrong", 24.0) and arm.controller.error == 24
    for component, kind, words in (
        ("right_arm", "off", "may not be faulted"), ("right_hand", "off", "no simulator now"), ("left_arm", "garbage", "it can be: ok"),
        ("left_arm", "sideways", "allowed: ok"),
    ):
        with pytest.raises(ConfigError, match=words):
            faults.inject(component, kind, 0.0)


def test_a_device_goes_off_and_on_by_itself_until_it_is_well(arm: XArmController) -> None:
    faults, calls = DeviceFaults(lambda: {"left_arm": arm}, ("left_arm",)), []
    arm.stop_listening = lambda: calls.append("off")  # type: ignore[method-assign]
    arm.listen_again = lambda: calls.append("on")  # type: ignore[method-assign]
    faults.inject("left_arm", "intermittent", 0.02)
    wait_for(lambda: calls.count("off") > 2 and calls.count("on") > 2, "the toggling")
    faults.inject("left_arm", "ok", 0.0)
    faults.close()
    assert calls[0] == "off" and "on" in calls[-2:]


def test_a_simulator_without_hooks_says_so() -> None:
    with pytest.raises(ConfigError, match="offers no faults"):
        hooks_of(object())
