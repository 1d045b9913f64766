# SPDX-License-Identifier: Apache-2.0
"""Every number once: strict dataclasses for cells, robots and tasks, and how they are found and loaded."""

from dex_core.config.cell import CameraConfig, CellConfig, DeviceAddress, EnsembleConfig, Interface, PolicyConfig, SimConfig
from dex_core.config.control import ControlConfig
from dex_core.config.load import load_cell, load_robot, load_task
from dex_core.config.paths import find_share, read_description
from dex_core.config.perception import PerceptionConfig
from dex_core.config.policy_server import PolicyServerConfig
from dex_core.config.robot import FINGERS, Coupling, Finger, FixedFrame, HandKeypoints, HardwareJoint, JointLimit, Pose, RobotConfig, SideConfig
from dex_core.config.task import ObjectConfig, Region, TaskConfig

__all__ = [
    "FINGERS", "CameraConfig", "CellConfig", "ControlConfig", "Coupling", "DeviceAddress", "EnsembleConfig", "Finger", "FixedFrame",
    "HandKeypoints", "HardwareJoint", "Interface", "JointLimit", "ObjectConfig", "PerceptionConfig", "PolicyConfig", "PolicyServerConfig", "Pose",
    "Region", "RobotConfig", "SideConfig", "SimConfig", "TaskConfig", "find_share", "load_cell", "load_robot", "load_task", "read_description",
]
