# SPDX-License-Identifier: Apache-2.0
"""The referee of a task: looks at the true poses of its objects and says how far it has come."""
from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import TaskConfig

Poses = dict[str, NDArray[np.float64]]
LYING_ABOVE_M = 0.012
"""A fruit in the bowl may stick out over the rim with less than its middle by this much."""


@dataclass(frozen=True)
class Judgement:
    """Verdict on one instant.

    Attributes:
        success: the task is done.
        gap_m: free space still to close: between the cans' sides, or from the worst fruit to the bowl's inside.
        upright: nothing has fallen, tipped or left the table.
        progress: 0 at the start to 1 on success.
        detail: one sentence for people.
    """

    success: bool
    gap_m: float
    upright: bool
    progress: float
    detail: str


class Judge:
    """Judges poses against one task; remembers the start of an attempt to tell progress."""

    def __init__(self, task: TaskConfig) -> None:
        self.task = task
        self._start: dict[str, float] = {}

    def reset(self, poses: Poses) -> None:
        """Takes these poses as the start."""
        if self.task.rule == "together":
            self._start = {"gap": max(self._gap_m(poses), self.task.success_gap_m + 1e-3)}
        else:
            self._start = {name: max(distance, 0.02) for name, distance in self._outside_m(poses).items()}

    def judge(self, poses: Poses, speeds_m_s: Mapping[str, float] | None = None, touched: Set[str] = frozenset()) -> Judgement:
        """Verdict on one instant.

        Args:
            poses: object -> (7,) position m and quaternion w, x, y, z in ``world``.
            speeds_m_s: object -> how fast its middle moves; 0 when left out.
            touched: objects that a robot touches.
        """
        if self.task.rule == "together":
            return self._together(poses)
        return self._inside(poses, speeds_m_s or {}, touched)

    def _together(self, poses: Poses) -> Judgement:
        gap, fallen = self._gap_m(poses), self._fallen(poses)
        touching = gap <= self.task.success_gap_m
        success = touching and not fallen
        start = self._start.get("gap", 1.0)
        progress = 1.0 if success else float(np.clip((start - gap) / (start - self.task.success_gap_m), 0.0, 0.99))
        detail = f"{' and '.join(fallen)} fell" if fallen else "the cans touch" if touching else f"gap {gap * 1e3:.0f} mm"
        return Judgement(success, gap, not fallen, 0.0 if fallen else progress, detail)

    def _inside(self, poses: Poses, speeds: Mapping[str, float], touched: Set[str]) -> Judgement:
        outside, fallen = self._outside_m(poses), self._fallen(poses)
        inside = [name for name, distance in outside.items() if distance <= 0.0]
        held = [name for name in inside if name in touched]
        moving = [name for name in inside if name not in held and speeds.get(name, 0.0) > self.task.rest_speed_m_s]
        success = len(inside) == len(outside) and not held and not moving and not fallen
        shares = [1.0 if name in inside else float(np.clip(1.0 - d / self._start.get(name, 1.0), 0.0, 1.0)) for name, d in outside.items()]
        progress = 1.0 if success else min(0.99, float(np.mean(shares)))
        detail = f"{' and '.join(inside) or 'nothing'} in the bowl"
        if fallen:
            detail = f"{' and '.join(fallen)} fell"
        elif held or moving:
            detail += f", {' and '.join(held or moving)} still {'held' if held else 'moving'}"
        return Judgement(success, max(max(outside.values()), 0.0), not fallen, 0.0 if fallen else progress, detail)

    def _gap_m(self, poses: Poses) -> float:
        """Horizontal free space between the two cans (negative when contact is soft)."""
        (first, one), (second, other) = self.task.objects.items()
        return float(np.linalg.norm(poses[first][:2] - poses[second][:2]) - one.radius_m - other.radius_m)

    def _outside_m(self, poses: Poses) -> dict[str, float]:
        """Fruit -> how far its middle is from the inside of the bowl; 0 inside."""
        (bowl, shape), found = next(iter(self.task.of_kind("bowl").items())), {}
        rotation = _rotation(poses[bowl])
        for name in self.task.of_kind("fruit"):
            x, y, z = rotation.T @ (poses[name][:3] - poses[bowl][:3])
            beside, above = np.hypot(x, y) - shape.radius_m, z - 0.5 * shape.size_m[2] - LYING_ABOVE_M
            below = -0.5 * shape.size_m[2] - z
            found[name] = float(np.linalg.norm(np.maximum((beside, above, below), 0.0)))
        return found

    def _fallen(self, poses: Poses) -> list[str]:
        """What lies that should stand, and what is below the table."""
        stands = {name for name, thing in self.task.objects.items() if thing.kind != "fruit"}
        return [name for name, pose in poses.items() if pose[2] < 0.0 or (name in stands and tilt_rad(pose) > self.task.max_tilt_rad)]


def tilt_rad(pose: NDArray[np.float64]) -> float:
    """Angle in rad between an object's own z axis and the vertical, from its (7,) pose."""
    _, x, y, _ = pose[3:7]
    return float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))


def _rotation(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = pose[3:7]
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])
