# SPDX-License-Identifier: Apache-2.0
"""The gate as the keeper of a whole cell: armed before it runs, chunks examined, arms kept apart, a deadman, a side that holds alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dex_control.gate import CommandMode
from dex_core.config import CellConfig, load_cell
from dex_core.config.safety import Box, SafetyConfig
from dex_core.errors import ConfigError
from dex_core.safety import Beat, Mode, Reason

MEET = np.zeros(26)
MEET[[0, 1, 3, 5]] = MEET[[7, 8, 10, 12]] = -1.2, 0.52, 0.84, -0.47  # both arms stretch and turn inwards, until the thumbs would overlap
MEET[7] = 1.2


def with_safety(cell: CellConfig, **safety) -> CellConfig:
    return dataclasses.replace(cell, safety=SafetyConfig(**safety))


def hits(rig) -> dict:
    return {(hit.limit, hit.stage): hit for hit in rig.gate.report().limits}


def test_a_goal_arms_and_the_first_chunk_runs_it(rig):
    rig.step(3)
    before = rig.joints.copy()
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    rig.step(50)
    assert rig.status.mode is Mode.ARMED and rig.last.mode is CommandMode.HOLD
    np.testing.assert_allclose(rig.joints, before, atol=1e-12)
    rig.send(rig.chunk(0))
    assert rig.step().mode is CommandMode.TRACK and rig.status.mode is Mode.RUNNING


@pytest.mark.parametrize("how", ["loss", "stop", "end", "refused"])
def test_an_armed_goal_is_watched_as_a_running_one(rig, how):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    if how == "loss":
        rig.silent.add("policy")
    if how == "stop":
        rig.gate.stop()
    if how == "end":
        assert rig.gate.set_goal("g1", False, rig.now_ns).accepted
    if how == "refused":
        for sequence in range(3):
            rig.send(rig.chunk(sequence, knots=np.full((64, 26), 9.0)))
    rig.step(60)
    expected = {"loss": Mode.HOLDING, "stop": Mode.STOPPED, "end": Mode.IDLE, "refused": Mode.FAULT}
    assert rig.status.mode is expected[how]


def test_f30_a_chunk_that_brings_the_hands_together_is_refused_whole(rig):
    rig.start(move=0.0)
    way = np.linspace(0.0, 1.0, 64)[:, None]
    rig.send(rig.chunk(1, knots=rig.joints + way * MEET))
    rig.step()
    assert (rig.outcomes[-1].reason, rig.gate.intake.sequence) == ("collision", 0)
    assert "thumb" in rig.outcomes[-1].detail and "allowed 0.0080 m" in rig.outcomes[-1].detail
    assert rig.gate.report().validation_max_ms > 0.0


def test_f30_arms_that_meet_nevertheless_slow_down_stand_and_hold(rig, monkeypatch):
    """What the look at the chunk missed the look at every command finds."""
    rig.start(move=0.0)
    monkeypatch.setattr(rig.gate.space, "examine", lambda *_: (None, []))
    way = np.minimum(1.0, np.linspace(0.0, 2.0, 128))[:, None]
    rig.send(rig.chunk(1, knots=rig.joints + way * MEET))
    shares = []
    for _ in range(640):
        rig.step()
        report = rig.gate.report()
        shares.append(report.speed_share)
        found = {hit.limit: hit for hit in report.limits}
        if "collision" in found:
            assert found["collision"].interface == "" and "-" in found["collision"].joint and found["collision"].stage == "command"
        if rig.status.mode is not Mode.RUNNING:
            break
    assert any(0.05 < share < 0.95 for share in shares) and min(shares) < 0.02
    assert (rig.status.mode, rig.status.reason, rig.status.latched) == (Mode.HOLDING, Reason.COLLISION, True)
    assert "thumb" in rig.status.cause
    rig.step(60)
    assert rig.at_rest()


def test_a_workspace_is_kept_chunk_by_chunk_and_tick_by_tick(cell, rig_of, monkeypatch):
    rig = rig_of(with_safety(cell, workspaces={"left_arm": Box((-1.0, -1.0, -1.0), (0.40, 1.0, 1.0))}, distances={}))
    rig.start(move=0.0)
    knots = rig.joints + np.linspace(0.0, 1.0, 64)[:, None] * MEET
    rig.send(rig.chunk(1, knots=knots))
    rig.step()
    assert rig.outcomes[-1].reason == "workspace" and "left_arm x" in rig.outcomes[-1].detail
    monkeypatch.setattr(rig.gate.space, "examine", lambda *_: (None, []))
    rig.send(rig.chunk(2, knots=rig.joints + np.linspace(0.0, 1.0, 64)[:, None] * MEET))
    rig.step(400, until=lambda: rig.status.mode is not Mode.RUNNING)
    assert (rig.status.mode, rig.status.reason) == (Mode.HOLDING, Reason.WORKSPACE)


def test_what_a_chunk_asks_too_much_is_said_before_its_first_step(rig):
    rig.start(move=0.0)
    knots = np.tile(rig.joints, (64, 1))
    knots[40:, 0] += 0.2
    rig.send(rig.chunk(1, knots=knots))
    rig.step()
    found = hits(rig)
    assert rig.outcomes[-1].accepted and found["velocity", "chunk"].joint == "left_joint1"
    assert found["velocity", "chunk"].interface == "left_arm"
    assert found["velocity", "chunk"].requested == pytest.approx(4.0) and found["velocity", "chunk"].allowed == 2.14


@pytest.mark.parametrize("how", ["released", "silent"])
def test_a_deadman_that_is_let_go_holds(cell, rig_of, how):
    rig = rig_of(with_safety(cell, deadman_topic="deadman"))
    rig.step(3)
    refused = rig.gate.set_goal("g1", True, rig.now_ns)
    assert (refused.accepted, refused.reason) == (False, Reason.DEADMAN) and "deadman" in refused.detail
    rig.gate.on_deadman(True, rig.now_ns)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    rig.send(rig.chunk(0))
    for _ in range(30):
        rig.gate.on_deadman(True, rig.now_ns)
        rig.step()
    assert rig.status.mode is Mode.RUNNING
    if how == "released":
        rig.gate.on_deadman(False, rig.now_ns)
        rig.step()
    else:
        rig.step(21)
    assert (rig.status.mode, rig.status.reason, rig.status.latched) == (Mode.HOLDING, Reason.DEADMAN, True)
    rig.gate.on_deadman(True, rig.now_ns)
    rig.step(30)
    assert rig.status.mode is Mode.HOLDING, "pressing it again resumes nothing"


def test_without_a_deadman_nobody_asks_for_one(rig):
    rig.start()
    rig.step(50)
    assert rig.status.mode is Mode.RUNNING


def test_f14_a_hand_fails_its_side_holds_and_the_other_goes_on(cell, rig_of):
    rig = rig_of(with_safety(cell, fail={"left_hand": "side"}))
    rig.start(move=np.concatenate([np.full(14, 0.25), np.zeros(12)]))
    rig.step(60)
    rig.beats["left_hand"] = Beat("left_hand", reason="hardware_error")
    rig.step(30)
    left, right = rig.joints[rig.place("left_arm")].copy(), rig.joints[rig.place("right_arm")].copy()
    rig.step(60)
    assert rig.status.mode is Mode.RUNNING and rig.gate.report().held == ("left_arm", "left_hand")
    np.testing.assert_allclose(rig.joints[rig.place("left_arm")], left, atol=1e-4)
    assert np.abs(rig.joints[rig.place("right_arm")] - right).min() > 0.02
    rig.beats.pop("left_hand")
    rig.step(60)
    np.testing.assert_allclose(rig.joints[rig.place("left_arm")], left, atol=1e-4, err_msg="nothing resumes by itself")
    rig.mute.add("right_arm")
    rig.step(30)
    assert (rig.status.mode, rig.status.cause) == (Mode.HOLDING, "right_arm"), "a fault of the other side holds the cell"


@pytest.mark.parametrize("action, mode", [("hold", Mode.HOLDING), ("stop", Mode.STOPPED)])
def test_the_other_fail_actions_are_for_the_whole_cell(cell, rig_of, action, mode):
    rig = rig_of(with_safety(cell, fail={"right_hand": action}))
    rig.start()
    rig.step(20)
    rig.silent.add("right_hand")
    rig.step(60)
    assert (rig.status.mode, rig.status.cause, rig.status.latched) == (mode, "right_hand", True)


def test_the_last_side_that_moves_takes_the_cell_with_it(cell, rig_of):
    rig = rig_of(with_safety(cell, fail={"left_hand": "side", "right_hand": "side"}))
    rig.start()
    rig.silent |= {"left_hand", "right_hand"}
    rig.step(60)
    assert rig.status.mode is Mode.HOLDING and rig.status.cause == "right_hand"


def test_safety_names_what_the_cell_has(cell):
    with pytest.raises(ConfigError, match="left_foot"):
        with_safety(cell, fail={"left_foot": "hold"})
    with pytest.raises(ConfigError, match="jump"):
        SafetyConfig(fail={"left_arm": "jump"})
    with pytest.raises(ConfigError, match="nose-table"):
        SafetyConfig(distances={"nose-table": next(iter(SafetyConfig().distances.values()))})


@pytest.mark.parametrize("name, arm", [("xarm_bimanual", "left_arm"), ("franka", "right_arm"), ("g1", "body")])
def test_every_arm_of_the_shipped_cells_has_a_profile_with_sources(name, arm):
    cell = load_cell(name)
    profile = cell.profile_of(arm)
    assert profile.sources and profile.tool_speed_m_s and set(profile.jerk_rad_s3) <= set(cell.interface(arm).robot.actuated)
