# SPDX-License-Identifier: Apache-2.0
"""The geometry in C: the functions of ``reference``, with the same results to the last bit."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.rays import Rays
from dex_core.clouds.window import Fit

Floats = NDArray[np.float32]
_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIGNATURES = {  # result, then arguments
    "unproject": (_LONG, *[_POINTER] * 5, _LONG, *[_POINTER] * 3),
    "normals_room": (_LONG, _POINTER),
    "normals": (None, *[_POINTER] * 7),
    "bounds": (_LONG, _POINTER, _LONG, _POINTER, _POINTER),
    "inside": (_LONG, _POINTER, _LONG, *[_POINTER] * 4),
    "group": (_LONG, _POINTER, _LONG, ctypes.c_double, _POINTER, _POINTER),
    "means_room": (_LONG, _LONG),
    "means": (None, *[_POINTER] * 4, _LONG, _LONG, *[_POINTER] * 4),
    "farthest": (_INT, _POINTER, *[_LONG] * 3, _POINTER),
    "nearest": (_INT, _POINTER, _LONG, _POINTER, _LONG, _LONG, _POINTER, _POINTER),
}


class FitStruct(ctypes.Structure):
    """``dex_fit`` of clouds.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("height", "width", "step", "least")),
        *((name, ctypes.c_float) for name in ("fx", "fy", "noise_per_m", "level_floor", "per_step")),
        ("slope", ctypes.c_float * 9),
    ]


class Compiled:
    """The functions of ``dex_core.clouds.reference`` in C, under the same names; arguments are contiguous, of the types named there.

    The interpreter's lock is free while they work, and threads share nothing: any may call. Each keeps the room its largest picture needed.

    Args:
        library: the compiled sources of ``kernel/``.
    """

    name = "c"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._functions = {}
        for name, (result, *arguments) in _SIGNATURES.items():
            function = library[f"dex_clouds_{name}"]
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function
        self._kept = threading.local()

    def _call(self, name: str, *arguments: object) -> int:
        """Passes arrays by address and None as NULL. Raises MemoryError where C finds no memory."""
        done = self._functions[name](*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))
        if done is not None and done < 0:
            raise MemoryError(f"no memory for the {name} of a cloud")
        return done or 0

    def _room(self, size: int) -> np.ndarray:
        """So many bytes that nobody else of this thread needs now."""
        room = getattr(self._kept, "room", None)
        if room is None or room.nbytes < size:
            room = self._kept.room = np.empty(size // 8 + 1, dtype=np.float64)
        return room

    def unproject(
        self, depth_m: Floats, rays: Rays, rgb: NDArray[np.uint8] | None, normals: Floats | None,
    ) -> tuple[Floats, NDArray[np.uint8] | None, Floats | None, NDArray[np.int32]]:
        """As reference.unproject; the picture of normals is used up: those that stay move up in it."""
        size = depth_m.size
        points, pixels = np.empty((size, 3), dtype=np.float32), np.empty(size, dtype=np.int32)
        colours = None if rgb is None else np.empty((size, 3), dtype=np.uint8)
        n = self._call("unproject", depth_m, rays.x, rays.y, rgb, normals, size, points, colours, pixels)
        return points[:n], None if colours is None else colours[:n], None if normals is None else normals.reshape(-1, 3)[:n], pixels[:n]

    def normals(self, depth_m: Floats, rays: Rays, fit: Fit) -> Floats:
        """As reference.normals."""
        struct = FitStruct(*depth_m.shape, fit.step, fit.least, fit.fx, fit.fy, fit.noise_per_m, fit.level_floor, 1.0 / fit.step)
        struct.slope[:] = [fit.slope_at(i, j) for j in range(3) for i in range(3)]
        out = np.empty((*depth_m.shape, 3), dtype=np.float32)
        room = self._room(self._call("normals_room", ctypes.addressof(struct)))
        self._call("normals", ctypes.addressof(struct), depth_m, rays.x, rays.y, rays.bend, room, out)
        return out

    def bounds(self, points_m: Floats) -> tuple[bool, Floats, Floats]:
        """As reference.bounds."""
        low, high = np.empty(3, dtype=np.float32), np.empty(3, dtype=np.float32)
        return self._call("bounds", points_m, len(points_m), low, high) == points_m.size, low, high

    def inside(self, points_m: Floats, pose: Floats | None, low_m: Floats, high_m: Floats) -> NDArray[np.int64]:
        """As reference.inside."""
        out = np.empty(len(points_m) + 1, dtype=np.int64)
        return out[:self._call("inside", points_m, len(points_m), pose, low_m, high_m, out)]

    def group(self, points_m: Floats, size_m: float, low_m: Floats) -> tuple[NDArray[np.int32], int]:
        """As reference.group."""
        voxel = np.empty(len(points_m), dtype=np.int32)
        return voxel, self._call("group", points_m, len(points_m), 1.0 / size_m, low_m, voxel)

    def means(
        self, points_m: Floats, rgb: NDArray[np.uint8] | None, normals: Floats | None, voxel: NDArray[np.int32], count: int,
    ) -> tuple[Floats, NDArray[np.uint8] | None, Floats | None]:
        """As reference.means."""
        centres = np.empty((count, 3), dtype=np.float32)
        colours = None if rgb is None else np.empty((count, 3), dtype=np.uint8)
        directions = None if normals is None else np.empty((count, 3), dtype=np.float32)
        room = self._room(self._call("means_room", count))
        self._call("means", points_m, rgb, normals, voxel, len(points_m), count, room, centres, colours, directions)
        return centres, colours, directions

    def farthest(self, points_m: Floats, n: int, start: int) -> NDArray[np.int64]:
        """As reference.farthest."""
        chosen = np.empty(n, dtype=np.int64)
        self._call("farthest", points_m, len(points_m), n, start, chosen)
        return chosen

    def nearest(self, queries_m: Floats, points_m: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
        """As reference.nearest."""
        index, distance = np.empty((len(queries_m), k), dtype=np.int64), np.empty((len(queries_m), k), dtype=np.float32)
        self._call("nearest", queries_m, len(queries_m), points_m, len(points_m), k, index, distance)
        return index, distance
