# SPDX-License-Identifier: Apache-2.0
"""From a moment of a cell to labelled points, masks and boxes of its robots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig
from dex_core.types import Array
from dex_description import compose_cell_urdf, parse_urdf
from dex_perception.keypoints.kinematics import CellKinematics
from dex_perception.keypoints.layout import Instance, instances_of
from dex_perception.keypoints.lens import project
from dex_perception.keypoints.sample import MISSING, Annotation, Labelled, Sample
from dex_perception.keypoints.shapes import PosedShapes, ShapeSet
from dex_perception.keypoints.visibility import OTHER_CAMERA, DepthTolerance, Owners, judge


class Annotator:
    """Labels the robots of one cell in pictures of any camera.

    Args:
        cell: which robots; their visible shapes are those of the descriptions.
        tolerance: of the camera's depth, see ``visibility``.
        masks: also render which pixels show which robot: needed for masks, and for boxes around what is seen.

    Attributes:
        instances: the robots, in the order of every annotation.
    """

    def __init__(self, cell: CellConfig, tolerance: DepthTolerance = OTHER_CAMERA, *, masks: bool = True) -> None:
        description = parse_urdf(compose_cell_urdf(cell))
        self.instances = instances_of(cell, description)
        self._tolerance, self._masks = tolerance, masks
        self._kinematics, self._shapes = CellKinematics(cell), ShapeSet.of(description)
        points = [point for instance in self.instances for point in instance.points]
        self._present = np.array([point.link is not None for point in points])
        self._links = (*self._shapes.links, *(point.link for point in points if point.link is not None))
        own = np.array([[link in point.own for link in self._shapes.links] for point in points])
        self._owners = Owners(own, np.array([point.flesh_m for point in points]))
        ends = np.cumsum([len(instance.points) for instance in self.instances])
        self._rows = [slice(end - len(instance.points), end) for end, instance in zip(ends, self.instances, strict=True)]
        self._robot_links = [np.array([link in instance.links for link in (*self._shapes.links, "")]) for instance in self.instances]

    def annotate(self, sample: Sample) -> Annotation:
        """Every robot of the cell in one picture. Raises ShapeError when the sample has other joints than the cell."""
        shapes, points, camera = self._posed(sample)
        at = project(np.where(np.isfinite(points), points, -1.0), sample.intrinsics)
        judged = judge(points, at, self._owners, shapes, sample.intrinsics, sample.depth_m, sample.object_mask, self._tolerance)
        masks = self._seen(shapes, sample) if self._masks else [None] * len(self.instances)
        robots = tuple(
            _labelled(instance, points[rows], at.uv[rows], judged.visibility[rows], mask)
            for instance, rows, mask in zip(self.instances, self._rows, masks, strict=True)
        )
        by = "+".join(["robots", *(["depth"] if sample.depth_m is not None else []), *(["mask"] if sample.object_mask is not None else [])])
        return Annotation(sample.stamp_ns, by, robots, int(judged.without_depth.sum()), camera)

    def _posed(self, sample: Sample) -> tuple[PosedShapes, Array, Array]:
        """Shapes and (k, 3) points of all instances in the optical frame (NaN where a robot has none), and that frame's pose in the world."""
        *poses, mount = self._kinematics.poses(sample.position_rad, (*self._links, sample.mounted_on))
        camera = mount @ sample.pose_in_mount
        seen = np.linalg.inv(camera) @ np.array(poses)
        count = len(self._shapes.links)
        points = np.full((len(self._present), 3), np.nan)
        points[self._present] = seen[count:, :3, 3]
        return self._shapes.before(seen[:count]), points, camera

    def _seen(self, shapes: PosedShapes, sample: Sample) -> list[NDArray[np.bool_]]:
        """(H, W) of each instance: its pixels in the rendered model that nothing else hides."""
        depth, link = shapes.render(sample.intrinsics)
        covered = np.zeros(link.shape, dtype=bool) if sample.object_mask is None else sample.object_mask.copy()
        if sample.depth_m is not None:
            known = np.isfinite(sample.depth_m) & (sample.depth_m > 0.0) & np.isfinite(depth)
            covered[known] |= sample.depth_m[known] < depth[known] - self._tolerance.at(depth[known].astype(np.float64))
        return [of[link] & ~covered for of in self._robot_links]  # NOTHING is -1: the last entry, which is no link


def _labelled(instance: Instance, points: Array, uv: Array, visibility: NDArray[np.int8], mask: NDArray[np.bool_] | None) -> Labelled:
    place = np.where((visibility == MISSING)[:, None], np.nan, uv)
    return Labelled(instance, points, place, visibility, mask, _box(mask, place))


def _box(mask: NDArray[np.bool_] | None, uv: Array) -> tuple[float, float, float, float] | None:
    """x, y, width, height [px] around the pixels of a mask, or around points."""
    if mask is not None and mask.any():
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        return float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)
    known = uv[np.isfinite(uv).all(axis=1)]
    if not len(known):
        return None
    low, high = np.maximum(known.min(axis=0), 0.0), known.max(axis=0)
    return float(low[0]), float(low[1]), float(max(high[0] - low[0], 1.0)), float(max(high[1] - low[1], 1.0))


