# SPDX-License-Identifier: Apache-2.0
"""Collision shapes of a hand as capsules, and which of them meet: coarse, for a report and not for control."""
from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

import numpy as np

from dex_core.contracts.hand_case import HandCase, homogeneous
from dex_core.types import Array

TOUCHES_M = 1e-3
"""Shapes of neighbouring parts share their rim; less than this is no collision."""


class Capsule(NamedTuple):
    """A segment (2, 3) in its link's frame with a radius [m]."""

    link: str
    ends_m: Array
    radius_m: float


class Overlap(NamedTuple):
    """Two links whose shapes meet, and how deep [m]."""

    first: str
    second: str
    depth_m: float


def capsules(urdf_text: str) -> list[Capsule]:
    """The URDF's collision shapes. A cylinder's round ends lie inside its length; a box becomes a row of capsules."""
    found = []
    for link in ElementTree.fromstring(urdf_text).findall("link"):
        for shape in link.findall("collision"):
            origin = shape.find("origin")
            words = {} if origin is None else origin.attrib
            xyz, rpy = (tuple(float(v) for v in words.get(key, "0 0 0").split()) for key in ("xyz", "rpy"))
            pose = homogeneous(xyz, rpy)
            for ends, radius in _segments(shape.find("geometry")):
                found.append(Capsule(str(link.get("name")), ends @ pose[:3, :3].T + pose[:3, 3], radius))
    return found


def self_collisions(case: HandCase, q: Array) -> list[Overlap]:
    """Pairs of links that meet at ``q`` and neither are neighbours nor meet at rest, the deepest first."""
    at_rest = {pair for pair, depth in _depths(case, case.rest_rad).items() if depth > TOUCHES_M}
    meeting = {pair: depth for pair, depth in _depths(case, q).items() if depth > TOUCHES_M and pair not in at_rest}
    return [Overlap(*pair, depth) for pair, depth in sorted(meeting.items(), key=lambda item: -item[1])]


def segment_distance_m(first: Array, second: Array) -> float:
    """Shortest distance of two segments (2, 3) each [m]."""
    d1, d2, r = first[1] - first[0], second[1] - second[0], first[0] - second[0]
    a, e, f = d1 @ d1, d2 @ d2, d2 @ r
    b, c = d1 @ d2, d1 @ r
    slope = a * e - b * b
    s = min(1.0, max(0.0, (b * f - c * e) / slope)) if slope > 1e-15 else 0.0
    t = min(1.0, max(0.0, (b * s + f) / e)) if e > 1e-15 else 0.0
    s = min(1.0, max(0.0, (b * t - c) / a)) if a > 1e-15 else 0.0
    return float(np.linalg.norm(r + s * d1 - t * d2))


def _segments(geometry: ElementTree.Element | None) -> list[tuple[Array, float]]:
    shape = None if geometry is None or len(geometry) == 0 else geometry[0]
    if shape is None or shape.tag not in ("sphere", "cylinder", "capsule", "box"):
        return []
    if shape.tag != "box":
        radius, length = float(shape.get("radius", "0")), float(shape.get("length", "0"))
        half = 0.5 * length if shape.tag == "capsule" else max(0.0, 0.5 * length - radius)
        return [(np.array([[0.0, 0.0, -half], [0.0, 0.0, half]]), radius)]
    size = np.array([float(v) for v in str(shape.get("size")).split()])
    thin, middle, long = (int(i) for i in np.argsort(size))
    radius = 0.5 * float(size[thin])
    out = []
    for offset in np.linspace(-1.0, 1.0, max(1, math.ceil(size[middle] / size[thin]))):
        ends = np.zeros((2, 3))
        ends[:, middle] = offset * (0.5 * size[middle] - radius)
        ends[:, long] = np.array([-1.0, 1.0]) * (0.5 * size[long] - radius)
        out.append((ends, radius))
    return out


def _depths(case: HandCase, q: Array) -> dict[tuple[str, str], float]:
    tree, shapes = case.hand.tree, capsules(case.urdf)
    poses = {link: case.hand.pose(q, link) for link in {shape.link for shape in shapes}}
    placed = [shape._replace(ends_m=shape.ends_m @ poses[shape.link][:3, :3].T + poses[shape.link][:3, 3]) for shape in shapes]
    parts = [tree.place(shape.link).joint for shape in shapes]
    deepest: dict[tuple[str, str], float] = {}
    for i, one in enumerate(placed):
        for k in range(i + 1, len(placed)):
            if parts[i] == parts[k] or _neighbours(tree.parent, parts[i], parts[k]):
                continue
            pair = (one.link, placed[k].link)
            depth = one.radius_m + placed[k].radius_m - segment_distance_m(one.ends_m, placed[k].ends_m)
            deepest[pair] = max(depth, deepest.get(pair, -math.inf))
    return deepest


def _neighbours(parent: Array, first: int, second: int) -> bool:
    """Whether one part carries the other at once."""
    return (first >= 0 and int(parent[first]) == second) or (second >= 0 and int(parent[second]) == first)
