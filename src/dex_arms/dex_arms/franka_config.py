# SPDX-License-Identifier: Apache-2.0
"""Settings of the Franka driver, from ``config/drivers/franka_fci.yaml``."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config import find_share
from dex_core.config.strict import bounded, build, read_yaml
from dex_core.errors import ConfigError

Seven = tuple[float, float, float, float, float, float, float]
Six = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Collision:
    """Thresholds of the controller's collision detection: joints [N m], and force [N] and torque [N m] at the end effector."""

    lower_torque_nm: Seven = bounded(0.1, 100.0)
    upper_torque_nm: Seven = bounded(0.1, 100.0)
    lower_force: Six = bounded(0.1, 200.0)
    upper_force: Six = bounded(0.1, 200.0)

    def __post_init__(self) -> None:
        for lower, upper in ((self.lower_torque_nm, self.upper_torque_nm), (self.lower_force, self.upper_force)):
            if any(low > high for low, high in zip(lower, upper, strict=True)):
                raise ConfigError(f"collision: lower thresholds {list(lower)} must not be above the upper ones {list(upper)}")


@dataclass(frozen=True)
class FrankaSettings:
    """See the file's own comments.

    Attributes:
        acceleration_part, jerk_part: of the robot's own limits.
    """

    collision: Collision
    joint_impedance_nm_rad: Seven = bounded(1.0, 14250.0)
    acceleration_part: float = bounded(0.05, 1.0)
    jerk_part: float = bounded(0.05, 1.0)
    velocity_margin_rad_s: float = bounded(0.001, 0.5)
    corner_rad_s: float = bounded(5.0, 300.0)
    target_timeout_s: float = bounded(0.02, 1.0)


def load_settings() -> FrankaSettings:
    """The settings of this installation. Raises ConfigError."""
    path = find_share("config", "drivers", "franka_fci.yaml")
    return build(FrankaSettings, read_yaml(path), str(path))
