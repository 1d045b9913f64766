# SPDX-License-Identifier: Apache-2.0
"""The referee of the task: looks at the true poses of the cans and says how far it has come."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import TaskConfig

Poses = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Judgement:
    """Verdict on one instant.

    Attributes:
        success: the cans touch within the task's gap and both stand upright.
        gap_m: free space between the cans' sides.
        upright: neither can leans further than the task allows.
        progress: 0 at the start to 1 on success.
        detail: one sentence for people.
    """

    success: bool
    gap_m: float
    upright: bool
    progress: float
    detail: str


class Judge:
    """Judges poses against one task; remembers the gap of the last reset to tell progress."""

    def __init__(self, task: TaskConfig) -> None:
        self._task = task
        self._start_gap_m = 1.0

    def reset(self, poses: Poses) -> None:
        """Takes these poses as the start."""
        self._start_gap_m = max(gap_m(poses, self._task.can_radius_m), self._task.success_gap_m + 1e-3)

    def judge(self, poses: Poses) -> Judgement:
        """Verdict on ``poses``: object -> (7,) position m and quaternion w, x, y, z in ``world``."""
        gap = gap_m(poses, self._task.can_radius_m)
        fallen = [name for name, pose in poses.items() if tilt_rad(pose) > self._task.max_tilt_rad]
        off = [name for name, pose in poses.items() if pose[2] < 0.0]
        upright = not fallen and not off
        touching = gap <= self._task.success_gap_m
        success = touching and upright
        span = self._start_gap_m - self._task.success_gap_m
        progress = 1.0 if success else float(np.clip((self._start_gap_m - gap) / span, 0.0, 0.99))
        if not upright:
            detail = f"{' and '.join(fallen + off)} fell"
        else:
            detail = "the cans touch" if touching else f"gap {gap * 1e3:.0f} mm"
        return Judgement(success, gap, upright, progress if upright else 0.0, detail)


def gap_m(poses: Poses, radius_m: float) -> float:
    """Horizontal free space between the two cans in m (negative when contact is soft)."""
    left, right = (poses[name][:2] for name in ("left_can", "right_can"))
    return float(np.linalg.norm(left - right) - 2.0 * radius_m)


def tilt_rad(pose: NDArray[np.float64]) -> float:
    """Angle in rad between a can's axis and the vertical, from its (7,) pose."""
    _, x, y, _ = pose[3:7]
    return float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))
