# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel as a library object, and a kinematic tree as the struct it takes."""
from __future__ import annotations

import ctypes
import functools

import numpy as np

from dex_core.errors import ConfigError
from dex_core.kinematics.tree import KinematicTree
from dex_core.native import KINEMATICS

MAX_JOINTS = 128
_POINTERS = ("parent", "actuated", "prismatic", "rotation", "offset", "axis", "coupling", "four_bar")


class TreeStruct(ctypes.Structure):
    """``dex_tree`` of tree.h."""

    _fields_ = [("n_joints", ctypes.c_int32), ("n_actuated", ctypes.c_int32), *((name, ctypes.c_void_p) for name in _POINTERS)]


@functools.cache
def kernel() -> ctypes.PyDLL | None:
    """The kernel, built where needed; None where it cannot be or where ``DEX_KERNEL=numpy`` asks for none.

    Its functions keep the interpreter's lock: they last microseconds, and to give the lock away costs more.
    """
    return KINEMATICS.load(ctypes.PyDLL)


def tree_struct(tree: KinematicTree) -> tuple[TreeStruct, tuple[np.ndarray, ...]]:
    """``tree`` for the kernel, and the arrays it points to: keep both as long as the struct is in use."""
    if len(tree.joints) > MAX_JOINTS:
        raise ConfigError(f"{len(tree.joints)} moving joints; the kernel takes at most {MAX_JOINTS}")
    integers = (tree.parent, tree.actuated, tree.prismatic)
    numbers = (tree.rotation, tree.offset_m, tree.axis, tree.coupling, tree.four_bar)
    arrays = (
        *(np.ascontiguousarray(a, dtype=np.int32) for a in integers), *(np.ascontiguousarray(a, dtype=np.float64) for a in numbers),
    )
    pointers = {name: array.ctypes.data for name, array in zip(_POINTERS, arrays, strict=True)}
    return TreeStruct(n_joints=len(tree.joints), n_actuated=len(tree.names), **pointers), arrays
