# SPDX-License-Identifier: Apache-2.0
"""The joints a graph was trained with."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config.robot import JointLimit
from dex_core.config.strict import choice


@dataclass(frozen=True)
class Embodiment:
    """``embodiments/<side>_<robot>.yaml``: the joints and limits a graph was trained with; names without the side's prefix."""

    robot: str
    side: str = choice("left", "right")
    joints: tuple[str, ...] = ()
    lower_rad: tuple[float, ...] = ()
    upper_rad: tuple[float, ...] = ()
    limits_differ: tuple[str, ...] = ()
    urdf: str = ""
    urdf_sha256: str = ""

    @property
    def name(self) -> str:
        """``<side>_<robot>``."""
        return f"{self.side}_{self.robot}"

    @staticmethod
    def of(robot: str, side: str, joints: tuple[str, ...], limits: tuple[JointLimit, ...]) -> Embodiment:
        """From a cell's interface: ``Embodiment.of(i.robot.name, i.side, i.robot.actuated, i.limits)``."""
        return Embodiment(robot, side, joints, tuple(m.lower_rad for m in limits), tuple(m.upper_rad for m in limits))
