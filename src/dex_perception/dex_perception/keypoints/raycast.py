# SPDX-License-Identifier: Apache-2.0
"""Where rays enter boxes, cylinders and spheres: exact, many at once, in NumPy.

Every ray is a direction with z = 1 in the optical frame, so what comes out is depth along the optical axis, as a depth picture holds it. Each of
the three solids is convex: a ray is inside it between two depths, and a cylinder is what its round and its flat sides have in common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BOX, CYLINDER, SPHERE = 0, 1, 2
_TINY = 1e-12


def enter(kind: int, half_m: Array, origin: Array, direction: Array) -> Array:
    """Depths at which rays enter solids of one kind.

    Args:
        kind: BOX, CYLINDER (axis z) or SPHERE.
        half_m: (..., 3) half sizes along the solid's axes (cylinder: radius, radius, half length; sphere: three times the radius) [m].
        origin: (..., 3) camera in the solid's frame [m].
        direction: (..., 3) of the ray in the solid's frame.

    Returns:
        (...) depth [m]; infinite where the ray misses, where the solid is behind the camera, and where the camera is inside it.
    """
    if kind == BOX:
        near, far = _slab(half_m, origin, direction)
        near, far = near.max(axis=-1), far.min(axis=-1)
    elif kind == CYLINDER:
        near, far = _round(half_m[..., 0], origin[..., :2], direction[..., :2])
        low, high = _slab(half_m[..., 2], origin[..., 2], direction[..., 2])
        near, far = np.maximum(near, low), np.minimum(far, high)
    else:
        near, far = _round(half_m[..., 0], origin, direction)
    return np.where((near <= far) & (near > 0.0), near, np.inf)


def _slab(half_m: Array, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Between two parallel planes at +-half."""
    steep = np.where(np.abs(direction) < _TINY, np.where(direction < 0.0, -_TINY, _TINY), direction)
    one, other = (-half_m - origin) / steep, (half_m - origin) / steep
    return np.minimum(one, other), np.maximum(one, other)


def _round(radius_m: Array, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Inside a circle (two components) or a sphere (three): from the roots of a quadratic; (inf, -inf) where there are none."""
    a = np.maximum(np.sum(direction * direction, axis=-1), _TINY**2)
    b = np.sum(origin * direction, axis=-1)
    c = np.sum(origin * origin, axis=-1) - radius_m**2
    under = b * b - a * c
    root = np.sqrt(np.maximum(under, 0.0))
    return np.where(under < 0.0, np.inf, (-b - root) / a), np.where(under < 0.0, -np.inf, (-b + root) / a)
