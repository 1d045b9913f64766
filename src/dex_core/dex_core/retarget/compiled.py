# SPDX-License-Identifier: Apache-2.0
"""The same problem solved by the compiled kernel where there is one."""
from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from dex_core.kinematics import HandKinematics
from dex_core.kinematics.kernel.load import TreeStruct, kernel, tree_struct
from dex_core.kinematics.tree import KinematicTree
from dex_core.retarget import problem
from dex_core.retarget.problem import Solved, VectorProblem
from dex_core.types import Array

MOST = 64
"""Joints, points and vectors the kernel takes each."""
_COUNTS = ("points", "vectors", "max_iterations", "bound_passes", "iterations", "settled")
_NUMBERS = ("step_tolerance", "cost_tolerance", "min_damping", "max_damping", "cost")
_ARRAYS = ("joints", "locals", "pairs", "free", "lower", "upper", "targets", "weights", "anchor", "hold", "q", "reached")


class _Task(ctypes.Structure):
    """``dex_retarget`` of retarget.h."""

    _fields_ = [
        ("tree", ctypes.POINTER(TreeStruct)), *((name, ctypes.c_int32) for name in _COUNTS), *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    ]


class CompiledProblem(VectorProblem):
    """A VectorProblem whose search runs in the kernel; buffers are made once."""

    def __init__(
        self, kinematics: HandKinematics, frames: Sequence[str], pairs: Sequence[tuple[int, int]], free: Array, library: ctypes.PyDLL,
    ) -> None:
        super().__init__(kinematics, frames, pairs, free)
        tree, n, m = kinematics.tree, len(kinematics.names), len(self._pairs)
        places = [_place(tree, frame) for frame in self._frames]
        self._buffers = {
            "joints": np.array([joint for joint, _ in places], dtype=np.int32), "locals": np.array([local for _, local in places]),
            "pairs": np.ascontiguousarray(self._pairs), "free": self._free.astype(np.int32),
            "lower": np.array(kinematics.lower_rad), "upper": np.array(kinematics.upper_rad), "targets": np.zeros((m, 3)),
            "weights": np.zeros(m), "anchor": np.zeros(n), "hold": np.zeros(n), "q": np.zeros(n), "reached": np.zeros((len(places), 3)),
        }
        self._tree, self._kept = tree_struct(tree)
        self._task = _Task(
            tree=ctypes.pointer(self._tree), points=len(places), vectors=m, max_iterations=problem.MAX_ITERATIONS,
            bound_passes=problem.BOUND_PASSES, step_tolerance=problem.STEP_TOLERANCE_RAD, cost_tolerance=problem.COST_TOLERANCE,
            min_damping=problem.MIN_DAMPING, max_damping=problem.MAX_DAMPING,
            **{name: self._buffers[name].ctypes.data for name in _ARRAYS},
        )
        self._solve = library.dex_retarget_solve
        self._solve.argtypes, self._solve.restype = [ctypes.c_void_p], None
        self._address = ctypes.addressof(self._task)

    def at(self, q: Array, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array) -> Solved:
        """As in the base class."""
        return self._run(0, targets_m, weights, anchor_rad, hold, q)._replace(settled=True)

    def solve(self, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array, start_rad: Array) -> Solved:
        """As in the base class."""
        return self._run(problem.MAX_ITERATIONS, targets_m, weights, anchor_rad, hold, start_rad)

    def _run(self, iterations: int, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array, q: Array) -> Solved:
        self._fill(targets_m, weights, anchor_rad, hold, q)
        self._task.max_iterations = iterations
        self._solve(self._address)
        buffers, task = self._buffers, self._task
        return Solved(buffers["q"].copy(), task.cost, task.iterations, bool(task.settled), buffers["reached"].copy())

    def _fill(self, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array, q: Array) -> None:
        buffers = self._buffers
        buffers["targets"][:], buffers["weights"][:], buffers["anchor"][:] = targets_m, weights, anchor_rad
        buffers["hold"][:], buffers["q"][:] = hold, q


def make_problem(kinematics: HandKinematics, frames: Sequence[str], pairs: Sequence[tuple[int, int]], free: Array) -> VectorProblem:
    """In the kernel where it was built and the hand is small enough for it, else in NumPy."""
    library = kernel()
    small = max(len(kinematics.names), len(frames), len(pairs)) <= MOST
    if library is None or not small or not hasattr(library, "dex_retarget_solve"):
        return VectorProblem(kinematics, frames, pairs, free)
    return CompiledProblem(kinematics, frames, pairs, free, library)


def _place(tree: KinematicTree, frame: str) -> tuple[int, Array]:
    """Moving joint and local position of a link, or of a joint of that name."""
    if frame in tree.links:
        return tree.links[frame].joint, tree.links[frame].position_m
    return tree.joints.index(frame), np.zeros(3)
