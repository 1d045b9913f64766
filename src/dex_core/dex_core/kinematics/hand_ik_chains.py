# SPDX-License-Identifier: Apache-2.0
"""Many fingers with one tip each, moved at once in NumPy: chains of joints, padded to the longest."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dex_core.kinematics.hand_ik_groups import FingerGroup
from dex_core.kinematics.tree import four_bar_angle
from dex_core.types import Array


class Chains:
    """One row per finger; row r of every ``q`` (r, c) belongs to ``groups[row[r]]``, unused columns at its end.

    Args:
        groups: each with one tip. row: (r,) which group each row is; None: all, in order.
    """

    def __init__(self, groups: Sequence[FingerGroup], row: np.ndarray | None = None) -> None:
        depth, width = max(len(g.tree.joints) for g in groups), max(len(g.columns) for g in groups)
        shape = (len(groups), depth)
        self._fixed, self._sine, self._cosine, self._slide = (np.zeros((*shape, 4, 4)) for _ in range(4))
        self._turn = np.zeros((*shape, 4, 4))
        self._fixed[:] = np.eye(4)
        self._actuated, self._multiplier, self._offset = np.zeros(shape, dtype=np.intp), np.zeros(shape), np.zeros(shape)
        self._fold, self._tip, self._bars = np.zeros((*shape, width)), np.zeros((len(groups), 4, 1)), []
        for i, group in enumerate(groups):
            self._fill(i, group)
        if row is not None:
            self._repeat(row)
        for name in ("_fixed", "_sine", "_cosine", "_slide", "_turn", "_actuated", "_multiplier", "_offset"):  # from here on joint by joint
            setattr(self, name, np.ascontiguousarray(getattr(self, name).swapaxes(0, 1)))
        self._slides = bool(self._slide.any())
        self._rows = np.arange(len(self._tip))
        self._known: tuple[bytes, tuple[Array, Array]] = (b"", (np.zeros(0), np.zeros(0)))

    def _fill(self, i: int, group: FingerGroup) -> None:
        tree = group.tree
        for j in range(len(tree.joints)):
            x, y, z = tree.axis[j]
            cross, rotation = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]), tree.rotation[j]
            self._fixed[i, j, :3, 3] = tree.offset_m[j]
            if tree.prismatic[j]:
                self._fixed[i, j, :3, :3], self._slide[i, j, :3, 3], self._turn[i, j, :3, 3] = rotation, rotation @ tree.axis[j], tree.axis[j]
            else:
                self._fixed[i, j, :3, :3] = rotation @ (np.eye(3) + cross @ cross)
                self._sine[i, j, :3, :3], self._cosine[i, j, :3, :3] = rotation @ cross, -rotation @ cross @ cross
                self._turn[i, j, :3, :3] = cross
            self._actuated[i, j] = tree.actuated[j]
            self._multiplier[i, j], self._offset[i, j] = tree.coupling[j]
            self._fold[i, j, tree.actuated[j]] = tree.coupling[j, 0]
            if tree.four_bar[j, 0]:
                self._bars.append((i, j, tree.four_bar[j]))
        self._tip[i, :, 0] = (*group.tip_local_m[0], 1.0)

    def _repeat(self, row: np.ndarray) -> None:
        names = ("_fixed", "_sine", "_cosine", "_slide", "_turn", "_actuated", "_multiplier", "_offset", "_fold", "_tip")
        for name in names:
            setattr(self, name, getattr(self, name)[row])
        self._bars = [(r, j, bar) for i, j, bar in self._bars for r in np.flatnonzero(row == i)]

    def __call__(self, q: Array) -> tuple[Array, Array]:
        """(r, 3) tips in the root frame in m, and (r, 3, c) their derivatives; not to be written to."""
        key = q.tobytes()
        if key != self._known[0]:  # a moving target: each search starts where the last one ended
            self._known = key, self._evaluate(q)
        return self._known[1]

    def _evaluate(self, q: Array) -> tuple[Array, Array]:
        position, fold = q[self._rows, self._actuated] * self._multiplier + self._offset, self._fold  # (d, r), (r, d, c)
        for r, j, bar in self._bars:
            column = self._actuated[j, r]
            position[j, r], fold[r, j, column] = four_bar_angle(bar, float(q[r, column]))
        angle = position[:, :, None, None]
        local = np.sin(angle) * self._sine
        local += np.cos(angle) * self._cosine
        local += self._fixed
        if self._slides:
            local += angle * self._slide
        depth = len(local)
        moved = np.zeros((len(q), 4, 1 + depth))  # the tip, then what each joint does to it, carried from the last joint to the root
        moved[:, :, :1] = self._tip
        for j in range(depth - 1, -1, -1):
            moved[:, :, 1 + j : 2 + j] = self._turn[j] @ moved[:, :, :1]
            moved = local[j] @ moved
        return moved[:, :3, 0], moved[:, :3, 1:] @ fold
