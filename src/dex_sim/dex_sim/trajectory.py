# SPDX-License-Identifier: Apache-2.0
"""Turns waypoints of a hand into joint samples: constant speed along the path, rounded corners, bounded joint speed."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_sim.toolpose import ToolArm

Array = NDArray[np.float64]

JOINT_SPEED_RAD_S = 1.0
TURN_SPEED_RAD_S = 1.0
SMOOTH_S = 0.30
LEAD_S = 0.03  # the servos' lag: a target leads the measured joint by this much
SETTLE_S = 0.40  # time constant in which a start off the path's own joints is forgotten
SPACING_M = 0.015
GENTLE_M, GENTLE = 0.07, 0.35  # this near to home the motion is slower, down to this share
FINE = 4  # samples per step used for smoothing


@dataclass(frozen=True)
class Leg:
    """Straight way to a tool pose (4,) at a speed in m/s."""

    pose: Array
    speed_m_s: float


def sample_path(arm: ToolArm, q: Array, pose: Array, legs: list[Leg], steps: int, dt_s: float) -> Array:
    """(steps, 7) joints in rad at dt_s, 2 dt_s, ... from now along ``legs``.

    Args:
        arm: the arm that moves.
        q: (7,) measured joints, where the path starts.
        pose: (4,) tool pose of ``q``.
        legs: the way; the last pose is held.
        steps: number of samples.
        dt_s: time between samples in s.
    """
    points, times = _timed_points(arm, pose, legs)
    fine_s = dt_s / FINE
    half = int(round(0.5 * SMOOTH_S / fine_s))
    grid = LEAD_S + fine_s * np.arange(-half, steps * FINE + half + 1)
    raw = np.stack([np.interp(grid, times, column) for column in points.T], axis=1)
    total = np.cumsum(np.concatenate([np.zeros((1, 4)), raw]), axis=0)
    smooth = (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
    joints = arm.joints(smooth[FINE : steps * FINE + 1 : FINE])
    residual = q - arm.joints(pose[None])[0]
    decay = np.exp(-dt_s * np.arange(1, steps + 1) / SETTLE_S)[:, None]
    return np.clip(joints + decay * residual, arm.lower_rad, arm.upper_rad)


def _timed_points(arm: ToolArm, pose: Array, legs: list[Leg]) -> tuple[Array, Array]:
    """Points (n, 4) along the way and when (n,) s they are reached, begun before t = 0 with the first leg's motion."""
    pieces, speeds, start = [pose[None]], [np.zeros(1)], pose
    for leg in legs:
        length = float(np.linalg.norm(leg.pose[:3] - start[:3]))
        turn = abs(leg.pose[3] - start[3])
        count = max(1, int(np.ceil(max(length / SPACING_M, turn / 0.05))))
        fractions = np.linspace(0.0, 1.0, count + 1)[1:, None]
        pieces.append(start + fractions * (leg.pose - start))
        speeds.append(np.full(count, leg.speed_m_s))
        start = leg.pose
    points, speed = np.concatenate(pieces), np.concatenate(speeds)[1:]
    moved = np.diff(points, axis=0)
    joint_moved = np.abs(np.diff(arm.joints(points), axis=0)).max(axis=1)
    spans = np.maximum.reduce([
        np.linalg.norm(moved[:, :3], axis=1) / speed, joint_moved / JOINT_SPEED_RAD_S, np.abs(moved[:, 3]) / TURN_SPEED_RAD_S,
    ])
    away = np.linalg.norm(0.5 * (points[1:, :3] + points[:-1, :3]) - arm.home[:3], axis=1)
    spans = spans / (GENTLE + (1.0 - GENTLE) * np.minimum(1.0, away / GENTLE_M))
    times = np.concatenate([[0.0], np.cumsum(spans)])
    if spans.size and spans[0] > 1e-9:
        before = points[0] - moved[0] / spans[0]  # one second earlier at the same speed
        points, times = np.concatenate([before[None], points]), np.concatenate([[-1.0], times])
    return points, times
