# SPDX-License-Identifier: Apache-2.0
"""What there is to look at, found by name: one hand, one arm or a whole cell, as a description with its joints and frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dex_bringup.show.posture import POSES, Ends, finger_ends, posture
from dex_core.config import CellConfig, FixedFrame, RobotConfig, load_cell, load_robot
from dex_core.config.cell import SIDES
from dex_core.config.load import allowed_names, default_home, names_in, resolve_name
from dex_core.errors import ConfigError
from dex_description import RobotDescription, compose_cell_urdf, parse_urdf, read_urdf

OVERRIDABLE = ("hand", "left_hand", "right_hand", "arm", "left_arm", "right_arm")


@dataclass(frozen=True)
class Part:
    """One robot of a subject.

    Attributes:
        label: its name in the subject, e.g. ``left_hand``; of a single robot the robot's.
        side: left, right, or both for a body.
        prefix: what stands before its link and joint names.
        home_rad: actuated joint without prefix -> rest position [rad or m].
        ends: actuated joint without prefix -> its open and closed end; empty for arms.
    """

    label: str
    robot: RobotConfig
    side: str
    prefix: str
    home_rad: dict[str, float]
    ends: dict[str, Ends]

    @property
    def joints(self) -> tuple[str, ...]:
        """Actuated joints with prefix."""
        return tuple(self.prefix + joint for joint in self.robot.actuated)

    def pose(self, name: str) -> dict[str, float]:
        """Joint with prefix -> position in the pose ``open``, ``half``, ``closed`` or ``home``."""
        return {self.prefix + joint: value for joint, value in posture(name, self.home_rad, self.ends).items()}


@dataclass(frozen=True)
class Subject:
    """A description with its parts. ``title`` is for people."""

    name: str
    title: str
    description: RobotDescription
    parts: tuple[Part, ...]

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Actuated joint -> lower and upper limit [rad or m], the tighter of description and configuration."""
        found = {}
        for part in self.parts:
            for joint in part.robot.actuated:
                limit, described = part.robot.limits[joint], self.description.joint(part.prefix + joint)
                found[part.prefix + joint] = (
                    max(limit.lower_rad, described.lower_rad if described.lower_rad is not None else limit.lower_rad),
                    min(limit.upper_rad, described.upper_rad if described.upper_rad is not None else limit.upper_rad),
                )
        return found

    @property
    def tips(self) -> dict[str, str]:
        """Finger in words -> its tip link."""
        return {
            f"{part.prefix}{finger}": part.prefix + entry.tip for part in self.parts for finger, entry in (part.robot.fingers or {}).items()
        }

    @property
    def palms(self) -> dict[str, FixedFrame]:
        """Hand in words -> its palm frame, the link with prefix."""
        found = {}
        for part in self.parts:
            if part.robot.palm and part.side in part.robot.palm:
                palm = part.robot.palm[part.side]
                found[part.label] = FixedFrame(part.prefix + palm.link, palm.xyz_m, palm.rpy_rad)
        return found

    def pose(self, name: str) -> dict[str, float]:
        """Actuated joint -> position in the pose ``open``, ``half``, ``closed`` or ``home``, inside the limits.

        Raises:
            ConfigError: no such pose.
        """
        if name not in POSES:
            raise ConfigError(f"pose is {name!r}; allowed: {list(POSES)}")
        wanted = {joint: value for part in self.parts for joint, value in part.pose(name).items()}
        return {joint: min(max(value, self.ranges[joint][0]), self.ranges[joint][1]) for joint, value in wanted.items()}


def find_subject(name: str, side: str = "right", overrides: Mapping[str, str] | None = None, *, alone: bool = False) -> Subject:
    """A cell, hand or arm by name, alias or (cell) YAML path.

    Args:
        side: which one of a hand.
        overrides: ``left_hand``, ``right_hand``, ``hand``, ``left_arm``, ``right_arm``, ``arm`` of a cell.
        alone: where a robot and a cell have the same name, the robot; otherwise the cell.

    Raises:
        ConfigError: nothing is called so, or it cannot be put together; names what there is.
    """
    is_cell = name.endswith((".yaml", ".yml")) or name in names_in("cells")
    robot = resolve_name(name, "hands") or resolve_name(name, "arms")
    if is_cell and not (alone and robot):
        return _cell_subject(load_cell(name if name in names_in("cells") else Path(name), **dict(overrides or {})))
    if robot is None:
        raise ConfigError(
            f"nothing is called {name!r}; hands: {allowed_names('hands')}, arms: {allowed_names('arms')}, cells: {names_in('cells')}"
        )
    if overrides:
        raise ConfigError(f"{sorted(overrides)[0]}:= is for a cell, and {name!r} is one robot; cells: {names_in('cells')}")
    return robot_subject(load_robot(robot), side)


def family(side: str = "right") -> list[Subject]:
    """Every hand that is made for ``side``."""
    robots = [load_robot(name) for name in names_in("hands")]
    return [robot_subject(robot, side) for robot in robots if side in robot.sides]


def robot_subject(robot: RobotConfig, side: str = "right") -> Subject:
    """One robot alone. Raises ConfigError when it is not made for ``side``."""
    if side not in robot.sides:
        raise ConfigError(f"{robot.name} has no {side} side; allowed: {list(robot.sides)}")
    robot, description = robot.for_side(side), parse_urdf(read_urdf("urdf/" + robot.urdf.format(side=side)))
    title = f"{robot.name} ({side})" if robot.kind == "hand" else robot.name
    return Subject(robot.name, title, description, (_part(robot.name, robot, side, "", default_home(robot), description),))


def _cell_subject(cell: CellConfig) -> Subject:
    parts = []
    for name, interface in cell.interfaces.items():
        own = parse_urdf(read_urdf("urdf/" + interface.robot.urdf.format(side=interface.side)))
        parts.append(_part(name, interface.robot, interface.side, interface.prefix, dict(interface.home_rad), own))
    robots = ", ".join(f"{part.label} {part.robot.name}" for part in parts)
    return Subject(cell.name, f"{cell.name}: {robots}", parse_urdf(compose_cell_urdf(cell)), tuple(parts))


def _part(label: str, robot: RobotConfig, side: str, prefix: str, home_rad: dict[str, float], own: RobotDescription) -> Part:
    ends = finger_ends(robot, own, side) if robot.kind == "hand" and side in SIDES else {}
    return Part(label, robot, side, prefix, home_rad, ends)
