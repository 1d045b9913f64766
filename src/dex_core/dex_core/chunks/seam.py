# SPDX-License-Identifier: Apache-2.0
"""How well two trajectories meet: what would jump if one simply replaced the other, and what did jump in a stream of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.chunks.blend import Trajectory
from dex_core.chunks.spline import NS
from dex_core.types import Array

PERIOD_NS = 10_000_000
"""Seams are looked at through commands at 100 Hz."""


class Seam(NamedTuple):
    """Largest differences over all joints at one boundary.

    Attributes:
        position_jump_rad, velocity_step_rad_s, acceleration_step_rad_s2: right after the boundary less right before it.
        jerk_rad_s3: finite difference over the boundary of the acceleration of commands at 100 Hz: the largest third difference
            of the last three positions before it and the first three after it, over the period cubed. A jump of ``p`` rad alone makes it
            2e6 ``p``, a step of ``v`` rad/s alone 1e4 ``v``, one of ``a`` rad/s^2 50 ``a``.
    """

    position_jump_rad: float
    velocity_step_rad_s: float
    acceleration_step_rad_s2: float
    jerk_rad_s3: float


def seam_between(old: Trajectory, new: Trajectory, time_ns: int) -> Seam:
    """The seam if ``new`` replaced ``old`` at a monotonic time [ns]."""
    steps = (float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(old.at(time_ns), new.at(time_ns), strict=True))
    way = [old.at(time_ns + k * PERIOD_NS).position_rad for k in (-2, -1, 0)] + [new.at(time_ns + k * PERIOD_NS).position_rad for k in (1, 2, 3)]
    return Seam(*steps, _largest_difference(np.array(way), 3))


def command_seams(position_rad: Array, start_ns: int, boundaries_ns: Sequence[int] | NDArray[np.int64], period_ns: int = PERIOD_NS) -> list[Seam]:
    """The seams of commands as they were sent, whatever made them: a boundary lies after the last command at or before it.

    Finite differences alone: the velocity step is the largest difference of neighbouring velocities over the boundary, the acceleration step
    and the jerk the same of accelerations; the position jump is how far the first command after the boundary lies from the line of the
    two before it.

    Args:
        position_rad: (T, n) commands [rad], one every ``period_ns``.
        start_ns: time of the first [ns].
        boundaries_ns: times at which a chunk took over, or ran out [ns]; those with fewer than three commands on either side are left out.
    """
    found = []
    for boundary_ns in boundaries_ns:
        last = (int(boundary_ns) - start_ns) // period_ns
        if last < 2 or last + 3 >= len(position_rad):
            continue
        way = position_rad[last - 2 : last + 4]
        jerk = _largest_difference(way, 3, period_ns)
        jump = float(np.max(np.abs(way[3] - 2.0 * way[2] + way[1]), initial=0.0))
        found.append(Seam(jump, _largest_difference(way[1:5], 2, period_ns) * period_ns / NS, jerk * period_ns / NS, jerk))
    return found


def _largest_difference(positions: Array, order: int, period_ns: int = PERIOD_NS) -> float:
    """Largest finite difference of that order of positions (m, n), as a derivative."""
    return float(np.max(np.abs(np.diff(positions, order, axis=0)), initial=0.0)) / (period_ns / NS) ** order
