# SPDX-License-Identifier: Apache-2.0
"""Kinematics of arms and hands from their URDFs."""
from dex_core.kinematics.arm import ArmKinematics
from dex_core.kinematics.chain import RobotKinematics
from dex_core.kinematics.hand import HandKinematics
from dex_core.kinematics.load import load_arm, load_hand

__all__ = ["ArmKinematics", "HandKinematics", "RobotKinematics", "load_arm", "load_hand"]
