# SPDX-License-Identifier: Apache-2.0
"""The G1 driver on ROS: a participant of its own in the robot's DDS domain."""

from __future__ import annotations

from dex_arms.g1 import READS, WRITES, UnitreeG1Driver
from dex_core.config import Interface
from dex_ros.topic_link import RosTopicLink


def unitree_g1(interface: Interface, address: str) -> UnitreeG1Driver:
    """The driver ``unitree_g1``. Raises ConfigError for an address that is not ``dds:DOMAIN`` or ``dds:DOMAIN@localhost``."""
    return UnitreeG1Driver(interface, RosTopicLink(f"{interface.name}_unitree", address, WRITES, READS))
