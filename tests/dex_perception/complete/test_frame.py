# SPDX-License-Identifier: Apache-2.0
"""The frame of completion: the same for a thing wherever it stands, and back again."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.bundle.completion import CompletionSpec
from dex_core.errors import ConfigError, ShapeError
from dex_perception.complete import frame_of

TABLETOP, SHAPENET = CompletionSpec("tabletop"), CompletionSpec("centred", up="y")
CLOUD = np.random.default_rng(0).normal(0.0, 0.03, (200, 3)) + (0.0, 0.0, 0.06)
CAMERA = np.array([0.7, 0.2, 0.8])


def turned(yaw: float) -> np.ndarray:
    """(3, 3) about z."""
    return np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])


@given(st.floats(-3.0, 3.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(-0.5, 0.5))
def test_the_whole_cell_turned_and_shifted_is_the_same(yaw: float, x: float, y: float, height: float) -> None:
    here = frame_of(TABLETOP, CLOUD, CAMERA, 0.0).enter(CLOUD)
    shift = np.array([x, y, height])
    there = frame_of(TABLETOP, CLOUD @ turned(yaw).T + shift, turned(yaw) @ CAMERA + shift, height).enter(CLOUD @ turned(yaw).T + shift)
    assert there == pytest.approx(here, abs=1e-4)


@pytest.mark.parametrize("spec", [TABLETOP, SHAPENET])
def test_there_and_back(spec: CompletionSpec) -> None:
    frame = frame_of(spec, CLOUD, CAMERA, 0.01)
    assert frame.leave(frame.enter(CLOUD)) == pytest.approx(CLOUD, abs=1e-6)
    assert frame.turn @ frame.turn.T == pytest.approx(np.eye(3))
    assert np.linalg.det(frame.turn) == pytest.approx(1.0)


def test_x_looks_at_the_camera_and_heights_count_from_the_support() -> None:
    frame = frame_of(TABLETOP, CLOUD, CAMERA, 0.01)
    camera = frame.enter(CAMERA[None])[0]
    assert camera[0] > 0.0 and camera[1] == pytest.approx(0.0, abs=1e-6)
    assert frame.enter([[0.0, 0.0, 0.11]])[0, 2] == pytest.approx(1.0)
    assert frame_of(TABLETOP, CLOUD, CAMERA).enter(CLOUD)[:, 2].min() == pytest.approx(0.0, abs=1e-6)


def test_a_camera_straight_above_gives_a_frame_too() -> None:
    assert np.isfinite(frame_of(TABLETOP, CLOUD, [*CLOUD.mean(axis=0)[:2], 2.0], 0.0).enter(CLOUD)).all()


def test_shapenets_frame_has_y_up_and_its_radius() -> None:
    inside = frame_of(SHAPENET, CLOUD, CAMERA).enter(CLOUD)
    assert np.linalg.norm(inside, axis=1).max() == pytest.approx(0.5, rel=1e-5)
    assert np.argmax(inside[:, 1]) == np.argmax(CLOUD[:, 2])


def test_what_has_no_frame_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least one point"):
        frame_of(TABLETOP, np.zeros((0, 3)), CAMERA)
    with pytest.raises(ConfigError, match="leave them out"):
        CompletionSpec("tabletop", radius=0.7)
    with pytest.raises(ConfigError, match="leave it out"):
        CompletionSpec("centred", unit_m=0.2)
