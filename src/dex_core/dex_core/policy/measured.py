# SPDX-License-Identifier: Apache-2.0
"""Where the hands are: measured arm joints and what hangs on the arms to grasp-frame poses in the world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dex_core.config.cell import CellConfig
from dex_core.decode.mounted import ArmInWorld, MountedHand
from dex_core.errors import ConfigError
from dex_core.policy.base import Observation
from dex_core.policy.observation import ObservationRefused, joints_in_order
from dex_core.types import Array


class MeasuredPoses:
    """Forward kinematics of a cell's arms; arms and their bases stay when a hand is exchanged. One thread at a time.

    Args:
        cell: as loaded; which hands it names does not matter.
        interfaces: arms, e.g. ``left_arm``.
    """

    def __init__(self, cell: CellConfig, interfaces: Iterable[str]) -> None:
        self._arms = {name: ArmInWorld(cell, name.split("_", 1)[0]) for name in interfaces}

    def pose(self, interface: str, observation: Observation, hand: MountedHand) -> Array:
        """(4, 4) grasp frame in ``world`` of the hand on one arm.

        Raises:
            ObservationRefused: ``state_stale`` without a joint state, ``joint_names``, ``joint_limits``, ``hand_unknown`` for a hand on
                another flange.
        """
        arm = self._arms[interface]
        try:
            arm.require(hand)
        except ConfigError as error:
            raise ObservationRefused(str(error), code="hand_unknown") from error
        state = observation.joints.get(interface)
        if state is None:
            raise ObservationRefused(f"no joint state of {interface}", code="state_stale")
        kinematics = arm.kinematics
        names = tuple(arm.interface.prefix + name for name in kinematics.names)
        return arm.grasp_pose(joints_in_order(state, names, kinematics.lower_rad, kinematics.upper_rad, interface), hand)

    def complete(self, observation: Observation, mounted: Mapping[str, MountedHand]) -> Observation:
        """The observation with ``mounted`` and, where the hand is known and the arm measured, ``poses``. Raises as ``pose``."""
        poses = {}
        for interface in self._arms:
            hand = mounted.get(interface.split("_", 1)[0])
            if hand is not None and interface in observation.joints:
                poses[interface] = self.pose(interface, observation, hand)
        return replace(observation, poses=poses, mounted=dict(mounted))
