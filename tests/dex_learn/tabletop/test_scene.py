# SPDX-License-Identifier: Apache-2.0
"""Scenes: the same from the same seed, labels where the things' surfaces project to, files that are gone on with."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dex_core.errors import DexError
from dex_learn.tabletop import store
from dex_learn.tabletop.scene import RenderedScene, render
from dex_learn.tabletop.store import STEP_M, stored_scenes

pytest.importorskip("mujoco", reason="scenes are rendered with MuJoCo")


@pytest.fixture(scope="module")
def scenes() -> list[RenderedScene]:
    return [render(np.random.default_rng(seed), ("train", "unseen", "varied")[seed % 3]) for seed in range(4)]


def test_the_same_seed_gives_the_same_scene(scenes: list[RenderedScene]) -> None:
    again = render(np.random.default_rng(1), "unseen")
    assert np.array_equal(again.rgb, scenes[1].rgb) and np.array_equal(again.labels, scenes[1].labels) and again.names == scenes[1].names
    assert np.array_equal(again.depth_m, scenes[1].depth_m, equal_nan=True)


def test_shapes_and_lists_agree(scenes: list[RenderedScene]) -> None:
    for s in scenes:
        n = len(s.names)
        assert s.rgb.shape == (240, 320, 3) and s.depth_m.shape == s.labels.shape == s.depth_true_m.shape == (240, 320)
        assert len(s.colours) == len(s.trained) == len(s.surfaces) == len(s.poses_in_world) == n and 1 <= n <= 8
        assert 0 <= s.labels.min() and s.labels.max() <= n and np.isfinite(s.depth_true_m).all() and s.depth_true_m.min() > 0.05


def test_surfaces_project_onto_their_own_labels_at_their_own_depth(scenes: list[RenderedScene]) -> None:
    """Points of a surface that face the camera and are no further than what is seen belong to pixels of that thing."""
    checked = 0
    for s in scenes:
        to_camera = np.linalg.inv(s.pose_camera_in_world)
        for number, (points, normals) in enumerate(s.surfaces, 1):
            pose = to_camera @ s.poses_in_world[number - 1]
            local, facing = points @ pose[:3, :3].T + pose[:3, 3], normals @ pose[:3, :3].T
            u, v = (np.rint(s.intrinsics.fx * local[:, k] / local[:, 2] + c).astype(int) for k, c in ((0, s.intrinsics.cx), (1, s.intrinsics.cy)))
            seen = (u >= 0) & (u < 320) & (v >= 0) & (v < 240) & (np.einsum("ij,ij->i", facing, local) < -0.3 * local[:, 2])
            u, v, z = u[seen], v[seen], local[seen, 2]
            front = np.abs(z - s.depth_true_m[v, u]) < 0.004
            if front.sum() >= 100:
                checked += 1
                assert (s.labels[v, u][front] == number).mean() > 0.9, s.names[number - 1]
    assert checked >= 8


def test_what_is_asked_for_is_given() -> None:
    scene = render(np.random.default_rng(5), "train", n_objects=2, noise="none")
    assert len(scene.names) <= 2 and scene.noise == "none" and np.array_equal(scene.depth_m, scene.depth_true_m)


@pytest.mark.parametrize("wrong", [{"split": "all"}, {"n_objects": 0}, {"noise": "some"}])
def test_bad_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(DexError):
        render(np.random.default_rng(0), **wrong)


def test_files_hold_the_scenes_and_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD", 2)
    first = stored_scenes(tmp_path, "train", 2, seed=3)
    made = (tmp_path / "train_3_0000.npz").stat().st_mtime_ns
    both = stored_scenes(tmp_path, "train", 3, seed=3)
    assert len(first) == 2 and len(both) == 4 and (tmp_path / "train_3_0000.npz").stat().st_mtime_ns == made
    fresh = render(np.random.default_rng([3, 0, 1]), "train")
    assert np.array_equal(both.rgb[1], fresh.rgb) and np.array_equal(both.labels[1], fresh.labels) and both.names[1] == fresh.names
    assert both.trained[1] == fresh.trained and both.noise[1] == fresh.noise and both.intrinsics(1).fx == fresh.intrinsics.fx
    assert np.array_equal(np.isnan(both.depth_m(1)), np.isnan(fresh.depth_m)) and np.nanmax(np.abs(both.depth_m(1) - fresh.depth_m)) <= 0.51 * STEP_M


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train_0_0000.npz").write_bytes(b"PK broken")
    with pytest.raises(DexError, match="train_0_0000.npz"):
        stored_scenes(tmp_path, "train", 1)
    with pytest.raises(DexError, match="at least 1"):
        stored_scenes(tmp_path, "train", 0)
