# SPDX-License-Identifier: Apache-2.0
"""The driver of a G1's Inspire hands on ROS: a participant of its own in the robot's DDS domain."""

from __future__ import annotations

from dex_core.config import Interface
from dex_hands.inspire_dds import READS, WRITES, InspireDdsDriver
from dex_ros.topic_link import RosTopicLink


def inspire_g1(interface: Interface, address: str) -> InspireDdsDriver:
    """The driver ``inspire_g1``. Raises ConfigError for an address that is not ``dds:DOMAIN`` or ``dds:DOMAIN@localhost``."""
    return InspireDdsDriver(interface, RosTopicLink(f"{interface.name}_unitree", address, WRITES, READS))
