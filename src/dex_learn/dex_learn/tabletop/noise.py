# SPDX-License-Identifier: Apache-2.0
"""What a stereo depth camera makes of a true depth picture: ragged edges, shadows, axial noise, steps, holes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.float32]


@dataclass(frozen=True)
class DepthNoise:
    """How bad a depth camera is, at 320 pixels' width.

    Attributes:
        disparity_px: standard deviation of the matching error [px]; the depth's then grows with z^2 (``z^2 / (f b)`` m a pixel).
        smooth_px: how far neighbouring errors agree [px]: block matchers blur.
        step_px: step of the disparity [px].
        baseline_m: between the two eyes; it also casts the shadow beside near things in which there is no depth.
        edge_px: standard deviation of how far edges are displaced [px]. edge_loss: share of pixels lost at edges.
        speckle: share of single pixels lost anywhere. shine_loss: share of pixels lost where the picture is glaring.
        blobs: lost patches per picture.
    """

    disparity_px: float
    smooth_px: float = 1.6
    step_px: float = 1.0 / 40.0
    baseline_m: float = 0.05
    edge_px: float = 0.6
    edge_loss: float = 0.3
    speckle: float = 0.004
    shine_loss: float = 0.5
    blobs: float = 2.0


LEVELS: dict[str, DepthNoise | None] = {
    "none": None,
    "low": DepthNoise(0.02, edge_px=0.4, edge_loss=0.15, speckle=0.001, shine_loss=0.2, blobs=0.5),
    "typical": DepthNoise(0.04),
    "high": DepthNoise(0.08, step_px=1.0 / 20.0, edge_px=1.0, edge_loss=0.5, speckle=0.02, shine_loss=0.8, blobs=5.0),
}
"""Of 320-pixel pictures with f = 250 px and 5 cm between the eyes, at 1 m: 1.6, 3.2 and 6.4 mm of noise."""
GLARE = 235
EDGE_SHARE = 0.03
BLOB_PX = 7.0


def add_noise(depth_m: Depth, rgb: NDArray[np.uint8], focal_px: float, noise: DepthNoise | None, rng: np.random.Generator) -> Depth:
    """A noisy copy of a true depth picture.

    Args:
        depth_m: (H, W) along the optical axis, finite and positive.
        rgb: (H, W, 3) the picture it is aligned to.
        focal_px: horizontal focal length.
        noise: None leaves every pixel as it is.
        rng: of everything drawn.

    Returns:
        (H, W) float32 [m], NaN where such a camera sees nothing.
    """
    if noise is None:
        return depth_m.copy()
    height, width = depth_m.shape
    lost = _shadow(focal_px * noise.baseline_m / depth_m) | _edge(depth_m, noise, rng)
    shift = rng.normal(0.0, noise.edge_px, (2, height, width))
    rows = np.clip(np.rint(np.arange(height)[:, None] + shift[0]), 0, height - 1).astype(int)
    columns = np.clip(np.rint(np.arange(width)[None] + shift[1]), 0, width - 1).astype(int)
    disparity = focal_px * noise.baseline_m / depth_m[rows, columns]
    disparity += noise.disparity_px * _smooth(rng.standard_normal((height, width)), noise.smooth_px)
    disparity = np.maximum(np.rint(disparity / noise.step_px), 1.0) * noise.step_px
    lost |= rng.random((height, width)) < noise.speckle
    lost |= (rgb.min(axis=2) > GLARE) & (_smooth(rng.standard_normal((height, width)), 1.5) > 1.0 - 2.0 * noise.shine_loss)
    lost |= _blobs(height, width, noise.blobs, rng)
    out = (focal_px * noise.baseline_m / disparity).astype(np.float32)
    out[lost] = np.nan
    return out


def _shadow(disparity: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Pixels that the second eye, to the right of the first, does not see because something nearer covers them."""
    seen_at = np.arange(disparity.shape[1])[None] - disparity
    right = np.minimum.accumulate(seen_at[:, ::-1], axis=1)[:, ::-1]
    behind = np.empty_like(seen_at, dtype=bool)
    behind[:, :-1] = seen_at[:, :-1] > right[:, 1:] + 0.5
    behind[:, -1] = False
    return behind


def _edge(depth_m: Depth, noise: DepthNoise, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Some of the pixels beside a jump in depth."""
    kernel = np.ones((3, 3), np.uint8)
    jump = cv2.dilate(depth_m, kernel) - cv2.erode(depth_m, kernel) > EDGE_SHARE * depth_m
    return jump & (rng.random(depth_m.shape) < noise.edge_loss)


def _smooth(white: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    """Blurred noise, scaled to a standard deviation of about 1 again."""
    soft = cv2.GaussianBlur(white, (0, 0), sigma_px)
    return soft * (2.0 * np.sqrt(np.pi) * sigma_px)


def _blobs(height: int, width: int, count: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    holes = np.zeros((height, width), np.uint8)
    for _ in range(rng.poisson(count)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = tuple(int(v) for v in 1 + rng.exponential(BLOB_PX / 3.0, 2))
        cv2.ellipse(holes, centre, axes, float(rng.uniform(0.0, 180.0)), 0.0, 360.0, 1, -1)
    return holes.astype(bool)
