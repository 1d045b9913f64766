# SPDX-License-Identifier: Apache-2.0
"""A task of the simulated cell: instruction, objects and where they may start."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config.strict import bounded
from dex_core.errors import ConfigError


@dataclass(frozen=True)
class Region:
    """A rectangle on the table, in ``world`` [m]."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]

    def __post_init__(self) -> None:
        for axis, (low, high) in (("x_m", self.x_m), ("y_m", self.y_m)):
            if not low < high:
                raise ConfigError(f"{axis} [{low}, {high}] must grow")


@dataclass(frozen=True)
class TaskConfig:
    """Push Cans of XL-VLA's table (j): two cans, each in its region, pushed together.

    Attributes:
        instruction: the sentence that names the task; paraphrases also count.
        regions: object -> where it may start.
        success_gap_m: largest gap between the cans that counts as touching.
        max_tilt_rad: beyond it a can has fallen.
        time_limit_s: after it the simulator's judge calls the attempt lost.
    """

    name: str
    instruction: str
    paraphrases: tuple[str, ...]
    regions: dict[str, Region]
    can_radius_m: float = bounded(0.005, 0.2)
    can_height_m: float = bounded(0.01, 0.5)
    can_mass_kg: float = bounded(0.01, 5.0)
    can_friction: float = bounded(0.01, 3.0)
    success_gap_m: float = bounded(0.0, 0.1, default=0.005)
    max_tilt_rad: float = bounded(0.01, 1.5, default=0.1745)
    time_limit_s: float = bounded(1.0, 600.0, default=40.0)
