# SPDX-License-Identifier: Apache-2.0
"""What a segmenter is: a cloud is encoded once, then every set of clicks is decoded to a mask over its points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import Cloud
from dex_core.errors import NonFiniteError, ShapeError


@dataclass(frozen=True)
class Clicks:
    """Points on the object and beside it.

    Attributes:
        points_m: (Q, 3) float32 in the frame of the cloud, Q >= 1.
        positive: (Q,) bool, True on the object; the first one always is.
    """

    points_m: NDArray[np.float32]
    positive: NDArray[np.bool_]

    def __post_init__(self) -> None:
        points = np.array(self.points_m, dtype=np.float32)
        positive = np.array(self.positive, dtype=bool)
        if points.ndim != 2 or points.shape[1] != 3 or positive.shape != (len(points),) or not len(points):
            raise ShapeError(f"clicks: points {points.shape} with labels {positive.shape}; expected (Q, 3) and (Q,), Q at least 1")
        if not np.isfinite(points).all():
            raise NonFiniteError(f"clicks: {np.count_nonzero(~np.isfinite(points).all(axis=1))} of {len(points)} points are not finite")
        if not positive[0]:
            raise ShapeError("clicks: the first one must lie on the object")
        for name, value in (("points_m", points), ("positive", positive)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Mask:
    """Which points of a cloud belong to the object.

    Attributes:
        logits: (N,) float32, one per point of the encoded cloud; above 0 on the object.
        confidence: 0 to 1, what the segmenter expects the mask's intersection over union with the truth to be.
    """

    logits: NDArray[np.float32]
    confidence: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(N,) True on the object."""
        return self.logits > 0.0


@runtime_checkable
class Segmenter(Protocol):
    """Clicks to masks.

    The cloud stands in a frame whose z points up, against gravity (the node gives ``world``). It may hold several 100,000 points: what a model
    cannot take, the segmenter itself thins out and brings back to every point.

    Attributes:
        name: shown in results and diagnostics; a bundle's name, or ``geometric``.
    """

    name: str

    def encode(self, cloud: Cloud, pose_camera_in_world: NDArray[np.float64]) -> Any:
        """What every decode of this cloud needs.

        Args:
            cloud: world frame, with colour.
            pose_camera_in_world: (4, 4) of the optical frame it was seen from.

        Raises:
            DexError: the cloud is too small.
        """
        ...

    def decode(self, encoded: Any, clicks: Clicks, previous: Mask | None = None) -> Mask:
        """The mask that the clicks mean; ``previous``: a mask over the same cloud to refine. Raises DexError."""
        ...
