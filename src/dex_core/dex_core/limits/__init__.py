# SPDX-License-Identifier: Apache-2.0
"""The limits of every command, one per file, and the pipeline that alone makes a SafeCommand.

Order: finite -> position -> velocity -> those of the whole cell -> acceleration -> jerk -> step from measured.
"""

from dex_core.limits.acceleration import limit_acceleration
from dex_core.limits.base import Change, JointLimits, Limited, Moment, Motion
from dex_core.limits.braking import stopping_distance, stopping_velocity
from dex_core.limits.finite import limit_finite
from dex_core.limits.jerk import limit_jerk
from dex_core.limits.pipeline import LIMITS, LimitPipeline, SafeCommand
from dex_core.limits.position import limit_position
from dex_core.limits.step import limit_step
from dex_core.limits.velocity import limit_velocity

__all__ = [
    "LIMITS", "Change", "JointLimits", "LimitPipeline", "Limited", "Moment", "Motion", "SafeCommand", "limit_acceleration",
    "limit_finite", "limit_jerk", "limit_position", "limit_step", "limit_velocity", "stopping_distance", "stopping_velocity",
]
