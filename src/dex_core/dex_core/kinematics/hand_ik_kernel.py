# SPDX-License-Identifier: Apache-2.0
"""The compiled hand IK: structs of kernel/hand_ik.h filled once, one call per solve."""
from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from dex_core.kinematics.hand_ik_groups import FingerGroup
from dex_core.kinematics.kernel import kernel, tree_struct
from dex_core.kinematics.kernel.load import TreeStruct
from dex_core.types import Array

COLD, START, PREVIOUS = 0, 1, 2
NOT_FINITE = -1
_FINGERS_POINTERS = ("finger", "tip_joint", "tip_local", "column", "owner", "moves", "sample_q", "sample_tip")
_TASK_INPUTS = ("lower", "upper", "rest", "target", "weight", "start")
_TASK_OUTPUTS = ("q", "residual")


class FingersStruct(ctypes.Structure):
    """``dex_fingers`` of hand_ik.h."""

    _fields_ = [
        ("tree", TreeStruct), *((name, ctypes.c_int32) for name in ("n_tips", "n_blocks", "n_samples")), ("pull", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _FINGERS_POINTERS),
    ]


class TaskStruct(ctypes.Structure):
    """``dex_hand_ik`` of hand_ik.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("n_groups", "n_columns", "n_fingers", "mode", "max_iterations", "iterations")),
        ("tolerance", ctypes.c_double), ("posture", ctypes.c_double), ("groups", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in (*_TASK_INPUTS, *_TASK_OUTPUTS)),
    ]


class KernelEngine:
    """Solves in C. One thread at a time: its buffers are written by every call.

    Attributes:
        target (k, 3), weight (k,), start (n,): to be filled before a call.
        q (n,), residual (k,): the result, overwritten by the next call.
    """

    def __init__(
        self, groups: Sequence[FingerGroup], lower_rad: Array, upper_rad: Array, rest_rad: Array,
        fingers: int, tolerance_m: float, posture: float, max_iterations: int,
    ) -> None:
        library = kernel()
        self._solve, self._track, self._branches = library.dex_hand_ik_solve, library.dex_hand_ik_track, library.dex_hand_ik_branches
        n = len(lower_rad)
        self._groups, self._kept = tuple(groups), []
        parts = (FingersStruct * len(groups))(*(self._part(group) for group in groups))
        limits = [np.ascontiguousarray(a, dtype=float) for a in (lower_rad, upper_rad, rest_rad)]
        self.target, self.weight, self.start = np.zeros((fingers, 3)), np.zeros(fingers), np.zeros(n)
        self.q, self.residual = np.zeros(n), np.zeros(fingers)
        self._kept += [parts, *limits]
        buffers = (*limits, self.target, self.weight, self.start, self.q, self.residual)
        self._task = TaskStruct(
            n_groups=len(groups), n_columns=n, n_fingers=fingers, max_iterations=max_iterations, tolerance=tolerance_m, posture=posture,
            groups=ctypes.addressof(parts), **{name: b.ctypes.data for name, b in zip((*_TASK_INPUTS, *_TASK_OUTPUTS), buffers, strict=True)},
        )
        self._address = ctypes.c_void_p(ctypes.addressof(self._task))

    @property
    def iterations(self) -> int:
        """Of the last call, over all groups."""
        return self._task.iterations

    def solve(self, mode: int) -> int:
        """One solve of what is in the buffers; a status of hand_ik.h."""
        self._task.mode = mode
        return self._solve(self._address)

    def track(self, targets_m: Array) -> tuple[Array, Array]:
        """(T, n) joints and (T, k) residuals for (T, k, 3) targets from ``start``, each from the one before, on its branch."""
        steps = len(targets_m)
        q, residual = np.empty((steps, self._task.n_columns)), np.empty((steps, self._task.n_fingers))
        task, targets = self._task, np.ascontiguousarray(targets_m)
        task.mode, task.target, task.q, task.residual = PREVIOUS, targets.ctypes.data, q.ctypes.data, residual.ctypes.data
        self._track(self._address, steps)
        task.target, task.q, task.residual = self.target.ctypes.data, self.q.ctypes.data, self.residual.ctypes.data
        return q, residual

    def branches(self, group: int, most: int) -> tuple[Array, Array]:
        """(b, c) distinct solutions of one group for the targets in the buffers, nearest to ``start`` first, and (b,) their residuals."""
        q, residual = np.empty((most, len(self._groups[group].columns))), np.empty(most)
        self._task.mode = PREVIOUS
        found = self._branches(self._address, group, most, ctypes.c_void_p(q.ctypes.data), ctypes.c_void_p(residual.ctypes.data))
        return q[:found], residual[:found]

    def _part(self, group: FingerGroup) -> FingersStruct:
        struct, arrays = tree_struct(group.tree)
        integers = (group.fingers, group.tip_joint, group.columns, group.owner, group.moves)
        fingers, tip_joint, columns, owner, moves = (np.ascontiguousarray(a, dtype=np.int32) for a in integers)
        tip_local, sample_q, sample_tip = (np.ascontiguousarray(a, dtype=float) for a in (group.tip_local_m, group.sample_rad, group.sample_tip_m))
        kept = (fingers, tip_joint, tip_local, columns, owner, moves, sample_q, sample_tip)
        self._kept += [arrays, kept]
        return FingersStruct(
            tree=struct, n_tips=len(fingers), n_blocks=sample_q.shape[0], n_samples=sample_q.shape[1], pull=group.pull,
            **{name: array.ctypes.data for name, array in zip(_FINGERS_POINTERS, kept, strict=True)},
        )
