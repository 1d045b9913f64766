# SPDX-License-Identifier: Apache-2.0
"""Made-up things of several parts and colours: what belongs together is not told by one colour or one convex body.

None of them is a thing of a family that is kept unseen: no bar across the end of another, no long bar on an open vessel, no waves, no stars.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dex_learn.tabletop.families import LIE, Parts
from dex_learn.tabletop.mesh import Mesh, box, ellipsoid, lathe, prism, ring, tube

Array = np.ndarray
OVERLAP_M = 0.002
"""Parts stick in each other by so much."""


def draw_odd(rng: np.random.Generator) -> tuple[Parts, bool]:
    """Parts of a thing, every part with a colour of its own, and whether it may lie on its side."""
    kind, lies = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
    parts = kind(rng)
    bottom = min(float(mesh.vertices[:, 2].min()) for mesh, _ in parts)
    return [(mesh.moved((0.0, 0.0, -bottom)), colour) for mesh, colour in parts], lies


def _solid(rng: np.random.Generator, r: float, h: float) -> Mesh:
    """A convex body on z = 0, about ``r`` wide to each side and ``h`` high."""
    kind = rng.integers(6)
    if kind == 0:
        return box((2.0 * r * rng.uniform(0.6, 1.0), 2.0 * r, h))
    if kind == 1:
        return ellipsoid((r, r * rng.uniform(0.7, 1.0), 0.5 * h)).moved((0.0, 0.0, 0.5 * h))
    if kind == 2:
        angle = np.linspace(0.0, 2.0 * np.pi, int(rng.integers(3, 9)), endpoint=False)
        return prism([(float(r * np.cos(a)), float(r * np.sin(a))) for a in angle], h)
    if kind == 3:  # bulges, or is rounded at the top
        low, high = rng.uniform(0.6, 1.0, 2)
        below, above = 0.5 * (low + 1.1) * r, 0.5 * (high + 1.1) * r
        return lathe([(0, 0), (low * r, 0), (below, 0.25 * h), (r, 0.5 * h), (above, 0.8 * h), (high * r, h), (0, h)])
    rim, top = min(0.004, 0.2 * r, 0.2 * h), r * (1.0 if kind == 4 else rng.uniform(0.55, 1.0))
    return lathe([(0, 0), (r - rim, 0), (r, rim), (top, h - rim), (top - rim, h), (0, h)])


def _stack(rng: np.random.Generator) -> Parts:
    """Bodies on top of each other."""
    count, r, z, parts = int(rng.integers(2, 5)), rng.uniform(0.015, 0.05), 0.0, []
    total = rng.uniform(0.05, 0.2)
    for k, share in enumerate(rng.dirichlet(np.full(count, 2.0))):
        h = max(0.006, total * share)
        parts.append((_solid(rng, r * rng.uniform(0.45, 1.05), h).moved((0.0, 0.0, z)), k))
        z += h - OVERLAP_M
    return parts


def _tool(rng: np.random.Generator) -> Parts:
    """A grip, a head on the same axis, perhaps a collar between them; lies on the table."""
    length, r = rng.uniform(0.06, 0.16), rng.uniform(0.007, 0.018)
    along = np.linspace(0.0, length, 6)
    bow = rng.uniform(-0.012, 0.012) * np.sin(np.pi * along / length)
    thick = r * (1.0 - rng.uniform(0.0, 0.4) * np.sin(np.pi * along / length * rng.uniform(0.5, 1.5)) ** 2)
    grip = tube(np.stack([-along, bow, np.full(6, r)], axis=1), thick)
    if rng.random() < 0.3:
        grip = box((length, 2.0 * r, 1.4 * r)).moved((-0.5 * length, 0, 0))
    reach, wide = rng.uniform(0.03, 0.11), rng.uniform(0.6, 1.4)
    half, high = 0.5 * reach * wide, rng.uniform(0.006, 0.05)
    kind = rng.integers(4)
    if kind == 0:
        head = box((reach, 2.0 * half, high)).moved((0.5 * reach, 0, 0))
    elif kind == 1:
        head = ellipsoid((0.5 * reach, half, 0.5 * high)).moved((0.5 * reach, 0, 0.5 * high))
    elif kind == 2:
        head = prism([(0, -0.4 * half), (reach, -half), (reach, half), (0, 0.4 * half)], high)
    else:
        head = lathe([(0, 0), (0.9 * r, 0), (min(half, 0.035), reach), (0, reach)], 16).moved((0, 0, 0), LIE).moved((0, 0, r))
    rest = float(head.vertices[:, 2].min() + 0.5 * np.ptp(head.vertices[:, 2]))
    parts = [(grip.moved((OVERLAP_M, 0, max(0.0, rest - r))), 0), (head.moved((-OVERLAP_M, 0, max(0.0, r - rest))), 1)]
    if rng.random() < 0.4:
        collar = lathe([(0, 0), (1.2 * r, 0), (1.2 * r, 0.02), (0, 0.02)], 14).moved((-0.015, 0, 0), LIE)
        parts.append((collar.moved((0, 0, max(r, rest))), 2))
    return parts


def _flanked(rng: np.random.Generator) -> Parts:
    """A solid body with one to three bars, knobs or lugs on its side."""
    r, h = rng.uniform(0.02, 0.06), rng.uniform(0.02, 0.12)
    parts = [(_solid(rng, r, h), 0)]
    for k in range(int(rng.integers(1, 4))):
        around, level = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 0.85) * h
        out, thick = rng.uniform(0.015, 0.1), rng.uniform(0.005, 0.014)
        lift = rng.uniform(-0.3, 0.6) * out
        start, end = np.array([0.6 * r, 0.0, level]), np.array([r + out, 0.0, max(level + lift, thick)])
        path = start + np.linspace(0.0, 1.0, 4)[:, None] * (end - start)
        part = tube(path, thick * np.linspace(1.0, rng.uniform(0.6, 1.3), 4)) if rng.random() < 0.7 else _ball(end, 1.5 * thick, start)
        parts.append((part.moved((0, 0, 0), _yaw(around)), 1 + k))
    return parts


def _ball(end: Array, radius: float, start: Array) -> Mesh:
    """A knob that reaches from inside the body to a little out of it."""
    middle = start + 0.5 * (end - start)
    return ellipsoid((0.5 * float(np.linalg.norm(end - start)), radius, radius)).moved((middle[0], 0.0, start[2]))


def _vessel(rng: np.random.Generator) -> Parts:
    """An open vessel with straight walls, its foot, rim or loop handle of another colour."""
    r, h = rng.uniform(0.03, 0.075), rng.uniform(0.035, 0.13)
    base, wall = r * rng.uniform(0.6, 1.0), rng.uniform(0.003, 0.006)
    cut = rng.uniform(0.15, 0.85) * h
    middle = base + cut / h * (r - base)
    if rng.random() < 0.4:
        parts = [(lathe([(0, 0), (base, 0), (r, h), (r - wall, h), (base - wall, wall), (0, wall)]), 0)]
    else:
        foot = lathe([(0, 0), (base, 0), (middle, cut), (middle - wall, cut), (base - wall, wall), (0, wall)])
        parts = [(foot, 0), (ring([(middle - wall, cut), (middle, cut), (r, h), (r - wall, h)]), 1)]
    for k in range(int(rng.integers(0, 3))):
        angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
        low, high = np.sort(rng.uniform(0.15, 0.95, 2)) * h
        if high - low < 0.02:
            low, high = 0.25 * h, 0.85 * h
        reach, at = rng.uniform(0.01, 0.035), 0.5 * (middle + r) - 0.003
        path = np.stack([at + reach * np.cos(angle), 0.0 * angle, 0.5 * (low + high) + 0.5 * (high - low) * np.sin(angle)], axis=1)
        turn = _yaw(np.pi * k + (0.0 if k else rng.uniform(-np.pi, np.pi)))
        parts.append((tube(path, [rng.uniform(0.004, 0.008)] * 9).moved((0, 0, 0), turn), 2))
    return parts


def _angle(rng: np.random.Generator) -> Parts:
    """Two or three bars end to end, flat on the table."""
    thick, turn, start, parts = rng.uniform(0.01, 0.025), 0.0, np.zeros(3), []
    for k in range(int(rng.integers(2, 4))):
        length = rng.uniform(0.04, 0.11)
        bar = box((length, thick * rng.uniform(0.8, 1.6), thick)).moved((0.5 * length - 0.25 * thick, 0, 0))
        parts.append((bar.moved(start, _yaw(turn)), k))
        start = start + (length - 0.5 * thick) * np.array([np.cos(turn), np.sin(turn), 0.0])
        turn += rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.8)
    return parts


def _packet(rng: np.random.Generator) -> Parts:
    """A box with a lid, sleeve or face of another colour."""
    x, y, z = rng.uniform(0.03, 0.1), rng.uniform(0.04, 0.15), rng.uniform(0.02, 0.16)
    parts = [(box((x, y, z)), 0)]
    for k in range(int(rng.integers(1, 3))):
        low, high = np.sort(rng.uniform(0.0, 1.0, 2))
        grow = rng.uniform(0.0004, 0.003)
        if rng.random() < 0.5:
            parts.append((box((x + 2 * grow, y + 2 * grow, max(0.004, z * (high - low)))).moved((0, 0, low * z)), 1 + k))
        else:
            parts.append((box((x + 2 * grow, max(0.004, y * (high - low)), z + grow)).moved((0, (0.5 * (low + high) - 0.5) * y, 0)), 1 + k))
    return parts


def _yaw(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


KINDS: tuple[tuple[Callable[[np.random.Generator], Parts], bool], ...] = (
    (_stack, True), (_tool, False), (_flanked, False), (_vessel, False), (_angle, False), (_packet, False),
)
SHARES = (0.2, 0.28, 0.2, 0.14, 0.08, 0.1)
