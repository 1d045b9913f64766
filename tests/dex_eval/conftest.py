# SPDX-License-Identifier: Apache-2.0
"""One small recording for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex_core.config import CellConfig, load_cell
from dex_eval.testing import fixture_cell, write_episode


@pytest.fixture(scope="session")
def small_cell(tmp_path_factory: pytest.TempPathFactory) -> CellConfig:
    """The cell with exact small bundles."""
    return fixture_cell(load_cell("xarm_bimanual"), tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def recording(small_cell: CellConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s of the cell standing at home; read only."""
    return write_episode(tmp_path_factory.mktemp("recording") / "bag", small_cell)
