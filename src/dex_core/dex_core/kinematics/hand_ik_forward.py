# SPDX-License-Identifier: Apache-2.0
"""Tips of a group of fingers and their Jacobians for many configurations at once, in NumPy."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dex_core.kinematics.tree import four_bar_angle
from dex_core.types import Array

if TYPE_CHECKING:
    from dex_core.kinematics.hand_ik_groups import FingerGroup


class ManyForward:
    """Kinematics of one group, every ``q`` (m, c)."""

    def __init__(self, group: FingerGroup) -> None:
        tree = group.tree
        self._group, self._tree = group, tree
        x, y, z = np.moveaxis(tree.axis, 1, 0)
        zero = np.zeros_like(x)
        cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
        # a joint's frame is fixed + sin(angle) sine + cos(angle) cosine
        self._fixed = tree.rotation @ (np.eye(3) + cross @ cross)
        self._sine, self._cosine = tree.rotation @ cross, -tree.rotation @ cross @ cross
        self._slide = (tree.rotation @ tree.axis[:, :, None])[:, :, 0]
        self._bars = np.flatnonzero(tree.four_bar[:, 0])
        self._above = [self._chain(int(joint)) for joint in group.tip_joint]

    def tips(self, q: Array) -> Array:
        """(m, k, 3) in the root frame in m."""
        return self._tips(*self._frames(q)[:2])

    def tips_and_jacobian(self, q: Array) -> tuple[Array, Array]:
        """(m, k, 3) tips and (m, k, 3, c) their derivatives."""
        rotation, origin, gain = self._frames(q)
        tips = self._tips(rotation, origin)
        jacobian = np.zeros((*tips.shape, q.shape[1]))
        axis = (rotation @ self._tree.axis[:, :, None])[..., 0]
        for tip, chain in enumerate(self._above):
            for j in chain:
                column = axis[:, j] if self._tree.prismatic[j] else np.cross(axis[:, j], tips[:, tip] - origin[:, j])
                jacobian[:, tip, :, self._tree.actuated[j]] += gain[:, j, None] * column
        return tips, jacobian

    def _chain(self, joint: int) -> list[int]:
        chain = []
        while joint >= 0:
            chain.append(joint)
            joint = int(self._tree.parent[joint])
        return chain

    def _tips(self, rotation: Array, origin: Array) -> Array:
        group = self._group
        moved = (rotation[:, group.tip_joint] @ group.tip_local_m[:, :, None])[..., 0] + origin[:, group.tip_joint]
        return np.where((group.tip_joint >= 0)[:, None], moved, group.tip_local_m)

    def _frames(self, q: Array) -> tuple[Array, Array, Array]:
        """(m, j, 3, 3) rotations, (m, j, 3) origins, (m, j) gains of all joints."""
        tree = self._tree
        drive = q[:, tree.actuated]
        position, gain = drive * tree.coupling[:, 0] + tree.coupling[:, 1], np.broadcast_to(tree.coupling[:, 0], drive.shape).copy()
        for j in self._bars:
            values = [four_bar_angle(tree.four_bar[j], float(crank)) for crank in drive[:, j]]
            position[:, j], gain[:, j] = np.array(values).T
        turned = np.where(tree.prismatic, 0.0, position)[..., None, None]
        local = self._fixed + np.sin(turned) * self._sine + np.cos(turned) * self._cosine
        offset = tree.offset_m + (tree.prismatic * position)[..., None] * self._slide
        for j, parent in enumerate(tree.parent):
            if parent >= 0:
                offset[:, j] = (local[:, parent] @ offset[:, j, :, None])[..., 0] + offset[:, parent]
                local[:, j] = local[:, parent] @ local[:, j]
        return local, offset, gain
