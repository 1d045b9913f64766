# SPDX-License-Identifier: Apache-2.0
"""Which hand one side of a cell carries, and where that hand grasps: all that a policy is told of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config import read_description
from dex_core.config.cell import CellConfig, Interface
from dex_core.config.robot import FixedFrame, Pose
from dex_core.errors import ConfigError
from dex_core.kinematics import ArmKinematics, HandKinematics
from dex_core.kinematics.arm_ik_problem import checked, require_poses
from dex_core.kinematics.tree import rotation_rpy
from dex_core.types import Array


def homogeneous(pose: Pose | FixedFrame) -> Array:
    """(4, 4) of a fixed transform."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_rpy(pose.rpy_rad), pose.xyz_m
    return out


def grasp_in_root(hand: Interface) -> Array:
    """(4, 4) grasp frame of a hand in its root link, joints at home. Raises ConfigError where the hand gives none."""
    frame = (hand.robot.grasp or {}).get(hand.side)
    if frame is None:
        raise ConfigError(f"{hand.name}: hand {hand.robot.name!r} gives no grasp frame ('grasp') for side {hand.side!r}; wrist poses need one")
    kinematics = HandKinematics(hand.robot, read_description(hand.robot.urdf, hand.side))
    home = [hand.home_rad[name] for name in kinematics.names]
    return np.linalg.inv(kinematics.pose(home, hand.robot.root_link)) @ kinematics.pose(home, frame.link) @ homogeneous(frame)


@dataclass(frozen=True)
class MountedHand:
    """A hand on an arm.

    Attributes:
        side: left or right. hand: e.g. ``leap``.
        flange: the link that carries it, e.g. ``left_link_eef``.
        grasp_in_flange: (4, 4) its grasp frame in that link.
        decoder_sha256: of the graph that decodes its latents; empty: it has none.
    """

    side: str
    hand: str
    flange: str
    grasp_in_flange: Array
    decoder_sha256: str = ""

    def __post_init__(self) -> None:
        pose = checked(self.grasp_in_flange, (4, 4), f"grasp frame of {self.embodiment}")
        require_poses(pose[None], f"grasp frame of {self.embodiment}")
        pose.setflags(write=False)
        object.__setattr__(self, "grasp_in_flange", pose)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MountedHand) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, str, str, bytes, str]:
        return self.side, self.hand, self.flange, self.grasp_in_flange.tobytes(), self.decoder_sha256

    @property
    def embodiment(self) -> str:
        """``<side>_<hand>``, as latent spaces name it."""
        return f"{self.side}_{self.hand}"

    @staticmethod
    def of_cell(cell: CellConfig, side: str, decoder_sha256: str = "") -> MountedHand:
        """The hand a cell's description puts on a side. Raises ConfigError: no such hand, or it has no grasp frame."""
        hand = cell.interface(f"{side}_hand")
        return MountedHand(side, hand.robot.name, hand.mounted_on, homogeneous(hand.mount) @ grasp_in_root(hand), decoder_sha256)


class ArmInWorld:
    """One arm where it stands in a cell: its joints to poses of what it carries. One thread at a time.

    Args:
        cell: the arm must stand on ``world``.
        side: left or right.

    Attributes:
        interface: the arm. flange: the link that carries a hand, with prefix.
        kinematics: of the arm, limits those of the cell; names without prefix.
        base_in_world: (4, 4).
    """

    def __init__(self, cell: CellConfig, side: str) -> None:
        self.interface = cell.interface(f"{side}_arm")
        robot = self.interface.robot
        if self.interface.mounted_on != "world":
            raise ConfigError(f"{self.interface.name} is mounted on {self.interface.mounted_on!r}; wrist poses need an arm that stands on 'world'")
        self.flange = self.interface.prefix + robot.tip_link
        self.kinematics = ArmKinematics(robot, read_description(robot.urdf, side))
        limits = [robot.limits[name] for name in self.kinematics.names]
        self.kinematics.limit([limit.lower_rad for limit in limits], [limit.upper_rad for limit in limits])
        self.base_in_world = homogeneous(self.interface.mount)

    def require(self, hand: MountedHand) -> None:
        """Raises ConfigError unless ``hand`` hangs on this arm's flange."""
        if hand.flange != self.flange:
            raise ConfigError(f"{hand.embodiment} is mounted on {hand.flange!r}, the flange of {self.interface.name} is {self.flange!r}")

    def grasp_pose(self, position_rad: ArrayLike, hand: MountedHand) -> Array:
        """(4, 4) grasp frame of the mounted hand in ``world`` for (n,) joints in the order of ``kinematics.names`` [rad]."""
        return self.base_in_world @ self.kinematics.flange_pose(position_rad) @ hand.grasp_in_flange
