# SPDX-License-Identifier: Apache-2.0
"""Where the tools of a whole cell are and how they can move: points on its arms, all of them and many postures at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import ShapeError
from dex_core.kinematics.tree import KinematicTree, Place
from dex_core.types import Array


class ToolPoint(NamedTuple):
    """A point fixed to a link: place in the link's frame (URDF convention)."""

    link: str
    xyz_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


class ToolKinematics:
    """Positions and Jacobians of k points in the root frame of a cell's URDF.

    Chains of different length are padded with joints that do not turn, so one pass serves all points.

    Args:
        tree: of the whole cell.
        points: on its links.
    """

    def __init__(self, tree: KinematicTree, points: Sequence[ToolPoint]) -> None:
        self._tree = tree
        places = [_offset(tree.place(point.link), point.xyz_m) for point in points]
        chains = [_chain(tree, place.joint) for place in places]
        depth = max([len(chain) for chain in chains], default=0)
        shape = (len(points), depth)
        self._joint = np.full(shape, -1, dtype=np.intp)
        self._rotation, self._offset = np.tile(np.eye(3), (*shape, 1, 1)), np.zeros((*shape, 3))
        self._axis, self._slide = np.zeros((*shape, 3)), np.zeros((*shape, 3))
        for row, chain in enumerate(chains):
            for column, joint in enumerate(chain):
                self._joint[row, column] = joint
                self._rotation[row, column], self._offset[row, column] = tree.rotation[joint], tree.offset_m[joint]
                moved = self._slide if tree.prismatic[joint] else self._axis
                moved[row, column] = tree.axis[joint]
        x, y, z = np.moveaxis(self._axis, -1, 0)
        zero = np.zeros_like(x)
        self._cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*shape, 3, 3)
        self._cross_twice = self._cross @ self._cross
        self._tip = np.array([place.position_m for place in places]).reshape(-1, 3)
        self._columns = np.where(self._joint >= 0, tree.actuated[self._joint], -1)

    def positions(self, q: ArrayLike) -> Array:
        """(T, k, 3) points [m] at postures ``q`` (T, n) [rad]."""
        rotation, position = self._frames(self._driven(q))[:2]
        return position + np.einsum("tkij,kj->tki", rotation, self._tip)

    def jacobians(self, q: ArrayLike) -> Array:
        """(k, 6, d) at one posture ``q`` (n,): linear [m/rad], then angular, by each point's own chain; zero where it is shorter."""
        values, gains = self._driven(np.asarray(q, dtype=float)[None])
        rotation, position, axes, origins = self._frames((values, gains))
        tip = (position + np.einsum("tkij,kj->tki", rotation, self._tip))[0]
        turn = np.einsum("kdij,kdj->kdi", axes[0], self._axis) * gains[0][..., None]
        slide = np.einsum("kdij,kdj->kdi", axes[0], self._slide) * gains[0][..., None]
        linear = np.cross(turn, tip[:, None] - origins[0]) + slide
        return np.concatenate([linear, turn], axis=2).transpose(0, 2, 1)

    def _driven(self, q: ArrayLike) -> tuple[Array, Array]:
        """(T, k, d) position of every joint of every chain, and its derivative by its actuated joint."""
        values = np.asarray(q, dtype=float)
        if values.ndim != 2 or values.shape[1] != len(self._tree.names):
            raise ShapeError(f"postures: shape {values.shape}, expected (any, {len(self._tree.names)})")
        gain, shift = np.where(self._joint >= 0, self._tree.coupling[self._joint].transpose(2, 0, 1), 0.0)
        driven = values[:, self._columns] * gain + shift
        return driven, np.broadcast_to(gain, driven.shape)

    def _frames(self, driven: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
        """Rotation (T, k, 3, 3) and position (T, k, 3) of the last frames; (T, k, d, 3, 3) and (T, k, d, 3) of the axes and origins on the way."""
        q = driven[0][..., None]
        turned = self._rotation @ (np.eye(3) + np.sin(q)[..., None] * self._cross + (1.0 - np.cos(q))[..., None] * self._cross_twice)
        moved = self._offset + np.einsum("kdij,tkdj->tkdi", self._rotation, self._slide * q)
        rotation, position = np.broadcast_to(np.eye(3), (*q.shape[:2], 3, 3)), np.zeros((*q.shape[:2], 3))
        axes, origins = np.empty(turned.shape), np.empty(moved.shape)
        for level in range(q.shape[2]):
            position = position + (rotation @ moved[:, :, level, :, None])[..., 0]
            rotation = rotation @ turned[:, :, level]
            axes[:, :, level], origins[:, :, level] = rotation, position
        return rotation, position, axes, origins


def _offset(place: Place, xyz_m: tuple[float, float, float]) -> Place:
    return Place(place.joint, place.rotation, place.position_m + place.rotation @ np.asarray(xyz_m, dtype=float))


def _chain(tree: KinematicTree, joint: int) -> list[int]:
    """Moving joints from the root to ``joint``."""
    chain: list[int] = []
    while joint >= 0:
        chain.append(joint)
        joint = int(tree.parent[joint])
    return chain[::-1]
