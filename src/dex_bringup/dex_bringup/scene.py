# SPDX-License-Identifier: Apache-2.0
"""A picture of the simulated scene as it is now, drawn here from the simulation's state."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dex_core.config import CellConfig
from dex_core.errors import ConfigError

MAX_AGE_S = 2.0


def save_scene(cell: CellConfig, path: Path) -> None:
    """Writes a PNG through the eyes of the cell's camera, uncropped.

    Raises:
        ConfigError: the cell has no simulated camera. DeviceError, StaleError: the simulation does not answer.
    """
    simulated = [camera for camera in cell.cameras.values() if camera.driver == "simulated"]
    if not cell.simulated or not simulated:
        raise ConfigError(f"cell {cell.name!r} has no simulated camera")
    from PIL import Image

    from dex_sim.camera import SimulatedCamera

    camera = SimulatedCamera(dataclasses.replace(simulated[0], depth=False), cell)
    camera.connect()
    try:
        Image.fromarray(camera.newest_frame(MAX_AGE_S).rgb).save(path)
    finally:
        camera.disconnect()
