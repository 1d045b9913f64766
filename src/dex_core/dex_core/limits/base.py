# SPDX-License-Identifier: Apache-2.0
"""The contract of a limit: a pure function of the previous output, the request, the measured joints and dt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig, Interface, JointLimit
from dex_core.errors import LimitError
from dex_core.types import Array, frozen_array

TOLERANCE_RAD = 1e-9


@dataclass(frozen=True)
class JointLimits:
    """Limits of n joints as read-only arrays, in the order of ``names``.

    Attributes:
        names: joint names, with the side's prefix.
        lower_rad, upper_rad: (n,) allowed positions [rad].
        velocity_rad_s: (n,) largest speed [rad/s].
        acceleration_rad_s2: (n,) largest acceleration [rad/s^2].
        step_rad: (n,) furthest a command may lie from the measured joint [rad].
        jerk_rad_s3: (n,) largest jerk of a motion that is followed [rad/s^3]; infinite: no limit; None: none at all.
    """

    names: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    velocity_rad_s: Array
    acceleration_rad_s2: Array
    step_rad: Array
    jerk_rad_s3: Array = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for key in ("lower_rad", "upper_rad", "velocity_rad_s", "acceleration_rad_s2", "step_rad"):
            object.__setattr__(self, key, frozen_array(getattr(self, key), (len(self.names),), f"limits {key}"))
        jerk = np.full(len(self.names), np.inf) if self.jerk_rad_s3 is None else np.array(self.jerk_rad_s3, dtype=float)
        if jerk.shape != (len(self.names),) or not (jerk > 0.0).all():
            raise LimitError(f"jerk_rad_s3 {jerk} of {len(self.names)} joints: each must be positive")
        jerk.setflags(write=False)
        object.__setattr__(self, "jerk_rad_s3", jerk)
        for bad in np.flatnonzero(self.lower_rad >= self.upper_rad):
            raise LimitError(f"{self.names[bad]}: lower {self.lower_rad[bad]} must be below upper {self.upper_rad[bad]} rad")
        for key in ("velocity_rad_s", "acceleration_rad_s2", "step_rad"):
            for bad in np.flatnonzero(getattr(self, key) <= 0.0):
                raise LimitError(f"{self.names[bad]}: {key} is {getattr(self, key)[bad]}; it must be positive")

    @classmethod
    def of(cls, names: Sequence[str], limits: Sequence[JointLimit]) -> JointLimits:
        """Stacks one JointLimit per name."""
        keys = ("lower_rad", "upper_rad", "velocity_rad_s", "acceleration_rad_s2", "step_rad")
        return cls(tuple(names), *([getattr(limit, key) for limit in limits] for key in keys))

    @classmethod
    def of_interface(cls, interface: Interface) -> JointLimits:
        """Limits of one arm or hand, hardware order."""
        return cls.of(interface.names, interface.limits)

    @classmethod
    def of_cell(cls, cell: CellConfig) -> JointLimits:
        """Limits of every actuated joint of a cell, in the order of ``cell.joint_names``, jerk as the profiles of its robots say."""
        limits = cls.of(cell.joint_names, [limit for i in cell.interfaces.values() for limit in i.limits])
        jerk: list[float] = []
        for name, interface in cell.interfaces.items():
            known = cell.profile_of(name).jerk_rad_s3
            jerk += [known.get(joint, np.inf) for joint in interface.robot.actuated]
        return replace(limits, jerk_rad_s3=np.array(jerk))

    def clip(self, position_rad: Array) -> Array:
        """``position_rad`` (n,) moved into the position limits [rad]."""
        return np.clip(position_rad, self.lower_rad, self.upper_rad)


class Motion(NamedTuple):
    """A commanded position (n,) [rad], the velocity (n,) [rad/s] of the step that led there, and how much that changed (n,) [rad/s^2].

    Without ``acceleration_rad_s2`` the velocity did not change.
    """

    position_rad: Array
    velocity_rad_s: Array
    acceleration_rad_s2: Array | None = None

    @classmethod
    def at_rest(cls, position_rad: Array) -> Motion:
        """Standing still at ``position_rad`` (n,)."""
        return cls(position_rad, np.zeros_like(position_rad))


class Moment(NamedTuple):
    """What a limit may look at besides the request.

    Attributes:
        previous: last output.
        measured_rad: (n,) measured positions [rad].
        dt_s: time from the previous output to this one [s].
        target_velocity_rad_s: (n,) velocity of the requested trajectory, so that a joint that fell behind arrives
            without overshoot; None: take the request as it is.
        target_rad: (n,) the request itself, where a limit before this one may have moved it [rad]; the pipeline fills it.
        braking: the cell comes to a hold or a stop; jerk is not bounded then.
    """

    previous: Motion
    measured_rad: Array
    dt_s: float
    target_velocity_rad_s: Array | None = None
    target_rad: Array | None = None
    braking: bool = False


class Limited(NamedTuple):
    """What one limit made of a request.

    Attributes:
        position_rad: (n,) new array [rad].
        acted: (n,) where it changed the request.
        requested, allowed: (n,) before and after, in the limit's own unit.
    """

    position_rad: Array
    acted: NDArray[np.bool_]
    requested: Array
    allowed: Array


class Change(NamedTuple):
    """One limit that acted on one joint; ``requested`` and ``allowed`` in the limit's own unit [rad, rad/s, rad/s^2, rad/s^3].

    A limit of the whole cell names the tool or the two links that made it act instead of a joint [m/s, m].
    """

    joint: str
    limit: str
    requested: float
    allowed: float
