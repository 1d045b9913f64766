# SPDX-License-Identifier: Apache-2.0
"""For tests: views of a rig without drawing: corners projected through the lens, with noise."""
from __future__ import annotations

import cv2
import numpy as np

from dex_core.types import Array
from dex_perception.calibrate.board import Board, Detection
from dex_perception.calibrate.poses import inverse, pose, rotation_vector
from dex_perception.calibrate.solve import Setup
from dex_perception.calibrate.synthetic import Rig, example_rig
from dex_perception.calibrate.views import Sighting, View

BOARD = Board()


def rig_of(setup: Setup, **changes: float) -> Rig:
    """The example rig of a set-up."""
    return example_rig(BOARD, on_flange=setup is Setup.IN_HAND, **changes)


def view_of(rig: Rig, name: str, flange: Array, rng: np.random.Generator, corner_px: float = 0.05, said: Array | None = None) -> View:
    """What a rig sees with its flange (4, 4) at a pose; ``said``: where the robot says the flange is."""
    seen = inverse(rig.camera) @ (inverse(flange) if rig.on_flange else flange) @ rig.board_pose
    lens = np.array(rig.intrinsics.distortion)
    corners = cv2.projectPoints(BOARD.points_m, rotation_vector(seen), seen[:3, 3], rig.intrinsics.matrix, lens)[0].reshape(-1, 2)
    corners = corners + rng.normal(0.0, corner_px, corners.shape)
    _, turn, shift = cv2.solvePnP(BOARD.points_m, corners, rig.intrinsics.matrix, lens)
    turn, shift = cv2.solvePnPRefineLM(BOARD.points_m, corners, rig.intrinsics.matrix, lens, turn, shift)
    sighting = Sighting(Detection(np.arange(len(corners)), corners), pose(turn, shift), corner_px, 1.5, np.zeros((2, 2)))
    return View(name, flange if said is None else said, sighting)


def views_of(rig: Rig, count: int, seed: int = 0, corner_px: float = 0.05) -> list[View]:
    """Views from postures of the rig's own choice, joints as noisy as the rig's."""
    rng, out = np.random.default_rng(seed), []
    for number in range(count):
        flange, said = rig.posture(rng)
        out.append(view_of(rig, f"{number:02d}", flange, rng, corner_px, said))
    return out
