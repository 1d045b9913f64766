# SPDX-License-Identifier: Apache-2.0
"""Which points of a cell's robots are annotated: 21 of each hand, every joint of an arm, and which surfaces are a point's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dex_core.config import FINGERS, CellConfig, HandKeypoints, Interface
from dex_description import RobotDescription
from dex_description.urdf import Joint

THUMB_JOINTS, FINGER_JOINTS = ("cmc", "mcp", "ip", "tip"), ("mcp", "pip", "dip", "tip")
HAND_NAMES = (
    "wrist", *(f"{finger}_{joint}" for finger in FINGERS for joint in (THUMB_JOINTS if finger == "thumb" else FINGER_JOINTS)),
)
"""In the order of OpenPose and MediaPipe: the wrist, then thumb, index, middle, ring and little from root to tip."""
HAND_EDGES = tuple((0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4))
FINGER_FLESH_M, WRIST_FLESH_M, ARM_FLESH_M = 0.025, 0.06, 0.12
"""How far before a point its own part's surface may stand and still show it: the widest finger link (LEAP's 34 mm boxes, seen askew), the widest
adapter or palm at a wrist, the housing of an arm's joint."""


@dataclass(frozen=True)
class Point:
    """One keypoint.

    Attributes:
        name: without side, e.g. ``index_tip`` or ``joint4``.
        link: link of the cell whose origin it is; None: this robot has no such point.
        own: links whose surface shows the point as long as it is not more than ``flesh_m`` before it.
    """

    name: str
    link: str | None
    own: frozenset[str] = frozenset()
    flesh_m: float = 0.0


@dataclass(frozen=True)
class Instance:
    """One robot of a cell with its points.

    Attributes:
        name: its interface, e.g. ``left_hand``. side: left, right or both. category: the robot, e.g. ``inspire``. kind: hand or arm.
        edges: pairs of rows of ``points`` that a skeleton joins.
        links: all links of this robot.
    """

    name: str
    side: str
    category: str
    kind: str
    points: tuple[Point, ...]
    edges: tuple[tuple[int, int], ...]
    links: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the points."""
        return tuple(point.name for point in self.points)


def instances_of(cell: CellConfig, description: RobotDescription) -> tuple[Instance, ...]:
    """Every robot of a cell.

    Args:
        cell: says which robots there are and where a hand has its points.
        description: of the whole cell, as ``compose_cell_urdf`` makes it.

    Raises:
        ValueError: a link that the configuration of a hand names is not in its description.
    """
    tree = _Tree(description)
    return tuple(_hand(interface, tree) if interface.robot.kind == "hand" else _arm(interface, tree, cell) for interface in cell.interfaces.values())


class _Tree:
    """Who is above whom in a description, and what is rigidly one piece."""

    def __init__(self, description: RobotDescription) -> None:
        self.description = description
        self.above: dict[str, Joint] = {joint.child: joint for joint in description.joints}
        self.below: dict[str, list[Joint]] = {}
        for joint in description.joints:
            self.below.setdefault(joint.parent, []).append(joint)
        self.piece: dict[str, frozenset[str]] = {}
        for link in description.links:
            if link.name != description.root and link.name not in self.piece:
                piece = self._rigid(link.name)
                self.piece.update(dict.fromkeys(piece, piece))
        self.piece[description.root] = frozenset()  # the world is nobody's own, also where a robot is screwed to it

    def _rigid(self, link: str) -> frozenset[str]:
        found, waiting = set(), [link]
        while waiting:
            here = waiting.pop()
            found.add(here)
            beside = [joint.child for joint in self.below.get(here, ()) if joint.kind == "fixed"]
            if here in self.above and self.above[here].kind == "fixed":
                beside.append(self.above[here].parent)
            waiting += [other for other in beside if other not in found and other != self.description.root]
        return frozenset(found)

    def own(self, link: str, flesh_m: float) -> frozenset[str]:
        """The piece that ``link`` belongs to, those that meet in its joint, and on upwards while joints lie within ``flesh_m``."""
        found: set[str] = set()
        here, way_m = link, 0.0
        while here in self.above and way_m <= flesh_m:
            joint = self.above[here]
            found |= self.piece[here]
            if joint.kind != "fixed":
                found |= self.piece[joint.parent]
            way_m += sum(part**2 for part in joint.origin.xyz_m) ** 0.5
            here = joint.parent
        return frozenset(found)

    def under(self, link: str, stop: Iterable[str]) -> frozenset[str]:
        """``link`` and everything below it; not beyond the joints ``stop``."""
        found, waiting, barred = set(), [link], set(stop)
        while waiting:
            here = waiting.pop()
            found.add(here)
            waiting += [joint.child for joint in self.below.get(here, ()) if joint.name not in barred]
        return frozenset(found)

    def point(self, name: str, link: str | None, flesh_m: float) -> Point:
        if link is None:
            return Point(name, None)
        self.description.link(link)
        return Point(name, link, self.own(link, flesh_m), flesh_m)


def _hand(interface: Interface, tree: _Tree) -> Instance:
    robot, prefix = interface.robot, interface.prefix
    table = robot.keypoints or HandKeypoints(robot.root_link)
    links: list[str | None] = [table.wrist]
    for finger in FINGERS:
        known = finger in (robot.fingers or {})
        links += [*table.joints.get(finger, (None,) * 3), robot.fingers[finger].tip if known else None]  # type: ignore[index]
    points = tuple(
        tree.point(name, None if link is None else prefix + link, FINGER_FLESH_M if row else WRIST_FLESH_M)
        for row, (name, link) in enumerate(zip(HAND_NAMES, links, strict=True))
    )
    own = tree.under(tree.description.joint(f"{interface.name}_mount_joint").child, ())
    return Instance(interface.name, interface.side, robot.name, "hand", points, _present(points, HAND_EDGES), own)


def _present(points: tuple[Point, ...], edges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The edges with every missing point left out: what it joined is joined directly."""
    above = {end: start for start, end in edges}
    found = []
    for start, end in edges:
        while points[start].link is None and start in above:
            start = above[start]
        if points[start].link is not None and points[end].link is not None:
            found.append((start, end))
    return tuple(found)


def _arm(interface: Interface, tree: _Tree, cell: CellConfig) -> Instance:
    robot, prefix, description = interface.robot, interface.prefix, tree.description
    links = {joint: description.joint(prefix + joint).child for joint in robot.actuated}
    links.update({link: prefix + link for link in (robot.tip_link, *robot.tool_links) if prefix + link not in links.values()})
    points = tuple(tree.point(name, link, ARM_FLESH_M) for name, link in links.items())
    row = {link: index for index, link in enumerate(links.values())}
    edges = []
    for link, index in row.items():
        above = tree.above[link].parent
        while above not in row and above in tree.above:
            above = tree.above[above].parent
        if above in row:
            edges.append((row[above], index))
    mounts = [f"{other}_mount_joint" for other in cell.interfaces if other != interface.name]
    own = tree.under(description.joint(f"{interface.name}_mount_joint").child, mounts)
    return Instance(interface.name, interface.side, robot.name, "arm", points, tuple(edges), own)
