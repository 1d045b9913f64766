# SPDX-License-Identifier: Apache-2.0
"""A policy behind openpi's protocol: what it is sent, what its numbers become, and what happens when the server is slow, wrong, hostile or gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from tests.dex_policy.foreign.made import (
    CLOSED,
    COLUMNS,
    INSPIRE,
    OPEN,
    STAMP_NS,
    STEPS,
    changed,
    observation_of,
    opened,
    openpi_description,
    running,
    standing,
)

from dex_core.config import CellConfig
from dex_core.errors import BundleError, ConfigError, DexError, LimitError, NonFiniteError
from dex_core.policy.base import Policy
from dex_policy.bundle_cli import main
from dex_policy.foreign import open_foreign
from dex_policy.foreign.wire import encode
from dex_ros.testing import wait_for

WAIT_S = 20.0
Write = Callable[[dict[str, Any]], Path]


def test_a_server_that_repeats_the_state_makes_the_robot_stand(cell: CellConfig, written: Write) -> None:
    with running() as server, opened(written(openpi_description(server.url)), cell) as policy:
        assert isinstance(policy, Policy) and policy.health() is None
        prediction = policy.infer(observation_of(cell), "g", 3)
        chunk = prediction.chunk
        assert (chunk.goal_id, chunk.sequence, chunk.stamp_ns, chunk.steps) == ("g", 3, STAMP_NS, STEPS)
        for side in ("left", "right"):
            arm = chunk.slice_of(f"{side}_arm")
            assert arm.names == cell.interface(f"{side}_arm").names
            np.testing.assert_allclose(arm.data, np.tile(cell.interface(f"{side}_arm").home, (STEPS, 1)), atol=1e-6)
        assert prediction.flags == () and prediction.inference_ms == pytest.approx(2.0, abs=2.0)
        stages = [*(prediction.stamps_ns[k] for k in ("request_sent", "queued")), chunk.timing_ns["inferred"], prediction.stamps_ns["received"]]
        assert stages == sorted(stages)


def test_the_server_is_sent_what_is_described_and_nothing_else(cell: CellConfig, written: Write) -> None:
    with running() as server, opened(written(openpi_description(server.url)), cell) as policy:
        policy.infer(observation_of(cell))
        sent = server.requests[-1]
    assert set(sent) == {"observation/image", "observation/state", "prompt"} and sent["prompt"] == "push the cans together"
    assert sent["observation/image"].shape == (224, 224, 3) and sent["observation/image"].dtype == np.uint8
    assert not sent["observation/image"][:28].any() and not sent["observation/image"][-28:].any()  # 4:3 in a square: black bars of 28 rows
    state = sent["observation/state"]
    assert state.shape == (COLUMNS,) and state.dtype == np.float32
    np.testing.assert_allclose(state[:7], cell.interface("left_arm").home, atol=1e-6)
    assert 0.0 < state[7] < 1.0  # the hands rest half open


def test_the_first_question_is_a_made_up_one_and_warms_the_network(cell: CellConfig, written: Write) -> None:
    with running() as server, opened(written(openpi_description(server.url)), cell):
        assert len(server.requests) == 1
        assert server.requests[0]["observation/image"].std() > 10.0  # never zeros: a network that is wrong often likes zeros


@pytest.mark.parametrize(("number", "posture"), [(1.0, OPEN), (0.0, CLOSED), (1.1, OPEN), (0.5, None)])
def test_a_gripper_number_is_a_posture_between_open_and_closed(cell: CellConfig, written: Write, number: float, posture: dict | None) -> None:
    def answer(request: dict) -> dict:
        values = standing(request)["actions"].copy()
        values[:, 7] = number
        return {"actions": values}

    with running(answer) as server, opened(written(openpi_description(server.url)), cell) as policy:
        hand = policy.infer(observation_of(cell)).chunk.slice_of("left_hand")
    wanted = [posture[j] if posture else (OPEN[j] + CLOSED[j]) / 2 for j in INSPIRE]
    found = dict(zip(hand.names, hand.data[0], strict=True))
    np.testing.assert_allclose([found[f"left_{j}"] for j in INSPIRE], wanted, atol=1e-9)


@pytest.mark.parametrize(("reference", "last"), [("delta_to_observation", 0.01), ("delta_to_previous", 0.01 * STEPS)])
def test_deltas_are_added_to_the_measured_joints(cell: CellConfig, written: Write, reference: str, last: float) -> None:
    def answer(request: dict) -> dict:
        values = standing(request)["actions"].copy()
        values[:, :7] = 0.01
        return {"actions": values}

    with running(answer) as server:
        description = changed(openpi_description(server.url), "action.parts.0.reference", reference)
        with opened(written(description), cell) as policy:
            arm = policy.infer(observation_of(cell)).chunk.slice_of("left_arm")
    np.testing.assert_allclose(arm.data[-1] - cell.interface("left_arm").home, last, atol=1e-6)


def test_what_is_held_stays_where_it_was_when_the_goal_began(cell: CellConfig, written: Write) -> None:
    description = openpi_description("")
    description["observation"]["states"][0]["parts"] = description["observation"]["states"][0]["parts"][:2]
    description["action"].update(parts=description["action"]["parts"][:2], columns=8, hold=["right_arm", "right_hand"])
    with running() as server, opened(written(changed(description, "server.url", server.url)), cell) as policy:
        first = observation_of(cell)
        policy.infer(first)
        moved = cell.interface("right_arm").home[0] + 0.1
        later = observation_of(cell)
        state = later.joints["right_arm"]
        object.__setattr__(state, "position_rad", np.array([moved, *state.position_rad[1:]]))
        held = policy.infer(later).chunk.slice_of("right_arm")
        assert held.data[0, 0] == pytest.approx(first.joints["right_arm"].position_rad[0])
        policy.reset()
        assert policy.infer(later).chunk.slice_of("right_arm").data[0, 0] == pytest.approx(moved)


@pytest.mark.parametrize(("answer", "error", "words"), [
    (lambda r: {"actions": standing(r)["actions"][:5]}, DexError, r"\(5, 16\).*\(10, 16\)"),
    (lambda r: {"actions": standing(r)["actions"][:, :7]}, DexError, r"\(10, 7\).*\(10, 16\)"),
    (lambda r: {"chunk": standing(r)["actions"]}, DexError, "'chunk'.*'actions'"),
    (lambda r: {"actions": 3}, DexError, "an array 'actions'"),
    (lambda r: [1, 2], DexError, "list"),
    (lambda r: {"actions": np.where(np.eye(STEPS, COLUMNS), np.nan, standing(r)["actions"])}, NonFiniteError, "10 numbers"),
    (lambda r: {"actions": standing(r)["actions"] + 40.0}, LimitError, "training range"),
    (lambda r: b"\xc1 no msgpack", DexError, "no openpi message"),
])
def test_answers_that_are_not_as_described_are_refused(cell: CellConfig, written: Write, answer: Callable, error: type, words: str) -> None:
    good = [True]
    with running(lambda r: standing(r) if good.pop() else answer(r)) as server:
        with opened(written(openpi_description(server.url)), cell) as policy:
            good.append(False)
            with pytest.raises(error, match=words):
                policy.infer(observation_of(cell))
            good.append(True)
            assert policy.infer(observation_of(cell)).chunk.steps == STEPS  # the connection stands


def test_numbers_a_little_outside_their_limits_are_flagged(cell: CellConfig, written: Write) -> None:
    with running(lambda r: {"actions": standing(r)["actions"] + np.eye(COLUMNS)[7] * 0.9}) as server:
        with opened(written(openpi_description(server.url)), cell) as policy:
            flags = policy.infer(observation_of(cell)).flags
    assert len(flags) == 1 and "left_hand" in flags[0]


def test_a_wrong_shape_refuses_at_the_start_with_both_values(cell: CellConfig, written: Write) -> None:
    with running(lambda r: {"actions": np.zeros((50, 32), np.float32)}) as server:
        with pytest.raises(BundleError, match=r"\(50, 32\).*\(10, 16\)") as refused:
            open_foreign(written(openpi_description(server.url)), cell)
    assert refused.value.code == "remote_mismatch"


@pytest.mark.parametrize(("says", "described", "words"), [
    ({"reset_pose": [0.0, 1.0]}, {}, r"reset_pose.*\[0.0, 1.0\].*nothing"),
    ({}, {"action_horizon": 10}, "action_horizon.*nothing.*10"),
    ({"action_horizon": 50}, {"action_horizon": 10}, "50.*10"),
    (b"\x93\x01\x02\x03", {}, "list"),
])
def test_other_metadata_refuse_with_both_values(cell: CellConfig, written: Write, says: Any, described: dict, words: str) -> None:
    with running(metadata=says) as server:
        with pytest.raises(BundleError, match=words):
            open_foreign(written(changed(openpi_description(server.url), "server.metadata", described)), cell)


def test_the_same_metadata_are_taken_also_as_an_array(cell: CellConfig, written: Write) -> None:
    with running(metadata={"reset_pose": np.array([0.0, 1.5]), "horizon": np.int64(10)}) as server:
        description = changed(openpi_description(server.url), "server.metadata", {"reset_pose": [0.0, 1.5], "horizon": 10})
        with opened(written(description), cell) as policy:
            assert policy.health() is None


def test_the_token_goes_into_the_header_and_into_no_error(cell: CellConfig, written: Write, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with running() as server:
        with pytest.raises(ConfigError, match="chmod 600"):
            open_foreign(written(changed(openpi_description(server.url), "server.token_file", str(token))), cell)
        token.chmod(0o600)
        with opened(written(changed(openpi_description(server.url), "server.token_file", str(token))), cell):
            assert server.headers[0]["Authorization"] == "Api-Key s3cret"
        token.write_text("s3cret two words")
        with pytest.raises(ConfigError) as refused:
            open_foreign(written(changed(openpi_description(server.url), "server.token_file", str(token))), cell)
    assert "s3cret" not in str(refused.value)


def test_a_failing_server_is_told_and_tried_again(cell: CellConfig, written: Write) -> None:
    fail = [False]

    def answer(request: dict) -> dict:
        if fail[0]:
            fail[0] = False
            raise RuntimeError("out of memory \x1b[31m in layer 7")
        return standing(request)

    with running(answer) as server, opened(written(openpi_description(server.url)), cell) as policy:
        fail[0] = True
        with pytest.raises(DexError, match="out of memory .*layer 7") as refused:
            policy.infer(observation_of(cell))
        assert refused.value.code == "remote_error" and "\x1b" not in str(refused.value)
        wait_for(lambda: policy.health() is None, "connected anew", WAIT_S)
        policy.infer(observation_of(cell))
        assert len(server.headers) == 2


def test_an_answer_that_comes_too_late_is_never_taken_for_the_next(cell: CellConfig, written: Write) -> None:
    slow, gate = [False], threading.Event()

    def answer(request: dict) -> dict:
        if slow[0]:
            slow[0] = False
            gate.wait(WAIT_S)
            return {"actions": standing(request)["actions"] + 0.5}
        return standing(request)

    with running(answer) as server:
        description = changed(openpi_description(server.url), "server.deadline_s", 0.2)
        with opened(written(description), cell) as policy:
            slow[0] = True
            with pytest.raises(DexError, match="silent for 0.2") as late:
                policy.infer(observation_of(cell))
            assert late.value.code == "policy_late" and policy.health() is None
            gate.set()
            with pytest.raises(DexError, match="earlier observation"):
                policy.infer(observation_of(cell))
            arm = policy.infer(observation_of(cell)).chunk.slice_of("left_arm")
            np.testing.assert_allclose(arm.data[0], cell.interface("left_arm").home, atol=1e-6)
            assert len(server.headers) == 1  # the same connection


def test_a_server_that_says_nothing_any_more_is_connected_to_anew(cell: CellConfig, written: Write) -> None:
    stuck, gate = [False], threading.Event()

    def answer(request: dict) -> dict:
        if stuck[0]:
            gate.wait(WAIT_S)
        return standing(request)

    with running(answer) as server:
        with opened(written(changed(openpi_description(server.url), "server.deadline_s", 0.1)), cell) as policy:
            stuck[0] = True
            for _ in range(3):
                with pytest.raises(DexError):
                    policy.infer(observation_of(cell))
            stuck[0] = False
            gate.set()
            wait_for(lambda: policy.health() is None, "connected anew", WAIT_S)
            policy.infer(observation_of(cell))
            assert len(server.headers) >= 2


def test_a_server_that_goes_is_lost_at_once_and_found_again(cell: CellConfig, written: Write) -> None:
    with running() as server:
        policy = open_foreign(written(openpi_description(server.url)), cell)
        port = server.port
    try:
        wait_for(lambda: policy.health() is not None, "the loss", WAIT_S)  # a sign of life is missing, though nobody asked
        assert policy.health().startswith("policy_lost: ")
        started = time.monotonic()
        with pytest.raises(DexError) as lost:
            policy.infer(observation_of(cell))
        assert lost.value.code == "policy_lost" and time.monotonic() - started < 0.5
        with running(port=port):
            wait_for(lambda: policy.health() is None, "connected anew", WAIT_S)
            assert policy.infer(observation_of(cell)).chunk.steps == STEPS
    finally:
        policy.close()
        policy.close()
    assert policy.health().startswith("policy_lost: ")


def test_a_server_that_is_not_there_yet_does_not_stop_the_start(cell: CellConfig, written: Write) -> None:
    with running() as server:
        port = server.port
    description = changed(openpi_description(f"ws://127.0.0.1:{port}"), "server.connect_timeout_s", 0.3)
    with opened(written(description), cell) as policy:
        assert "cannot be reached" in policy.health()
        with running(port=port):
            wait_for(lambda: policy.health() is None, "the first connection", WAIT_S)


def test_a_server_that_comes_back_as_another_is_refused(cell: CellConfig, written: Write) -> None:
    with running() as server:
        policy = open_foreign(written(openpi_description(server.url)), cell)
        port = server.port
    try:
        with running(port=port, metadata={"model": "another"}):
            wait_for(lambda: (policy.health() or "").startswith("remote_mismatch"), "the refusal", WAIT_S)
            with pytest.raises(DexError, match="another") as refused:
                policy.infer(observation_of(cell))
            assert refused.value.code == "remote_mismatch"
    finally:
        policy.close()


@pytest.mark.parametrize("frame", [
    encode({"actions": np.zeros((STEPS, 300_000))}),
    msgpack.packb({"actions": {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f8", b"shape": [1 << 40]}}),
    msgpack.packb({"actions": {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "|O", b"shape": [1]}}),
    b"\xdd\x7f\xff\xff\xff" * 400,
    b"\x81\xa7actions" + b"\x91" * 5000 + b"\x00",
    b"",
], ids=["too long", "claims a terabyte", "objects", "nested arrays", "deep", "empty"])
def test_hostile_frames_are_refused_without_being_stored(cell: CellConfig, written: Write, frame: bytes) -> None:
    hostile = [False]
    with running(lambda r: frame if hostile[0] else standing(r)) as server:
        with opened(written(changed(openpi_description(server.url), "server.max_reply_mib", 1.0)), cell) as policy:
            hostile[0] = True
            with pytest.raises(DexError) as refused:
                policy.infer(observation_of(cell))
            assert refused.value.code in ("remote_invalid", "policy_lost", "remote_mismatch")
            hostile[0] = False
            wait_for(lambda: policy.health() is None, "connected anew", WAIT_S)
            policy.infer(observation_of(cell))


def test_ending_does_not_wait_for_a_silent_server(cell: CellConfig, written: Write) -> None:
    gate = threading.Event()

    def answer(request: dict) -> dict:
        gate.wait(WAIT_S)
        return standing(request)

    with running(answer) as server:
        description = changed(changed(openpi_description(server.url), "server.first_deadline_s", 60.0), "server.connect_timeout_s", 0.3)
        policy = open_foreign(written(description), cell)
        assert policy.health().startswith("policy_lost")
        started = time.monotonic()
        policy.close()
        assert time.monotonic() - started < 5.0
        gate.set()


def test_dex_bundle_knows_descriptions(cell: CellConfig, written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        folder = str(written(openpi_description(server.url)))
        assert main(["info", folder]) == 0 and "10 steps of 16 numbers at 20 Hz" in capsys.readouterr().out
        assert main(["verify", folder]) == 0 and "answered as described" in capsys.readouterr().out
        written(changed(openpi_description(server.url), "server.metadata", {"horizon": 10}))
        assert main(["verify", folder]) == 1 and "REFUSED [remote_mismatch]" in capsys.readouterr().out
    assert main(["verify", folder, "--cell", "none"]) == 0
    written(changed(openpi_description(server.url), "action.chunk", 0))
    assert main(["verify", folder, "--cell", "none"]) == 1 and "manifest_invalid" in capsys.readouterr().out
