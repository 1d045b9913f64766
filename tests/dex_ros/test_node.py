# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from dex_core.config import load_cell
from dex_core.errors import DeadlineError, DeviceError
from dex_msgs.msg import Heartbeat, JointCommand
from dex_ros import names, qos
from dex_ros.node import ACTIVE, INACTIVE, UNCONFIGURED, DexNode
from dex_ros.polling import PolledSubscription
from dex_ros.testing import ros_domain, spinning, wait_for

pytestmark = pytest.mark.ros
DOMAIN = 50


@pytest.fixture()
def context() -> Iterator[Context]:
    with ros_domain(DOMAIN) as ctx:
        yield ctx


class _Failing(DexNode):
    def configure(self) -> None:
        raise DeviceError("the cable is out", code="connection_lost")


def test_failed_configure_says_why_everywhere(context: Context) -> None:
    node, peer = _Failing("failing", context=context), Node("peer", context=context)
    seen: list[DiagnosticArray] = []
    peer.create_subscription(DiagnosticArray, names.DIAGNOSTICS, seen.append, qos.REPORT)
    beats = PolledSubscription(peer, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
    with spinning(node, peer):
        wait_for(lambda: beats.publisher_count() == 1, "heartbeat publisher")
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert node.state_id == UNCONFIGURED
        wait_for(lambda: any("cable is out" in s.message for a in seen for s in a.status), "diagnostics")
        wait_for(lambda: any(b.reason == "connection_lost" for b in beats.take_all()), "heartbeat with the reason")
    node.destroy_node()
    peer.destroy_node()


def test_cell_and_interface_come_from_parameters(context: Context, tmp_path: object) -> None:
    path = f"{tmp_path}/cell.yaml"
    from pathlib import Path

    load_cell("xarm_bimanual").save(Path(path))
    overrides = [Parameter("cell_file", value=path), Parameter("interface", value="left_arm")]
    node = DexNode("driver", context=context, parameter_overrides=overrides)
    assert node.interface_name == "left_arm" and node.cell.name == "xarm_bimanual"
    node.destroy_node()
    bare = DexNode("bare", context=context)
    with pytest.raises(Exception, match="cell_file is empty"):
        _ = bare.cell
    bare.destroy_node()


def test_polled_subscription_waits_takes_newest_and_times_out(context: Context) -> None:
    node = Node("poller", context=context)
    publisher = node.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
    polled = PolledSubscription(node, JointCommand, names.JOINT_COMMAND, qos.COMMAND)
    wait_for(publisher.get_subscription_count, "match")
    assert not polled.wait(0.01) and polled.take() is None
    for sequence in (1, 2, 3):
        publisher.publish(JointCommand(sequence=sequence))
    assert polled.wait(2.0)
    newest = wait_for(polled.take_newest, "command")
    assert newest.sequence == 3
    node.destroy_node()


def test_wait_for_names_the_silent_one() -> None:
    with pytest.raises(DeadlineError, match="the moon was silent for 0.02 s"):
        wait_for(lambda: False, "the moon", timeout_s=0.02)


_CHILD = textwrap.dedent(
    """
    from dex_ros.node import DexNode, spin_main
    class Node(DexNode):
        def deactivate(self):
            print("safe action", flush=True)
    raise SystemExit(spin_main(lambda: Node("child")))
    """
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_deactivates_before_the_end(context: Context, number: int) -> None:
    peer = Node("peer", context=context)
    beats = PolledSubscription(peer, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
    child = subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    try:
        wait_for(lambda: any(b.state == ACTIVE for b in beats.take_all()), "child", timeout_s=20.0)
        child.send_signal(number)
        output, _ = child.communicate(timeout=10.0)
    finally:
        child.kill()
        child.wait()
    assert "safe action" in output and child.returncode == 0
    assert INACTIVE == 2
    peer.destroy_node()


_NOT_YET_THERE = textwrap.dedent(
    """
    from dex_core.errors import DeviceError
    from dex_ros.node import DexNode, spin_main
    class Node(DexNode):
        tries = 0
        def configure(self):
            Node.tries += 1
            if Node.tries < 3:
                raise DeviceError("not yet", code=CODE)
    raise SystemExit(spin_main(lambda: Node("child")))
    """
)


@pytest.mark.parametrize("code", ["connection_lost", "connection_refused"])
def test_a_device_that_is_not_there_yet_is_asked_again(context: Context, code: str) -> None:
    peer = Node("peer", context=context)
    beats = PolledSubscription(peer, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
    child = subprocess.Popen([sys.executable, "-c", f"CODE = {code!r}\n{_NOT_YET_THERE}"], env=os.environ.copy(), stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(b.state == ACTIVE for b in beats.take_all()), "child", timeout_s=20.0)
    finally:
        child.terminate()
        child.wait(timeout=10.0)
    peer.destroy_node()
