# SPDX-License-Identifier: Apache-2.0
"""Families of things that lie on tables: how each is built from its measures, and which measures are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dex_learn.tabletop.mesh import Mesh, box, ellipsoid, lathe, prism, ring, tube

Measures = Mapping[str, float]
Parts = list[tuple[Mesh, int]]
"""Meshes with the number of their colour: 0 is the thing's own, 1 and 2 are accents. The thing stands on z = 0."""
LIE = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Turns the z axis into the x axis."""
RISE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Stands an outline drawn in x and y upright: y becomes z."""


@dataclass(frozen=True)
class Family:
    """One kind of thing.

    Attributes:
        build: measures -> parts.
        ranges: measure -> smallest and largest [m, or 1] that is trained on; of a family of ``unseen`` things, that there is.
        trained: False: never trained on.
        stands: share of the things that stand upright; the others lie on their side.
        margin: unseen measures of a trained family go beyond its ranges by so much of their width.
    """

    build: Callable[[Measures], Parts]
    ranges: Mapping[str, tuple[float, float]]
    trained: bool = True
    stands: float = 1.0
    margin: float = 0.3


def _can(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    rim = min(0.003, 0.1 * r)
    body = lathe([(0, 0), (r - rim, 0), (r, rim), (r, h - rim), (r - rim, h), (0, h)])
    lid = lathe([(0, h - 0.002), (0.9 * r, h - 0.002), (0.9 * r, h + 0.0008), (0, h + 0.0008)])
    band = lathe([(0, 0.3 * h), (r + 0.0004, 0.3 * h), (r + 0.0004, 0.6 * h), (0, 0.6 * h)])
    return [(body, 0), (lid, 2), (band, 1)]


def _box(m: Measures) -> Parts:
    return [(box((m["x"], m["y"], m["z"])), 0)]


def _bottle(m: Measures) -> Parts:
    r, h, neck = m["radius"], m["height"], m["neck"]
    shoulder, top = m["shoulder"] * h, 0.9 * h
    above = [(0.75 * r, shoulder + 0.06 * h), (neck * r, 0.82 * h), (neck * r, top), (0, top)]
    body = lathe([(0, 0), (0.9 * r, 0), (r, 0.03 * h), (r, shoulder), *above])
    cap = lathe([(0, 0.88 * h), (1.15 * neck * r, 0.88 * h), (1.15 * neck * r, h), (0, h)])
    label = lathe([(0, 0.2 * h), (r + 0.0004, 0.2 * h), (r + 0.0004, 0.8 * shoulder), (0, 0.8 * shoulder)])
    return [(body, 0), (cap, 2), (label, 1)]


def _hollow(r: float, h: float, base: float, wall: float = 0.004) -> Mesh:
    """An open vessel whose wall goes straight from the base's radius to the rim's."""
    return lathe([(0, 0), (base, 0), (r, h), (r - wall, h), (base - wall, wall), (0, wall)])


def _handle(r: float, low: float, high: float, reach: float, thick: float) -> Mesh:
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    path = np.stack([r - 0.002 + reach * np.cos(angle), 0.0 * angle, middle + half * np.sin(angle)], axis=1)
    return tube(path, [thick] * len(path))


def _mug(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    return [(_hollow(r, h, 0.94 * r), 0), (_handle(r, 0.22 * h, 0.8 * h, m["reach"], 0.0055), 0)]


def _cup(m: Measures) -> Parts:
    return [(_hollow(m["radius"], m["height"], m["base"] * m["radius"], 0.003), 0)]


def _bowl(m: Measures) -> Parts:
    r, h, wall = m["radius"], m["height"], 0.005
    outer = [(r * np.sin(a), h * (1.0 - np.cos(a))) for a in np.linspace(0.28, 0.5 * np.pi, 8)]
    inner = [((r - wall) * np.sin(a), wall + (h - wall) * (1.0 - np.cos(a))) for a in np.linspace(0.5 * np.pi, 0.28, 8)]
    return [(lathe([(0, outer[0][1]), *outer, *inner, (0, inner[-1][1])]).moved((0, 0, -outer[0][1])), 0)]


def _plate(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    return [(lathe([(0, 0), (0.6 * r, 0), (r, h), (r - 0.004, h + 0.002), (0.58 * r, 0.004), (0, 0.004)]), 0)]


def _fruit(m: Measures) -> Parts:
    a, b, c = m["x"], m["x"] * m["y"], m["x"] * m["z"]
    ends = [(ellipsoid((0.2 * a, 0.18 * b, 0.18 * c)).moved((s * 0.93 * a, 0, c)), 1) for s in (-1.0, 1.0)] if m["tips"] > 0.5 else []
    return [(ellipsoid((a, b, c)).moved((0, 0, c)), 0), *ends]


def _block(m: Measures) -> Parts:
    """A toy block: cuboid, L, bridge or roof."""
    a, kind = m["edge"], int(m["kind"])
    if kind == 0:
        return [(box((a, a * m["long"], a)), 0)]
    if kind == 1:
        return [(box((a, 2 * a, a)), 0), (box((a, a, a)).moved((0, -0.5 * a, a)), 0)]
    if kind == 2:
        feet = [(box((a, 0.7 * a, a)).moved((0, s * 0.9 * a, 0)), 0) for s in (-1.0, 1.0)]
        return [*feet, (box((a, 2.5 * a, 0.8 * a)).moved((0, 0, a)), 1)]
    return [(prism([(-a, 0), (a, 0), (0, 1.1 * a)], a * m["long"]).moved((0, 0.5 * a * m["long"], 0), RISE), 0)]


def _screwdriver(m: Measures) -> Parts:
    r, h, shaft = m["radius"], m["handle"], m["shaft"]
    handle = lathe([(0, 0), (0.8 * r, 0), (r, 0.2 * h), (0.8 * r, 0.6 * h), (r, 0.85 * h), (0.5 * r, h), (0, h)], 12)
    steel = lathe([(0, 0.9 * h), (0.27 * r, 0.9 * h), (0.27 * r, h + shaft), (0, h + shaft)], 10)
    return [(part.moved((-0.5 * (h + shaft), 0, r), LIE), colour) for part, colour in ((handle, 0), (steel, 2))]


def _jar(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    glass = lathe([(0, 0), (0.92 * r, 0), (r, 0.05 * h), (r, 0.72 * h), (0.85 * r, 0.8 * h), (0, 0.8 * h)])
    return [(glass, 0), (lathe([(0, 0.78 * h), (0.93 * r, 0.78 * h), (0.93 * r, h), (0, h)]), 2)]


def _pen(m: Measures) -> Parts:
    r, h = m["radius"], m["length"]
    body = lathe([(0, 0), (r, 0), (r, 0.75 * h), (0, 0.75 * h)], 10)
    cap = lathe([(0, 0.73 * h), (1.1 * r, 0.73 * h), (1.1 * r, h), (0, h)], 10)
    return [(part.moved((-0.5 * h, 0, 1.1 * r), LIE), colour) for part, colour in ((body, 0), (cap, 1))]


def _banana(m: Measures) -> Parts:
    r, bend = m["radius"], m["bend"]
    angle = np.linspace(-0.5 * bend, 0.5 * bend, 11)
    big = m["length"] / bend
    path = np.stack([big * np.sin(angle), big * np.cos(angle) - big, np.full(11, r)], axis=1)
    return [(tube(path, r * np.array([0.35, 0.7, 0.88, 0.97, 1, 1, 1, 0.97, 0.88, 0.7, 0.35]), 8), 0)]


def _ring(m: Measures) -> Parts:
    """A roll of tape: a ring with a rectangular section."""
    r, h, inner = m["radius"], m["height"], m["inner"] * m["radius"]
    return [(ring([(inner, 0.0), (r, 0.0), (r, h), (inner, h)]), 0)]


def _cone(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    return [(lathe([(0, 0), (r, 0), (m["tip"] * r, h), (0, h)]), 0), (box((2.3 * r, 2.3 * r, 0.006)), 1)]


def _vase(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    z = np.linspace(0.0, 1.0, 12)
    outer = r * (0.72 + 0.28 * np.sin(2.0 * np.pi * (m["wave"] * z + m["phase"])))
    inner = [(max(a - 0.004, 0.002), float(b)) for a, b in zip(outer[::-1][:4], h * z[::-1][:4], strict=True)]
    return [(lathe([(0, 0), *zip(outer, h * z, strict=True), *inner, (0, inner[-1][1])]), 0)]


def _hammer(m: Measures) -> Parts:
    length, r, head = m["length"], m["radius"], m["head"]
    handle = lathe([(0, 0), (r, 0), (0.8 * r, 0.5 * length), (0.8 * r, length), (0, length)], 12)
    steel = box((0.3 * head, head, 0.3 * head))
    rise = 0.15 * head
    return [(handle.moved((-0.5 * length, 0, max(r, rise)), LIE), 0), (steel.moved((0.5 * length, 0, max(r, rise) - rise)), 2)]


def _teapot(m: Measures) -> Parts:
    r = m["radius"]
    h = m["height"] * r
    body = ellipsoid((r, r, h)).moved((0, 0, h))
    spout = tube(np.array([[0.8 * r, 0, 0.8 * h], [1.3 * r, 0, 1.1 * h], [1.6 * r, 0, 1.7 * h]]), [0.2 * r, 0.15 * r, 0.1 * r])
    lid = ellipsoid((0.45 * r, 0.45 * r, 0.16 * h)).moved((0, 0, 1.95 * h))
    knob = ellipsoid((0.1 * r, 0.1 * r, 0.12 * h)).moved((0, 0, 2.15 * h))
    handle = _handle(0.95 * r, 0.5 * h, 1.5 * h, 0.45 * r, 0.07 * r).moved((0, 0, 0), np.diag([-1.0, -1.0, 1.0]))
    return [(body, 0), (spout, 0), (handle, 0), (lid, 1), (knob, 1)]


def _pan(m: Measures) -> Parts:
    r, h = m["radius"], m["height"]
    bar = box((m["handle"], 0.02, 0.012)).moved((r + 0.5 * m["handle"] - 0.01, 0, 0.6 * h))
    return [(_hollow(r, h, 0.85 * r), 0), (bar, 2)]


def _star(m: Measures) -> Parts:
    count = int(m["points"])
    angle = np.linspace(0.0, 2.0 * np.pi, 2 * count, endpoint=False)
    radius = np.where(np.arange(2 * count) % 2, m["waist"] * m["radius"], m["radius"])
    return [(prism(list(zip(radius * np.cos(angle), radius * np.sin(angle), strict=True)), m["height"]), 0)]


FAMILIES: dict[str, Family] = {
    "can": Family(_can, {"radius": (0.025, 0.042), "height": (0.06, 0.13)}, stands=0.75),
    "box": Family(_box, {"x": (0.03, 0.10), "y": (0.04, 0.16), "z": (0.025, 0.18)}),
    "bottle": Family(_bottle, {"radius": (0.025, 0.042), "height": (0.14, 0.25), "neck": (0.3, 0.5), "shoulder": (0.45, 0.65)}, stands=0.7),
    "mug": Family(_mug, {"radius": (0.034, 0.046), "height": (0.07, 0.11), "reach": (0.018, 0.032)}, stands=0.85),
    "cup": Family(_cup, {"radius": (0.03, 0.045), "height": (0.06, 0.13), "base": (0.65, 0.95)}, stands=0.8),
    "bowl": Family(_bowl, {"radius": (0.055, 0.09), "height": (0.04, 0.075)}),
    "plate": Family(_plate, {"radius": (0.07, 0.12), "height": (0.012, 0.024)}),
    "fruit": Family(_fruit, {"x": (0.022, 0.045), "y": (0.75, 1.0), "z": (0.75, 1.0), "tips": (0.0, 1.0)}),
    "block": Family(_block, {"edge": (0.02, 0.04), "long": (1.0, 2.5), "kind": (0.0, 3.99)}),
    "screwdriver": Family(_screwdriver, {"radius": (0.011, 0.018), "handle": (0.07, 0.11), "shaft": (0.06, 0.13)}),
    "jar": Family(_jar, {"radius": (0.028, 0.048), "height": (0.06, 0.13)}, stands=0.9),
    "pen": Family(_pen, {"radius": (0.006, 0.011), "length": (0.10, 0.16)}),
    "banana": Family(_banana, {"radius": (0.014, 0.02), "length": (0.13, 0.2), "bend": (0.9, 1.6)}, trained=False),
    "ring": Family(_ring, {"radius": (0.035, 0.065), "height": (0.015, 0.05), "inner": (0.55, 0.75)}, trained=False, stands=0.8),
    "cone": Family(_cone, {"radius": (0.025, 0.05), "height": (0.06, 0.16), "tip": (0.05, 0.2)}, trained=False),
    "vase": Family(
        _vase, {"radius": (0.035, 0.06), "height": (0.1, 0.2), "wave": (0.6, 1.2), "phase": (0.0, 1.0)}, trained=False, stands=0.85,
    ),
    "hammer": Family(_hammer, {"length": (0.18, 0.26), "radius": (0.011, 0.016), "head": (0.07, 0.1)}, trained=False),
    "teapot": Family(_teapot, {"radius": (0.05, 0.07), "height": (0.65, 0.9)}, trained=False),
    "pan": Family(_pan, {"radius": (0.06, 0.09), "height": (0.03, 0.045), "handle": (0.1, 0.15)}, trained=False),
    "star": Family(_star, {"radius": (0.03, 0.055), "waist": (0.45, 0.85), "height": (0.02, 0.06), "points": (3.0, 6.99)}, trained=False),
}
WHOLE_MEASURES = ("kind", "tips", "points")
"""Measures that count or choose: they have no range to go beyond."""
