# SPDX-License-Identifier: Apache-2.0
"""A cell as its limits see it: its tools, and which of its parts come how near to which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from dex_core.config.cell import BODY, CellConfig, Interface
from dex_core.config.safety import Zone
from dex_core.kinematics.collision import CollisionModel, Nearest
from dex_core.kinematics.tree import KinematicTree
from dex_core.limits.tools import ToolKinematics, ToolPoint
from dex_core.types import Array

TABLE = ""
"""Part of everything that stands still."""


class Places(NamedTuple):
    """(T, arms, 3) flanges and tools of all arms at T postures, in ``world`` [m]."""

    flange_m: Array
    tool_m: Array


class Meeting(NamedTuple):
    """Two parts of the cell, their zone and where they are nearest."""

    parts: tuple[str, str]
    zone: Zone
    nearest: Nearest


class CellModel:
    """Kinematics and distances of a whole cell.

    Args:
        cell: with its safety.
        urdf_text: of the whole cell.

    Attributes:
        arms: what carries a tool: interfaces, for a body ``left_arm`` and ``right_arm`` of it.
        boxes: (row of ``arms``, (2, 3) lower and upper corner [m]).
        zone_m: how far before a face motion slows.
        widest_stop_m: distance at which the first pair of parts must stand.
    """

    def __init__(self, cell: CellConfig, urdf_text: str) -> None:
        tree = KinematicTree(urdf_text, cell.joint_names)
        flanges = _flanges(cell)
        self.arms = tuple(flanges)
        tools = [_grasp(cell, arm, flange, tree) for arm, flange in flanges.items()]
        self._tools = ToolKinematics(tree, [*(ToolPoint(flange) for flange in flanges.values()), *tools])
        self._flange = ToolKinematics(tree, [ToolPoint(flange) for flange in flanges.values()])
        boxes = {name: np.array([box.lower_m, box.upper_m]) for name, box in cell.safety.workspaces.items()}
        self.boxes = [(row, boxes[arm]) for row, arm in enumerate(self.arms) if arm in boxes]
        self.zone_m = cell.safety.workspace_zone_m
        self._collision, self._zones = _collision(cell, urdf_text, tree, flanges)
        self.widest_stop_m = max((zone.stop for zone in self._zones.values()), default=-np.inf)

    def places(self, q: Array) -> Places:
        """Flanges and tools at postures ``q`` (T, n)."""
        points = self._tools.positions(q)
        return Places(points[:, :len(self.arms)], points[:, len(self.arms):])

    def singular_values(self, q: Array) -> Array:
        """(arms,) smallest singular value of each flange's Jacobian at ``q`` (n,)."""
        jacobians = self._flange.jacobians(q)
        return np.sqrt(np.maximum(np.linalg.eigvalsh(jacobians @ jacobians.transpose(0, 2, 1))[:, 0], 0.0))

    def meetings(self, q: Array) -> Iterator[Meeting]:
        """What is nearest between every two parts that may not touch, at ``q`` (n,)."""
        for parts, nearest in self._collision.query_parts(q).items():
            yield Meeting(parts, self._zones[parts], nearest)

    def nearest_of(self, q: Array) -> Array:
        """(T,) smallest of all those distances at postures ``q`` (T, n) [m]."""
        return self._collision.check_chunk(q).distance_m


def meeting_of(one: str, other: str) -> str:
    """Name of a meeting (``dex_core.config.safety.MEETINGS``) of two parts; empty for a hand and itself."""
    (side, kind), (other_side, other_kind) = (part.rsplit("_", 1) if part not in (TABLE, BODY) else ("", part) for part in (one, other))
    kinds = sorted(("arm" if k == BODY else k or "table") for k in (kind, other_kind))
    if kinds == ["arm", "arm"] and ("" in (side, other_side) or side == other_side):
        return "arm-self"
    if side == other_side:
        return "arm-own" if kinds == ["arm", "hand"] else ""
    if kinds == ["arm", "hand"] and "" in (side, other_side):
        return "arm-hand"
    return "-".join(kinds)


def _flanges(cell: CellConfig) -> dict[str, str]:
    """What carries a tool -> its flange in the cell's URDF."""
    found = {}
    for name, interface in cell.interfaces.items():
        if interface.robot.kind != "arm":
            continue
        if name != BODY:
            found[name] = interface.prefix + interface.robot.tip_link
            continue
        for link in (interface.robot.tip_link, *interface.robot.tool_links):
            found[f"{link.split('_')[0]}_arm"] = link
    return found


def _grasp(cell: CellConfig, arm: str, flange: str, tree: KinematicTree) -> ToolPoint:
    """Where the hand of an arm grasps; its flange where no hand says so."""
    hand = cell.interfaces.get(arm.replace("_arm", "_hand"))
    if hand is None or hand.robot.grasp is None or hand.side not in hand.robot.grasp:
        return ToolPoint(flange)
    frame = hand.robot.grasp[hand.side]
    return ToolPoint(_link(hand, frame.link, tree), frame.xyz_m)


def _link(interface: Interface, link: str, tree: KinematicTree) -> str:
    """A robot's link in the cell's URDF, which names it after the interface where an arm and its hand both have one of that name."""
    longer = f"{interface.name}_{link}"
    return longer if longer in tree.links else interface.prefix + link


def _collision(
    cell: CellConfig, urdf_text: str, tree: KinematicTree, flanges: Mapping[str, str],
) -> tuple[CollisionModel, dict[tuple[str, str], Zone]]:
    beginnings = {_link(interface, interface.robot.root_link, tree): name for name, interface in cell.interfaces.items()}
    if BODY in cell.interfaces:
        beginnings |= _shoulders(urdf_text, flanges)
    names = sorted({TABLE, *beginnings.values()})
    zones = {(a, b): _zone(cell, a, b) for a in names for b in names if a <= b}
    skip = tuple(pair for pair, zone in zones.items() if zone is None or pair == (TABLE, TABLE))
    home = tuple(q for interface in cell.interfaces.values() for q in interface.home)
    model = _model(urdf_text, cell.joint_names, tuple(beginnings.items()), skip, home)
    return model, {pair: zone for pair, zone in zones.items() if pair not in skip and zone is not None}


def _zone(cell: CellConfig, one: str, other: str) -> Zone | None:
    """Of two parts; None: they may touch."""
    meeting = meeting_of(one, other)
    zone = cell.safety.distances.get(meeting)
    if zone is None or meeting != "hand-table":
        return zone
    return cell.profile_of(one or other).table or zone


@lru_cache(maxsize=8)
def _model(
    urdf_text: str, names: tuple[str, ...], parts: tuple[tuple[str, str], ...], skip: tuple[tuple[str, str], ...], home: tuple[float, ...],
) -> CollisionModel:
    """Kept, since which links touch always is found by sampling. Only one thread at a time may use the model."""
    return CollisionModel(urdf_text, names, parts=dict(parts), skip=skip, rest_rad=home)


def _shoulders(urdf_text: str, flanges: Mapping[str, str]) -> dict[str, str]:
    """Link where each arm of a body begins: the first below what carries both."""
    parent = {joint.find("child").get("link"): joint.find("parent").get("link") for joint in ElementTree.fromstring(urdf_text).findall("joint")}

    def above(link: str | None) -> list[str]:
        chain = []
        while link is not None:
            chain.append(link)
            link = parent.get(link)
        return chain[::-1]

    chains = {arm: above(flange) for arm, flange in flanges.items()}
    shared = set.intersection(*(set(chain) for chain in chains.values()))
    return {next(link for link in chain if link not in shared): arm for arm, chain in chains.items()}
