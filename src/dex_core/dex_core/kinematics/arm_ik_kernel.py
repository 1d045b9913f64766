# SPDX-License-Identifier: Apache-2.0
"""The compiled inverse kinematics of an arm: one preallocated struct, one call."""
from __future__ import annotations

import ctypes

import numpy as np

from dex_core.errors import NonFiniteError
from dex_core.kinematics.arm_ik_problem import Answer, Problem, require_poses
from dex_core.kinematics.kernel import tree_struct
from dex_core.types import Array

_INTEGERS = ("n_targets", "mode", "max_iterations", "max_restarts", "n_seeds", "may_change_branch", "rest_stride")
_NUMBERS = ("rotation_m", "tolerance_m", "tolerance_rad", "posture_gain", "posture_step_rad", "reach_rad", "singular")
_ARRAYS = (
    "joint", "local", "lower", "upper", "weight", "rest", "seed_q", "seed_pose", "target", "start", "q", "error", "manipulability", "report", "flaw",
)


class ArmIkStruct(ctypes.Structure):
    """``dex_arm_ik`` of arm_ik.h."""

    _fields_ = [
        ("tree", ctypes.c_void_p), *((name, ctypes.c_int32) for name in _INTEGERS), *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    ]


class CompiledArmIk:
    """Solves a Problem in the kernel. Not to be shared between threads.

    Args:
        library: of ``kernel()``.
    """

    def __init__(self, library: ctypes.PyDLL, problem: Problem) -> None:
        self._problem = problem
        self._solve, self._chunk = library.dex_arm_ik_solve, library.dex_arm_ik_chunk
        self._beam = library.dex_arm_ik_beam
        self._beam.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_double, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self._solve.argtypes, self._chunk.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_int)
        n, k, m = len(problem.lower), len(problem.places), len(problem.seeds)
        self._tree, self._tree_arrays = tree_struct(problem.tree)
        self._out = _room(1, k, n)
        local = np.array([np.concatenate([p.rotation.ravel(), p.position_m]) for p in problem.places])
        arrays = {
            "joint": np.array([p.joint for p in problem.places], dtype=np.int32), "local": local, "lower": problem.lower, "upper": problem.upper,
            "rest": problem.rest, "weight": problem.weight, "seed_q": problem.seeds, "seed_pose": np.zeros((m, k, 12)), "target": np.zeros((k, 4, 4)),
            "start": np.zeros(n), "flaw": np.zeros(2), **self._out._asdict(),
        }
        self._arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        self._target, self._start = self._arrays["target"], self._arrays["start"]
        options = problem.options
        self._struct = ArmIkStruct(
            tree=ctypes.addressof(self._tree), n_targets=k, mode=0, max_iterations=options.max_iterations, max_restarts=options.max_restarts,
            n_seeds=m, may_change_branch=int(options.may_change_branch), rest_stride=0, **{name: getattr(options, name) for name in _NUMBERS},
            **{name: self._arrays[name].ctypes.data for name in _ARRAYS},
        )
        self._address = ctypes.addressof(self._struct)
        library.dex_arm_ik_seeds.argtypes = (ctypes.c_void_p,)
        library.dex_arm_ik_seeds.restype = None
        library.dex_arm_ik_seeds(self._address)

    def solve(self, poses: Array, mode: int, start: Array | None) -> Answer:
        """One step of k targets ``poses`` (k, 4, 4); the answer's arrays are overwritten by the next call."""
        self._target[...] = poses
        if start is not None:
            self._start[...] = start
        if self._struct.mode != mode:
            self._struct.mode = mode
        code = self._solve(self._address)
        if code:
            self._refuse(code, self._target)
        return self._out

    def chunk(self, poses: Array, mode: int, start: Array | None, guide: Array | None = None, gain: float | None = None) -> Answer:
        """T steps of k targets ``poses`` (T, k, 4, 4), each following the one before.

        Args:
            guide: (T, n) rest posture of each step [rad]. gain: posture gain.
        """
        poses = np.ascontiguousarray(poses)
        steps = len(poses)
        out = _room(steps, len(self._problem.places), len(self._problem.lower))
        if start is not None:
            self._start[...] = start
        struct = ArmIkStruct.from_buffer_copy(self._struct)
        struct.mode, struct.target = mode, poses.ctypes.data
        if guide is not None:
            guide = np.ascontiguousarray(guide)
            struct.rest, struct.rest_stride = guide.ctypes.data, guide.shape[1]
        if gain is not None:
            struct.posture_gain, struct.posture_step_rad = gain, 1.0
        for name, array in out._asdict().items():
            setattr(struct, name, array.ctypes.data)
        code = self._chunk(ctypes.addressof(struct), steps)
        if code:
            self._refuse(code, poses)
        return out

    def beam(self, poses: Array, first: Array, width: int, push_rad: float) -> tuple[int, Array, np.ndarray, np.ndarray]:
        """What can be reached along T steps without a jump from the postures ``first`` (m, n).

        Returns:
            How many steps, q (T, width, n), parent of each in the step before (T, width), how many of each step there are (T,).
        """
        poses, steps, n = np.ascontiguousarray(poses), len(poses), len(self._problem.lower)
        q, parent, count = np.zeros((steps, width, n)), np.zeros((steps, width), dtype=np.int32), np.zeros(steps, dtype=np.int32)
        q[0, :len(first)], count[0] = first, len(first)
        struct = ArmIkStruct.from_buffer_copy(self._struct)
        struct.target = poses.ctypes.data
        pointers = [array.ctypes.data for array in (q, parent, count)]
        return self._beam(ctypes.addressof(struct), steps, width, push_rad, *pointers), q, parent, count

    def _refuse(self, code: int, poses: Array) -> None:
        index = int(self._arrays["flaw"][0])
        if code > 0:
            require_poses(poses.reshape(-1, 4, 4)[index:index + 1], f"target pose {index}")
        raise NonFiniteError(f"start: {self._start[index]} for {self._problem.tree.names[index]}; every number must be finite")


def _room(steps: int, k: int, n: int) -> Answer:
    return Answer(np.zeros((steps, n)), np.zeros((steps, k, 2)), np.zeros((steps, k)), np.zeros((steps, 4), dtype=np.int32))


