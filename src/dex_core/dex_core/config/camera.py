# SPDX-License-Identifier: Apache-2.0
"""One camera of a cell: who drives it, what it publishes, where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from dex_core.config.robot import Pose
from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

WORLD = "world"
TOPIC_WORD = re.compile(r"[a-z][a-z0-9_]*")
EXTERNAL = "external"
"""Driver of a camera whose topics another package publishes, e.g. realsense2_camera: the stack starts no node for it."""
DEPTH_MM, DEPTH_M = "16UC1", "32FC1"
"""How depth is published: whole millimetres with 0 where unknown, or metres with NaN where unknown (REP 118)."""


@dataclass(frozen=True)
class CameraConfig:
    """A camera: driver, native picture, crop and size it publishes, pose of its optical frame's parent in the world.

    Attributes:
        driver: entry point in ``dex.cameras``, or ``external``.
        address: what the driver takes, e.g. ``serial:<n>`` or ``file:<path>``; docs/cameras.md.
        native_wh, crop_xywh, output_wh: [px].
        fovy_rad: vertical field of view of the native picture of a simulated camera.
        position_m, look_at_m: camera centre and the point it looks at, in ``world``, the picture upright.
        pose: of ``camera_link`` (x ahead, y left, z up) in ``mounted_on``, as ``dex calibrate camera`` measures it; takes the place of those two.
        mounted_on: ``world``, or for a camera on an arm a link of the cell, with its prefix; such a camera needs ``pose``.
        depth: whether depth is read and published.
        depth_encoding: how.
        jpeg_quality: of the compressed pictures, which are made only for those who subscribe to them.
        options: the driver's own settings; each driver refuses what it does not know.
    """

    driver: str = "simulated"
    address: str = ""
    native_wh: tuple[int, int] = (960, 540)
    crop_xywh: tuple[int, int, int, int] = (120, 0, 720, 540)
    output_wh: tuple[int, int] = (320, 240)
    rate_hz: float = bounded(1.0, 120.0, default=20.0)
    fovy_rad: float = bounded(0.1, 3.0, default=0.9)
    position_m: tuple[float, float, float] = (1.2, 0.0, 0.7)
    look_at_m: tuple[float, float, float] = (0.4, 0.0, 0.05)
    pose: Pose | None = None
    mounted_on: str = WORLD
    depth: bool = False
    depth_encoding: str = choice(DEPTH_MM, DEPTH_M, default=DEPTH_M)
    jpeg_quality: int = bounded(1, 100, default=90)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mounted_on != WORLD and self.pose is None:
            raise ConfigError(f"mounted_on is {self.mounted_on!r}, but pose is missing; without it a camera stands in {WORLD!r}")

    @property
    def centre_m(self) -> tuple[float, float, float]:
        """Where ``camera_link`` is in ``mounted_on`` [m]."""
        return self.position_m if self.pose is None else self.pose.xyz_m
