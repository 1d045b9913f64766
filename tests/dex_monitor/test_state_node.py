# SPDX-License-Identifier: Apache-2.0
"""The state node: description, frames and states of what reports, nothing of what does not."""
from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from dex_core.config import CellConfig, load_cell
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_monitor.state_node import StateNode
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import ChunkLatency, ChunkReport
from dex_ros import convert, names, qos
from dex_ros.testing import ros_domain, spinning, wait_for

pytestmark = pytest.mark.ros
STATES = ("left_arm", "right_arm", "left_hand", "right_hand")


class Peer(Node):
    """Plays the drivers and listens to the state node."""

    def __init__(self, context: Any, cell: CellConfig) -> None:
        super().__init__("peer", context=context)
        self.cell = cell
        self.seen: dict[str, list] = {}
        for message, topic, profile in (
            (String, names.ROBOT_DESCRIPTION, qos.LATCHED), (TFMessage, "/tf", qos.REPORT), (TFMessage, "/tf_static", qos.LATCHED),
            (JointStateMsg, names.JOINT_STATES, qos.REPORT), (MarkerArray, names.PLANNED_CHUNK, qos.REPORT),
            (ChunkLatency, names.CHUNK_LATENCY, qos.REPORT),
        ):
            self.seen[topic] = []
            self.create_subscription(message, topic, self.seen[topic].append, profile)
        self.outs = {name: self.create_publisher(JointStateMsg, names.device_states(name), qos.SENSOR) for name in STATES}
        self.chunks = self.create_publisher(ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self.decoded = self.create_publisher(ActionChunkMsg, names.DECODED_CHUNK, qos.CHUNK)
        self.reports = self.create_publisher(ChunkReport, names.CHUNK_REPORT, qos.REPORT)
        self.speaking = set(STATES)
        self.moving: tuple[str, float] = ("", 0.0)
        self.create_timer(0.02, self.speak)

    def speak(self) -> None:
        for name in self.speaking:
            joints = self.cell.interface(name).names
            n = len(joints)
            q = np.full(n, 0.25)
            if name == self.moving[0]:
                q[0] += max(0.0, time.time() - self.moving[1])
            state = JointState(joints, q, np.zeros(n), np.full(n, np.nan), time.time_ns())
            self.outs[name].publish(convert.joint_state_to_msg(state))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[tuple[StateNode, Peer]]:
    cell = load_cell("xarm_bimanual")
    path = tmp_path / "cell.yaml"
    cell.save(path)
    with ros_domain(55) as context:
        node = StateNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(path))])
        peer = Peer(context, cell)
        with spinning(node, peer):
            node.autostart()
            assert node.is_active
            yield node, peer
            node.trigger_deactivate()
            node.trigger_cleanup()
        node.destroy_node()


def test_description_frames_and_states(bench: tuple[StateNode, Peer]) -> None:
    _node, peer = bench
    urdf = wait_for(lambda: peer.seen[names.ROBOT_DESCRIPTION], "robot_description")[0].data
    assert urdf.count("<mimic") == 12 and "left_link_eef" in urdf
    states = wait_for(lambda: [m for m in peer.seen[names.JOINT_STATES] if len(m.name) == 26], "merged joint states")
    assert tuple(states[-1].name) == peer.cell.joint_names and set(states[-1].position) == {0.25}
    frames = wait_for(lambda: [m for m in peer.seen["/tf"] if len(m.transforms) == 38], "frames")[-1].transforms
    fixed = wait_for(lambda: peer.seen["/tf_static"], "static frames")[-1].transforms
    children = [t.child_frame_id for t in (*frames, *fixed)]
    assert len(children) == len(set(children)) and "camera_link" not in children
    for t in frames:
        q = t.transform.rotation
        assert q.x**2 + q.y**2 + q.z**2 + q.w**2 == pytest.approx(1.0)
        assert abs(time.time_ns() - convert.time_from_msg(t.header.stamp)) < 2e9
    count, start = len(peer.seen["/tf"]), time.monotonic()
    wait_for(lambda: len(peer.seen["/tf"]) >= count + 25, "a second of frames")
    assert time.monotonic() - start > 0.8  # never faster than its rate


def test_a_silent_interface_has_no_frames(bench: tuple[StateNode, Peer]) -> None:
    _node, peer = bench
    wait_for(lambda: any(len(m.name) == 26 for m in peer.seen[names.JOINT_STATES]), "all joints")
    peer.speaking.discard("right_hand")
    wait_for(lambda: len(peer.seen[names.JOINT_STATES][-1].name) == 20, "the right hand gone")
    wait_for(lambda: not any(t.child_frame_id.startswith("right_thumb") for t in peer.seen["/tf"][-1].transforms), "its frames gone")
    peer.speaking.add("right_hand")
    wait_for(lambda: len(peer.seen[names.JOINT_STATES][-1].name) == 26, "the right hand back")


def test_the_planned_path_is_drawn_per_side(bench: tuple[StateNode, Peer]) -> None:
    _node, peer = bench
    slices = tuple(
        ActionSlice(name, "joint_position", np.linspace(0, 0.5, 64)[:, None] * np.ones((1, 7)), peer.cell.interface(name).names)
        for name in ("left_arm", "right_arm")
    )
    wait_for(lambda: peer.chunks.get_subscription_count(), "the subscription")
    bad = ActionChunkMsg(dt_s=0.0)
    peer.chunks.publish(bad)
    time.sleep(0.1)
    peer.chunks.publish(convert.chunk_to_msg(ActionChunk(time.time_ns(), "goal", 1, 0.05, 1.0, slices)))
    markers = wait_for(lambda: peer.seen[names.PLANNED_CHUNK], "markers")[-1].markers
    assert [m.ns for m in markers] == ["left_arm", "right_arm"] and all(len(m.points) == 64 for m in markers)
    assert markers[0].points[0].y > 0 > markers[1].points[0].y
    assert markers[0].color != markers[1].color and markers[0].header.frame_id == "world"


def _chunk(peer: Peer, sequence: int, slope: float, **more: Any) -> tuple[ActionChunk, ActionChunk]:
    """A chunk of the left arm standing still, and its decoded part: the first joint of the left hand at ``slope`` [rad/s]."""
    arm, hand = (peer.cell.interface(name).names for name in ("left_arm", "left_hand"))
    still = ActionSlice("left_arm", "joint_position", np.full((64, 7), 0.25), arm)
    rows = np.full((64, len(hand)), 0.25)
    rows[:, 0] += slope * 0.05 * np.arange(64)
    stamp = time.time_ns()
    whole = ActionChunk(stamp, "goal", sequence, 0.05, 0.0, (still,), **more)
    return whole, ActionChunk(stamp, "goal", sequence, 0.05, 0.0, (ActionSlice("left_hand", "joint_position", rows, hand),))


@pytest.mark.parametrize(
    ("slope", "follows", "motion"), [(1.0, True, ChunkLatency.SEEN), (1.0, False, ChunkLatency.MISSED), (0.0, False, ChunkLatency.NONE)]
)
def test_the_first_motion_after_a_chunk_is_told(bench: tuple[StateNode, Peer], slope: float, follows: bool, motion: int) -> None:
    _node, peer = bench
    for publisher in (peer.chunks, peer.decoded, peer.reports):
        wait_for(publisher.get_subscription_count, "the subscription")
    wait_for(lambda: peer.seen[names.JOINT_STATES], "joint states")
    time.sleep(0.2)
    whole, part = _chunk(peer, 1, slope)
    peer.chunks.publish(convert.chunk_to_msg(whole))
    peer.decoded.publish(convert.chunk_to_msg(part))
    command_ns = time.time_ns()
    peer.moving = ("left_hand" if follows else "", command_ns * 1e-9 + 0.05)
    stages = {"observed": whole.stamp_ns, "published": whole.stamp_ns + 1, "first_command": command_ns}
    peer.reports.publish(ChunkReport(goal_id="goal", sequence=1, accepted=True, timing=convert.timing_to_msg(stages)))
    peer.reports.publish(ChunkReport(goal_id="goal", sequence=2, accepted=False, reason="late"))
    told = wait_for(lambda: peer.seen[names.CHUNK_LATENCY], "the chunk's latency")[-1]
    timing = convert.timing_from_msg(told.timing)
    assert told.motion == motion and (told.goal_id, told.sequence) == ("goal", 1)
    assert {k: v for k, v in timing.items() if k != "first_motion"} == stages
    assert ("first_motion" in timing) is follows
    if follows:
        assert told.joint == peer.cell.interface("left_hand").names[0] and told.from_rest
        assert timing["first_motion"] >= command_ns + 50_000_000
