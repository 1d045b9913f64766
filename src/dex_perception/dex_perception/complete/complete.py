# SPDX-License-Identifier: Apache-2.0
"""Runs a completion bundle on the seen part of one object; says of every point whether it was observed or invented."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.bundle import Bundle, LoadOptions, load_bundle
from dex_core.bundle.completion import GRAPH, PARTIAL, clouds_of
from dex_core.clouds import Cloud, farthest_points, nearest, remove_outliers
from dex_core.errors import BundleError, DexError, NonFiniteError, ShapeError
from dex_perception.complete.frame import frame_of
from dex_perception.complete.normals import estimate, orient

FEWEST_POINTS = 50
KIND = "completion"
LARGEST_M = 1.0
"""A partial cloud wider than this is no object on a table: a mask has leaked."""


@dataclass(frozen=True)
class Completed:
    """A whole object in the world.

    Attributes:
        cloud: points [m] with unit normals that point outwards; seen points first, invented ones after them.
        observed: (N,) bool, read-only: a seen point is nearer than the bundle's ``observed_m``. The others are the network's invention.
        coarse_m: (M, 3) the coarsest cloud the network gave, in the world [m].
    """

    cloud: Cloud
    observed: NDArray[np.bool_]
    coarse_m: NDArray[np.float32]

    @property
    def invented_share(self) -> float:
        """Part of the points that nobody saw."""
        return 1.0 - float(self.observed.mean())


class Completer:
    """A loaded bundle of kind ``completion``.

    Args:
        bundle: its name, its folder, or the bundle itself.
        threads: of one inference.

    Raises:
        BundleError: refused, or of another kind (``kind_mismatch``). ConfigError: there is none.
    """

    def __init__(self, bundle: Bundle | str | Path, threads: int = 1) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle, LoadOptions(threads=threads))
        manifest = self.bundle.manifest
        if manifest.kind != KIND or manifest.completion is None:
            raise BundleError(f"{self.bundle.folder}: kind {manifest.kind!r}, expected {KIND!r}", code="kind_mismatch")
        self.spec = manifest.completion
        self._clouds, self._session = clouds_of(manifest), self.bundle.sessions[GRAPH]

    def complete(self, cloud: Cloud, camera_m: ArrayLike, support_m: float | None = None) -> Completed:
        """The whole object.

        Args:
            cloud: its seen points in the world, z up [m]; stray points at its edges are taken out here.
            camera_m: (3,) where the camera was in the world [m].
            support_m: height of what it stands on in the world [m]; None: its lowest seen point.

        Raises:
            DexError: ``too_few_points``, ``too_large``. ShapeError, NonFiniteError: broken input.
        """
        camera = np.asarray(camera_m, dtype=float)
        _check(cloud, camera, support_m)
        seen = _without_strays(cloud)
        frame = frame_of(self.spec, seen.points_m, camera, support_m)
        thinned = farthest_points(seen.points_m, self.spec.points) if len(seen) > self.spec.points else np.arange(self.spec.points) % len(seen)
        found = self._session.run({PARTIAL: frame.enter(seen.points_m[thinned])[None]})
        fine = frame.leave(found[self._clouds[-1]][0])
        observed = nearest(fine, seen.points_m).distances_m[:, 0] <= self.spec.observed_m
        facing = frame.turn_back(found[self.spec.normals][0]) if self.spec.normals else orient(fine, estimate(fine), camera, observed)
        order = np.argsort(~observed, kind="stable")
        observed = observed[order]
        observed.setflags(write=False)
        return Completed(Cloud(fine[order], normals=facing[order]), observed, frame.leave(found[self._clouds[0]][0]))


def _check(cloud: Cloud, camera: NDArray[np.float64], support_m: float | None) -> None:
    if camera.shape != (3,):
        raise ShapeError(f"camera_m has shape {camera.shape}; expected (3,)")
    if not np.isfinite(cloud.points_m).all() or not np.isfinite(camera).all() or (support_m is not None and not np.isfinite(support_m)):
        raise NonFiniteError("partial cloud, camera_m and support_m must be finite")
    if len(cloud) < FEWEST_POINTS:
        raise DexError(f"{len(cloud)} seen points; at least {FEWEST_POINTS} are needed", code="too_few_points")


def _without_strays(cloud: Cloud) -> Cloud:
    """What is left without stray points; one far away hides the others at first, so that a wide cloud is looked at twice."""
    seen = remove_outliers(cloud)
    if len(seen) and float(np.ptp(seen.points_m, axis=0).max()) > LARGEST_M:
        seen = remove_outliers(seen)
    if len(seen) < FEWEST_POINTS:
        raise DexError(f"{len(seen)} seen points beside strays; at least {FEWEST_POINTS} are needed", code="too_few_points")
    width_m = float(np.ptp(seen.points_m, axis=0).max())
    if width_m > LARGEST_M:
        raise DexError(f"the seen points are {width_m:.2f} m wide; an object of at most {LARGEST_M:g} m is expected", code="too_large")
    return seen
