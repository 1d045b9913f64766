# SPDX-License-Identifier: Apache-2.0
"""Braking in discrete time: the speed from which a joint still stops inside a distance, exact for a fixed dt."""

from __future__ import annotations

import numpy as np

from dex_core.types import Array


def stopping_distance(velocity_rad_s: Array, acceleration_rad_s2: Array, dt_s: float) -> Array:
    """Distance travelled until rest, when this step runs at ``velocity_rad_s`` and each later one ``a * dt`` slower.

    Args:
        velocity_rad_s: (n,) speed over the step that begins now, >= 0 [rad/s].
        acceleration_rad_s2: (n,) braking [rad/s^2].
        dt_s: step [s].

    Returns:
        (n,) [rad], this step included.
    """
    quantum = acceleration_rad_s2 * dt_s
    steps = np.ceil(velocity_rad_s / quantum)
    return dt_s * (steps * velocity_rad_s - quantum * steps * (steps - 1.0) / 2.0)


def stopping_velocity(distance_rad: Array, acceleration_rad_s2: Array, dt_s: float) -> Array:
    """Inverse of ``stopping_distance``: the largest speed over the next step that still stops inside ``distance_rad``.

    A joint that keeps to it can keep to it in the next step too while braking no harder than ``acceleration_rad_s2``.

    Args:
        distance_rad: (n,) [rad]; negative counts as none left.
        acceleration_rad_s2: (n,) braking [rad/s^2].
        dt_s: step [s].

    Returns:
        (n,) speed [rad/s], >= 0.
    """
    distance = np.maximum(distance_rad, 0.0)
    unit = acceleration_rad_s2 * (dt_s * dt_s)
    steps = np.floor((np.sqrt(1.0 + 8.0 * distance / unit) - 1.0) * 0.5)
    rest = np.maximum(distance - unit * (steps * (steps + 1.0) * 0.5), 0.0)
    return (steps * unit + rest / (steps + 1.0)) / dt_s
