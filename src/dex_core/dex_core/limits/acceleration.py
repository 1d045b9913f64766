# SPDX-License-Identifier: Apache-2.0
"""Fourth limit: change of speed."""

from __future__ import annotations

import numpy as np

from dex_core.limits.base import TOLERANCE_RAD, JointLimits, Limited, Moment
from dex_core.types import Array


def limit_acceleration(limits: JointLimits, moment: Moment, request_rad: Array) -> Limited:
    """Bounds the change of velocity since the previous output.

    The result lies between the previous velocity and the requested one, so it cannot undo the velocity limit.

    Args:
        limits: of n joints.
        moment: previous output, measured joints, dt.
        request_rad: (n,) finite, velocity-limited [rad].
    """
    dt_s, previous = moment.dt_s, moment.previous
    before = np.minimum(np.maximum(previous.velocity_rad_s, -limits.velocity_rad_s), limits.velocity_rad_s)
    wanted = (request_rad - previous.position_rad) / dt_s
    change = limits.acceleration_rad_s2 * dt_s
    velocity = np.minimum(np.maximum(wanted, before - change), before + change)
    acted = np.abs(velocity - wanted) * dt_s > TOLERANCE_RAD
    position = np.where(acted, previous.position_rad + velocity * dt_s, request_rad)
    return Limited(position, acted, (wanted - before) / dt_s, (velocity - before) / dt_s)
