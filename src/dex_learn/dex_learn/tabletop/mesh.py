# SPDX-License-Identifier: Apache-2.0
"""Closed triangle meshes of simple bodies: turned on a lathe, boxes, prisms, tubes along a path, ellipsoids; and points on their surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError

Array = NDArray[np.float64]
SIDES = 24


class Mesh(NamedTuple):
    """``vertices`` (V, 3) [m], ``faces`` (F, 3) int counter-clockwise from outside."""

    vertices: Array
    faces: NDArray[np.int64]

    def moved(self, offset_m: Sequence[float], turn: Array | None = None) -> Mesh:
        """Turned by a (3, 3) rotation, then shifted."""
        vertices = self.vertices if turn is None else self.vertices @ turn.T
        return Mesh(vertices + np.asarray(offset_m, dtype=float), self.faces)

    def scaled(self, factors: Sequence[float]) -> Mesh:
        """Stretched along the axes by positive factors."""
        return Mesh(self.vertices * np.asarray(factors, dtype=float), self.faces)

    @property
    def volume_m3(self) -> float:
        """Signed: positive when the faces look outwards."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


def outward(vertices: Array, faces: Sequence[Sequence[int]]) -> Mesh:
    """A mesh whose faces look outwards. Raises ShapeError where it encloses nothing."""
    mesh = Mesh(np.asarray(vertices, dtype=float), np.asarray(faces, dtype=np.int64))
    volume = mesh.volume_m3
    if not abs(volume) > 1e-12:
        raise ShapeError(f"a mesh of {len(mesh.faces)} faces encloses {volume:.2g} m^3")
    return mesh if volume > 0.0 else Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())


def lathe(profile: Sequence[tuple[float, float]], sides: int = SIDES) -> Mesh:
    """A solid of revolution about z.

    Args:
        profile: (radius, z) [m] along its outline, from the axis (radius 0) back to the axis.
        sides: of the polygon that stands for a circle.
    """
    r, z = np.array(profile, dtype=float).T
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    rings = np.stack([np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle)), np.outer(z, np.ones(sides))], axis=-1)
    return _strip(rings, r > 0.0)


def ring(section: Sequence[tuple[float, float]], sides: int = SIDES) -> Mesh:
    """A closed outline (radius, z) [m] that keeps off the axis, turned about z."""
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    round_ = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    vertices = np.concatenate([np.column_stack([radius * round_, np.full(sides, z)]) for radius, z in section])
    faces = []
    for k in range(len(section)):
        for j in range(sides):
            a, b = k * sides + j, k * sides + (j + 1) % sides
            c, d = ((k + 1) % len(section)) * sides + j, ((k + 1) % len(section)) * sides + (j + 1) % sides
            faces += [(a, b, d), (a, d, c)]
    return outward(vertices, faces)


def tube(path: Array, radii: Sequence[float], sides: int = 10) -> Mesh:
    """A round bar along a path (K, 3) [m] with a radius at every point, its ends closed; the path may not turn back on itself."""
    path = np.asarray(path, dtype=float)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along[0], np.eye(3)[np.argmin(np.abs(along[0]))])
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)[:, None]
    rings = [np.repeat(path[:1], sides, axis=0)]
    for centre, axis, radius in zip(path, along, radii, strict=True):
        across = across - (across @ axis) * axis  # carried along the path, so that the tube does not twist
        across /= np.linalg.norm(across)
        rings.append(centre + radius * (np.cos(angle) * across + np.sin(angle) * np.cross(axis, across)))
    rings.append(np.repeat(path[-1:], sides, axis=0))
    return _strip(np.array(rings), np.array([False, *[True] * len(path), False]))


def _strip(rings: Array, wide: NDArray[np.bool_]) -> Mesh:
    """Joins (K, S, 3) rings to a surface; a ring that is not wide is one point."""
    count, sides, _ = rings.shape
    faces = []
    for k in range(count - 1):
        for j in range(sides):
            a, b = k * sides + j, k * sides + (j + 1) % sides
            if wide[k]:
                faces.append((a, b, b + sides if wide[k + 1] else a + sides))
            if wide[k + 1]:
                faces.append((a, b + sides, a + sides))
    return outward(rings.reshape(-1, 3), faces)


def prism(outline: Sequence[tuple[float, float]], height_m: float) -> Mesh:
    """An outline (x, y) [m] that its middle sees whole, drawn up from z = 0."""
    flat = np.array(outline, dtype=float)
    n = len(flat)
    ring = [np.column_stack([flat, np.full(n, z)]) for z in (0.0, height_m)]
    ends = [np.append(flat.mean(axis=0), z)[None] for z in (0.0, height_m)]
    vertices = np.concatenate([*ring, *ends])
    faces = []
    for j in range(n):
        k = (j + 1) % n
        faces += [(j, k, n + k), (j, n + k, n + j), (k, j, 2 * n), (n + j, n + k, 2 * n + 1)]
    return outward(vertices, faces)


def box(size_m: Sequence[float]) -> Mesh:
    """A box that stands on z = 0, its middle above the origin."""
    x, y, z = (float(v) for v in size_m)
    return prism([(-x / 2, -y / 2), (x / 2, -y / 2), (x / 2, y / 2), (-x / 2, y / 2)], z)


def ellipsoid(half_m: Sequence[float], sides: int = SIDES) -> Mesh:
    """An ellipsoid about the origin."""
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, sides // 2 + 1)
    profile = [(float(r), float(z)) for r, z in zip(np.cos(angle), np.sin(angle), strict=True)]
    profile[0], profile[-1] = (0.0, -1.0), (0.0, 1.0)
    return lathe(profile, sides).scaled(half_m)


def sample_surface(meshes: Sequence[Mesh], count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points spread evenly over the area of the meshes, each part whole, with outward normals: (count, 3) [m] and (count, 3)."""
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])  # (F, 3, 3)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    over = u + v > 1.0
    u, v = np.where(over, 1.0 - u, u), np.where(over, 1.0 - v, v)
    a, b, c = (corners[chosen, k] for k in range(3))
    points = a + u * (b - a) + v * (c - a)
    return points.astype(np.float32), (cross[chosen] / area[chosen, None]).astype(np.float32)
