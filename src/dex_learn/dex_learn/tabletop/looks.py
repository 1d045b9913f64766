# SPDX-License-Identifier: Apache-2.0
"""Patterns on things and tables, painted into the picture where each point of a body is seen, and what a colour sensor adds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KINDS = ("plain", "stripes", "checks", "mottled", "rings")
KIND_SHARES = (0.45, 0.17, 0.1, 0.18, 0.1)
WAVES = 5


def paint(shaded: Array, points: Array, base: Array, rng: np.random.Generator, period_m: tuple[float, float]) -> Array:
    """A pattern on one body.

    Args:
        shaded: (P, 3) colours of its pixels as rendered, light included, in [0, 1].
        points: (P, 3) the same pixels in the body's own frame [m].
        base: (P, 3) or (3,) the colours it was rendered with; their ratio to ``shaded`` is the light.
        rng: of kind, colours and directions.
        period_m: shortest and longest length of a pattern.

    Returns:
        (P, 3) in [0, 1].
    """
    kind = rng.choice(KINDS, p=KIND_SHARES)
    other, period = rng.uniform(0.05, 0.95, 3), np.exp(rng.uniform(*np.log(period_m)))
    direction = rng.standard_normal((3, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    phases, strength = rng.uniform(0.0, 2.0 * np.pi, WAVES), rng.uniform(0.3, 1.0)
    if kind == "plain":
        return shaded
    along = 2.0 * np.pi * points / period
    if kind == "stripes":
        share = (np.sin(along @ direction[0]) > 0.0).astype(float)
    elif kind == "checks":
        share = (np.sin(along[:, 0]) * np.sin(along[:, 1]) * np.where(np.sin(along[:, 2]) >= 0.0, 1.0, -1.0) > 0.0).astype(float)
    elif kind == "rings":
        share = (np.sin(along[:, 2]) > 0.3).astype(float)
    else:
        share = _mottle(points / period, phases, rng)
    light = shaded.mean(axis=1, keepdims=True) / np.maximum(np.broadcast_to(base, shaded.shape).mean(axis=1, keepdims=True), 0.05)
    weight = strength * share[:, None]
    return np.clip((1.0 - weight) * shaded + weight * other * np.minimum(light, 2.0), 0.0, 1.0)


def two_coloured(shaded: Array, points: Array, base: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Another colour beyond a plane through a body: (P, 3) as seen and (P, 3) without the light; arguments as of ``paint``."""
    direction = rng.standard_normal(3) if rng.random() < 0.5 else np.eye(3)[rng.integers(3)] * rng.choice([-1.0, 1.0])
    other, share = rng.uniform(0.05, 0.95, 3), rng.uniform(0.15, 0.85)
    if not len(points):
        return shaded, base
    along = points @ direction
    beyond = (along > np.quantile(along, share))[:, None]
    light = shaded.mean(axis=1, keepdims=True) / np.maximum(base.mean(axis=1, keepdims=True), 0.05)
    return np.where(beyond, np.clip(other * np.minimum(light, 2.0), 0.0, 1.0), shaded), np.where(beyond, other, base)


def _mottle(scaled: Array, phases: Array, rng: np.random.Generator) -> Array:
    """Smooth noise in [0, 1]: a sum of waves in random directions."""
    total = sum(np.sin(scaled @ rng.normal(0.0, 4.0, 3) + phase) for phase in phases)
    return 0.5 + 0.5 * np.tanh(np.asarray(total))


def expose(rgb: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """White balance, gain, vignetting and the sensor's noise: (H, W, 3) in [0, 1] to uint8."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
    fall = 1.0 - rng.uniform(0.0, 0.2) * (x * x + y * y)[..., None] / 2.0
    gain = rng.uniform(0.8, 1.2) * (1.0 + rng.uniform(-0.08, 0.08, 3))
    noisy = rgb * gain * fall + rng.normal(0.0, rng.uniform(0.004, 0.02), rgb.shape)
    return (np.clip(noisy, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
