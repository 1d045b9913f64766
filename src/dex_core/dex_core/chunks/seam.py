# SPDX-License-Identifier: Apache-2.0
"""How well two chunks meet: what would jump if one simply replaced the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dex_core.chunks.blend import Trajectory


class Seam(NamedTuple):
    """Largest differences over all joints at one boundary [rad], [rad/s], [rad/s^2]."""

    position_jump_rad: float
    velocity_step_rad_s: float
    acceleration_step_rad_s2: float


def seam_between(old: Trajectory, new: Trajectory, time_ns: int) -> Seam:
    """Differences of two trajectories at the same monotonic time [ns]."""
    return Seam(*(float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(old.at(time_ns), new.at(time_ns), strict=True)))
