# SPDX-License-Identifier: Apache-2.0
"""Segmenter of a bundle of kind ``segmentation``: Point-SAM itself, or any model that takes and gives the same tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle import Bundle
from dex_core.bundle.segmentation import CLICKS, COLORS, LABELS, MASK, POINTS, SegmentationSpec
from dex_core.clouds import Cloud, nearest
from dex_core.errors import ConfigError, DexError, ShapeError
from dex_perception.segment.base import Clicks, Mask
from dex_perception.segment.codes import NoTarget

LEAST_POINTS = 32
"""Below, there is nothing to segment; up to the model's least number, points are repeated."""
GREY = 0.5
"""Colour of a cloud that has none."""
FLOOR_M2 = 1e-8
"""Keeps the weight of a point that lies on another finite [m^2]."""
REACH = 1.0 + 1e-6
"""Farthest coordinate of a click in the unit sphere: beyond it, the positions that Point-SAM was trained with end."""


@dataclass(frozen=True)
class Frame:
    """From metres to the model's coordinates: (p - origin_m) / unit_m.

    Attributes:
        origin_m: (3,). unit_m: length of one unit.
        bounded: coordinates lie in [-1, 1].
    """

    origin_m: NDArray[np.float64]
    unit_m: float
    bounded: bool

    def coords(self, points_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3) points [m] in the model's coordinates."""
        return ((points_m - self.origin_m) / self.unit_m).astype(np.float32)


@dataclass(frozen=True)
class Spread:
    """How every point of a cloud takes its value from the three nearest of those that were encoded.

    Attributes:
        indices: (N, 3) into the encoded points. weights: (N, 3), rows sum to 1.
    """

    indices: NDArray[np.int64]
    weights: NDArray[np.float32]

    @staticmethod
    def between(points_m: NDArray[np.float32], encoded_m: NDArray[np.float32]) -> Spread:
        """Inverse squared distances."""
        found = nearest(points_m, encoded_m, min(3, len(encoded_m)))
        weights = 1.0 / np.maximum(np.square(found.distances_m), np.float32(FLOOR_M2))
        return Spread(found.indices, weights / weights.sum(axis=1, keepdims=True))

    def over(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(encoded points,) values at every point: (N,)."""
        return np.einsum("nk,nk->n", values[self.indices], self.weights)


@dataclass(frozen=True)
class Encoded:
    """A cloud that clicks can be decoded on.

    Attributes:
        count: points of the cloud that was given.
        chosen: (n,) which of them were encoded, in order; the model saw them repeated where they were too few.
        frame: of the model's coordinates.
        tensors: inputs and outputs of the encoder by name, batch of one.
        spread: back to all points; None where all were encoded.
    """

    count: int
    chosen: NDArray[np.int64]
    frame: Frame
    tensors: dict[str, NDArray]
    spread: Spread | None


class PointSam:
    """Implements dex_perception.segment.base.Segmenter.

    Args:
        bundle: loaded, of kind ``segmentation``.

    Attributes:
        name: the bundle's.

    Raises:
        ConfigError: a bundle of another kind.
    """

    def __init__(self, bundle: Bundle) -> None:
        spec = bundle.manifest.segmentation
        if spec is None:
            raise ConfigError(f"bundle {bundle.manifest.name!r} is of kind {bundle.manifest.kind!r}; needed is 'segmentation'")
        self.name = bundle.manifest.name
        self._spec, self._sessions = spec, bundle.sessions
        self._least, self._most = bundle.manifest.graphs["encoder"].dynamic[_count_axis(bundle)]

    def encode(self, cloud: Cloud, pose_camera_in_world: NDArray[np.float64]) -> Encoded:
        """Normalises the cloud, thins it to what the model takes, and runs the encoder.

        Raises:
            DexError: ``depth_empty`` for less than 32 points, or points that all lie in one place.
        """
        if len(cloud) < LEAST_POINTS:
            raise DexError(f"{len(cloud)} points; at least {LEAST_POINTS} are needed", code="depth_empty")
        frame = frame_of(cloud.points_m, self._spec, pose_camera_in_world)
        chosen = thinned(len(cloud), min(self._spec.points, self._most))
        rows = np.resize(chosen, max(len(chosen), self._least))
        colors = np.full((len(rows), 3), GREY, np.float32) if cloud.rgb is None else cloud.rgb[rows].astype(np.float32) / np.float32(255.0)
        tensors = {POINTS: frame.coords(cloud.points_m[rows])[None], COLORS: colors[None]}
        tensors |= self._sessions["encoder"].run(tensors)
        spread = None if len(chosen) == len(cloud) else Spread.between(cloud.points_m, cloud.points_m[chosen])
        return Encoded(len(cloud), chosen, frame, tensors, spread)

    def decode(self, encoded: Encoded, clicks: Clicks, previous: Mask | None = None) -> Mask:
        """The mask believed best; with a previous one, the model goes on from it where it has a graph for that.

        Raises:
            NoTarget: ``prompt_outside``, a click lies outside the cloud's sphere; ``low_confidence``, the bundle calls such a mask no target.
            ShapeError: more clicks than the model takes, or a previous mask of another cloud.
        """
        known = {**encoded.tensors, CLICKS: _prompts(encoded.frame, clicks)[None], LABELS: clicks.positive.astype(np.int64)[None]}
        graph = "decoder"
        if previous is not None and "decoder_mask" in self._sessions:
            graph, known[MASK] = "decoder_mask", self._given(encoded, previous)
        session = self._sessions[graph]
        found = session.run({tensor.name: known[tensor.name] for tensor in session.spec.inputs})
        best = int(found["iou"][0].argmax())
        confidence = float(np.clip(found["iou"][0, best], 0.0, 1.0))
        if confidence < self._spec.min_iou:
            raise NoTarget(f"the mask is believed to be right by {confidence:.2f}; {self.name} needs {self._spec.min_iou:.2f}", code="low_confidence")
        logits = found["masks"][0, best, : len(encoded.chosen)]
        return Mask(logits.copy() if encoded.spread is None else encoded.spread.over(logits), confidence)

    def _given(self, encoded: Encoded, previous: Mask) -> NDArray[np.float32]:
        if previous.logits.shape != (encoded.count,):
            raise ShapeError(f"previous mask: {previous.logits.shape} logits; the cloud has {encoded.count} points")
        return np.resize(previous.logits[encoded.chosen].astype(np.float32), encoded.tensors[POINTS].shape[1])[None]


def _count_axis(bundle: Bundle) -> str:
    tensor = bundle.manifest.graphs["encoder"].input(POINTS)
    assert tensor is not None  # the kind's layout check
    return str(tensor.shape[1])


def frame_of(points_m: NDArray[np.float32], spec: SegmentationSpec, pose_camera_in_world: NDArray[np.float64]) -> Frame:
    """The model's coordinates of one cloud; of all its points, before any are left out, as Point-SAM was trained.

    Args:
        points_m: (N, 3) in the world frame. pose_camera_in_world: (4, 4) of the optical frame they were seen from.

    Raises:
        DexError: ``depth_empty``, all points lie in one place.
    """
    if spec.coords == "lens":
        return Frame(np.asarray(pose_camera_in_world, dtype=np.float64)[:3, 3], spec.unit_m, bounded=False)
    origin = points_m.mean(axis=0, dtype=np.float64)
    unit = float(np.sqrt(np.square(points_m - origin).sum(axis=1).max()))
    if not unit > 0.0:
        raise DexError(f"all {len(points_m)} points lie in one place", code="depth_empty")
    return Frame(origin, unit, bounded=True)


def thinned(count: int, most: int) -> NDArray[np.int64]:
    """Indices of at most ``most`` of ``count`` points, in order: all of them, or a random choice that is the same every time."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _prompts(frame: Frame, clicks: Clicks) -> NDArray[np.float32]:
    coords = frame.coords(clicks.points_m)
    beyond = np.abs(coords).max(axis=1) > REACH
    if frame.bounded and beyond.any():
        at = np.round(clicks.points_m[int(beyond.argmax())], 3).tolist()
        raise NoTarget(f"the click at {at} m lies outside the cloud, which reaches {frame.unit_m:.3f} m from its middle", code="prompt_outside")
    return np.clip(coords, -1.0, 1.0) if frame.bounded else coords
