# SPDX-License-Identifier: Apache-2.0
"""Golden cases that would not notice a graph that reads a rotation's rows for its columns are refused."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dex_core.bundle import load_bundle
from dex_core.bundle.cases import make_cases
from dex_core.bundle.manifest import parse_manifest
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.rotations import asymmetry, check_rotations, turn_wrists
from dex_core.bundle.stats import Statistic
from dex_core.bundle.testing import golden_cases, write_fixture_pair
from dex_core.bundle.write import pack_cases
from dex_core.chunks.rotation import rotation_exp
from dex_core.config import load_cell
from dex_core.rot6d import rot6d_columns, rotation_from_columns, tool_pose_columns
from dex_core.transforms import tensor_normaliser

from .conftest import refusal, reseal

CELL = load_cell("xarm_bimanual")
TURNS = st.tuples(*[st.floats(-1.5, 1.5)] * 3).map(np.array)


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return write_fixture_pair(tmp_path, CELL, wrist_poses=True)[1]


def show(folder: Path, change: Callable[[NDArray], NDArray]) -> None:
    """Changes the poses of every case; what comes out is what the graph makes of them."""
    manifest = parse_manifest(folder / "manifest.yaml")
    spec = manifest.graphs["policy"]
    cases = [inputs for inputs, _ in unpack_cases((folder / spec.golden.file).read_bytes(), spec.golden.file)]
    for inputs in cases:
        inputs["poses"] = change(inputs["poses"]).astype(np.float32)
    plain = yaml.safe_load((folder / "manifest.yaml").read_text())["graphs"]["policy"]
    entry = {key: plain[key] for key in ("inputs", "outputs", "dynamic")}
    (folder / spec.golden.file).write_bytes(pack_cases(golden_cases(entry, (folder / spec.file).read_bytes(), cases)))
    reseal(folder)


def straight_down(poses: NDArray) -> NDArray:
    yaw = np.linspace(-3.0, 3.0, poses.size // 9)
    return tool_pose_columns(np.stack([*poses.reshape(-1, 9)[:, :3].T, yaw], axis=-1)).reshape(poses.shape)


def test_cases_that_tell_rows_from_columns_pass(folder: Path) -> None:
    assert any(r.number == 16 and "rotations in 2 slices" in r.detail for r in load_bundle(folder).report)


def test_hands_that_only_point_down_are_refused_whatever_their_yaw(folder: Path) -> None:
    show(folder, straight_down)
    error = refusal(folder)
    assert error.code == "parity_failed" and "'poses'" in str(error) and "left_arm" in str(error) and "tilted wrist" in str(error)


def test_each_arm_needs_one(folder: Path) -> None:
    def only_left(poses: NDArray) -> NDArray:
        return np.concatenate([poses[:, :9], straight_down(poses[:, 9:])], axis=1)

    show(folder, only_left)
    assert "right_arm" in str(refusal(folder))


def test_numbers_that_are_no_rotation_show_nothing(folder: Path) -> None:
    show(folder, lambda poses: np.where(np.arange(18) % 9 >= 3, 0.1, poses))
    assert refusal(folder).code == "parity_failed"


@given(st.floats(-3.1, 3.1))
def test_straight_down_is_its_own_transpose(yaw: float) -> None:
    assert asymmetry(tool_pose_columns([0.0, 0.0, 0.0, yaw])[3:]) < 1e-12


@given(TURNS)
def test_asymmetry_is_what_a_mix_up_of_rows_and_columns_changes(turn: NDArray) -> None:
    rotation = rotation_exp(turn)
    assert asymmetry(rot6d_columns(rotation)) == pytest.approx(np.abs(rotation - rotation.T).max(), abs=1e-9)


def test_drawn_wrists_are_rotations_and_the_other_columns_stay(folder: Path) -> None:
    slices = parse_manifest(folder / "manifest.yaml").graphs["policy"].inputs[2].slices
    values = np.random.default_rng(1).uniform(-1, 1, (50, 2, 18))
    turned = turn_wrists(np.random.default_rng(2), slices, values)
    sixes = np.stack([turned[..., 3:9], turned[..., 12:18]])
    assert np.allclose(rot6d_columns(rotation_from_columns(sixes)), sixes, atol=1e-12)
    assert np.array_equal(turned[..., [0, 1, 2, 9, 10, 11]], values[..., [0, 1, 2, 9, 10, 11]])


@pytest.mark.parametrize("normalised", [False, True])
def test_cases_made_for_a_new_bundle_pass(folder: Path, normalised: bool) -> None:
    plain = yaml.safe_load((folder / "manifest.yaml").read_text())["graphs"]["policy"]
    entry = {key: plain[key] for key in ("inputs", "outputs", "dynamic")}
    model = (folder / "graphs/policy.onnx").read_bytes()
    data = np.random.default_rng(0).uniform(-1.0, 2.0, (100, 9))
    stats = {f"poses/{side}_arm": Statistic.of(data, "zscore") for side in ("left", "right")}
    cases = make_cases("policy", entry, model, stats=stats, embodiments={}, ids=100, normalised=normalised)
    spec = parse_manifest(folder / "manifest.yaml").graphs["policy"]
    assert check_rotations(spec, cases, stats if normalised else {}) == 2
    poses = tensor_normaliser(spec.inputs[2], stats).inverse(cases[0][0]["poses"]) if normalised else cases[0][0]["poses"]
    assert np.allclose(rot6d_columns(rotation_from_columns(poses[:, 3:9])), poses[:, 3:9], atol=1e-5)
