# SPDX-License-Identifier: Apache-2.0
"""Bundles of kind picker: the shipped one passes every check, beside any cell; damaged manifests are refused by name."""
from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dex_core.bundle import LoadOptions, find_bundle, parse_manifest, verify_bundle
from dex_core.config import load_cell
from dex_core.errors import BundleError

SHIPPED = "tabletop_picker"


@pytest.mark.parametrize("cell", [None, "xarm_bimanual", "franka"])
def test_the_shipped_picker_passes_every_check(cell: str | None) -> None:
    bundle, refusal = verify_bundle(SHIPPED, LoadOptions(cell=load_cell(cell) if cell else None))
    assert refusal is None and all(check.ok for check in bundle.report if check.name != "speed"), [c for c in bundle.report if not c.ok]


def changed(tmp_path: Path, change: Callable[[dict], None]) -> Path:
    folder = tmp_path / SHIPPED
    shutil.copytree(find_bundle(SHIPPED), folder)
    data = yaml.safe_load((folder / "manifest.yaml").read_text())
    change(data)
    (folder / "manifest.yaml").write_text(yaml.safe_dump(data))
    return folder


def without_picker(data: dict) -> None:
    del data["picker"]


def other_graph(data: dict) -> None:
    data["graphs"] = {"chooser": data["graphs"]["picker"]}


def with_image(data: dict) -> None:
    data["image"] = {"input": "things", "height": 64, "width": 64}


def stranger(data: dict) -> None:
    data["picker"]["plural"] = ["geese"]


@pytest.mark.parametrize(("change", "text"), [
    (without_picker, "key 'picker' is missing"), (other_graph, "graphs must be \\['picker'\\]"), (with_image, "'image' has no place in a picker"),
    (stranger, "hold those of picker.plural"),
])
def test_wrong_manifests_are_refused(tmp_path: Path, change: Callable[[dict], None], text: str) -> None:
    with pytest.raises(BundleError, match=text) as caught:
        parse_manifest(changed(tmp_path, change) / "manifest.yaml")
    assert caught.value.code == "manifest_invalid"


def test_another_tensor_is_a_wrong_layout(tmp_path: Path) -> None:
    def change(data: dict) -> None:
        data["graphs"]["picker"]["outputs"][0]["shape"] = ["B", 2]

    _, refusal = verify_bundle(changed(tmp_path, change))
    assert refusal is not None and refusal.code in ("layout_invalid", "interface_mismatch")
