# SPDX-License-Identifier: Apache-2.0
"""Makes small recordings and bundles without a robot, for tests and dry runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rclpy.serialization import serialize_message

from dex_core.bundle import load_bundle
from dex_core.bundle.testing import write_latent_fixture, write_policy_fixture
from dex_core.config import CellConfig
from dex_core.policy import MeasuredPoses, Observation, load_policy, stream_digests, whole_digest
from dex_core.policy.runtime import load_side_decoder
from dex_core.types import JointState
from dex_eval.bag_writer import BagWriter
from dex_msgs.msg import ChunkLatency, ChunkReport, JointCommand, PolicyStatus, TaskState
from dex_ros import names
from dex_ros.convert import chunk_to_msg, image_to_msg, joint_state_to_msg, time_to_msg, timing_from_msg, timing_to_msg

START_NS = 1_800_000_000_000_000_000
MS = 1_000_000


def fixture_cell(cell: CellConfig, folder: Path, ramp_rad: float = 0.1, wrist_poses: bool = False) -> CellConfig:
    """The cell with small exact bundles made in ``folder``: arms ramp by ``ramp_rad`` over a chunk, hands stay.

    With ``wrist_poses`` the policy speaks poses, and they stand still.
    """
    write_latent_fixture(folder / "space", cell)
    space = load_bundle(folder / "space")
    hands = [i for i in cell.interfaces.values() if i.robot.kind == "hand"]
    anchors = {
        f"{i.side}_{i.robot.name}/{graph}": space.graph_sha256(f"{i.side}_{i.robot.name}/{graph}") for i in hands for graph in ("encoder", "decoder")
    }
    dofs = sum(len(i.names) for i in cell.interfaces.values() if i.robot.kind == "arm")
    ramp = None if wrist_poses else np.outer(np.linspace(0.0, ramp_rad, 64), np.ones(dofs))
    write_policy_fixture(folder / "policy", cell, "space", anchors, ramp=ramp, wrist_poses=wrist_poses)
    policy = dataclasses.replace(cell.policy, bundle=str(folder / "policy"), latent_bundle=str(folder / "space"))
    return dataclasses.replace(cell, policy=policy)


def write_episode(folder: Path, cell: CellConfig, duration_s: float = 4.0, edit: Callable[[str, int, object], object | None] | None = None) -> Path:
    """Writes a recording of the cell's policy standing at home; returns its folder.

    Args:
        folder: new.
        cell: as made by ``fixture_cell``.
        duration_s: length.
        edit: (topic, time [ns], message) -> message to write instead, or None to leave it out.
    """
    cell_file = folder.parent / "cell.yaml"
    cell.save(cell_file)
    writer = BagWriter(folder, {"cell.yaml": cell_file.read_bytes()}, {"dex": {"cell": cell.name, "namespace": "/"}})
    types = {"Image": "sensor_msgs/msg/Image", "JointState": "sensor_msgs/msg/JointState"}

    def put(topic: str, at_ns: int, message: object) -> None:
        changed = edit(topic, at_ns, message) if edit else message
        if changed is None:
            return
        name, kind = "/" + topic, type(changed).__name__
        if not writer.has_topic(name):
            writer.add_topic(name, types.get(kind, f"dex_msgs/msg/{kind}"), [])
        writer.write(name, serialize_message(changed), at_ns, at_ns)

    _fill(cell, round(duration_s * 1000), put)
    writer.close()
    return folder


def _fill(cell: CellConfig, length_ms: int, put: Callable[[str, int, object], None]) -> None:
    rng = np.random.default_rng(0)
    policy, _ = load_policy(cell)
    decoders = [load_side_decoder(cell, i.side) for i in cell.interfaces.values() if i.robot.kind == "hand"]
    told = {d.side: d.mounted for d in decoders if d.side in policy.spec.mounted_sides and d.mounted is not None}
    measured = MeasuredPoses(cell, policy.spec.pose_interfaces)
    home = {name: JointState(i.names, np.array(i.home), np.zeros(len(i.names)), np.zeros(len(i.names)), 0) for name, i in cell.interfaces.items()}
    put(names.POLICY_STATUS, START_NS, PolicyStatus(goal_id="g1", instruction=policy.spec.instructions[0]))
    positions = [float(p) for i in cell.interfaces.values() for p in i.home]
    sequence = 0
    for at_ms in range(0, length_ms, 10):
        now = START_NS + at_ms * MS
        joints = {name: dataclasses.replace(state, stamp_ns=now) for name, state in home.items()}
        for name, state in joints.items():
            put(names.device_states(name), now, joint_state_to_msg(state))
        command = JointCommand(
            sequence=at_ms, mode=JointCommand.TRACK, names=list(cell.joint_names), positions=positions, velocities=[0.0] * len(positions)
        )
        command.header.stamp = time_to_msg(now)
        put(names.JOINT_COMMAND, now, command)
        if at_ms % 50:
            continue
        image = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
        put(names.IMAGE, now, image_to_msg(image, now, "camera_color_optical_frame"))
        if at_ms % 800:
            continue
        seen = measured.complete(Observation(now, {next(iter(policy.spec.cameras)): image}, joints, policy.spec.instructions[0]), told)
        parts = stream_digests(seen)
        chunk = dataclasses.replace(policy.infer(seen, "g1", sequence).chunk, observation_digest=whole_digest(parts), stream_digests=parts)
        put(names.ACTION_CHUNK, now + 30 * MS, chunk_to_msg(chunk))
        for decoder in decoders:
            put(names.DECODED_CHUNK, now + 40 * MS, chunk_to_msg(decoder.decode(chunk, lambda name: home[name].position_rad)))
        report = _report(now, sequence)
        put(names.CHUNK_REPORT, now + 60 * MS, report)
        put(names.CHUNK_LATENCY, now + 120 * MS, _latency(report, now))
        sequence += 1
    put(names.TASK_STATE, START_NS + length_ms * MS, TaskState(task=cell.sim.task, success=True, progress=1.0))


def _report(now: int, sequence: int) -> ChunkReport:
    stages = {
        "observed": 0,
        "observation_ready": 5,
        "inference_started": 6,
        "inferred": 26,
        "published": 28,
        "decoded": 40,
        "accepted": 41,
        "first_command": 50,
    }
    report = ChunkReport(
        goal_id="g1", sequence=sequence, accepted=True, inference_ms=20.0, overhead_ms=30.0, position_jump=0.01, velocity_step=0.1, jerk=500.0,
        command_velocity_step=0.002, command_jerk=40.0,
    )
    report.header.stamp = time_to_msg(now + 50 * MS)
    report.timing = timing_to_msg({name: now + ms * MS for name, ms in stages.items()})
    return report


def _latency(report: ChunkReport, now: int) -> ChunkLatency:
    """Its first motion 30 ms after its first command, the first chunk's from rest."""
    timing = {**timing_from_msg(report.timing), "first_motion": now + 80 * MS}
    latency = ChunkLatency(goal_id=report.goal_id, sequence=report.sequence, motion=ChunkLatency.SEEN, from_rest=report.sequence == 0)
    latency.header.stamp = time_to_msg(now + 120 * MS)
    latency.timing = timing_to_msg(timing)
    return latency
