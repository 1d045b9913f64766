# SPDX-License-Identifier: Apache-2.0
"""What the gate keeps besides each joint's own limits: profiles of robots, workspaces, distances, a deadman, what a fault of one device does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dex_core.config.paths import find_share
from dex_core.config.strict import bounded, build, read_yaml
from dex_core.errors import ConfigError

FAIL_ACTIONS = ("hold", "stop", "side")
MEETINGS = ("arm-arm", "arm-hand", "arm-own", "arm-self", "arm-table", "hand-hand", "hand-table")
"""What may come near what: two different arms, an arm and the other side's hand, an arm and its own hand, an arm and itself, ..."""


@dataclass(frozen=True)
class Zone:
    """Motion that leads below ``slow`` is slowed down the nearer it comes to ``stop``, where it stands. Leaving is free."""

    slow: float
    stop: float

    def __post_init__(self) -> None:
        if not self.stop < self.slow:
            raise ConfigError(f"stop {self.stop} must be below slow {self.slow}")

    def share(self, value: float) -> float:
        """1 above the zone, 0 from ``stop`` on, linear between."""
        return min(1.0, max(0.0, (value - self.stop) / (self.slow - self.stop)))


@dataclass(frozen=True)
class Box:
    """Where a tool may be, in ``world``, its axes [m]."""

    lower_m: tuple[float, float, float]
    upper_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.lower_m, self.upper_m, strict=True)):
            raise ConfigError(f"lower_m {list(self.lower_m)} must be below upper_m {list(self.upper_m)} on every axis")


@dataclass(frozen=True)
class SafetyProfile:
    """What a kind of robot keeps besides its joint limits; ``config/safety/<robot>.yaml``. None: no such limit.

    Attributes:
        jerk_rad_s3: joint (no prefix) -> largest jerk of a motion that is followed [rad/s^3]. Braking to a hold or a stop is bounded by the
            acceleration alone: whoever must stop does not wait for a smooth beginning.
        tool_speed_m_s: largest speed of the flange [m/s].
        singularity: smallest singular value of the flange's Jacobian (rows in m/rad and rad/rad) below which motion towards the singularity
            slows, and at which it stands; ``slow`` above ``stop``.
        weight_ramp_s: of a robot whose own controller shares its joints with us (``arm_sdk`` of a G1): time in which the weight of our targets
            grows from 0 to 1 before anything may be commanded, and sinks again when we leave [s].
        table: of a hand: distances to the table in place of the cell's ``hand-table``, because its outer shapes are thicker or thinner [m].
        sources: where the numbers come from, key -> words.
    """

    jerk_rad_s3: dict[str, float] = field(default_factory=dict)
    tool_speed_m_s: float | None = bounded(0.01, 10.0, default=None)
    singularity: Zone | None = None
    weight_ramp_s: float | None = bounded(0.1, 30.0, default=None)
    table: Zone | None = None
    sources: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for joint, value in self.jerk_rad_s3.items():
            if not 1.0 <= value <= 1e6:
                raise ConfigError(f"jerk_rad_s3 of {joint!r} is {value}; allowed 1 to 1e6 rad/s^3")


def _distances() -> dict[str, Zone]:
    """Outer shapes stand for the real ones: a box is up to 40 % thinner than its capsules. So links two joints apart may come near each other,
    and fingers that grasp on the table may overlap it a little.
    """
    return {
        "arm-arm": Zone(0.04, 0.015), "arm-hand": Zone(0.05, 0.02), "hand-hand": Zone(0.03, 0.008), "arm-table": Zone(0.05, 0.02),
        "arm-self": Zone(0.006, 0.0), "hand-table": Zone(-0.004, -0.012),
    }


@dataclass(frozen=True)
class SafetyConfig:
    """What the gate of one cell keeps besides joint limits.

    Attributes:
        workspaces: arm -> box for the grasp point of its hand, or its flange where it has no hand with one. An arm that is not named may be
            anywhere.
        workspace_zone_m: motion towards a face slows from this distance on [m].
        distances: what meets what -> distances of their surfaces at which motion slows and stands [m]; what is not named may touch.
        profiles: interface -> profile in place of ``config/safety/<robot>.yaml``.
        blocked_timeout_s: a cell that is slowed to a stand for so long holds, latched.
        fail: interface -> what its fault does: ``hold`` the cell, ``stop`` the cell, or hold its ``side`` while the other goes on.
            What is not named holds the cell.
        deadman_topic: a ``std_msgs/Bool`` that must be true while anything moves; empty: there is none.
        deadman_timeout_s: longest silence of it.
    """

    workspaces: dict[str, Box] = field(default_factory=dict)
    workspace_zone_m: float = bounded(0.001, 1.0, default=0.05)
    distances: dict[str, Zone] = field(default_factory=_distances)
    profiles: dict[str, SafetyProfile] = field(default_factory=dict)
    blocked_timeout_s: float = bounded(0.02, 60.0, default=1.0)
    fail: dict[str, str] = field(default_factory=dict)
    deadman_topic: str = ""
    deadman_timeout_s: float = bounded(0.02, 10.0, default=0.2)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.distances) - set(MEETINGS))
        if unknown:
            raise ConfigError(f"distances name {unknown[0]!r}; allowed: {list(MEETINGS)}")
        for interface, action in self.fail.items():
            if action not in FAIL_ACTIONS:
                raise ConfigError(f"fail action of {interface!r} is {action!r}; allowed: {list(FAIL_ACTIONS)}")

    def check_names(self, interfaces: list[str]) -> None:
        """Raises ConfigError for a name that is no interface of the cell."""
        for key, given in (("workspaces", self.workspaces), ("profiles", self.profiles), ("fail", self.fail)):
            unknown = sorted(set(given) - set(interfaces))
            if unknown:
                raise ConfigError(f"safety.{key} names {unknown[0]!r}; this cell has {interfaces}")


def load_profile(robot: str) -> SafetyProfile:
    """Profile of a kind of robot; one without limits where ``config/safety`` has no file for it."""
    try:
        path = find_share("config", "safety")
    except ConfigError:
        return SafetyProfile()
    file = Path(path) / f"{robot}.yaml"
    return build(SafetyProfile, read_yaml(file), str(file)) if file.is_file() else SafetyProfile()
