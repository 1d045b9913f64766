# SPDX-License-Identifier: Apache-2.0
"""Means of rotations, taken on the group itself: never of the numbers that stand for them."""

from __future__ import annotations

import numpy as np

from dex_core.types import Array

FURTHEST_RAD = 0.5 * np.pi
"""Within this of each other rotations have exactly one mean; one further from the newest has no say beside it."""
ITERATIONS, CLOSE_RAD = 20, 1e-12


def rotation_log(rotation: Array) -> Array:
    """(..., 3) axis times angle [rad] of (..., 3, 3); of turns by half a circle the axis is not told."""
    skew = 0.5 * np.stack([
        rotation[..., 2, 1] - rotation[..., 1, 2], rotation[..., 0, 2] - rotation[..., 2, 0], rotation[..., 1, 0] - rotation[..., 0, 1]
    ], axis=-1)
    sine = np.linalg.norm(skew, axis=-1, keepdims=True)
    cosine = 0.5 * (np.trace(rotation, axis1=-2, axis2=-1)[..., None] - 1.0)
    angle = np.arctan2(sine, cosine)
    return skew * np.divide(angle, sine, out=np.ones_like(sine), where=sine > 1e-12)


def rotation_exp(turn: Array) -> Array:
    """(..., 3, 3) of (..., 3) axis times angle [rad]."""
    angle = np.linalg.norm(turn, axis=-1)[..., None, None]
    k = np.zeros((*turn.shape[:-1], 3, 3))
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -turn[..., 2], turn[..., 1], -turn[..., 0]
    k -= np.swapaxes(k, -1, -2).copy()
    return np.eye(3) + np.sinc(angle / np.pi) * k + 0.5 * np.sinc(0.5 * angle / np.pi) ** 2 * (k @ k)


def mean_rotation(rotations: Array, weights: Array) -> Array:
    """(T, 3, 3) weighted mean of (m, T, 3, 3): the rotation with the least weighted sum of squared angles to them.

    Args:
        rotations: oldest first. Where one lies more than a quarter turn from the newest that counts, it does not count.
        weights: (m, T), not negative, of each time at least one positive.
    """
    newest = len(weights) - 1 - np.argmax(weights[::-1] > 0.0, axis=0)  # (T,)
    mean = rotations[newest, np.arange(rotations.shape[1])]
    away = np.linalg.norm(rotation_log(np.swapaxes(mean, -1, -2) @ rotations), axis=-1)  # (m, T)
    weights = np.where(away <= FURTHEST_RAD, weights, 0.0)
    share = (weights / np.sum(weights, axis=0))[..., None]
    for _ in range(ITERATIONS):
        step = np.sum(share * rotation_log(np.swapaxes(mean, -1, -2) @ rotations), axis=0)
        mean = mean @ rotation_exp(step)
        if np.max(np.abs(step), initial=0.0) < CLOSE_RAD:
            break
    return mean
