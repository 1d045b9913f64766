# SPDX-License-Identifier: Apache-2.0
"""Layout of a policy that speaks wrist poses: a good manifest changed in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dex_core.bundle import LoadOptions, load_bundle
from dex_core.bundle.hashes import sha256_file
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import load_cell
from dex_core.errors import BundleError
from dex_core.types import POSE_COLUMNS

CELL = load_cell("xarm_bimanual")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return write_fixture_pair(tmp_path, CELL, wrist_poses=True)[1]


def edit(folder: Path, change: Callable[[dict], Any]) -> None:
    path = folder / "manifest.yaml"
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def outputs(data: dict) -> list[dict]:
    return data["graphs"]["policy"]["outputs"][0]["slices"]


def test_good_one_needs_no_arm_and_no_joint(folder: Path) -> None:
    bundle = load_bundle(folder, LoadOptions(cell=CELL))
    assert bundle.embodiments == {} and bundle.manifest.graphs["policy"].outputs[0].shape[-1] == 82
    assert any(r.name == "embodiments" and "names no joint" in r.detail for r in bundle.report)
    assert bundle.manifest.graphs["policy"].outputs[0].slices[0].column_names == POSE_COLUMNS


def test_names_of_columns_may_be_left_out(folder: Path) -> None:
    edit(folder, lambda d: [s.pop("names") for s in outputs(d) if s["space"] == "wrist_pose"])
    assert load_bundle(folder).manifest.graphs["policy"].outputs[0].slices[0].column_names == POSE_COLUMNS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s[0].update(names=["x", "y", "z", "r00", "r01", "r02", "r10", "r11", "r12"]), "r10"),
        (lambda s: s[0].update(interface="left_hand"), "moves an arm"),
        (lambda s: (s[0].update(at=[0, 10]), s[1].update(at=[10, 18])), "10 columns for wrist_pose"),
    ],
)
def test_bad_wrist_poses(folder: Path, change: Callable[[list[dict]], Any], words: str) -> None:
    edit(folder, lambda d: change(outputs(d)))
    with pytest.raises(BundleError, match=words) as info:
        load_bundle(folder)
    assert info.value.code == "layout_invalid"


@pytest.mark.parametrize("change", [lambda s: s[0].update(frame="link_base"), lambda s: s[0].pop("frame")])
def test_wrist_poses_are_in_the_world(folder: Path, change: Callable[[list[dict]], Any]) -> None:
    edit(folder, lambda d: change(outputs(d)))
    with pytest.raises(BundleError, match="world") as info:
        load_bundle(folder)
    assert info.value.code == "frame_unknown"


def test_statistics_must_mask_constant_columns(folder: Path) -> None:
    path = folder / "stats.json"
    data = json.loads(path.read_text())
    data["chunk/left_arm"]["mask"][POSE_COLUMNS.index("r20")] = False
    path.write_text(json.dumps(data))
    edit(folder, lambda d: d["files"]["stats.json"].update(bytes=path.stat().st_size, sha256=sha256_file(path)))
    with pytest.raises(BundleError, match="mask a constant column") as info:
        load_bundle(folder)
    assert info.value.code == "stats_invalid"


def test_a_cell_without_that_arm_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError) as info:
        load_bundle(folder, LoadOptions(cell=load_cell("g1")))
    assert info.value.code == "embodiment_mismatch"
