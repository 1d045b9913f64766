# SPDX-License-Identifier: Apache-2.0
"""Turns what one side shall do next into samples: tool poses at bounded speed with rounded corners, and the hand's joints with them."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEPS, DT_S = 64, 0.05
FINE = 4  # samples per step used for smoothing
SMOOTH_S = 0.30
LEAD_S = 0.03  # the servos' lag: a target leads the measured joint by this much
TURN_SPEED_RAD_S = 1.2
SHAPE_SPEED_RAD_S = 1.6
SPACING_M = 0.02


@dataclass(frozen=True)
class Step:
    """Straight way to a tool pose (4,) at a speed in m/s, the hand going to ``shape`` (n,) meanwhile; lasts at least ``least_s``."""

    pose: Array
    speed_m_s: float
    shape: Array
    least_s: float = 0.0

    def duration_s(self, start: Array) -> float:
        """How long it takes from ``start`` (4,)."""
        way = float(np.linalg.norm(self.pose[:3] - start[:3])) / self.speed_m_s
        return max(way, abs(float(self.pose[3] - start[3])) / TURN_SPEED_RAD_S, self.least_s)


def sample_steps(pose: Array, hand: Array, steps: list[Step]) -> tuple[Array, Array]:
    """(64, 4) tool poses and (64, n) hand joints at 0.05 s, 0.10 s... from now.

    Args:
        pose: (4,) measured tool pose, where the way begins.
        hand: (n,) measured hand joints.
        steps: what to do; the last pose and shape are held.
    """
    points, times = _timed(pose, steps)
    fine_s = DT_S / FINE
    half = int(round(0.5 * SMOOTH_S / fine_s))
    grid = LEAD_S + fine_s * np.arange(-half, STEPS * FINE + half + 1)
    raw = np.stack([np.interp(grid, times, column) for column in points.T], axis=1)
    total = np.cumsum(np.concatenate([np.zeros((1, 4)), raw]), axis=0)
    smooth = (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
    return smooth[FINE : STEPS * FINE + 1 : FINE], _hand(pose, hand, steps)


def _timed(pose: Array, steps: list[Step]) -> tuple[Array, Array]:
    """Corners (n, 4) of the way and when they are reached; the first motion is under way already at t = 0."""
    points, times = [pose], [0.0]
    for step in steps:
        times.append(times[-1] + max(step.duration_s(points[-1]), 1e-6))
        points.append(step.pose)
    if len(points) > 1 and np.linalg.norm(points[1][:3] - pose[:3]) > SPACING_M:
        points.insert(0, pose - (points[1] - pose) / (times[1] - times[0]))
        times.insert(0, -1.0)
    return np.array(points), np.array(times)


def _hand(pose: Array, hand: Array, steps: list[Step]) -> Array:
    """(64, n): the shape of the step under way, approached with all joints arriving together."""
    ends, start = [], pose
    for step in steps:
        ends.append((ends[-1] if ends else 0.0) + step.duration_s(start))
        start = step.pose
    out, now = np.empty((STEPS, len(hand))), np.array(hand, dtype=float)
    for k in range(STEPS):
        active = int(np.searchsorted(ends, k * DT_S + LEAD_S, side="right"))
        goal = steps[min(active, len(steps) - 1)].shape
        away = float(np.abs(goal - now).max())
        now = now + (goal - now) * min(1.0, SHAPE_SPEED_RAD_S * DT_S / max(away, 1e-9))
        out[k] = now
    return out


def shape_time_s(hand: Array, shape: Array) -> float:
    """How long a hand takes from its joints (n,) to a shape (n,)."""
    return float(np.abs(shape - hand).max()) / SHAPE_SPEED_RAD_S


def nearest_angle(angle: float, reference: float) -> float:
    """The same direction, not more than half a turn from ``reference`` [rad]."""
    return reference + (angle - reference + np.pi) % (2.0 * np.pi) - np.pi
