# SPDX-License-Identifier: Apache-2.0
"""Annotated samples into a folder: a COCO file with its pictures, and a video of the overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.coco import CocoWriter
from dex_perception.keypoints.overlay import caption, draw
from dex_perception.keypoints.sample import HIDDEN, VISIBLE, Annotation, Sample

VIDEO = "overlay.mp4"
WIDE_PX = 960
"""Smaller pictures are drawn as many times larger as fit into this."""


def scale_for(width: int) -> int:
    """How many times larger a picture of this width is drawn."""
    return max(1, WIDE_PX // width)


class AnnotationFiles:
    """Annotates samples one after another; a context manager that closes the files.

    Args:
        folder: for ``annotations.json``, ``images/`` and ``overlay.mp4``.
        annotator: of the cell.
        rate_hz: of the video; 0: none is made.
        about: goes into the file's ``info``.

    Attributes:
        annotated: samples so far. points: visibility in words -> points so far.
    """

    def __init__(self, folder: Path, annotator: Annotator, rate_hz: float, about: Mapping[str, Any]) -> None:
        self._annotator = annotator
        self._coco = CocoWriter(folder, annotator.instances, about)
        self._video_path = folder / VIDEO if rate_hz > 0.0 else None
        self._rate_hz = rate_hz
        self._video: cv2.VideoWriter | None = None
        self._first_ns: int | None = None
        self.annotated = 0
        self.points: Counter[str] = Counter({"visible": 0, "hidden": 0, "without_depth": 0})

    def __enter__(self) -> AnnotationFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._video is not None:
            self._video.release()
        self._coco.close()

    def add(self, sample: Sample) -> Annotation:
        """Annotates and writes one. Raises DexError (``not_written``)."""
        annotation = self._annotator.annotate(sample)
        self._coco.add(sample, annotation)
        if self._video_path is not None:
            self._show(sample, annotation)
        self.annotated += 1
        for robot in annotation.robots:
            self.points["visible"] += int(np.count_nonzero(robot.visibility == VISIBLE))
            self.points["hidden"] += int(np.count_nonzero(robot.visibility == HIDDEN))
        self.points["without_depth"] += annotation.points_without_depth
        return annotation

    def _show(self, sample: Sample, annotation: Annotation) -> None:
        self._first_ns = sample.stamp_ns if self._first_ns is None else self._first_ns
        drawn = draw(sample.rgb, annotation, scale=scale_for(sample.rgb.shape[1]), object_mask=sample.object_mask)
        picture = caption(drawn, [f"{(sample.stamp_ns - self._first_ns) * 1e-9:7.2f} s   stamp {sample.stamp_ns}   visibility by {annotation.by}"])
        even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        if self._video is None:
            self._video = _open(self._video_path, self._rate_hz, even)  # type: ignore[arg-type]
        self._video.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))


def _open(path: Path, rate_hz: float, picture: NDArray[np.uint8]) -> cv2.VideoWriter:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate_hz, (picture.shape[1], picture.shape[0]))
    if not video.isOpened():
        raise DexError(f"{path} cannot be written as mp4 by this OpenCV; leave the video out with --no-video", code="not_written")
    return video
