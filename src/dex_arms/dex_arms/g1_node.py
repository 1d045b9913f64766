# SPDX-License-Identifier: Apache-2.0
"""The G1 driver on ROS: a participant of its own in the robot's DDS domain."""

from __future__ import annotations

from dex_arms.g1 import READS, WRITES, UnitreeG1Driver
from dex_core.config import Interface
from dex_core.config.safety import load_profile
from dex_core.errors import ConfigError
from dex_ros.topic_link import RosTopicLink


def unitree_g1(interface: Interface, address: str) -> UnitreeG1Driver:
    """The driver ``unitree_g1``.

    Raises:
        ConfigError: an address that is not ``dds:DOMAIN`` or ``dds:DOMAIN@localhost``; a robot without ``weight_ramp_s`` in its safety profile.
    """
    ramp_s = load_profile(interface.robot.name).weight_ramp_s
    if ramp_s is None:
        raise ConfigError(f"config/safety/{interface.robot.name}.yaml gives no weight_ramp_s: the time in which arm_sdk takes the arms over [s]")
    return UnitreeG1Driver(interface, RosTopicLink(f"{interface.name}_unitree", address, WRITES, READS), ramp_s=ramp_s)
