# SPDX-License-Identifier: Apache-2.0
"""Kinematics of arms and hands from their URDFs, forward and inverse, and collisions. Parts are imported when first used."""
from __future__ import annotations

import importlib

_WHERE = {
    "ArmKinematics": "arm", "HandKinematics": "hand", "RobotKinematics": "chain", "KinematicTree": "tree", "load_arm": "load", "load_hand": "load",
    "HandIk": "hand_ik", "HandIkSolution": "hand_ik", "HandIkStatus": "hand_ik", "load_hand_ik": "hand_ik", "solve_chunk": "chunk_ik",
    "ArmIk": "arm_ik", "ArmIkSolution": "arm_ik", "load_arm_ik": "arm_ik", "pose_in_base": "arm_ik",
    "DualArmIk": "arm_ik_dual", "load_dual_arm_ik": "arm_ik_dual", "CollisionModel": "collision",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> object:
    """Imports on demand: the compiled inverse kinematics start without Pinocchio, which takes longer than all the rest."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value
