# SPDX-License-Identifier: Apache-2.0
"""A URDF as plain arrays: moving joints in tree order, what drives each of them, and every link fixed to one of them."""
from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dex_core.config.robot import Coupling
from dex_core.errors import ConfigError, JointNameError
from dex_core.types import Array

MOVING = {"revolute": False, "continuous": False, "prismatic": True}
FOLLOWED_AT_MOST = 8
"""So long may a chain of couplings be before it counts as a circle."""


class Place(NamedTuple):
    """Where a link is: fixed to moving joint ``joint`` (-1: the root) with rotation (3, 3) and position (3,) [m]."""

    joint: int
    rotation: Array
    position_m: Array


class _Joint(NamedTuple):
    name: str
    kind: str
    parent: str
    child: str
    rotation: Array
    position_m: Array
    axis: Array
    lower: float
    upper: float
    mimic: tuple[str, float, float] | None


class KinematicTree:
    """The moving joints of a URDF, each driven by one actuated joint.

    Args:
        urdf_text: the URDF itself, not its path.
        names: actuated joints in the caller's order; every column of every Jacobian is in this order.
        couplings: joint that follows -> how, in place of the URDF's mimic.
        locked_rad: joint that stands still -> where; such joints are in no column.

    Attributes:
        names: actuated joints.
        joints: names of all moving joints, a parent before its children.
        parent, actuated, prismatic: (j,) int32. ``actuated`` is the column that drives the joint.
        rotation, offset_m, axis: (j, 3, 3), (j, 3), (j, 3): joint frame in its parent's at zero, and axis.
        coupling: (j, 2) multiplier and offset.
        four_bar: (j, 8) enabled, crank, coupler, rocker, pivot x and y [m], zero of the crank, zero of the result [rad].
        lower_rad, upper_rad: (n,) limits of the actuated joints.
        links: link -> its Place.

    Raises:
        ConfigError: malformed URDF, or a coupling that leads to no actuated joint.
        JointNameError: ``names`` are not the joints that follow nothing.
    """

    def __init__(
        self, urdf_text: str, names: Sequence[str], couplings: Mapping[str, Coupling] | None = None, locked_rad: Mapping[str, float] | None = None,
    ) -> None:
        self.names = tuple(names)
        parsed = _lock(_parse(urdf_text), locked_rad or {})
        self.root, ordered = _in_tree_order(parsed)
        moving = [j for j in ordered if j.kind in MOVING]
        by_name = {j.name: j for j in moving}
        free = [j.name for j in moving if j.mimic is None and j.name not in (couplings or {})]
        if sorted(free) != sorted(self.names):
            raise JointNameError("kinematics", self.names, free)
        unknown = sorted(set(couplings or {}) - set(by_name))
        if unknown:
            raise ConfigError(f"coupling of {unknown[0]!r}: the URDF has no such joint; it has {', '.join(by_name)}")
        self.joints = tuple(j.name for j in moving)
        self.links = _places(self.root, ordered, self.joints)
        n = len(moving)
        self.parent = np.array([self.links[j.parent].joint for j in moving], dtype=np.int32)
        self.prismatic = np.array([MOVING[j.kind] for j in moving], dtype=np.int32)
        self.rotation = np.array([self.links[j.parent].rotation @ j.rotation for j in moving]).reshape(n, 3, 3)
        self.offset_m = np.array([self.links[j.parent].rotation @ j.position_m + self.links[j.parent].position_m for j in moving]).reshape(n, 3)
        self.axis = np.array([j.axis for j in moving]).reshape(n, 3)
        self.actuated = np.zeros(n, dtype=np.int32)
        self.coupling = np.tile((1.0, 0.0), (n, 1))
        self.four_bar = np.zeros((n, 8))
        for row, joint in enumerate(moving):
            self._drive(row, joint, by_name, couplings or {})
        limits = [(by_name[name].lower, by_name[name].upper) for name in self.names]
        self.lower_rad, self.upper_rad = (np.array(side, dtype=float) for side in zip(*limits, strict=True))

    def place(self, link: str) -> Place:
        """Where ``link`` is. Raises ConfigError with the links there are."""
        if link not in self.links:
            raise ConfigError(f"the URDF has no link {link!r}; it has {', '.join(self.links)}")
        return self.links[link]

    def columns_of(self, link: str) -> tuple[int, ...]:
        """Columns of the actuated joints that move ``link``, ascending."""
        joint, columns = self.place(link).joint, set()
        while joint >= 0:
            columns.add(int(self.actuated[joint]))
            joint = int(self.parent[joint])
        return tuple(sorted(columns))

    def expand(self, q: Array) -> tuple[Array, Array]:
        """(n,) actuated positions -> (j,) positions of all moving joints and (j,) their derivatives by their actuated joint."""
        drive = np.asarray(q, dtype=float)[self.actuated]
        position, gain = self.coupling[:, 0] * drive + self.coupling[:, 1], self.coupling[:, 0].copy()
        for row in np.flatnonzero(self.four_bar[:, 0]):
            position[row], gain[row] = four_bar_angle(self.four_bar[row], float(drive[row]))
        return position, gain

    def _drive(self, row: int, joint: _Joint, by_name: dict[str, _Joint], couplings: Mapping[str, Coupling]) -> None:
        multiplier, offset, name = 1.0, 0.0, joint.name
        for _ in range(FOLLOWED_AT_MOST):
            chosen = couplings.get(name)
            if chosen is not None and chosen.four_bar_m is not None:
                if name != joint.name:
                    raise ConfigError(f"joint {joint.name!r} follows {name!r}, which follows a four-bar linkage; that is not supported")
                self.actuated[row] = self.names.index(chosen.joint)
                self.four_bar[row] = (1.0, *chosen.four_bar_m, chosen.offset_rad, chosen.zero_rad)
                return
            follows = (chosen.joint, chosen.multiplier, chosen.offset_rad) if chosen is not None else by_name[name].mimic
            if follows is None:
                self.actuated[row] = self.names.index(name)
                self.coupling[row] = multiplier, offset
                return
            leader, gain, shift = follows
            if leader not in by_name:
                raise ConfigError(f"joint {name!r} follows {leader!r}, which the URDF does not have or which does not move")
            multiplier, offset, name = multiplier * gain, multiplier * shift + offset, leader
        raise ConfigError(f"joint {joint.name!r}: its coupling leads in a circle")


def four_bar_angle(bar: Array, crank_rad: float) -> tuple[float, float]:
    """Angle between rocker and crank of a planar four-bar, and its derivative by the crank's angle.

    The crank turns about the origin, the rocker hangs at its end, the coupler ties the rocker's end to the pivot.

    Args:
        bar: (8,) as in ``KinematicTree.four_bar``.
        crank_rad: of the driving joint.
    """
    _, crank, coupler, rocker, pivot_x, pivot_y, crank_zero, zero = bar
    angle = crank_rad + crank_zero
    px, py = crank * math.cos(angle), crank * math.sin(angle)
    dx, dy = px - pivot_x, py - pivot_y
    square = dx * dx + dy * dy
    length = math.sqrt(square)
    d_square = 2.0 * (dy * px - dx * py)
    x = (coupler**2 - square - rocker**2) / (2.0 * length * rocker)
    d_x = -d_square / (2.0 * length * rocker) - x * 0.5 * d_square / square
    closed = abs(x) < 1.0
    x = min(1.0, max(-1.0, x))
    driven = math.atan2(dy, dx) + math.acos(x) - angle
    turn = 2.0 * math.pi if driven < -math.pi else 0.0
    slope = (dx * px + dy * py) / square - 1.0 - (d_x / math.sqrt(1.0 - x * x) if closed else 0.0)
    return driven + turn + zero, slope


def rotation_rpy(rpy_rad: Sequence[float]) -> Array:
    """(3, 3) of fixed-axis roll, pitch, yaw (URDF convention, R = Rz Ry Rx)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy_rad), np.sin(rpy_rad)
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])


def _parse(urdf_text: str) -> list[_Joint]:
    try:
        robot = ElementTree.fromstring(urdf_text)
        return [_joint(element) for element in robot.findall("joint")]
    except (ElementTree.ParseError, ValueError, AttributeError, KeyError) as error:
        raise ConfigError(f"the URDF cannot be read: {error}") from error


def _lock(joints: list[_Joint], locked_rad: Mapping[str, float]) -> list[_Joint]:
    """The same with each locked joint a fixed one."""
    unknown = sorted(set(locked_rad) - {j.name for j in joints})
    if unknown:
        raise ConfigError(f"locked joint {unknown[0]!r} is not in the URDF")
    return [_locked(j, locked_rad[j.name]) if j.name in locked_rad else j for j in joints]


def _locked(joint: _Joint, value: float) -> _Joint:
    if MOVING.get(joint.kind, True):
        return joint._replace(kind="fixed", position_m=joint.position_m + joint.rotation @ joint.axis * (value if joint.kind == "prismatic" else 0.0))
    x, y, z = joint.axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    spin = np.eye(3) + math.sin(value) * cross + (1.0 - math.cos(value)) * cross @ cross
    return joint._replace(kind="fixed", rotation=joint.rotation @ spin)


def _joint(element: ElementTree.Element) -> _Joint:
    name, kind = element.attrib["name"], element.attrib["type"]
    if kind not in MOVING and kind != "fixed":
        raise ValueError(f"joint {name!r} is {kind!r}; allowed: fixed, {', '.join(MOVING)}")
    origin, limit, mimic = element.find("origin"), element.find("limit"), element.find("mimic")
    axis = _words(element.find("axis"), "xyz", (1.0, 0.0, 0.0))
    length = float(np.linalg.norm(axis))
    if kind != "fixed" and length < 1e-9:
        raise ValueError(f"joint {name!r} has no axis")
    bounds = (math.inf if limit is None else float(limit.get("upper", "inf")), math.inf if limit is None else -float(limit.get("lower", "-inf")))
    return _Joint(
        name, kind, element.find("parent").attrib["link"], element.find("child").attrib["link"],
        rotation_rpy(_words(origin, "rpy")), _words(origin, "xyz"), axis / max(length, 1e-9), -bounds[1], bounds[0],
        None if mimic is None else (mimic.attrib["joint"], float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))),
    )


def _words(element: ElementTree.Element | None, key: str, default: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Array:
    text = None if element is None else element.get(key)
    values = np.array(default if text is None else [float(word) for word in text.split()])
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ValueError(f"{key}={text!r} is not three finite numbers")
    return values


def _in_tree_order(joints: list[_Joint]) -> tuple[str, list[_Joint]]:
    children: dict[str, list[_Joint]] = {}
    for joint in joints:
        children.setdefault(joint.parent, []).append(joint)
    below = {j.child for j in joints}
    roots = sorted({j.parent for j in joints} - below)
    if len(roots) != 1 or len(below) != len(joints):
        raise ConfigError(f"the URDF is no tree with one root; roots: {roots}")
    ordered: list[_Joint] = []
    waiting = list(reversed(children[roots[0]]))
    while waiting:
        joint = waiting.pop()
        ordered.append(joint)
        waiting.extend(reversed(children.get(joint.child, [])))
    return roots[0], ordered


def _places(root: str, ordered: list[_Joint], moving: tuple[str, ...]) -> dict[str, Place]:
    places = {root: Place(-1, np.eye(3), np.zeros(3))}
    index = {name: row for row, name in enumerate(moving)}
    for joint in ordered:
        above = places[joint.parent]
        if joint.kind in MOVING:
            places[joint.child] = Place(index[joint.name], np.eye(3), np.zeros(3))
        else:
            places[joint.child] = Place(above.joint, above.rotation @ joint.rotation, above.rotation @ joint.position_m + above.position_m)
    return places
