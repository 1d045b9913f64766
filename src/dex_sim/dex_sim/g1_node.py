# SPDX-License-Identifier: Apache-2.0
"""The simulated G1 and its hands on ROS: one participant for each DDS domain that the cell names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from dex_core.config import CellConfig
from dex_core.errors import ConfigError
from dex_ros.topic_link import RosTopicLink
from dex_sim import g1, inspire_dds
from dex_sim.devices import PlantOf, Served
from dex_sim.inspire_modbus_hand import InspireHand


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """The body as a G1, its Inspire hands behind their service.

    Raises:
        ConfigError: an address is no DDS domain, or a hand is not an Inspire hand.
    """
    devices: dict[str, Any] = {}
    resets: list[Callable[[], None]] = []
    with ExitStack() as started:
        for address in sorted({cell.address_of(name) for name in names}):
            there = [name for name in names if cell.address_of(name) == address]
            bodies = [name for name in there if cell.interface(name).robot.kind == "arm"]
            hands = {name: _hand(cell, name, plant_of) for name in there if name not in bodies}
            writes = (g1.WRITES if bodies else ()) + (inspire_dds.WRITES if hands else ())
            reads = (g1.READS if bodies else ()) + (inspire_dds.READS if hands else ())
            link = RosTopicLink("simulated_g1", address, writes, reads)
            started.callback(link.close)
            link.open()
            for name in bodies:
                robot = g1.G1Robot(cell.interface(name), plant_of(name), link)
                started.callback(robot.close)
                robot.start()
                devices[name], resets = robot, [*resets, robot.reset]
            if hands:
                service = inspire_dds.InspireService({cell.interface(name).side: hand for name, hand in hands.items()}, link)
                started.callback(service.close)
                service.start()
                devices, resets = devices | hands, resets + [hand.reset for hand in hands.values()]
        close = started.pop_all().close
    return Served(devices, tuple(resets), close)


def _hand(cell: CellConfig, name: str, plant_of: PlantOf) -> InspireHand:
    interface = cell.interface(name)
    if interface.robot.name != "inspire":
        raise ConfigError(f"{name} is a {interface.robot.name}; the simulated service of a G1 has Inspire hands")
    return InspireHand(interface, plant_of(name))
