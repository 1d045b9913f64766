# SPDX-License-Identifier: Apache-2.0
"""Our URDFs move exactly as the published ones do, where those are at hand, and as their tables say in any case."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest

from dex_description import description_path, read_urdf

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "kinematics"
TIPS = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")
ROBOTS = {
    "arms/xarm7": ("xarm7", ("link_eef", "link4", "link7")),
    "hands/inspire_left": ("inspire_left", TIPS),
    "hands/inspire_right": ("inspire_right", TIPS),
}
# Fingertips in the root frame with every actuated joint in the middle of its range, from the published tables.
MIDDLE_M = {
    "hands/inspire_right": (
        (0.060399, 0.052383, 0.151223), (0.067988, 0.027168, 0.162390), (0.070861, 0.006951, 0.163004),
        (0.067856, -0.013630, 0.162366), (0.059896, -0.034068, 0.159959),
    ),
    "hands/inspire_left": (
        (0.056502, -0.057096, 0.151573), (0.067988, -0.027168, 0.162390), (0.070861, -0.006950, 0.163004),
        (0.067856, 0.013629, 0.162366), (0.059896, 0.034070, 0.159959),
    ),
}


def frames(model: pin.Model, q: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    data = model.createData()
    pin.framesForwardKinematics(model, data, q)
    return np.array([data.oMf[model.getFrameId(name)].homogeneous for name in names])


@pytest.mark.parametrize("ours", ROBOTS)
def test_moves_like_the_reference(ours: str) -> None:
    theirs, links = ROBOTS[ours]
    path = REFERENCE / f"{theirs}.urdf"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    mine = pin.buildModelFromXML(read_urdf(f"urdf/{ours}.urdf"), mimic=True)
    reference = pin.buildModelFromUrdf(str(path), mimic=True)
    assert list(mine.names) == list(reference.names)
    assert np.array_equal(mine.lowerPositionLimit, reference.lowerPositionLimit)
    assert np.array_equal(mine.upperPositionLimit, reference.upperPositionLimit)
    rng = np.random.default_rng(7)
    for _ in range(100):
        q = rng.uniform(mine.lowerPositionLimit, mine.upperPositionLimit)
        assert np.abs(frames(mine, q, links) - frames(reference, q, links)).max() < 1e-6


@pytest.mark.parametrize("ours", MIDDLE_M)
def test_hand_matches_its_table(ours: str) -> None:
    model = pin.buildModelFromXML(read_urdf(f"urdf/{ours}.urdf"), mimic=True)
    middle = 0.5 * (model.lowerPositionLimit + model.upperPositionLimit)
    assert np.allclose(frames(model, middle, TIPS)[:, :3, 3], MIDDLE_M[ours], atol=1.5e-6)


def test_arm_matches_its_table() -> None:
    model = pin.buildModelFromXML(read_urdf("urdf/arms/xarm7.urdf"))
    flange = frames(model, np.array([0.1, -0.4, 0.3, 0.9, -0.5, 0.6, 0.7]), ("link_eef",))[0]
    assert np.allclose(flange[:3, 3], (0.368861, 0.180157, 0.505598), atol=1e-6)


@pytest.mark.parametrize("side", ("left", "right"))
def test_a_hand_weighs_what_the_data_sheet_says(side: str) -> None:
    model = pin.buildModelFromXML(read_urdf(f"urdf/hands/inspire_{side}.urdf"))
    assert pin.computeTotalMass(model) + model.inertias[0].mass == pytest.approx(0.54, abs=0.01)


def test_a_missing_file_says_where_it_was_sought() -> None:
    with pytest.raises(FileNotFoundError, match=r"no file 'urdf/hands/nothing.urdf'; searched in "):
        description_path("urdf/hands/nothing.urdf")
