# SPDX-License-Identifier: Apache-2.0
"""A robot's arm and hand in the picture, for what is not an object: capsules and a palm, reaching in from above the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_learn.tabletop.mesh import Mesh, box, tube
from dex_learn.tabletop.placing import Placed, gap_m, hull_of

CLEAR_M = (0.004, 0.06)
"""How far it stays above things it hangs over."""
RGB = ((0.88, 0.88, 0.9), (0.12, 0.12, 0.13), (0.45, 0.46, 0.48), (0.75, 0.72, 0.65))


def draw_robot(rng: np.random.Generator, middle_xy: NDArray[np.float64], placed: list[Placed]) -> tuple[list[Mesh], tuple[float, float, float]]:
    """Meshes in the world [m] and their colour; nothing of it touches a thing or the table."""
    meshes = _hand(rng)
    meshes += _arm(rng)
    tip = rng.uniform(-0.5, 0.9)
    turn = _about_z(rng.uniform(-np.pi, np.pi)) @ _about_y(tip)
    meshes = [mesh.moved((0.0, 0.0, 0.0), turn) for mesh in meshes]
    spot = rng.normal(middle_xy, 0.13)
    meshes = [mesh.moved((*spot, 0.0)) for mesh in meshes]
    low = min(float(mesh.vertices[:, 2].min()) for mesh in meshes)
    lift = _height(rng, meshes, placed) - low
    colour = RGB[rng.integers(len(RGB))]
    return [mesh.moved((0.0, 0.0, lift)) for mesh in meshes], colour


def _height(rng: np.random.Generator, meshes: list[Mesh], placed: list[Placed]) -> float:
    """Of its lowest point: above whatever lies under any part of it."""
    hulls = [hull_of(mesh.vertices[:, :2]) for mesh in meshes]
    under = [thing.top_m for thing in placed if any(gap_m(hull, thing.hull) < 0.002 for hull in hulls)]
    return max(under, default=0.0) + rng.uniform(*CLEAR_M)


def _hand(rng: np.random.Generator) -> list[Mesh]:
    """Palm in the yz plane above the origin, fingers down and forward, thumb across."""
    wide, curl, spread = rng.uniform(0.07, 0.09), rng.uniform(0.1, 1.2), rng.uniform(0.0, 0.15)
    palm = box((0.03, wide, 0.09)).moved((0.0, 0.0, 0.09))
    meshes = [palm]
    for k, y in enumerate(np.linspace(-0.4, 0.4, 4) * wide):
        meshes.append(_finger(np.array([0.0, y, 0.09]), curl + rng.uniform(-0.1, 0.1), spread * (k - 1.5), rng.uniform(0.007, 0.01)))
    start = np.array([0.01, 0.5 * wide, 0.13])
    bend = np.array([[0.0, 0.0, 0.0], [0.03, 0.02, -0.02], [0.055, 0.01, -0.05]])
    meshes.append(tube(start + bend, [0.011, 0.01, 0.008]))
    return meshes


def _finger(root: NDArray[np.float64], curl: float, spread: float, radius: float) -> Mesh:
    angles = curl * np.array([0.3, 0.8, 1.3])
    steps = np.array([0.045, 0.03, 0.022])[:, None] * np.stack([np.sin(angles), np.full(3, np.sin(spread)), -np.cos(angles)], axis=1)
    path = root + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    return tube(path, radius * np.array([1.1, 1.0, 0.95, 0.8]))


def _arm(rng: np.random.Generator) -> list[Mesh]:
    """Wrist, forearm and elbow, away from the fingers."""
    wrist = np.array([0.0, 0.0, 0.17])
    elbow = wrist + np.array([rng.uniform(-0.12, 0.05), rng.uniform(-0.06, 0.06), 0.25])
    shoulder = elbow + np.array([rng.uniform(-0.4, -0.1), rng.uniform(-0.2, 0.2), rng.uniform(0.0, 0.25)])
    radius = rng.uniform(0.035, 0.06)
    return [tube(np.array([wrist, elbow]), [0.8 * radius, radius]), tube(np.array([elbow, shoulder]), [1.1 * radius, 1.2 * radius])]


def _about_z(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _about_y(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
