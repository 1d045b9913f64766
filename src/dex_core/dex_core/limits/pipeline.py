# SPDX-License-Identifier: Apache-2.0
"""All limits in their order. Its result is a type of its own: holding a SafeCommand proves that they were applied.

The limits of the whole cell stand between velocity and acceleration: they shorten a step that every joint can make, and how fast the joints
obey is for acceleration and jerk to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dex_core.errors import NonFiniteError, ShapeError
from dex_core.limits.acceleration import limit_acceleration
from dex_core.limits.base import Change, JointLimits, Limited, Moment, Motion
from dex_core.limits.finite import limit_finite
from dex_core.limits.jerk import limit_jerk
from dex_core.limits.position import limit_position
from dex_core.limits.space import FREE, SpaceLimits
from dex_core.limits.step import limit_step
from dex_core.limits.velocity import limit_velocity
from dex_core.types import Array

Limit = Callable[[JointLimits, Moment, Array], Limited]

LIMITS: tuple[tuple[str, Limit], ...] = (
    ("finite", limit_finite),
    ("position", limit_position),
    ("velocity", limit_velocity),
    ("acceleration", limit_acceleration),
    ("jerk", limit_jerk),
    ("step", limit_step),
)
BEFORE_SPACE = "velocity"
"""After this limit those of the whole cell are asked."""

_SEAL = object()


class SafeCommand:
    """Joint targets that went through every limit. Only LimitPipeline makes one; it cannot be changed afterwards.

    Attributes:
        names: joints; empty for a command without targets.
        position_rad: (n,) read-only [rad].
        velocity_rad_s: (n,) read-only: velocity of the step that leads there [rad/s].
        acceleration_rad_s2: (n,) read-only: how much that changed since the step before, 0 where the step limit acted [rad/s^2].
        changes: what the limits changed.
        share: what the limits of the whole cell left of the wanted step, 0 to 1.
    """

    __slots__ = ("names", "position_rad", "velocity_rad_s", "acceleration_rad_s2", "changes", "share")
    names: tuple[str, ...]
    position_rad: Array
    velocity_rad_s: Array
    acceleration_rad_s2: Array
    changes: tuple[Change, ...]
    share: float

    def __init__(self, seal: object, names: tuple[str, ...], motion: Motion, changes: tuple[Change, ...], share: float = 1.0) -> None:
        if seal is not _SEAL:
            raise TypeError("a SafeCommand is made by LimitPipeline alone: call apply() or empty()")
        if not np.isfinite(motion.position_rad).all():
            raise NonFiniteError(f"command {motion.position_rad} of {names}: every number must be finite")
        for values in motion:
            values.setflags(write=False)
        for key, value in zip(self.__slots__, (names, *motion, changes, share), strict=True):
            object.__setattr__(self, key, value)

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"a SafeCommand cannot be changed ({key})")

    @property
    def motion(self) -> Motion:
        """Position, velocity and acceleration, as the next step's previous output."""
        return Motion(self.position_rad, self.velocity_rad_s, self.acceleration_rad_s2)

    def limits_hit(self) -> frozenset[str]:
        """Names of the limits that acted."""
        return frozenset(change.limit for change in self.changes)


class LimitPipeline:
    """Applies the limits of n joints. The caller keeps the previous output.

    Args:
        limits: of the joints.
        space: limits of the cell they are in; None: joints alone.
    """

    def __init__(self, limits: JointLimits, space: SpaceLimits | None = None) -> None:
        self.limits, self.space = limits, space
        self._nothing = Motion(np.zeros(0), np.zeros(0), np.zeros(0))

    def apply(self, request_rad: Array, moment: Moment) -> SafeCommand:
        """Finite -> position -> velocity -> those of the whole cell -> acceleration -> jerk -> step.

        Args:
            request_rad: (n,) wanted positions [rad]; may hold NaN or infinity, which the first limit reports and replaces.
            moment: previous output, measured joints, dt, all finite.

        Raises:
            ShapeError: another number of joints, or dt is not positive and finite.
            NonFiniteError: previous output, measured joints or target velocity are not finite.
            LimitError: a joint is measured too far outside its range.
        """
        self._check(request_rad, moment)
        position, changes, slowed = request_rad, [], FREE
        for name, limit in LIMITS:
            limited = limit(self.limits, moment, position)
            if limited.acted.any():
                changes.extend(self._changes(name, limited))
            position = limited.position_rad
            if name == "position":
                moment = moment._replace(target_rad=position)
            if name == BEFORE_SPACE and self.space is not None and not moment.braking:
                slowed = self.space.slow(moment.previous, position, moment.dt_s)
                if slowed.share < 1.0:
                    changes.extend(slowed.changes)
                    position = moment.previous.position_rad + slowed.share * (position - moment.previous.position_rad)
        velocity = (position - moment.previous.position_rad) / moment.dt_s
        acceleration = np.where(limited.acted, 0.0, (velocity - moment.previous.velocity_rad_s) / moment.dt_s)  # what the step moved begins anew
        return SafeCommand(_SEAL, self.limits.names, Motion(position, velocity, acceleration), tuple(changes), slowed.share)

    def empty(self) -> SafeCommand:
        """A command without targets, for keep-alive and stop."""
        return SafeCommand(_SEAL, (), self._nothing, ())

    def _changes(self, name: str, limited: Limited) -> list[Change]:
        joints = self.limits.names
        return [Change(joints[i], name, float(limited.requested[i]), float(limited.allowed[i])) for i in np.flatnonzero(limited.acted)]

    def _check(self, request_rad: Array, moment: Moment) -> None:
        shape = self.limits.lower_rad.shape
        parts = {"request": request_rad, "previous position": moment.previous.position_rad, "measured position": moment.measured_rad}
        for what, values in parts.items():
            if values.shape != shape:
                raise ShapeError(f"{what}: shape {values.shape}, expected {shape}")
        if not 0.0 < moment.dt_s < 10.0:
            raise ShapeError(f"dt_s is {moment.dt_s}; allowed above 0 to 10 s")
        context = [values for values in (*moment.previous, moment.measured_rad, moment.target_velocity_rad_s) if values is not None]
        if not math.isfinite(sum(values.dot(values) for values in context)):
            raise NonFiniteError(f"previous output {moment.previous}, measured {moment.measured_rad}: every number must be finite")
