# SPDX-License-Identifier: Apache-2.0
"""The hand's driver node on the simulated hand, with a gate that a test plays (F14, F15)."""
from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from dex_core.clock import Ticker
from dex_core.config import Interface, load_cell
from dex_msgs.msg import JointCommand
from dex_ros import names, qos
from dex_ros.convert import fill_doubles
from dex_ros.device_node import DeviceNode
from dex_ros.polling import PolledSubscription
from dex_ros.testing import ros_domain, spinning, wait_for
from dex_sim.inspire_modbus import InspireBus
from dex_sim.inspire_modbus_hand import OVER_CURRENT, InspireHand
from dex_sim.plant import KinematicPlant

pytestmark = pytest.mark.ros
ADDRESS = "127.0.55.25:26005"


class Rig:
    """A simulated right hand, its driver node, and a gate streaming at 100 Hz."""

    def __init__(self, context: Any, cell_file: Path, interface: Interface, bus: InspireBus) -> None:
        self.bus, self.interface = bus, interface
        self.hand = InspireHand(interface, KinematicPlant(interface.names, np.full(6, 0.3), time_constant_s=0.005))
        bus.serve_tcp(self.hand, ADDRESS)
        overrides = [Parameter("cell_file", value=str(cell_file)), Parameter("interface", value="right_hand")]
        self.node = DeviceNode("hand", name="right_hand", context=context, parameter_overrides=overrides)
        self.peer = Node("peer", context=context)
        self.states: list[JointState] = []
        self._subscription = PolledSubscription(self.peer, JointState, names.device_states("right_hand"), qos.SENSOR)
        self._commands = self.peer.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        self.mode, self.target = JointCommand.IDLE, np.full(6, 0.3)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._gate, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=1.0)
        self.node.trigger_deactivate()
        self.node.trigger_cleanup()

    def position(self) -> np.ndarray:
        state = wait_for(self._subscription.take_newest, "joint states")
        assert tuple(state.name) == self.interface.names
        return np.array(state.position)

    def reaches(self, target: np.ndarray) -> None:
        wait_for(lambda: np.allclose(self.position(), target, atol=0.01), "the hand at its target")

    def _gate(self) -> None:
        ticker, sequence = Ticker(100.0), 0
        while not self._stop.is_set():
            ticker.wait()
            sequence += 1
            message = JointCommand(sequence=sequence, mode=self.mode)
            if self.mode == JointCommand.TRACK:
                message.names = list(self.interface.names)
                message.positions = fill_doubles(self.target)
            self._commands.publish(message)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    cell = load_cell("xarm_bimanual")
    hand = cell.interface("right_hand")
    hand = dataclasses.replace(hand, address=dataclasses.replace(hand.address, simulated=ADDRESS))
    path = tmp_path / "cell.yaml"
    dataclasses.replace(cell, interfaces={**cell.interfaces, "right_hand": hand}).save(path)
    with ros_domain(55) as context, InspireBus() as bus:
        rig = Rig(context, path, hand, bus)
        with spinning(rig.node, rig.peer, threads=3):
            rig.node.autostart()
            assert rig.node.is_active
            yield rig
            rig.close()
        rig.node.destroy_node()


def test_idle_moves_nothing_and_track_is_followed(rig: Rig) -> None:
    assert np.allclose(rig.position(), 0.3, atol=0.002)
    rig.target = np.array([0.5, 0.6, 0.7, 0.8, 0.4, 0.2])
    wait_for(lambda: rig.node.runtime.follower.armed, "arming by IDLE")
    rig.mode = JointCommand.TRACK
    rig.reaches(rig.target)


def test_an_overload_stops_the_driver_until_somebody_recovers_it(rig: Rig) -> None:
    wait_for(lambda: rig.node.runtime.follower.armed, "arming by IDLE")
    rig.mode = JointCommand.TRACK
    rig.target = np.full(6, 0.5)
    rig.reaches(rig.target)
    rig.hand.inject_error("middle", OVER_CURRENT)
    wait_for(lambda: rig.node.heartbeat.reason == "device_fault", "the fault in the heartbeat")
    assert not rig.node.is_active
    rig.target = np.full(6, 0.2)
    held = rig.hand.read_words(1486, 6)
    threading.Event().wait(0.3)
    assert rig.hand.read_words(1486, 6) == held
    rig.mode = JointCommand.IDLE
    rig.node.trigger_activate()
    assert rig.node.is_active and np.allclose(rig.position(), 0.5, atol=0.05)


def test_a_lost_link_is_named_and_mended_without_motion(rig: Rig) -> None:
    rig.position()
    rig.bus.stop(ADDRESS)
    wait_for(lambda: rig.node.heartbeat.reason == "connection_lost", "the loss in the heartbeat", 10.0)
    assert not rig.node.is_active
    rig.bus.serve_tcp(rig.hand, ADDRESS)
    rig.node.trigger_activate()
    assert rig.node.is_active and np.allclose(rig.position(), 0.3, atol=0.002)
