# SPDX-License-Identifier: Apache-2.0
"""Annotations as a COCO keypoints file with its pictures: what pycocotools and every trainer read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.errors import DexError
from dex_perception.keypoints.layout import Instance
from dex_perception.keypoints.sample import MISSING, Annotation, Labelled, Sample

FILE, FOLDER = "annotations.json", "images"
DECIMALS = 3


class CocoWriter:
    """Collects annotated pictures in a folder: ``images/*.png`` at once, ``annotations.json`` when closed.

    Args:
        folder: is made; must not hold annotations already.
        instances: the robots that will be annotated.
        about: goes into ``info``.

    Raises:
        DexError: code ``exists``: the folder has annotations; ``not_written``: it cannot be made.
    """

    def __init__(self, folder: Path, instances: Sequence[Instance], about: Mapping[str, Any]) -> None:
        if (folder / FILE).exists():
            raise DexError(f"{folder / FILE} is there already; name another folder", code="exists")
        try:
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DexError(f"{folder} cannot be made: {error}", code="not_written") from error
        self.folder = folder
        self._about = dict(about)
        self._categories = categories_of(instances)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    @property
    def pictures(self) -> int:
        """How many there are so far."""
        return len(self._images)

    def add(self, sample: Sample, annotation: Annotation) -> Path:
        """One picture with its robots; the picture's path. Raises DexError (``not_written``)."""
        number = len(self._images) + 1
        name = f"{FOLDER}/{number:06d}.png"
        if not cv2.imwrite(str(self.folder / name), cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR)):
            raise DexError(f"{self.folder / name} cannot be written", code="not_written")
        self._images.append(_image(number, name, sample, annotation))
        for robot in annotation.robots:
            if robot.box_xywh is not None:
                self._annotations.append(self._entry(robot, number, sample.rgb.shape[:2]))
        return self.folder / name

    def close(self) -> Path:
        """Writes the file; its path."""
        written = _date(datetime.now(timezone.utc))
        data = {
            "info": {"description": "Robot keypoints by forward kinematics", "version": "1.0", "date_created": written, **self._about},
            "licenses": [], "images": self._images, "annotations": self._annotations, "categories": list(self._categories.values()),
        }
        path, partial = self.folder / FILE, self.folder / (FILE + ".part")
        try:
            partial.write_text(json.dumps(data, allow_nan=False) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise DexError(f"{path} cannot be written: {error}", code="not_written") from error
        return path

    def _entry(self, robot: Labelled, image: int, size_hw: tuple[int, int]) -> dict[str, Any]:
        instance = robot.instance
        box = [round(value, DECIMALS) for value in robot.box_xywh or ()]
        area = float(robot.mask.sum()) if robot.mask is not None and robot.mask.any() else box[2] * box[3]
        entry = {
            "id": len(self._annotations) + 1, "image_id": image, "category_id": self._categories[instance.category]["id"], "iscrowd": 0,
            "interface": instance.name, "side": instance.side, "bbox": box, "area": area, "keypoints": _triples(robot),
            "num_keypoints": int(np.count_nonzero(robot.visibility != MISSING)), "points_in_camera_m": _points(robot),
        }
        if robot.mask is not None and robot.mask.any():
            entry["segmentation"] = {"size": list(size_hw), "counts": run_lengths(robot.mask)}
        return entry


def categories_of(instances: Sequence[Instance]) -> dict[str, dict[str, Any]]:
    """Robot -> COCO category; ``skeleton`` counts from 1. Hands of every kind have the same 21 names in the same order."""
    found: dict[str, dict[str, Any]] = {}
    for instance in instances:
        found.setdefault(instance.category, {
            "id": len(found) + 1, "name": instance.category, "supercategory": instance.kind, "keypoints": list(instance.names),
            "skeleton": [[start + 1, end + 1] for start, end in instance.edges],
        })
    return found


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths of a (H, W) mask: down the columns, beginning with those outside."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(order="F")])))
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()


def _image(number: int, name: str, sample: Sample, annotation: Annotation) -> dict[str, Any]:
    i = sample.intrinsics
    return {
        "id": number, "file_name": name, "width": i.width, "height": i.height, "license": 0,
        "date_captured": _date(datetime.fromtimestamp(sample.stamp_ns // NS, timezone.utc)), "stamp_ns": sample.stamp_ns, "frame_id": sample.frame_id,
        "camera": {"fx": i.fx, "fy": i.fy, "cx": i.cx, "cy": i.cy, "distortion": list(i.distortion)},
        "pose_camera_in_world": annotation.pose_camera_in_world.tolist(), "visibility_by": annotation.by,
    }


def _triples(robot: Labelled) -> list[float | int]:
    out: list[float | int] = []
    for (u, v), visibility in zip(robot.uv.tolist(), robot.visibility.tolist(), strict=True):
        out += [0, 0, MISSING] if visibility == MISSING else [round(u, DECIMALS), round(v, DECIMALS), visibility]
    return out


def _points(robot: Labelled) -> list[list[float] | None]:
    return [[round(part, 5) for part in point] if np.isfinite(point).all() else None for point in robot.points_m.tolist()]


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
