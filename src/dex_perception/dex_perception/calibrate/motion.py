# SPDX-License-Identifier: Apache-2.0
"""Whether a set of postures can tell where the camera is: it must turn, about at least two axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dex_core.errors import DexError
from dex_core.types import Array
from dex_perception.calibrate.poses import rotation_vector

FEWEST_VIEWS = 6
SMALLEST_TURN_RAD = np.radians(10.0)
SMALLEST_SPREAD_RAD = np.radians(3.0)
"""Of the turns about the second axis, root mean square over all pairs."""


@dataclass(frozen=True)
class Motion:
    """How a set of flange poses turns.

    Attributes:
        largest_rad: largest rotation between two of them.
        spread_rad: (3,) root mean square rotation about the principal axes, falling.
        axes: (3, 3) rows: those axes in the base.
    """

    largest_rad: float
    spread_rad: Array
    axes: Array

    @property
    def complete(self) -> bool:
        """Whether a camera's pose follows from it."""
        return self.largest_rad >= SMALLEST_TURN_RAD and bool(self.spread_rad[1] >= SMALLEST_SPREAD_RAD)


def motion_of(poses: Array) -> Motion:
    """Rotations between all pairs of (n, 4, 4) poses of the flange in the base, about axes of the base."""
    pairs = list(combinations(range(len(poses)), 2))
    if not pairs:
        return Motion(0.0, np.zeros(3), np.eye(3))
    turns = np.array([rotation_vector(poses[i][:3, :3] @ poses[j][:3, :3].T) for i, j in pairs])
    values, vectors = np.linalg.eigh(turns.T @ turns / len(pairs))
    return Motion(float(np.linalg.norm(turns, axis=1).max()), np.sqrt(np.maximum(values[::-1], 0.0)), vectors.T[::-1])


def check_motion(poses: Array) -> Motion:
    """The motion of poses that can be calibrated with.

    Raises:
        DexError: ``too_few_views``, ``pure_translation``, ``parallel_axes``: what is missing, and what to do.
    """
    if len(poses) < FEWEST_VIEWS:
        raise DexError(f"{len(poses)} views; at least {FEWEST_VIEWS} are needed, 15 to 25 are good", code="too_few_views")
    motion = motion_of(poses)
    if motion.largest_rad < SMALLEST_TURN_RAD:
        raise DexError(
            f"the flange only shifts: it turns by {np.degrees(motion.largest_rad):.1f} deg at most, {np.degrees(SMALLEST_TURN_RAD):.0f} deg are "
            "needed; from shifts alone no camera position follows; tilt the flange about two axes", code="pure_translation",
        )
    if motion.spread_rad[1] < SMALLEST_SPREAD_RAD:
        axis = ", ".join(f"{v:.2f}" for v in motion.axes[0])
        raise DexError(
            f"the flange turns about one axis alone, ({axis}) in the base, and only {np.degrees(motion.spread_rad[1]):.1f} deg about any other, "
            f"{np.degrees(SMALLEST_SPREAD_RAD):.0f} deg are needed; along that axis the camera's position stays unknown; tilt it the other way too",
            code="parallel_axes",
        )
    return motion
