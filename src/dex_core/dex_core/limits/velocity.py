# SPDX-License-Identifier: Apache-2.0
"""Third limit: speed, low enough that the joint can still brake before the end of its range and before its target."""

from __future__ import annotations

import numpy as np

from dex_core.limits.base import TOLERANCE_RAD, JointLimits, Limited, Moment
from dex_core.limits.braking import stopping_velocity
from dex_core.types import Array


def limit_velocity(limits: JointLimits, moment: Moment, request_rad: Array) -> Limited:
    """Bounds the speed of this step.

    Three bounds, the lowest wins: the joint's own; what can stop before the range ends; and, where the target's velocity
    is known and the joint fell behind by more than one step of acceleration, what can join the target without overshoot.

    Args:
        limits: of n joints.
        moment: previous output, measured joints, dt, velocity of the target.
        request_rad: (n,) finite, inside the range [rad].
    """
    dt_s, position = moment.dt_s, moment.previous.position_rad
    requested = (request_rad - position) / dt_s
    velocity = requested
    if moment.target_velocity_rad_s is not None:
        velocity = _joining(requested, moment.target_velocity_rad_s, limits.acceleration_rad_s2, dt_s)
    room = np.where(velocity > 0.0, limits.upper_rad - position, position - limits.lower_rad)
    fastest = np.minimum(limits.velocity_rad_s, stopping_velocity(room, limits.acceleration_rad_s2, dt_s))
    velocity = np.minimum(np.maximum(velocity, -fastest), fastest)
    acted = np.abs(velocity - requested) * dt_s > TOLERANCE_RAD
    return Limited(np.where(acted, position + velocity * dt_s, request_rad), acted, requested, velocity)


def _joining(requested: Array, target: Array, acceleration_rad_s2: Array, dt_s: float) -> Array:
    """(n,) velocity that joins a target moving at ``target`` without overshoot, where ``requested`` would get there at once."""
    behind = requested - target
    gap = np.abs(behind)
    if (gap <= acceleration_rad_s2 * dt_s).all():  # one step of acceleration closes it
        return requested
    return target + np.copysign(np.minimum(stopping_velocity(gap * dt_s, acceleration_rad_s2, dt_s), gap), behind)
