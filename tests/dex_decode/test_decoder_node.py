# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState as JointStateMsg

from dex_core.bundle import load_bundle
from dex_core.bundle.testing import write_latent_fixture
from dex_core.config import CellConfig, load_cell
from dex_core.decode import POSE_COLUMNS, LatentDecoder, PoseDecoder, columns_of
from dex_core.kinematics import HandKinematics
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_decode.decoder_node import DecoderNode
from dex_description import interface_urdf
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import MountedHand as MountedHandMsg
from dex_ros import names, qos
from dex_ros.convert import chunk_from_msg, chunk_to_msg, joint_state_to_msg
from dex_ros.mounted import mounted_from_msg
from dex_ros.node import ACTIVE, UNCONFIGURED
from dex_ros.testing import ros_domain, spinning, wait_for

pytestmark = pytest.mark.ros
DOMAIN = 57
HAND, ARM = "left_hand", "left_arm"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> CellConfig:
    base = load_cell("xarm_bimanual")
    folder = tmp_path_factory.mktemp("models") / "hand_latents"
    write_latent_fixture(Path(folder), base)
    return replace(base, policy=replace(base.policy, latent_bundle=str(folder), provider="cpu"))


class Peer(Node):
    """Sends action chunks and keeps what comes back."""

    def __init__(self, cell: CellConfig, **kwargs: Any) -> None:
        super().__init__("peer", **kwargs)
        self.decoded: list[ActionChunkMsg] = []
        self.codes: list[str] = []
        self.cell = cell
        self.mounted: list[MountedHandMsg] = []
        self.out = self.create_publisher(ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self.states = {n: self.create_publisher(JointStateMsg, names.device_states(n), qos.SENSOR) for n in (HAND, ARM)}
        self.create_subscription(MountedHandMsg, names.mounted_hand("left"), self.mounted.append, qos.LATCHED)
        self.create_subscription(ActionChunkMsg, names.DECODED_CHUNK, self.decoded.append, qos.CHUNK)
        self.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._note, qos.REPORT)

    def _note(self, message: DiagnosticArray) -> None:
        self.codes += [v.value for s in message.status for v in s.values if v.key == "code"]

    def send(self, sequence: int, *parts: ActionSlice, corrupt: float | None = None) -> None:
        chunk = ActionChunk(123_000_000_000, "goal", sequence, 0.05, 1.0, parts, "hash", {"observed": 123_000_000_000})
        message = chunk_to_msg(chunk)
        if corrupt is not None:
            message.slices[0].data[3] = corrupt
        self.out.publish(message)

    def send_state(self, interface: str = HAND, age_s: float = 0.0) -> None:
        part, stamp_ns = self.cell.interface(interface), self.get_clock().now().nanoseconds - round(age_s * 1e9)
        zero = np.zeros(len(part.names))
        self.states[interface].publish(joint_state_to_msg(JointState(part.names, np.array(part.home), zero, zero, stamp_ns)))


@pytest.fixture()
def pair(cell: CellConfig, tmp_path: Path) -> Iterator[tuple[DecoderNode, Peer]]:
    path = tmp_path / "cell.yaml"
    cell.save(path)
    with ros_domain(DOMAIN) as context:
        node = DecoderNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(path)), Parameter("interface", value=HAND)])
        peer = Peer(cell, context=context)
        try:
            with spinning(node, peer):
                node.autostart()
                # Killed processes of other tests are remembered for 20 s.
                wait_for(lambda: peer.out.get_subscription_count() == 1 and node.count_subscribers(names.DECODED_CHUNK) == 1, "discovery", 40.0)
                yield node, peer
        finally:
            node.destroy_node()
            peer.destroy_node()


def latents(cell: CellConfig, q: np.ndarray) -> ActionSlice:
    space = load_bundle(cell.policy.latent_bundle)
    decoder = LatentDecoder(space, "left_inspire")
    return ActionSlice(HAND, "latent", decoder.encode(q), space_hash=space.graph_sha256("left_inspire/decoder"))


def poses(cell: CellConfig) -> np.ndarray:
    hand = cell.interface(HAND)
    low, high = (np.array([getattr(m, k) for m in hand.limits]) for k in ("lower_rad", "upper_rad"))
    return low + np.linspace(0.2, 0.6, 64)[:, None] * (high - low)


def test_latents_come_back_as_named_joints(pair: tuple[DecoderNode, Peer], cell: CellConfig) -> None:
    node, peer = pair
    assert node.state_id == ACTIVE
    peer.send(5, latents(cell, poses(cell)))
    wait_for(lambda: peer.decoded, "decoded chunk")
    chunk = chunk_from_msg(peer.decoded[0])
    assert (chunk.goal_id, chunk.sequence, chunk.stamp_ns, chunk.bundle_hash) == ("goal", 5, 123_000_000_000, "hash")
    assert len(chunk.slices) == 1 and chunk.slices[0].names == cell.interface(HAND).names and chunk.timing_ns["decoded"] > 0
    np.testing.assert_allclose(chunk.slices[0].data, poses(cell), atol=1e-5)


def test_fingertips_come_back_as_named_joints_with_residual(pair: tuple[DecoderNode, Peer], cell: CellConfig) -> None:
    _, peer = pair
    hand = cell.interface(HAND)
    kinematics = HandKinematics(hand.robot, interface_urdf(hand))
    tips = np.array([kinematics.fingertips(q).ravel() for q in poses(cell)])
    part = ActionSlice(HAND, "fingertip_position", tips, columns_of(kinematics.fingers), "left_wrist")
    peer.send(1, part)
    wait_for(lambda: "state_stale" in peer.codes, "refusal without a measured start")
    sequence = 1

    def retried() -> bool:
        nonlocal sequence
        sequence += 1
        peer.send_state()
        peer.send(sequence, part)
        return bool(peer.decoded)

    wait_for(retried, "decoded chunk", poll_s=0.1)
    chunk = chunk_from_msg(peer.decoded[0])
    np.testing.assert_allclose(chunk.slices[0].data, poses(cell), atol=1e-4)
    assert chunk.slices[0].residual_m.shape == (64,) and chunk.slices[0].residual_m.max() < 1e-4


def arm_poses(cell: CellConfig) -> np.ndarray:
    """From home a hand's breadth down and aside."""
    columns = np.tile(PoseDecoder.of_cell(cell, "left").home_columns, (64, 1))
    columns[:, :3] += np.linspace(0.0, 1.0, 64)[:, None] * (0.05, -0.08, -0.04)
    return columns


def test_wrist_poses_and_latents_of_a_side_come_back_in_one_chunk(pair: tuple[DecoderNode, Peer], cell: CellConfig) -> None:
    _, peer = pair
    parts = (ActionSlice(ARM, "wrist_pose", arm_poses(cell), POSE_COLUMNS, "world"), latents(cell, poses(cell)))
    peer.send(1, *parts)
    wait_for(lambda: "state_stale" in peer.codes, "refusal without measured arm joints")
    peer.codes.clear()
    wait_for(lambda: peer.states[ARM].get_subscription_count() == 1, "discovery", 20.0)
    peer.send_state(ARM, age_s=1.0)
    peer.send(2, *parts)
    wait_for(lambda: "state_stale" in peer.codes, "refusal of old arm joints")
    sequence = 2

    def retried() -> bool:
        nonlocal sequence
        sequence += 1
        peer.send_state(ARM)
        peer.send(sequence, *parts)
        return bool(peer.decoded)

    wait_for(retried, "decoded chunk", poll_s=0.1)
    arm, hand = chunk_from_msg(peer.decoded[0]).slices
    assert (arm.interface, arm.space, arm.names) == (ARM, "joint_position", cell.interface(ARM).names)
    np.testing.assert_allclose(PoseDecoder.of_cell(cell, "left").columns(arm.data), arm_poses(cell), atol=1e-5)
    assert arm.residual_m.shape == (64,) and arm.residual_m.max() < 1e-5
    np.testing.assert_allclose(hand.data, poses(cell), atol=1e-5)


def test_it_alone_says_which_hand_is_mounted_and_late_joiners_hear_it(pair: tuple[DecoderNode, Peer], cell: CellConfig) -> None:
    node, peer = pair
    wait_for(lambda: peer.mounted, "mounted hand")
    space = load_bundle(cell.policy.latent_bundle)
    hand = mounted_from_msg(peer.mounted[-1])
    assert (hand.embodiment, hand.flange) == ("left_inspire", "left_link_eef")
    assert hand.decoder_sha256 == space.graph_sha256("left_inspire/decoder")
    np.testing.assert_allclose(hand.grasp_in_flange, PoseDecoder.of_cell(cell, "left").hand.grasp_in_flange, atol=1e-12)
    late: list[MountedHandMsg] = []
    peer.create_subscription(MountedHandMsg, names.mounted_hand("left"), late.append, qos.LATCHED)
    wait_for(lambda: late, "mounted hand for a late joiner")
    node.trigger_deactivate()
    node.trigger_cleanup()
    wait_for(lambda: peer.count_publishers(names.mounted_hand("left")) == 0, "taken back")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"frame_id": "left_link_base"}, "frame_unknown"),
        ({"names": tuple(reversed(POSE_COLUMNS))}, "shape"),
        ({"data": np.zeros((64, 9))}, "rotation"),
        ({"data": np.zeros((64, 8)), "names": ()}, "shape"),
    ],
)
def test_bad_wrist_poses_take_the_whole_side_with_them(pair: tuple[DecoderNode, Peer], cell: CellConfig, change: dict, code: str) -> None:
    _, peer = pair
    part = replace(ActionSlice(ARM, "wrist_pose", arm_poses(cell), POSE_COLUMNS, "world"), **change)
    sequence = 0

    def refused() -> bool:
        nonlocal sequence
        sequence += 1
        peer.send_state(ARM)
        peer.send(sequence, part, latents(cell, poses(cell)))
        return code in peer.codes

    wait_for(refused, f"refusal {code}", poll_s=0.1)
    assert not peer.decoded


def test_bad_chunks_are_dropped_and_named_and_good_ones_still_decoded(pair: tuple[DecoderNode, Peer], cell: CellConfig) -> None:
    _, peer = pair
    good = latents(cell, poses(cell))
    for sequence, (part, corrupt, code) in enumerate(
        (
            (replace(good, space_hash="0" * 64), None, "space_mismatch"),
            (good, float("nan"), "non_finite"),
            (good, float("inf"), "non_finite"),
            (ActionSlice(HAND, "latent", np.zeros((64, 31)), space_hash=good.space_hash), None, "shape"),
            (ActionSlice(HAND, "token", np.zeros((64, 1))), None, "no_decoder"),
        )
    ):
        peer.codes.clear()
        peer.send(sequence, part, corrupt=corrupt)
        wait_for(lambda wanted=code: wanted in peer.codes, f"diagnostics {code}")
        assert not peer.decoded
    peer.send(9, good)
    wait_for(lambda: peer.decoded, "decoded chunk")
    peer.codes.clear()
    peer.send(9, good)
    wait_for(lambda: "duplicate" in peer.codes, "duplicate named")
    assert len(peer.decoded) == 1


def test_other_hands_and_joint_slices_are_left_alone(pair: tuple[DecoderNode, Peer], cell: CellConfig) -> None:
    _, peer = pair
    hand = cell.interface(HAND)
    peer.send(1, ActionSlice(HAND, "joint_position", np.tile(hand.home, (4, 1)), hand.names))
    peer.send(2, ActionSlice("right_hand", "latent", np.zeros((4, 32))))
    peer.send(3, latents(cell, poses(cell)))
    wait_for(lambda: peer.decoded, "decoded chunk")
    assert [m.sequence for m in peer.decoded] == [3] and not peer.codes


def test_inactive_decodes_nothing_and_unknown_interface_fails(pair: tuple[DecoderNode, Peer], cell: CellConfig, tmp_path: Path) -> None:
    node, peer = pair
    node.trigger_deactivate()
    peer.send(1, latents(cell, poses(cell)))
    node.trigger_activate()
    peer.send(2, latents(cell, poses(cell)))
    wait_for(lambda: peer.decoded, "decoded chunk")
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert node.state_id == UNCONFIGURED
    other = DecoderNode(
        context=node.context,
        parameter_overrides=[Parameter("cell_file", value=str(tmp_path / "cell.yaml")), Parameter("interface", value="third_hand")],
    )
    other.autostart()
    assert other.state_id == UNCONFIGURED
    other.destroy_node()
