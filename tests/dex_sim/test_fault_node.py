# SPDX-License-Identifier: Apache-2.0
"""The fault node between a publisher and its reader: type, QoS and messages as they were, until a fault is put on the topic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import JointState

from dex_core.config import load_cell
from dex_core.errors import ConfigError
from dex_msgs.msg import MountedHand
from dex_msgs.srv import InjectFault
from dex_ros import names, qos
from dex_ros.testing import ros_domain, spinning, wait_for
from dex_sim.fault_node import FaultNode, message_class

pytestmark = pytest.mark.ros
DOMAIN = 91
STATES, MOUNTED = "left/arm/joint_states", "left/mounted_hand"


class Bench:
    """The node, a publisher of both topics where bring-up would send it, and a reader."""

    def __init__(self, context, cell_file: Path) -> None:
        parameters = {"cell_file": str(cell_file), "topics": f"{STATES},{MOUNTED}", "autostart": False}
        self.node = FaultNode(context=context, parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()])
        self.peer = rclpy.create_node("peer", context=context)
        self.states = self.peer.create_publisher(JointState, names.unfaulted(STATES), qos.SENSOR)
        self.mounted = self.peer.create_publisher(MountedHand, names.unfaulted(MOUNTED), qos.LATCHED)
        self.heard: list[JointState] = []
        self.hands: list[MountedHand] = []
        self.peer.create_subscription(JointState, STATES, self.heard.append, qos.SENSOR)
        self.peer.create_subscription(MountedHand, MOUNTED, self.hands.append, qos.LATCHED)
        self.client = self.peer.create_client(InjectFault, names.FAULTS_INJECT)

    def inject(self, component: str, kind: str, amount: float = 0.0) -> InjectFault.Response:
        assert self.client.wait_for_service(10.0)
        future = self.client.call_async(InjectFault.Request(component=component, type=kind, amount=amount))
        wait_for(future.done, names.FAULTS_INJECT, 10.0)
        return future.result()

    def send(self, position: float, stamp_s: int = 1) -> None:
        message = JointState(name=["left_joint1"], position=[position])
        message.header.stamp.sec = stamp_s
        self.states.publish(message)

    def arrives(self, position: float, stamp_s: int = 1) -> JointState:
        """Sends until it is heard: sensor QoS may lose a message."""
        def heard() -> JointState | None:
            self.send(position, stamp_s)
            return next((m for m in self.heard if list(m.position) == [position] and m.header.stamp.sec == stamp_s), None)

        return wait_for(heard, f"joint state {position}", 10.0, poll_s=0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    load_cell("xarm_bimanual").save(tmp_path / "cell.yaml")
    with ros_domain(DOMAIN) as context:
        made = Bench(context, tmp_path / "cell.yaml")
        with spinning(made.node, made.peer):
            made.node.trigger_configure()
            made.node.trigger_activate()
            yield made
        made.peer.destroy_node()
        made.node.destroy_node()


def test_it_passes_on_what_comes_with_the_publishers_qos(bench: Bench) -> None:
    assert list(bench.arrives(0.25).name) == ["left_joint1"]
    offered = bench.peer.get_publishers_info_by_topic("/" + STATES)
    assert [o.qos_profile.reliability for o in offered] == [ReliabilityPolicy.BEST_EFFORT]
    bench.mounted.publish(MountedHand(side="left"))
    wait_for(lambda: bench.hands, "the latched topic", 10.0)
    (offered,) = bench.peer.get_publishers_info_by_topic("/" + MOUNTED)
    assert offered.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_faults_are_put_on_and_taken_off(bench: Bench) -> None:
    bench.arrives(0.25)
    assert bench.inject(STATES, "stuck").success
    assert list(wait_for(lambda: _stamped(bench, 7), "a stuck message", 10.0, poll_s=0.02).position) == [0.25]
    answer = bench.inject(STATES, "wrong", 1.0)
    assert answer.success and "shift = 1" in answer.message
    wait_for(lambda: (bench.send(0.5, 9), any(list(m.position) == [1.5] for m in bench.heard))[1], "a wrong message", 10.0, poll_s=0.02)
    assert bench.inject(STATES, "off").success
    assert bench.inject(STATES, "ok").success
    bench.arrives(0.75, 11)


def _stamped(bench: Bench, stamp_s: int) -> JointState | None:
    bench.send(0.9, stamp_s)
    return next((m for m in bench.heard if m.header.stamp.sec == stamp_s), None)


@pytest.mark.parametrize(("component", "kind", "amount", "words"), [
    ("joint_command", "off", 0.0, "does not go through here"), (STATES, "broken", 0.0, "allowed: ok, off"), (STATES, "delayed", -1.0, "allowed"),
])
def test_what_cannot_be_done_is_refused_with_what_can(bench: Bench, component: str, kind: str, amount: float, words: str) -> None:
    answer = bench.inject(component, kind, amount)
    assert not answer.success and words in answer.message


def test_a_real_cell_is_never_faulted(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    replace(cell, simulated=False).save(tmp_path / "cell.yaml")
    with ros_domain(DOMAIN) as context:
        node = FaultNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(tmp_path / "cell.yaml"))])
        with pytest.raises(ConfigError, match="simulated cell alone"):
            node.configure()
        node.destroy_node()


def test_a_message_type_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere_msgs/msg/Thing"):
        message_class("nowhere_msgs/msg/Thing")
