# SPDX-License-Identifier: Apache-2.0
"""Bundles of kind completion: what loads, and what is refused with which reason."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dex_core.bundle import LoadOptions, load_bundle, verify_bundle
from dex_core.bundle.testing_completion import write_completion_fixture


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """The reason a bundle is refused for after its manifest was changed."""
    write_completion_fixture(folder)
    data = yaml.safe_load((folder / "manifest.yaml").read_text())
    change(data)
    (folder / "manifest.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    _, refusal = verify_bundle(folder)
    return refusal.code if refusal else ""


def test_a_fixture_passes_every_check(tmp_path: Path) -> None:
    digest = write_completion_fixture(tmp_path / "mirror")
    bundle = load_bundle(tmp_path / "mirror", LoadOptions(pinned_hash=digest))
    assert bundle.manifest.completion.points == 64
    assert next(r.detail for r in bundle.report if r.name == "layout") == "64 points -> 64, 128"
    assert all(r.ok for r in bundle.report)


@pytest.mark.parametrize(("change", "code"), [
    (lambda d: d.pop("completion"), "manifest_invalid"),
    (lambda d: d["completion"].update(frame="camera"), "manifest_invalid"),
    (lambda d: d["completion"].update(radius=0.9), "manifest_invalid"),
    (lambda d: d.update(segmentation={"coords": "unit_sphere"}), "manifest_invalid"),
    (lambda d: d["graphs"].update(encoder=d["graphs"].pop("completer")), "manifest_invalid"),
    (lambda d: d["completion"].update(points=128), "layout_invalid"),
    (lambda d: d["completion"].update(normals="coarse"), "layout_invalid"),
    (lambda d: d["completion"].update(normals="nothing"), "layout_invalid"),
])
def test_a_wrong_manifest_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None], code: str) -> None:
    assert changed(tmp_path / "mirror", change) == code


def test_a_network_that_throws_points_far_out_fails_its_probe(tmp_path: Path) -> None:
    write_completion_fixture(tmp_path / "mirror", gain=200.0)
    _, refusal = verify_bundle(tmp_path / "mirror")
    assert refusal is not None and refusal.code == "probe_failed" and "at most 100" in str(refusal)
