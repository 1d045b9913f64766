# SPDX-License-Identifier: Apache-2.0
"""One arm or one hand: joints, limits, couplings, and how its hardware counts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

XYZ = tuple[float, float, float]
TRANSPORTS = (
    "xarm_tcp", "modbus_tcp", "modbus_rtu", "serial", "dynamixel", "xhand_serial", "xhand_ethercat", "paxini_serial", "sharpa_ethernet", "ethercat",
    "can", "ability_serial", "inspire_rs485", "franka_fci", "unitree_dds", "ros2_control", "none",
)
SIMULATED = "simulated"
"""Driver and transport of a simulated hand whose own wire has no device simulator yet; never of a real one."""
FINGERS = ("thumb", "index", "middle", "ring", "little")


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
        effort_nm: largest torque of the joint [N m] (a prismatic joint: force [N], as its rad are metres); None: not known.
    """

    lower_rad: float
    upper_rad: float
    velocity_rad_s: float = bounded(1e-3, 100.0)
    acceleration_rad_s2: float = bounded(1e-2, 10000.0)
    step_rad: float = bounded(1e-3, 10.0)
    effort_nm: float | None = bounded(1e-3, 10000.0, default=None)

    def __post_init__(self) -> None:
        if not self.lower_rad < self.upper_rad:
            raise ConfigError(f"lower_rad {self.lower_rad} must be below upper_rad {self.upper_rad}")


@dataclass(frozen=True)
class HardwareJoint:
    """Linear map of one joint to the hardware's own units: ``units = at_lower + (q - lower) / (upper - lower) * (at_upper - at_lower)``."""

    at_lower: float
    at_upper: float


@dataclass(frozen=True)
class Wire:
    """How a robot of this kind is reached where the cell's file does not say.

    Attributes:
        transport: what the wire speaks; ``none``: not known, it can only be described, shown and simulated without wires.
        simulated: side -> where its device simulator, which speaks the same, listens; a side that is not named has none yet.
        stand_in: side -> where the simulation serves its joints by the ``simulated`` transport until there is a device simulator.
    """

    transport: str = choice(*TRANSPORTS)
    baud: int = bounded(1200, 4_000_000, default=115200)
    simulated: dict[str, str] = field(default_factory=dict)
    stand_in: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = (set(self.simulated) | set(self.stand_in)) - {"left", "right"}
        both = sorted(set(self.simulated) & set(self.stand_in))
        if unknown or both:
            wrong = f"no side is called {sorted(unknown)[0]!r}" if unknown else f"side {both[0]!r} has a device simulator and a stand_in"
            raise ConfigError(f"wire: {wrong}; allowed: left and right, each in simulated or in stand_in")


@dataclass(frozen=True)
class Finger:
    """A semantic finger: name of its tip frame and the actuated joints that move it."""

    tip: str
    joints: tuple[str, ...]


@dataclass(frozen=True)
class FixedFrame:
    """A frame fixed to a link: pose of the frame in ``link`` (URDF convention, R = Rz Ry Rx)."""

    link: str
    xyz_m: XYZ = (0.0, 0.0, 0.0)
    rpy_rad: XYZ = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Coupling:
    """A joint that follows an actuated one: ``q = multiplier * q_joint + offset_rad``, or a four-bar linkage driven by it.

    Attributes:
        joint: the actuated joint it follows.
        four_bar_m: of a planar four-bar: crank (turned by the actuated joint about the origin), coupler (from the ground pivot to the
            rocker's end), rocker (hangs at the crank's end) [m], then x and y of the ground pivot [m]. The joint's angle is the rocker's
            against the crank; ``offset_rad`` is added to the crank's angle, ``zero_rad`` to the result, ``multiplier`` is not used.
    """

    joint: str
    multiplier: float = 1.0
    offset_rad: float = 0.0
    zero_rad: float = 0.0
    four_bar_m: tuple[float, float, float, float, float] | None = None


@dataclass(frozen=True)
class HandKeypoints:
    """Which links stand where a human hand has its 21 keypoints; the tips are those of ``RobotConfig.fingers``.

    Attributes:
        wrist: link whose origin is the wrist.
        joints: finger -> links whose origins are its three joints from the root on (thumb: CMC, MCP, IP; others: MCP, PIP, DIP), None where
            the finger has no such joint. Of several axes that make one human joint it is the link behind the one that bends the finger.
    """

    wrist: str
    joints: dict[str, tuple[str | None, str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class SideConfig:
    """What differs on one side, by joint and by finger; the rest is as on the other."""

    limits: dict[str, JointLimit] = field(default_factory=dict)
    hardware: dict[str, HardwareJoint] = field(default_factory=dict)
    fingers: dict[str, Finger] = field(default_factory=dict)
    keypoints: dict[str, tuple[str | None, str | None, str | None]] = field(default_factory=dict)
    couplings: dict[str, dict[str, Coupling]] = field(default_factory=dict)


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
        wire: how it is reached.
        fingers: semantic fingers in the order thumb, index, middle, ring, little (hands).
        keypoints: where the 21 points of a human hand are; None: only wrist (``root_link``) and fingertips are known.
        hardware: how the hardware counts (hands in vendor units); empty: radians.
        hardware_unit: what it counts in, in words, e.g. ``deg`` or ``counts 0..1000``.
        aliases: other names users may type.
        sides: the sides there are a URDF for.
        tool_links: links other than ``tip_link`` that something may be mounted on (an arm with two wrists).
        palm: side -> palm frame: +X out of the palm (where the fingers curl to), +Z along the fingers, +Y to the thumb on a
            right hand and away from it on a left hand.
        metis_wrist: side -> wrist frame of METIS' unified action space.
        grasp: side -> grasp frame: origin where thumb and index meet when they hold a 50 mm wide thing on a table below, axes of the palm;
            of a hand that is held tilted, those turned about its pinch (see ``dex_core.retarget.grasp``).
        mounts: arm -> side -> pose of ``root_link`` in the arm's ``tip_link``.
        couplings: name of an alternative -> joint that follows -> how; replaces the URDF's mimic of those joints where chosen.
        by_side: side -> what is different there; see :meth:`for_side`.
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
    wire: Wire = Wire("none")
    fingers: dict[str, Finger] | None = None
    keypoints: HandKeypoints | None = None
    hardware: dict[str, HardwareJoint] | None = None
    hardware_unit: str = ""
    aliases: tuple[str, ...] = ()
    sides: tuple[str, ...] = ("left", "right")
    tool_links: tuple[str, ...] = ()
    palm: dict[str, FixedFrame] | None = None
    metis_wrist: dict[str, FixedFrame] | None = None
    grasp: dict[str, FixedFrame] | None = None
    mounts: dict[str, dict[str, Pose]] | None = None
    couplings: dict[str, dict[str, Coupling]] | None = None
    by_side: dict[str, SideConfig] | None = None
    sources: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.actuated or len(set(self.actuated)) != len(self.actuated):
            raise ConfigError(f"actuated joints must be given once each, got {list(self.actuated)}")
        for label, keys in (("limits", self.limits), ("hardware", self.hardware or None)):
            if keys is not None and set(keys) != set(self.actuated):
                raise ConfigError(f"{label} must name exactly the actuated joints; differ in {sorted(set(keys) ^ set(self.actuated))}")
        if self.limits is None:
            raise ConfigError("limits are missing")
        self._check_sides()
        for side, own in (self.by_side or {}).items():
            unknown = sorted((set(own.limits) | set(own.hardware)) - set(self.actuated))
            unknown += sorted((set(own.fingers) | set(own.keypoints)) - set(self.fingers or {}))
            if side not in self.sides or unknown:
                raise ConfigError(
                    f"by_side {side!r}: {unknown or 'no such side'}; allowed: sides {list(self.sides)}, actuated joints, fingers named above"
                )
        for label, variant in (self.couplings or {}).items():
            for follower, coupling in variant.items():
                if coupling.joint not in self.actuated or follower in self.actuated:
                    raise ConfigError(f"coupling {label!r}: {follower!r} follows {coupling.joint!r}; it must follow an actuated joint and be none")
        for name, finger in (self.fingers or {}).items():
            if name not in FINGERS:
                raise ConfigError(f"finger {name!r} is not known; allowed: {list(FINGERS)}")
            unknown = [j for j in finger.joints if j not in self.actuated]
            if unknown:
                raise ConfigError(f"finger {name!r} names joints that are not actuated: {unknown}")
        unknown = sorted(set(self.keypoints.joints if self.keypoints else ()) - set(self.fingers or {}))
        if unknown:
            raise ConfigError(f"keypoints of {unknown[0]!r}: there is no such finger; fingers: {list(self.fingers or {})}")

    def _check_sides(self) -> None:
        allowed = set(self.sides)
        if not allowed or not allowed <= {"left", "right"}:
            raise ConfigError(f"sides are {list(self.sides)}; allowed: left, right")
        tables = {
            "palm": self.palm,
            "metis_wrist": self.metis_wrist,
            "grasp": self.grasp,
            **{f"mounts.{arm}": m for arm, m in (self.mounts or {}).items()},
        }
        for label, table in tables.items():
            if table is not None and set(table) != allowed:
                raise ConfigError(f"{label} must name exactly the sides {sorted(allowed)}, got {sorted(table)}")

    def for_side(self, side: str) -> RobotConfig:
        """The same with what ``by_side`` says of ``side`` put in its place; itself where nothing is said."""
        own = (self.by_side or {}).get(side)
        if own is None:
            return self
        hardware = None if self.hardware is None else {**self.hardware, **own.hardware}
        fingers = None if self.fingers is None else {**self.fingers, **own.fingers}
        keypoints = None if self.keypoints is None else replace(self.keypoints, joints={**self.keypoints.joints, **own.keypoints})
        couplings = {**(self.couplings or {}), **own.couplings} or None
        limits = {**self.limits, **own.limits}
        return replace(self, limits=limits, hardware=hardware, fingers=fingers, keypoints=keypoints, couplings=couplings, by_side=None)

    def prefixed(self, side: str) -> tuple[str, ...]:
        """Actuated joint names with the side's prefix, hardware order."""
        return tuple(f"{side}_{j}" for j in self.actuated)
