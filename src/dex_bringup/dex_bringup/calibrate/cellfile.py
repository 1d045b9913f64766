# SPDX-License-Identifier: Apache-2.0
"""The cell's file: shown as it would become, checked, and replaced as a whole."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from dex_bringup.calibrate.carrier import Written
from dex_core.config import find_share, load_cell
from dex_core.errors import ConfigError
from dex_description import compose_cell_urdf, parse_urdf
from dex_perception.calibrate.write import difference, with_camera_pose


@dataclass(frozen=True)
class Change:
    """A change to one file: its text before and after."""

    path: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        """As a unified diff; empty where nothing changes."""
        return difference(self.before, self.after, str(self.path))

    def write(self) -> None:
        """Replaces the file in one step. Raises ConfigError when somebody changed it meanwhile."""
        if self.path.read_text(encoding="utf-8") != self.before:
            raise ConfigError(f"{self.path} was changed meanwhile; nothing was written")
        fresh = self.path.with_name(f".{self.path.name}.new")
        fresh.write_text(self.after, encoding="utf-8")
        fresh.chmod(self.path.stat().st_mode & 0o777)
        fresh.replace(self.path)


def file_of(cell: str) -> Path:
    """A cell's own file, behind every link. Raises ConfigError."""
    path = Path(cell) if cell.endswith((".yaml", ".yml")) else find_share("config", "cells", f"{cell}.yaml")
    if not path.is_file():
        raise ConfigError(f"{path}: no such cell file")
    return path.resolve()


def change_of(cell: str, camera: str, written: Written) -> Change:
    """What a calibration makes of the cell's file, loaded once as a check. Raises ConfigError."""
    path = file_of(cell)
    before = path.read_text(encoding="utf-8")
    after = with_camera_pose(before, camera, written.pose, written.mounted_on, str(path))
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(after, encoding="utf-8")
        parse_urdf(compose_cell_urdf(load_cell(trial)))
    return Change(path, before, after)
