# SPDX-License-Identifier: Apache-2.0
"""Completion at run time: the world's frame, observed and invented, and every broken input refused by name."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dex_core.bundle.testing_completion import write_completion_fixture
from dex_core.clouds import Cloud
from dex_core.errors import BundleError, DexError, NonFiniteError, ShapeError
from dex_perception.complete import Completer

CAMERA = np.array([1.2, 0.3, 0.7])


@pytest.fixture(scope="module")
def completer(tmp_path_factory: pytest.TempPathFactory) -> Completer:
    folder = tmp_path_factory.mktemp("bundles") / "mirror"
    write_completion_fixture(folder)
    return Completer(folder)


def front(count: int = 400) -> Cloud:
    """The half of a can of 4 cm radius and 10 cm height at (0.4, 0.1) that the camera sees."""
    rng = np.random.default_rng(0)
    towards = np.arctan2(CAMERA[1] - 0.1, CAMERA[0] - 0.4)
    angle = towards + rng.uniform(-1.2, 1.2, count)
    points = np.stack([0.4 + 0.04 * np.cos(angle), 0.1 + 0.04 * np.sin(angle), rng.uniform(0.0, 0.1, count)], axis=1)
    return Cloud(points.astype(np.float32))


def test_a_completed_cloud_is_in_the_world_with_unit_normals(completer: Completer) -> None:
    found = completer.complete(front(), CAMERA, 0.0)
    assert len(found.cloud) == len(found.observed) == 128 and len(found.coarse_m) == 64
    assert np.linalg.norm(found.cloud.normals, axis=1) == pytest.approx(np.ones(128), abs=1e-5)
    seen = found.cloud.points_m[found.observed]
    assert np.hypot(seen[:, 0] - 0.4, seen[:, 1] - 0.1) == pytest.approx(np.full(len(seen), 0.04), abs=2e-3)


def test_observed_points_come_first_and_invented_ones_lie_behind(completer: Completer) -> None:
    found = completer.complete(front(), CAMERA, 0.0)
    count = int(found.observed.sum())
    assert found.observed[:count].all() and not found.observed[count:].any()
    assert 0.3 < found.invented_share < 0.7
    away = np.linalg.norm(found.cloud.points_m - CAMERA, axis=1)
    assert away[~found.observed].mean() > away[found.observed].mean() + 0.03
    assert not found.observed.flags.writeable


def test_normals_of_seen_points_face_the_camera(completer: Completer) -> None:
    found = completer.complete(front(), CAMERA, 0.0)
    cosine = np.einsum("ni,ni->n", found.cloud.normals, CAMERA - found.cloud.points_m)
    assert (cosine[found.observed] > 0.0).all()


def test_more_and_fewer_points_than_the_graph_takes(completer: Completer) -> None:
    for count in (55, 64, 3000):
        assert len(completer.complete(front(count), CAMERA, 0.0).cloud) == 128


def test_strays_do_not_move_the_frame(completer: Completer) -> None:
    clean = front()
    strays = np.concatenate([clean.points_m, np.float32([[0.1, 0.1, 0.3], [0.2, -0.2, 0.2]])])
    a, b = completer.complete(clean, CAMERA, 0.0), completer.complete(Cloud(strays), CAMERA, 0.0)
    assert a.cloud.points_m.mean(axis=0) == pytest.approx(b.cloud.points_m.mean(axis=0), abs=0.01)


@pytest.mark.parametrize(("cloud", "camera", "support", "error", "said"), [
    (front(20), CAMERA, 0.0, DexError, "20 seen points; at least 50"),
    (Cloud(np.full((60, 3), np.nan, np.float32)), CAMERA, 0.0, NonFiniteError, "must be finite"),
    (front(), CAMERA[:2], 0.0, ShapeError, "expected .3,."),
    (front(), CAMERA, float("nan"), NonFiniteError, "must be finite"),
    (Cloud((30.0 * front().points_m).astype(np.float32)), CAMERA, 0.0, DexError, "m wide; an object of at most 1 m"),
])
def test_broken_input_is_refused_by_name(
    completer: Completer, cloud: Cloud, camera: np.ndarray, support: float, error: type[Exception], said: str,
) -> None:
    with pytest.raises(error, match=said):
        completer.complete(cloud, camera, support)


def test_a_bundle_of_another_kind_is_refused() -> None:
    with pytest.raises(BundleError, match="expected 'completion'"):
        Completer("hand_latents")


def test_shapenets_frame_runs_as_well(tmp_path: Path) -> None:
    write_completion_fixture(tmp_path / "mirror", spec={"frame": "centred", "up": "y"})
    found = Completer(tmp_path / "mirror").complete(front(), CAMERA)
    assert np.isfinite(found.cloud.points_m).all()
