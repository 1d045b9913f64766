# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the clouds: its scene, its figures, and what it says without open3d."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dex_bringup.bench import clouds
from dex_bringup.bench.clouds_picture import draw
from dex_core.clouds import analytic
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError

SMALL = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clouds, "CAMERA", SMALL)


def test_the_scene_is_what_it_says() -> None:
    clean, noisy = clouds.scene(SMALL, 0.0), clouds.scene(SMALL, 0.0025)
    assert np.isfinite(clean.depth_m).all() and set(np.unique(clean.surface)) == {0, 1, 2, 3}
    np.testing.assert_allclose(np.linalg.norm(clean.true, axis=-1), 1.0, atol=1e-9)
    assert ((clean.true * analytic.rays(SMALL)).sum(axis=-1) < 1e-9).all()
    error = 1.0 / noisy.depth_m - 1.0 / clean.depth_m
    assert np.nanstd(error) == pytest.approx(0.0025, rel=0.1) and 0.01 < np.isnan(noisy.depth_m).mean() < 0.1
    assert 0.02 < clean.edge.mean() < 0.4 and clouds.scene(SMALL, 0.0025).depth_m.tobytes() == noisy.depth_m.tobytes()


def test_without_open3d_its_figures_are_missing_with_the_reason(small: None, tmp_path: Path) -> None:
    lines: list[str] = []
    picture = tmp_path / "clouds.png"
    report = clouds.run(argparse.Namespace(repeats=3, open3d=str(tmp_path / "no_python"), picture=picture), lines.append)
    assert "not measured" in report.figures["open3d"] and "no_python" in report.figures["open3d"]
    assert report.figures["end_to_end_p50_ms"] > 0.0 and report.figures["numpy_normals_that_differ"] == 0
    assert report.figures["normals_error_p50_deg"] < 10.0 and len(lines) == 4
    assert cv2.imread(str(picture)).shape == (2 * 264, 2 * 320, 3)


def test_a_peer_that_fails_is_told_by_its_last_words(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "peer.py"
    broken.write_text("raise SystemExit('out of luck')")
    monkeypatch.setattr(clouds, "PEER", broken)
    figures, pictures = clouds._open3d(sys.executable, clouds.scene(SMALL, 0.0025), 1)
    assert "out of luck" in figures["open3d"] and not pictures


def test_a_peers_normals_are_scored_like_ours(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = clouds.scene(SMALL, 0.0025)
    np.save(tmp_path / "true.npy", np.stack([view.true[np.isfinite(view.depth_m)]] * 3))
    peer = tmp_path / "peer.py"
    peer.write_text(f"import shutil, sys; shutil.copy({str(tmp_path / 'true.npy')!r}, sys.argv[2]); print('{{\"version\": \"1\"}}')")
    monkeypatch.setattr(clouds, "PEER", peer)
    figures, pictures = clouds._open3d(sys.executable, view, 1)
    assert set(pictures) == {"open3d knn16", "open3d hybrid", "open3d wide"} and np.isnan(pictures["open3d hybrid"][np.isnan(view.depth_m)]).all()
    assert figures["open3d_version"] == "1" and figures["open3d_normals_hybrid_error_p95_deg"] < 1e-3
    assert figures["open3d_normals_knn16_known_share"] == 1.0


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    view = clouds.scene(SMALL, 0.0)
    for name in ("no_folder/a.png", "a.nonsense"):
        with pytest.raises(ConfigError, match=name):
            draw(tmp_path / name, view.rgb, view.depth_m, view.true, {"ours": view.true.astype(np.float32)})
