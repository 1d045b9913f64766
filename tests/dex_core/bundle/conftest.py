# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from dex_core.bundle import LoadOptions, load_bundle
from dex_core.bundle.hashes import sha256_file
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import CellConfig, load_cell
from dex_core.errors import BundleError

LATENT, POLICY = "hand_latents", "xl_vla_tabletop"


@pytest.fixture(scope="session")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, cell: CellConfig) -> Path:
    root = tmp_path_factory.mktemp("good")
    write_fixture_pair(root, cell)
    return root


@pytest.fixture()
def root(tmp_path: Path, good: Path) -> Path:
    for name in (LATENT, POLICY):
        shutil.copytree(good / name, tmp_path / name)
    return tmp_path


def edit(folder: Path, change: Callable[[dict], Any]) -> None:
    path = folder / "manifest.yaml"
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def reseal(folder: Path) -> None:
    """Makes the hashes true again, as somebody would who changed a file on purpose."""

    def change(data: dict) -> None:
        for path, entry in data["files"].items():
            entry.update(bytes=(folder / path).stat().st_size, sha256=sha256_file(folder / path))

    edit(folder, change)


def edit_model(folder: Path, path: str, change: Callable[[onnx.ModelProto], Any]) -> None:
    model = onnx.load(str(folder / path))
    change(model)
    (folder / path).write_bytes(model.SerializeToString())
    reseal(folder)


def refusal(folder: Path, cell: CellConfig | None = None, **options: Any) -> BundleError:
    with pytest.raises(BundleError) as info:
        load_bundle(folder, LoadOptions(cell=cell, **options))
    return info.value
