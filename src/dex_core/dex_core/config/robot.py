# SPDX-License-Identifier: Apache-2.0
"""One arm or one hand: joints, limits, couplings, and how its hardware counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

XYZ = tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """A fixed transform: ``xyz_m`` [m], ``rpy_rad`` [rad] (URDF convention, R = Rz Ry Rx)."""

    xyz_m: XYZ
    rpy_rad: XYZ = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class JointLimit:
    """Limits the gate enforces on one joint; SI, radians.

    Attributes:
        step_rad: furthest a command may be from the measured position.
    """

    lower_rad: float
    upper_rad: float
    velocity_rad_s: float = bounded(1e-3, 100.0)
    acceleration_rad_s2: float = bounded(1e-2, 10000.0)
    step_rad: float = bounded(1e-3, 10.0)

    def __post_init__(self) -> None:
        if not self.lower_rad < self.upper_rad:
            raise ConfigError(f"lower_rad {self.lower_rad} must be below upper_rad {self.upper_rad}")


@dataclass(frozen=True)
class HardwareJoint:
    """Linear map of one joint to the hardware's own units: ``units = at_lower + (q - lower) / (upper - lower) * (at_upper - at_lower)``."""

    at_lower: float
    at_upper: float


@dataclass(frozen=True)
class Finger:
    """A semantic finger: name of its tip frame and the actuated joints that move it."""

    tip: str
    joints: tuple[str, ...]


@dataclass(frozen=True)
class RobotConfig:
    """An arm or a hand without side: names here carry no prefix.

    Attributes:
        name: e.g. ``xarm7``, ``inspire``.
        kind: arm or hand.
        urdf: file under dex_description/urdf; ``{side}`` is replaced.
        root_link, tip_link: first link, and flange (arm) or root of the palm (hand).
        actuated: joints in the hardware's order.
        limits: one per actuated joint.
        driver: entry point that drives the real one.
        fingers: semantic fingers in the order thumb, index, middle, ring, little (hands).
        hardware: how the hardware counts (hands in vendor units); empty: radians.
        sources: where the numbers come from, key -> words.
    """

    name: str
    kind: str = choice("arm", "hand")
    urdf: str = ""
    root_link: str = ""
    tip_link: str = ""
    actuated: tuple[str, ...] = ()
    limits: dict[str, JointLimit] = None  # type: ignore[assignment]
    driver: str = ""
    fingers: dict[str, Finger] | None = None
    hardware: dict[str, HardwareJoint] | None = None
    sources: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.actuated or len(set(self.actuated)) != len(self.actuated):
            raise ConfigError(f"actuated joints must be given once each, got {list(self.actuated)}")
        for label, keys in (("limits", self.limits), ("hardware", self.hardware or None)):
            if keys is not None and set(keys) != set(self.actuated):
                raise ConfigError(f"{label} must name exactly the actuated joints; differ in {sorted(set(keys) ^ set(self.actuated))}")
        if self.limits is None:
            raise ConfigError("limits are missing")
        for name, finger in (self.fingers or {}).items():
            unknown = [j for j in finger.joints if j not in self.actuated]
            if unknown:
                raise ConfigError(f"finger {name!r} names joints that are not actuated: {unknown}")

    def prefixed(self, side: str) -> tuple[str, ...]:
        """Actuated joint names with the side's prefix, hardware order."""
        return tuple(f"{side}_{j}" for j in self.actuated)


TWO_PI = 2.0 * math.pi
