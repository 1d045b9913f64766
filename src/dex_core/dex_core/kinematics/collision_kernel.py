# SPDX-License-Identifier: Apache-2.0
"""The compiled distances: one preallocated struct, one call."""
from __future__ import annotations

import ctypes

import numpy as np

from dex_core.errors import ConfigError
from dex_core.kinematics.collision_shapes import Shapes
from dex_core.kinematics.kernel import tree_struct
from dex_core.kinematics.tree import KinematicTree
from dex_core.types import Array

MAX_SHAPES, MAX_LINKS, MAX_CLASSES = 1024, 256, 64
_ARRAYS = ("joint", "first", "sphere", "is_box", "shape", "pair", "bound", "q", "distance", "nearest", "point", "gradient")


class CollisionStruct(ctypes.Structure):
    """``dex_collision`` of collision.h."""

    _fields_ = [
        ("tree", ctypes.c_void_p), *((name, ctypes.c_int32) for name in ("n_shapes", "n_links", "n_pairs", "n_classes")),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    ]


class CompiledCollision:
    """Distances between pairs of links in the kernel. Not to be shared between threads.

    Args:
        library: of ``kernel()``.
        pairs: (p, 3) two links and the class they count to.
    """

    def __init__(self, library: ctypes.PyDLL, tree: KinematicTree, shapes: Shapes, pairs: np.ndarray, classes: int) -> None:
        n = len(tree.names)
        sizes = (("shapes", len(shapes.data), MAX_SHAPES), ("links", len(shapes.links), MAX_LINKS), ("pairs of parts", classes, MAX_CLASSES))
        for what, count, most in sizes:
            if count > most:
                raise ConfigError(f"{count} {what}; the kernel takes at most {most}")
        self._functions = library.dex_collision_query, library.dex_collision_chunk, library.dex_collision_pairs
        for function, extra in zip(self._functions, ((), (ctypes.c_int,), ()), strict=True):
            function.argtypes, function.restype = (ctypes.c_void_p, *extra), None
        self._tree, self._tree_arrays = tree_struct(tree)
        arrays = {
            "joint": shapes.joint, "first": shapes.first, "sphere": shapes.sphere, "is_box": shapes.is_box, "shape": shapes.data,
            "pair": np.asarray(pairs, dtype=np.int32), "bound": np.zeros(max(1, len(pairs))), "q": np.zeros(n), "distance": np.zeros(classes),
            "nearest": np.zeros((classes, 2), dtype=np.int32), "point": np.zeros((classes, 2, 3)), "gradient": np.zeros((classes, n)),
        }
        self._arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        self._struct = CollisionStruct(
            tree=ctypes.addressof(self._tree), n_shapes=len(shapes.data), n_links=len(shapes.links), n_pairs=len(pairs), n_classes=classes,
            **{name: self._arrays[name].ctypes.data for name in _ARRAYS},
        )
        self._address, self._q = ctypes.addressof(self._struct), self._arrays["q"]
        self._out = tuple(self._arrays[name] for name in ("distance", "nearest", "point", "gradient"))

    def query(self, q: Array) -> tuple[Array, np.ndarray, Array, Array]:
        """As NumpyCollision.query; the arrays are overwritten by the next call."""
        self._q[...] = q
        self._functions[0](self._address)
        return self._out

    def chunk(self, q: Array) -> tuple[Array, np.ndarray]:
        """As NumpyCollision.chunk."""
        q = np.ascontiguousarray(q)
        distance, nearest = np.zeros(len(q)), np.zeros((len(q), 2), dtype=np.int32)
        struct = CollisionStruct.from_buffer_copy(self._struct)
        struct.q, struct.distance, struct.nearest = q.ctypes.data, distance.ctypes.data, nearest.ctypes.data
        self._functions[1](ctypes.addressof(struct), len(q))
        return distance, nearest

    def pairs(self, q: Array) -> Array:
        """As NumpyCollision.pairs."""
        self._q[...] = q
        self._functions[2](self._address)
        return self._arrays["bound"][:self._struct.n_pairs].copy()
