# SPDX-License-Identifier: Apache-2.0
"""The cell that the policies here are for, and a place for their descriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dex_core.config import CellConfig, load_cell


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Writes a description as a bundle folder."""

    def write(description: Mapping[str, Any]) -> Path:
        folder = tmp_path / "bundle"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.yaml").write_text(yaml.safe_dump(dict(description)), encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def cell() -> CellConfig:
    """Two xArm7 with Inspire hands and a camera in front."""
    return load_cell("xarm_bimanual")
