# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from dex_core.bundle import Bundle
from dex_core.bundle.testing_cameras import STEPS, write_camera_fixture
from dex_core.config import CellConfig, load_cell
from dex_core.config.safety import SafetyConfig
from dex_core.decode import PoseDecoder
from dex_core.policy.runtime import load_policy, mounted_hands
from dex_msgs.msg import PolicyStatus
from dex_msgs.srv import SetGoal
from dex_policy.policy_node import PolicyNode
from dex_ros import names, qos
from dex_ros.convert import chunk_from_msg, image_to_msg, timing_to_msg
from dex_ros.latency import LEAST_CHUNKS
from dex_ros.node import ACTIVE, INACTIVE, UNCONFIGURED
from dex_ros.testing import wait_for

from .conftest import POLICY, SPACE

pytestmark = pytest.mark.ros
INSTRUCTION = "Push the two tomato cans together"


def ask(
    fakes: Any, goal_id: str, active: bool = True, instruction: str = INSTRUCTION, service: str = names.POLICY_SET_GOAL
) -> SetGoal.Response:
    client = fakes.create_client(SetGoal, service)
    assert client.wait_for_service(5.0)
    future = client.call_async(SetGoal.Request(goal_id=goal_id, instruction=instruction, active=active))
    wait_for(future.done, service)
    fakes.destroy_client(client)
    return future.result()


def last_status(fakes: Any, predicate: Callable[[PolicyStatus], bool], what: str) -> PolicyStatus:
    return wait_for(lambda: next((s for s in reversed(fakes.statuses) if predicate(s)), None), what)


def test_a_goal_makes_chunks_with_the_stamp_of_their_picture(bench: Any, cell: CellConfig) -> None:
    with bench(PolicyNode, serve_policy=False) as (node, fakes):
        assert node.state_id == ACTIVE
        last_status(fakes, lambda s: s.state == PolicyStatus.READY, "READY")
        assert not fakes.chunks, "nothing is published without a goal"
        assert ask(fakes, "g1").accepted
        wait_for(lambda: len(fakes.chunks) >= 3, "three chunks", 10.0)
        chunks = [chunk_from_msg(m) for m in fakes.chunks]
        assert [c.sequence for c in chunks[:3]] == [1, 2, 3] and {c.goal_id for c in chunks} == {"g1"}
        stages = ("observed", "observation_ready", "inference_started", "inferred", "published")
        stamps = [chunks[0].timing_ns[s] for s in stages]
        assert stamps == sorted(stamps) and stamps[0] == chunks[0].stamp_ns
        assert {s.interface for s in chunks[0].slices} == set(cell.interfaces)
        status = last_status(fakes, lambda s: s.state == PolicyStatus.RUNNING and s.chunks > 0, "RUNNING")
        assert status.goal_id == "g1" and status.provider == "cpu" and len(status.bundle_hash) == 64 and status.inference_p50_ms > 0


def test_one_goal_at_a_time(bench: Any) -> None:
    with bench(PolicyNode, serve_policy=False) as (_, fakes):
        assert ask(fakes, "g1").accepted and ask(fakes, "g1").accepted
        second = ask(fakes, "g2")
        assert not second.accepted and second.reason == "busy" and "g1" in second.detail
        assert ask(fakes, "g2", active=False).reason == "wrong_goal"
        assert ask(fakes, "g1", active=False).accepted and ask(fakes, "g2").accepted
        assert ask(fakes, "", active=False).accepted
        assert ask(fakes, "").reason == "wrong_goal"


@pytest.mark.parametrize(
    ("instruction", "reason"), [("make coffee", "instruction_unknown"), ("", "instruction_invalid"), ("push " * 99, "instruction_invalid")]
)
def test_unknown_instructions_are_refused_with_the_known_ones(bench: Any, instruction: str, reason: str) -> None:
    with bench(PolicyNode, serve_policy=False) as (_, fakes):
        reply = ask(fakes, "g1", instruction=instruction)
        assert not reply.accepted and reply.reason == reason
        if reason == "instruction_unknown":
            assert INSTRUCTION in reply.detail
        last_status(fakes, lambda s: s.state == PolicyStatus.REFUSED and s.reason == reason, "REFUSED")


def test_a_goal_may_be_checked_without_any_change(bench: Any) -> None:
    with bench(PolicyNode, serve_policy=False) as (node, fakes):
        assert ask(fakes, "g1").accepted
        known = ask(fakes, "", service=names.POLICY_CHECK_GOAL)
        unknown = ask(fakes, "", instruction="make coffee", service=names.POLICY_CHECK_GOAL)
        assert known.accepted and not known.reason, "though another goal is served"
        assert not unknown.accepted and unknown.reason == "instruction_unknown" and INSTRUCTION in unknown.detail
        assert not any(s.state == PolicyStatus.REFUSED for s in fakes.statuses)
        assert ask(fakes, "g2").reason == "busy", "g1 is still served"
        node.trigger_deactivate()
        assert ask(fakes, "", service=names.POLICY_CHECK_GOAL).reason == "policy_lost"


def _stale(fakes: Any) -> None:
    fakes.picture_age_s = 1.0


def _unplugged(fakes: Any) -> None:
    fakes.send_pictures = False


def _black(fakes: Any) -> None:
    fakes.picture_lives, fakes.picture = False, np.zeros_like(fakes.picture)


def _small(fakes: Any) -> None:
    fakes.picture = np.ascontiguousarray(fakes.picture[::2, ::2])


def _no_joints(fakes: Any) -> None:
    fakes.send_joints = False


def _nan(fakes: Any) -> None:
    fakes.joint_value = float("nan")


def _far(fakes: Any) -> None:
    fakes.joint_value = 9.0


def _frozen(fakes: Any) -> None:
    fakes.picture_lives, fakes.joints_move = False, True


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (_stale, {"camera_lost"}),
        (_unplugged, {"camera_lost"}),
        (_black, {"image_blank"}),
        (_small, {"image_shape"}),
        (_no_joints, {"state_stale"}),
        (_nan, {"non_finite", "state_stale"}),
        (_far, {"joint_limits"}),
        (_frozen, {"camera_frozen"}),
    ],
)
def test_bad_observations_make_no_chunk_and_it_recovers_by_itself(bench: Any, fault: Callable[[Any], None], reasons: set[str]) -> None:
    with bench(PolicyNode, serve_policy=False) as (_, fakes):
        changes = ("picture_age_s", "send_pictures", "send_joints", "joint_value", "joints_move", "picture_lives")
        good = {"picture": fakes.picture.copy(), **{name: getattr(fakes, name) for name in changes}}
        assert ask(fakes, "g1").accepted
        wait_for(lambda: len(fakes.chunks) >= 1, "first chunk", 10.0)
        fault(fakes)
        fakes.statuses.clear()
        last_status(fakes, lambda s: s.reason in reasons, f"a status with {reasons}")
        wait_for(lambda: any(fakes.complaints(r) for r in reasons), "diagnostics")
        count = len(fakes.chunks)
        status = last_status(fakes, lambda s: s.reason in reasons, "status")
        assert status.observations_refused >= 1 and len(fakes.chunks) <= count + 1
        for key, value in good.items():
            setattr(fakes, key, value)
        count = len(fakes.chunks)
        wait_for(lambda: len(fakes.chunks) >= count + 3, "chunks after the fault", 10.0)


def test_goal_while_inactive_and_deactivate_in_mid_goal(bench: Any) -> None:
    with bench(PolicyNode, start=False, serve_policy=False) as (node, fakes):
        assert ask(fakes, "g1").reason == "policy_lost"
        node.trigger_configure()
        assert node.state_id == INACTIVE and ask(fakes, "g1").reason == "policy_lost"
        node.trigger_activate()
        assert ask(fakes, "g1").accepted
        wait_for(lambda: len(fakes.chunks) >= 1, "first chunk", 10.0)
        node.trigger_deactivate()
        count = len(fakes.chunks)
        fakes.statuses.clear()
        node.trigger_activate()
        last_status(fakes, lambda s: s.state == PolicyStatus.READY, "READY")
        assert len(fakes.chunks) <= count + 1, "the old goal does not come back"
        assert ask(fakes, "g2").accepted
        wait_for(lambda: any(c.goal_id == "g2" for c in fakes.chunks), "chunks of the new goal", 10.0)
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert node.state_id == UNCONFIGURED


def test_corrupted_bundle_fails_configure_with_file_and_reason(bench: Any, cell: CellConfig, models: Path, tmp_path: Path) -> None:
    for name in (POLICY, SPACE):
        shutil.copytree(models / name, tmp_path / name)
    graph = tmp_path / POLICY / "graphs/policy.onnx"
    blob = bytearray(graph.read_bytes())
    blob[len(blob) // 2] ^= 1
    graph.write_bytes(bytes(blob))
    broken = replace(cell, policy=replace(cell.policy, bundle=str(tmp_path / POLICY), latent_bundle=str(tmp_path / SPACE)))
    with bench(PolicyNode, broken, serve_policy=False) as (node, fakes):
        assert node.state_id == UNCONFIGURED
        status = last_status(fakes, lambda s: s.state == PolicyStatus.REFUSED, "REFUSED")
        assert status.reason == "hash_mismatch" and "policy.onnx" in status.detail
        wait_for(lambda: fakes.complaints("hash_mismatch"), "diagnostics")


def pretend(fakes: Any, cell: CellConfig, bundle: Bundle) -> None:
    """The fake cell has this cell's hands, and its decoders say so."""
    fakes.cell = cell
    fakes.mount(*mounted_hands(cell, bundle).values())


def test_the_policy_knows_no_hand_and_follows_what_is_mounted(bench: Any, cell: CellConfig) -> None:
    bundle = load_policy(cell)[1]
    with bench(PolicyNode, serve_policy=False, mounted=False) as (node, fakes):
        assert node.state_id == ACTIVE
        reply = ask(fakes, "g1")
        assert not reply.accepted and reply.reason == "hand_unknown"
        last_status(fakes, lambda s: s.state == PolicyStatus.REFUSED and s.reason == "hand_unknown", "REFUSED")
        assert not fakes.chunks
        pretend(fakes, cell, bundle)
        wait_for(lambda: ask(fakes, "g1").accepted, "goal with known hands", 10.0)
        wait_for(lambda: len(fakes.chunks) >= 2, "chunks", 10.0)
        chunk = chunk_from_msg(fakes.chunks[-1])
        for side in ("left", "right"):
            arm = chunk.slice_of(f"{side}_arm")
            assert (arm.space, arm.frame_id) == ("wrist_pose", "world")
            np.testing.assert_allclose(arm.data, np.tile(PoseDecoder.of_cell(cell, side).home_columns, (64, 1)), atol=1e-5)

        swapped = load_cell("xarm_bimanual", left_hand="leap")
        pretend(fakes, swapped, bundle)
        wait_for(lambda: fakes.complaints("left_leap, right_inspire"), "the new hand in diagnostics", 10.0)
        home = PoseDecoder.of_cell(swapped, "left").home_columns
        wait_for(lambda: np.allclose(chunk_from_msg(fakes.chunks[-1]).slice_of("left_arm").data, home, atol=1e-5), "poses of the new hand", 10.0)
        assert {m.goal_id for m in fakes.chunks} == {"g1"}

        foreign = mounted_hands(swapped, bundle)["left"]
        fakes.mount(replace(foreign, decoder_sha256="0" * 64))
        last_status(fakes, lambda s: s.reason == "space_mismatch", "refusal of a hand of another space")
        count = len(fakes.chunks)
        wait_for(lambda: node._server.refusals["space_mismatch"] > 3, "more refusals")
        assert len(fakes.chunks) <= count + 1
        fakes.mount(foreign)
        wait_for(lambda: len(fakes.chunks) >= count + 3, "chunks again", 10.0)


@pytest.mark.parametrize("raised", [MemoryError("device"), RuntimeError("CUDA failure 2: out of memory")])
def test_a_model_that_raises_is_told_takes_no_goal_and_recovers_when_activated_anew(bench: Any, raised: Exception) -> None:
    """F39."""
    with bench(PolicyNode, serve_policy=False) as (node, fakes):
        assert ask(fakes, "g1").accepted
        wait_for(lambda: fakes.chunks, "first chunk", 10.0)
        session = node._bundle.sessions["policy"]
        whole = session._session

        def fail(*_arguments: object) -> None:
            raise raised

        session._session = SimpleNamespace(run=fail)  # beneath what wraps the runtime's errors
        status = last_status(fakes, lambda s: s.reason == "model_failed", "the failure in the status")
        assert status.goal_id == "g1" and str(raised) in status.detail
        last_status(fakes, lambda s: s.state == PolicyStatus.REFUSED and s.reason == "model_failed", "REFUSED")
        assert wait_for(lambda: node.heartbeat.reason, "the heartbeat") == "policy_lost" and fakes.complaints(node._server.health())
        count = len(fakes.chunks)
        assert ask(fakes, "g1", active=False).accepted
        refused = ask(fakes, "g2")
        assert not refused.accepted and refused.reason == "policy_lost" and str(raised) in refused.detail
        node.trigger_deactivate()
        node.trigger_activate()
        assert node.state_id == INACTIVE, "it still fails: the model is tried before anybody is served"
        session._session = whole
        node.trigger_activate()
        assert node.state_id == ACTIVE and node.heartbeat.reason == ""
        last_status(fakes, lambda s: s.state == PolicyStatus.READY, "READY")
        assert len(fakes.chunks) == count and ask(fakes, "g3").accepted
        wait_for(lambda: any(c.goal_id == "g3" for c in fakes.chunks), "chunks again", 10.0)


def test_every_camera_that_the_policy_names_is_looked_through_with_its_history(bench: Any, cell: CellConfig, tmp_path: Path) -> None:
    front = cell.cameras["front"]
    two = replace(
        cell, interfaces={"left_arm": cell.interfaces["left_arm"]}, safety=SafetyConfig(),
        cameras={"front": front, "wrist": replace(front, driver="external", native_wh=(640, 480), crop_xywh=(80, 0, 480, 480), output_wh=(120, 120))},
    )
    policy = replace(two.policy, bundle=str(write_camera_fixture(tmp_path / "two", two)), latent_bundle="", image_max_apart_s=0.2)
    with bench(PolicyNode, replace(two, policy=policy), serve_policy=False, mounted=False) as (node, fakes):
        assert node.state_id == ACTIVE
        assert ask(fakes, "g1").accepted
        missing = last_status(fakes, lambda s: s.reason in ("camera_lost", "history_short"), "a refusal")
        last_status(fakes, lambda s: s.reason == "camera_lost" and "wrist" in s.detail, "the camera that is silent, by name")
        assert missing.observations_refused and not fakes.chunks
        pictures = fakes.create_publisher(Image, "wrist/camera/color/image_raw", qos.SENSOR)
        native = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)

        def expose() -> None:
            native[0, 0] += 1
            pictures.publish(image_to_msg(native, fakes.get_clock().now().nanoseconds, "wrist_camera_color_optical_frame"))

        fakes.create_timer(0.05, expose)
        wait_for(lambda: len(fakes.chunks) >= 2, "chunks of both cameras", 15.0)
        chunk = chunk_from_msg(fakes.chunks[-1])
        np.testing.assert_allclose(chunk.slices[0].data, np.tile(two.interfaces["left_arm"].home, (STEPS, 1)), atol=1e-5)
        parts = {f"{back}{name}" for back in ("", "-1/", "-2/") for name in ("stamp", "image/front", "image/wrist", "joints/left_arm")}
        assert set(chunk.stream_digests) == {*parts, "instruction"} and chunk.observation_digest


@pytest.mark.parametrize(("slow_ms", "words"), [(0, "within the budget"), (400, "chunks come late")])
def test_diagnostics_tell_where_the_time_of_chunks_goes(bench: Any, slow_ms: int, words: str) -> None:
    stages = {"observed": 0, "observation_ready": 5, "inference_started": 6, "inferred": 26, "published": 27, "first_command": 28 + slow_ms}
    timing = timing_to_msg({name: 10**18 + ms * 1_000_000 for name, ms in stages.items()})
    with bench(PolicyNode, serve_policy=False) as (_, fakes):
        wait_for(fakes._reports.get_subscription_count, "the policy listening to reports")
        for sequence in range(LEAST_CHUNKS + 5):
            fakes.report(goal_id="g", sequence=sequence, accepted=True, timing=timing)
            fakes.report(goal_id="g", sequence=sequence, accepted=False, reason="late", timing=timing)
            time.sleep(0.01)  # its queue holds ten
        told = wait_for(lambda: next((s for s in fakes.complaints(words) if s.name.endswith(": latency")), None), words, 10.0)
    values = {v.key: v.value for v in told.values}
    assert 1 <= int(values["chunks"]) <= LEAST_CHUNKS + 5 and values["inferred"].startswith("20.0 20.0 20.0 ms")
    assert (values["worst"] == "first_command") is bool(slow_ms)


def test_a_chunk_that_the_gate_refuses_is_followed_by_another_and_not_waited_out(bench: Any, cell: CellConfig) -> None:
    patient = replace(cell, control=replace(cell.control, schedule="synchronous"))  # asks when a chunk of 3.2 s has been executed
    with bench(PolicyNode, patient, serve_policy=False) as (_, fakes):
        assert ask(fakes, "g1").accepted
        told = {0}

        def refuse_the_newest() -> None:
            newest = max((m.sequence for m in fakes.chunks), default=0)
            if newest not in told:
                told.add(newest)
                fakes.report(goal_id="g1", sequence=newest, accepted=False, reason="limit")

        fakes.create_timer(0.05, refuse_the_newest)
        wait_for(lambda: len(fakes.chunks) >= 4, "four chunks, of which nothing is executed", 8.0)
