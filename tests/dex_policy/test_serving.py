# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.decode import MountedHand
from dex_core.errors import DexError
from dex_core.policy import MeasuredPoses, Observation
from dex_core.policy.runtime import load_policy, mounted_hands
from dex_core.types import JointState
from dex_policy.serving import PolicyServer

NS = 1_000_000_000
WALL = 1_700_000_000 * NS
TEXT = "Push the two tomato cans together"


@pytest.fixture()
def server(cell: CellConfig, hands: dict[str, MountedHand]) -> PolicyServer:
    made = PolicyServer(load_policy(cell)[0], cell.policy)
    for hand in hands.values():
        made.note_mounted(hand)
    return made


def observe(cell: CellConfig, stamp_ns: int, mounted: Mapping[str, MountedHand], seed: int = 0) -> Observation:
    image = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    joints = {n: JointState(i.names, np.array(i.home), np.zeros(len(i.names)), np.zeros(len(i.names)), stamp_ns) for n, i in cell.interfaces.items()}
    return MeasuredPoses(cell, ("left_arm", "right_arm")).complete(Observation(stamp_ns, {"front": image}, joints, "ignored"), mounted)


def test_replans_every_period(server: PolicyServer, cell: CellConfig) -> None:
    assert not server.collecting(0) and not server.due(0)
    server.begin("g", TEXT)
    assert server.due(5 * NS)
    assert server.step(observe(cell, WALL, server.mounted), 5 * NS, WALL) is not None
    period = round(cell.policy.replan_period_s * NS)
    assert not server.due(5 * NS + period // 2) and server.due(5 * NS + period)
    assert server.wait_s(5 * NS) == 0.0, "the look-ahead is longer than this short period"


def test_a_picture_is_used_once(server: PolicyServer, cell: CellConfig) -> None:
    server.begin("g", TEXT)
    server.due(0)
    assert server.step(observe(cell, WALL, server.mounted), 0, WALL) is not None
    assert server.step(observe(cell, WALL, server.mounted), NS, WALL) is None
    assert server.step(observe(cell, WALL - 1, server.mounted), NS, WALL) is None
    assert server.status().refused == 0 and server.status().chunks == 1


def test_refusals_are_counted_by_reason_and_the_sequence_has_no_hole(server: PolicyServer, cell: CellConfig) -> None:
    server.begin("g", TEXT)
    server.due(0)
    for k in range(3):
        assert server.step(observe(cell, WALL + k, server.mounted), 0, WALL + NS) is None
    assert server.refusals == {"camera_lost": 3} and server.status().reason == "camera_lost"
    prediction = server.step(observe(cell, WALL + NS, server.mounted), 0, WALL + NS)
    assert prediction is not None and prediction.chunk.sequence == 1 and server.status().reason == ""


def test_each_goal_begins_anew(server: PolicyServer, cell: CellConfig) -> None:
    for goal in ("a", "b"):
        server.begin(goal, TEXT)
        server.due(0)
        prediction = server.step(observe(cell, WALL, server.mounted), 0, WALL)
        assert prediction is not None and prediction.chunk.sequence == 1 and prediction.chunk.goal_id == goal
        with pytest.raises(DexError) as info:
            server.begin("other", TEXT)
        assert info.value.code == "busy"
        assert not server.end("other") and server.end(goal) and server.goal is None
    assert server.step(observe(cell, WALL + 5, server.mounted), 0, WALL) is None, "no goal, no chunk"


def test_no_goal_before_the_hands_are_known_and_none_for_a_hand_of_another_space(cell: CellConfig) -> None:
    policy, bundle = load_policy(cell)
    server, hands = PolicyServer(policy, cell.policy), mounted_hands(cell, bundle)
    server.note_mounted(hands["left"])
    with pytest.raises(DexError, match="right_decoder") as info:
        server.begin("g", TEXT)
    assert info.value.code == "hand_unknown" and server.goal is None
    server.note_mounted(replace(hands["right"], decoder_sha256="0" * 64))
    status = server.status()  # told before any goal
    assert status.reason == "space_mismatch" and "0" * 16 in status.detail and hands["right"].decoder_sha256[:16] in status.detail
    server.note_mounted(hands["left"])
    assert server.status().reason == "space_mismatch"
    with pytest.raises(DexError) as info:
        server.begin("g", TEXT)
    assert info.value.code == "space_mismatch" and server.goal is None
    server.note_mounted(hands["right"])
    assert server.status().reason == ""
    server.begin("g", TEXT)
    server.due(0)
    assert server.step(observe(cell, WALL, server.mounted), 0, WALL) is not None
    assert server.step(observe(cell, WALL + 1, {}), 0, WALL) is None and server.refusals == {"hand_unknown": 1}


def test_a_goal_waits_a_moment_for_a_decoder_that_has_just_started(cell: CellConfig) -> None:
    policy, bundle = load_policy(cell)
    server, hands = PolicyServer(policy, cell.policy), mounted_hands(cell, bundle)
    server.note_mounted(hands["left"])
    later = threading.Timer(0.1, server.note_mounted, (hands["right"],))
    later.start()
    assert server.begin("g", TEXT).goal_id == "g"
    later.join()


def test_a_hand_exchanged_in_mid_goal_is_followed_and_a_foreign_one_refused(cell: CellConfig) -> None:
    policy, bundle = load_policy(cell)
    server = PolicyServer(policy, cell.policy)
    other = load_cell("xarm_bimanual", left_hand="leap")
    leap = mounted_hands(other, bundle)["left"]

    def look(cell: CellConfig, stamp_ns: int) -> object:
        return server.step(observe(cell, stamp_ns, server.mounted, stamp_ns - WALL), 0, WALL)

    for hand in mounted_hands(cell, bundle).values():
        server.note_mounted(hand)
    server.begin("g", TEXT)
    server.due(0)
    assert look(cell, WALL) is not None and policy.hand_changes == 0
    server.note_mounted(leap)
    assert look(cell, WALL + 1) is None and server.status().reason == "joint_names", "the new hand's joints are not there yet"
    assert look(other, WALL + 2) is not None and policy.hand_changes == 1 and server.status().chunks == 2
    server.note_mounted(MountedHand("left", "shadow", leap.flange, leap.grasp_in_flange, leap.decoder_sha256))
    assert look(other, WALL + 3) is None and server.status().reason == "space_mismatch"
