# SPDX-License-Identifier: Apache-2.0
"""A recording replays through the same code: the same model reproduces itself, and every fault of a bag is named (F34)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from dex_bringup.cli import main
from dex_core.config import CellConfig, load_cell
from dex_eval.bag import BagError, find_mcap
from dex_eval.episode import _measured_track
from dex_eval.evaluate import evaluate
from dex_eval.plots import run_picture
from dex_eval.testing import START_NS, fixture_cell, write_episode
from dex_ros import names


def test_the_recorded_model_reproduces_its_chunks(recording: Path) -> None:
    result = evaluate(recording).result
    assert result["same_model"] and result["replayed"] == result["instants"] == 5
    assert result["largest_difference_from_recorded_rad"] < 1e-6
    assert not result["refused"]


def test_errors_are_those_of_the_ramp(recording: Path, small_cell: CellConfig) -> None:
    """The fixture ramps arms by 0.1 rad over 64 steps while the robot stood still: 16 steps are executed per chunk."""
    result = evaluate(recording).result
    steps = np.arange(16) * 0.1 / 63
    for joint in small_cell.interfaces["left_arm"].names:
        found = result["joint_error"][joint]["commanded"]
        assert found["mean_rad"] == pytest.approx(steps.mean(), rel=0.15) and found["max_rad"] == pytest.approx(steps.max(), rel=0.15)
    assert result["mean_error_rad"]["hand_measured"] < 1e-3


def test_latency_seams_and_task_are_reported(recording: Path) -> None:
    result = evaluate(recording).result
    assert result["latency_ms"]["overhead"]["p50"] == pytest.approx(30.0)
    assert result["latency_ms"]["observed_to_first_command"]["p50"] == pytest.approx(50.0)
    assert result["seams"]["recorded"]["position_jump_rad"]["max"] == pytest.approx(0.01)
    assert result["seams"]["recorded"]["jerk_rad_s3"]["max"] == pytest.approx(500.0)
    assert result["seams"]["commanded"]["velocity_step_rad_s"]["p99"] == pytest.approx(0.002)
    assert all(result["seams"]["predicted"][key]["count"] == 4 for key in ("position_jump_rad", "jerk_rad_s3"))
    assert result["task"] == {"success": True, "progress": 1.0}
    json.dumps(result)


def test_another_bundle_can_be_scored(recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    steeper = fixture_cell(small_cell, tmp_path, ramp_rad=0.2)
    result = evaluate(recording, cell=dataclasses.replace(small_cell, policy=steeper.policy)).result
    assert not result["same_model"] and result["largest_difference_from_recorded_rad"] == pytest.approx(0.1, rel=0.01)


def test_limits_of_predicted_chunks_are_counted(recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    wild = fixture_cell(small_cell, tmp_path, ramp_rad=20.0)
    hits = evaluate(recording, cell=dataclasses.replace(small_cell, policy=wild.policy)).result
    assert hits["limit_hits"]["predicted"]["position"] or hits["refused"]


@pytest.mark.parametrize("hand", ["inspire", "leap"])
def test_a_model_of_wrist_poses_reproduces_its_chunks(tmp_path: Path, hand: str) -> None:
    cell = fixture_cell(load_cell("xarm_bimanual", left_hand=hand), tmp_path / "bundles", wrist_poses=True)
    bag = write_episode(tmp_path / "bag", cell, duration_s=1.7)
    result = evaluate(bag).result
    assert result["same_model"] and result["replayed"] == result["instants"] == 3 and not result["refused"]
    assert result["largest_difference_from_recorded_rad"] < 1e-6
    assert result["mean_error_rad"]["arm_measured"] < 1e-3 and result["mean_error_rad"]["hand_measured"] < 1e-3


def test_pictures_alone_can_be_evaluated(small_cell: CellConfig, tmp_path: Path) -> None:
    bag = write_episode(
        tmp_path / "bag", small_cell, edit=lambda topic, _ns, message: None if topic in (names.ACTION_CHUNK, names.POLICY_STATUS) else message
    )
    with pytest.raises(BagError, match="--instruction"):
        evaluate(bag)
    assert evaluate(bag, instruction="push the two cans").result["replayed"] == 5


def test_missing_topic(small_cell: CellConfig, tmp_path: Path) -> None:
    bag = write_episode(tmp_path / "bag", small_cell, edit=lambda topic, _ns, message: None if topic == names.device_states("left_hand") else message)
    with pytest.raises(BagError, match="left/hand/joint_states") as caught:
        evaluate(bag)
    assert caught.value.code == "topic_missing"


@pytest.mark.parametrize("change", [lambda order: [*order, order[0]], lambda order: [order[0], *order[:-1]], lambda order: order[1:]])
def test_joints_named_twice_or_left_out(small_cell: CellConfig, change: Callable[[list[str]], list[str]]) -> None:
    order = list(small_cell.interface("left_arm").names)
    message = JointState(name=change(order), position=[0.0] * len(order))
    with pytest.raises(BagError, match="joint states of left_arm name"):
        _measured_track(SimpleNamespace(states={"left_arm": [(0, message)]}, cell=small_cell))


def test_stamps_that_run_backwards(small_cell: CellConfig, tmp_path: Path) -> None:
    def edit(topic: str, at_ns: int, message: object) -> object:
        if topic == names.IMAGE and at_ns == START_NS + 2_000_000_000:
            message.header.stamp.sec -= 5  # type: ignore[attr-defined]
        return message

    with pytest.raises(BagError, match="run backwards by 4.95") as caught:
        evaluate(write_episode(tmp_path / "bag", small_cell, edit=edit))
    assert caught.value.code == "stamps_not_monotonic"


def test_cut_recording_only_when_asked(small_cell: CellConfig, tmp_path: Path) -> None:
    path = find_mcap(write_episode(tmp_path / "bag", small_cell))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(BagError, match="--partial") as caught:
        evaluate(path)
    assert caught.value.code == "bag_truncated"
    result = evaluate(path, partial=True).result
    assert result["partial"] and 0 < result["replayed"] < 5


def test_faster_than_real_time(recording: Path) -> None:
    assert evaluate(recording).result["speed_without_loading"] > 2.0


def test_picture_of_a_run(recording: Path, tmp_path: Path) -> None:
    evaluation = evaluate(recording)
    run_picture(evaluation.episode, tmp_path / "run.png", evaluation.predictions)
    assert (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG" and (tmp_path / "run.png").stat().st_size > 20_000


def test_command_line(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(recording), "--json", "--out", str(tmp_path / "report")]) == 0
    assert json.loads(capsys.readouterr().out)["replayed"] == 5
    assert json.loads((tmp_path / "report" / "eval.json").read_text())["replayed"] == 5
    assert main(["eval", str(tmp_path)]) == 1
    assert "no .mcap file" in capsys.readouterr().err


def test_the_replay_sees_what_the_live_policy_saw_to_the_bit(recording: Path) -> None:
    found = evaluate(recording).result["observations"]
    assert found == {"compared": 5, "same": 5, "share": 1.0, "first_difference": None, "streams": {}}


@pytest.mark.parametrize(
    ("topic", "change", "streams"),
    [
        ("left/arm/joint_states", lambda m: None, {"joints/left_arm"}),  # lost on its way to the recorder
        ("right/hand/joint_states", lambda m: _moved(m), {"joints/right_hand"}),
        (names.IMAGE, lambda m: _brighter(m), {"image/front"}),
    ],
)
def test_a_stream_that_was_recorded_otherwise_is_named(
    small_cell: CellConfig, tmp_path: Path, topic: str, change: Callable[[object], object], streams: set[str]
) -> None:
    at = START_NS + 800 * 1_000_000  # the second chunk's instant
    bag = write_episode(tmp_path / "bag", small_cell, duration_s=1.7, edit=lambda name, t, m: change(m) if name == topic and t == at else m)
    found = evaluate(bag).result["observations"]
    assert (found["compared"], found["same"]) == (3, 2) and found["first_difference"]["sequence"] == 1
    assert set(found["first_difference"]["streams"]) == set(found["streams"]) == streams


def test_another_instruction_is_another_observation_and_old_recordings_tell_nothing(small_cell: CellConfig, tmp_path: Path, recording: Path) -> None:
    found = evaluate(recording, instruction="Return to the rest pose").result["observations"]
    assert found["same"] == 0 and set(found["streams"]) == {"instruction"}

    def untold(topic: str, _at_ns: int, message: object) -> object:
        if topic == names.ACTION_CHUNK:
            message.observation_digest, message.streams, message.stream_digests = 0, [], []  # type: ignore[attr-defined]
        return message

    found = evaluate(write_episode(tmp_path / "bag", small_cell, duration_s=0.9, edit=untold)).result["observations"]
    assert found["compared"] == 0 and found["share"] is None


def _moved(message: JointState) -> JointState:
    message.position[0] += 1e-12
    return message


def _brighter(message: object) -> object:
    message.data[7] ^= 1  # type: ignore[attr-defined]
    return message


def test_latency_has_a_key_per_pair_of_stages_and_the_motion_that_followed(recording: Path) -> None:
    latency = evaluate(recording).result["latency_ms"]
    pairs = ("observed_to_observation_ready", "observation_ready_to_inference_started", "inference_started_to_inferred", "inferred_to_published",
             "published_to_decoded", "decoded_to_accepted", "accepted_to_first_command", "first_command_to_first_motion")
    assert set(latency) == {*pairs, "inference", "overhead", "observed_to_first_command", "first_motion_from_rest"}
    assert all(set(figures) == {"count", "p50", "p95", "p99", "max", "over_budget"} for figures in latency.values())
    assert latency["first_command_to_first_motion"]["p95"] == pytest.approx(30.0) and latency["first_motion_from_rest"]["count"] == 1
    assert latency["published_to_decoded"]["over_budget"] == 0.0
