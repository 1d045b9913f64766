# SPDX-License-Identifier: Apache-2.0
"""Capsules and still boxes from the collision shapes of a URDF, and which pairs of links may touch at all."""
from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dex_core.errors import ConfigError
from dex_core.kinematics.tree import KinematicTree, Place, rotation_rpy
from dex_core.types import Array

MOST_CAPSULES_PER_BOX = 4


class Shapes(NamedTuple):
    """Everything of a URDF that can touch.

    Attributes:
        links: names of the links with shapes, in URDF order. joint: (l,) joint each is fixed to, -1: the root.
        first: (l + 1,) shapes of link i are first[i] to first[i + 1] - 1.
        is_box: (s,) 0 capsule, 1 box. data: (s, 15) capsule: ends in the joint's frame, radius; box: rotation, centre, half sizes in the root.
        sphere: (l, 4) centre in the joint's frame and radius, encloses the link's shapes.
        neighbours: pairs of links that one joint joins, or that do not move against each other.
    """

    links: tuple[str, ...]
    joint: np.ndarray
    first: np.ndarray
    is_box: np.ndarray
    data: Array
    sphere: Array
    neighbours: frozenset[tuple[int, int]]


def read_shapes(urdf_text: str, tree: KinematicTree) -> Shapes:
    """Shapes of every link: a cylinder as the capsule of its radius and total length, a box that moves as capsules side by side,
    a box that stands still as it is.

    Raises:
        ConfigError: a mesh, or nothing that can touch.
    """
    links, rows, spheres, first = [], [], [], [0]
    for link in ElementTree.fromstring(urdf_text).findall("link"):
        name = link.get("name", "")
        place = tree.place(name)
        own = [row for element in link.findall("collision") for row in _shape(element, name, place)]
        if own:
            links.append(name)
            rows += own
            spheres.append(_enclosing(own))
            first.append(len(rows))
    if not links:
        raise ConfigError("the URDF has no collision shapes")
    joint = np.array([tree.links[name].joint for name in links], dtype=np.int32)
    return Shapes(
        tuple(links), joint, np.array(first, dtype=np.int32), np.array([box for box, _ in rows], dtype=np.int32),
        np.array([data for _, data in rows]), np.array(spheres), _neighbours(urdf_text, tree, links),
    )


def _shape(element: ElementTree.Element, link: str, place: Place) -> list[tuple[int, Array]]:
    origin, geometry = element.find("origin"), element.find("geometry")
    solid = None if geometry is None or not len(geometry) else geometry[0]
    if solid is None or solid.tag not in ("box", "cylinder", "sphere", "capsule"):
        raise ConfigError(f"link {link!r}: collision shape {'missing' if solid is None else solid.tag!r}; allowed: box, cylinder, sphere, capsule")
    rotation = place.rotation @ rotation_rpy(_numbers(origin, "rpy"))
    centre = place.rotation @ _numbers(origin, "xyz") + place.position_m
    if solid.tag == "box":
        half = 0.5 * _numbers(solid, "size")
        if place.joint < 0:
            return [(1, np.concatenate([rotation.ravel(), centre, half]))]
        return [(0, _capsule(centre, rotation, *capsule)) for capsule in _capsules_of_box(half)]
    radius, length = float(solid.get("radius", "0")), float(solid.get("length", "0"))
    half_axis = 0.5 * length if solid.tag == "capsule" else max(0.0, 0.5 * length - radius)
    return [(0, _capsule(centre, rotation, np.zeros(3), np.array([0.0, 0.0, half_axis]), radius))]


def _capsules_of_box(half: Array) -> list[tuple[Array, Array, float]]:
    """(offset, half axis, radius) in the box's frame: along its longest edge, side by side along the next, out to its long edges."""
    thin, wide, long = np.argsort(half, kind="stable")
    count = min(MOST_CAPSULES_PER_BOX, max(1, math.ceil(half[wide] / half[thin] - 1e-9)))
    share = half[wide] / count
    radius = math.hypot(share, half[thin])
    axis = np.zeros(3)
    axis[long] = max(0.0, half[long] - radius)
    capsules = []
    for number in range(count):
        offset = np.zeros(3)
        offset[wide] = (2 * number + 1 - count) * share
        capsules.append((offset, axis, radius))
    return capsules


def _capsule(centre: Array, rotation: Array, offset: Array, axis: Array, radius: float) -> Array:
    middle, along = centre + rotation @ offset, rotation @ axis
    return np.concatenate([middle - along, middle + along, [radius], np.zeros(8)])


def _enclosing(shapes: Iterable[tuple[int, Array]]) -> Array:
    """(4,) sphere around the box around the shapes."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    balls: list[tuple[Array, float]] = []
    for box, data in shapes:
        balls += [(data[9:12], float(np.linalg.norm(data[12:])))] if box else [(data[:3], data[6]), (data[3:6], data[6])]
    for centre, radius in balls:
        low, high = np.minimum(low, centre - radius), np.maximum(high, centre + radius)
    middle = 0.5 * (low + high)
    return np.array([*middle, max(np.linalg.norm(centre - middle) + radius for centre, radius in balls)])


def _neighbours(urdf_text: str, tree: KinematicTree, links: list[str]) -> frozenset[tuple[int, int]]:
    """Links with the same joint, and links joined by one moving joint where links without shapes between them do not count."""
    parent = {}
    for joint in ElementTree.fromstring(urdf_text).findall("joint"):
        parent[joint.find("child").get("link")] = joint.find("parent").get("link")
    index, found = {name: i for i, name in enumerate(links)}, set()
    for name in links:
        above = parent.get(name)
        while above is not None and above not in index:
            above = parent.get(above)
        if above is not None:
            found.add((index[above], index[name]))
    for i, a in enumerate(links):
        found |= {(i, j) for j in range(i + 1, len(links)) if tree.links[a].joint == tree.links[links[j]].joint}
    return frozenset((min(pair), max(pair)) for pair in found)


def _numbers(element: ElementTree.Element | None, key: str) -> Array:
    text = None if element is None else element.get(key)
    values = np.zeros(3) if text is None else np.array([float(word) for word in text.split()])
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ConfigError(f"collision shape: {key}={text!r}, expected 3 numbers")
    return values
