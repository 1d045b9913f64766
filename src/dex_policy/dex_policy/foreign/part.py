# SPDX-License-Identifier: Apache-2.0
"""What neighbouring numbers of a server's vector mean: joints, a gripper, a wrist pose, or nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass, field

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

ROTATIONS = {"rot6d_columns": 6, "rot6d_rows": 6, "rotvec": 3, "quat_xyzw": 4}
"""How six or fewer numbers tell a rotation -> how many they are."""
REFERENCES = ("absolute", "delta_to_observation", "delta_to_previous")


@dataclass(frozen=True)
class Part:
    """Neighbouring numbers of a vector, in order.

    Attributes:
        of: joints | gripper (one number for a whole hand) | wrist_pose | unused (numbers of an action that move nothing) | constant.
        interface: whose, e.g. ``left_arm``.
        joints: names without the side's prefix, in the server's order.
        unit: of joints: rad, deg, or range: ``range_rad`` of each joint is ``value_range`` to the server.
        sign: per joint, 1 or -1; zero_rad: per joint, our angle where the server's is 0; scale: how many units the server's 1 is (1 where left out).
            Only rad and deg.
        open_value, closed_value: the server's numbers for an open and a closed hand; open_rad, closed_rad: those postures.
        binary: of a gripper that is moved: what is nearer to open opens it wholly, the rest closes it.
        rotation: of a wrist pose: x, y, z [m] in ``world`` of the hand's grasp frame come first, then this.
        reference: absolute; delta_to_observation (to the measured joints); delta_to_previous (each step to the one before). Deltas are of joints.
        limits: [lowest, highest] of each number as the server gives it in training; 1.2 times that range is flagged, 2 times refused. Actions only.
        columns: how many numbers are unused. values: the constants.
    """

    of: str = choice("joints", "gripper", "wrist_pose", "unused", "constant")
    interface: str = ""
    joints: tuple[str, ...] = ()
    unit: str = choice("", "rad", "deg", "range", default="")
    sign: tuple[float, ...] = ()
    zero_rad: tuple[float, ...] = ()
    scale: float | None = bounded(1e-6, 1e6, default=None)
    range_rad: tuple[tuple[float, float], ...] = ()
    value_range: tuple[float, ...] = ()
    open_value: float | None = None
    closed_value: float | None = None
    open_rad: dict[str, float] = field(default_factory=dict)
    closed_rad: dict[str, float] = field(default_factory=dict)
    binary: bool = False
    rotation: str = choice("", *ROTATIONS, default="")
    reference: str = choice("", *REFERENCES, default="")
    limits: tuple[tuple[float, float], ...] = ()
    columns: int = bounded(0, 4096, default=0)
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        needed, allowed = _FIELDS[self.of]
        for name in _ALL_FIELDS:
            if name in needed and not _given(getattr(self, name)):
                raise ConfigError(f"key {name!r} is missing; a part of {self.of!r} needs {sorted(needed)}")
            if name not in needed | allowed and _given(getattr(self, name)):
                raise ConfigError(f"key {name!r} has no place in a part of {self.of!r}; allowed: {sorted(needed | allowed)}")
        if self.of == "joints":
            _check_joints(self)
        if self.of == "gripper":
            _check_gripper(self)
        if self.of == "wrist_pose" and self.reference not in ("", "absolute"):
            raise ConfigError(f"reference of a wrist pose is {self.reference!r}; allowed: 'absolute'")
        if any(not low < high for low, high in self.limits):
            raise ConfigError(f"limits {[list(pair) for pair in self.limits]}: each must grow")
        if self.limits and len(self.limits) != self.width:
            raise ConfigError(f"limits has {len(self.limits)} entries for {self.width} numbers")

    @property
    def width(self) -> int:
        """How many numbers it is."""
        if self.of == "wrist_pose":
            return 3 + ROTATIONS[self.rotation]
        return {"joints": len(self.joints), "gripper": 1, "unused": self.columns, "constant": len(self.values)}[self.of]


_FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "joints": (
        frozenset({"interface", "joints", "unit"}),
        frozenset({"sign", "zero_rad", "scale", "range_rad", "value_range", "reference", "limits"}),
    ),
    "gripper": (
        frozenset({"interface", "open_value", "closed_value", "open_rad", "closed_rad"}), frozenset({"binary", "reference", "limits"}),
    ),
    "wrist_pose": (frozenset({"interface", "rotation"}), frozenset({"reference", "limits"})),
    "unused": (frozenset({"columns"}), frozenset()),
    "constant": (frozenset({"values"}), frozenset()),
}
"""Kind of a part -> keys it needs, keys it may have."""
_ALL_FIELDS = sorted({name for needed, allowed in _FIELDS.values() for name in needed | allowed})


def _given(value: object) -> bool:
    """Whether a key was given: its value is not the empty one that it has when it is left out. A float of 0 was given."""
    return value is not None and value is not False and value not in ("", (), {}) and not (isinstance(value, int) and value == 0)


def _check_joints(part: Part) -> None:
    count = len(part.joints)
    if len(set(part.joints)) != count:
        raise ConfigError(f"joints {list(part.joints)}: one is named twice")
    for name in ("sign", "zero_rad"):
        if getattr(part, name) and len(getattr(part, name)) != count:
            raise ConfigError(f"{name} has {len(getattr(part, name))} entries for {count} joints")
    if any(abs(s) != 1.0 for s in part.sign):
        raise ConfigError(f"sign {list(part.sign)}: each must be 1 or -1")
    if part.unit != "range":
        if part.range_rad or part.value_range:
            raise ConfigError(f"range_rad and value_range have no place with unit {part.unit!r}")
        return
    if part.sign or part.zero_rad or part.scale is not None:
        raise ConfigError("sign, zero_rad and scale have no place with unit 'range': range_rad and value_range say them")
    if len(part.range_rad) != count or any(a == b for a, b in part.range_rad):
        raise ConfigError(f"range_rad needs {count} pairs of different angles, got {[list(p) for p in part.range_rad]}")
    if len(part.value_range) != 2 or part.value_range[0] == part.value_range[1]:
        raise ConfigError(f"value_range is {list(part.value_range)}; expected two different numbers, e.g. [0, 1]")
    if part.reference not in ("", "absolute"):
        raise ConfigError(f"unit 'range' with reference {part.reference!r}: deltas are in rad or deg")


def _check_gripper(part: Part) -> None:
    if part.open_value == part.closed_value:
        raise ConfigError(f"open_value and closed_value are both {part.open_value}")
    if set(part.open_rad) != set(part.closed_rad):
        raise ConfigError(f"open_rad names {sorted(part.open_rad)}, closed_rad {sorted(part.closed_rad)}")
    if part.open_rad == part.closed_rad:
        raise ConfigError("open_rad and closed_rad are the same posture")
    if part.reference not in ("", "absolute"):
        raise ConfigError(f"reference of a gripper is {part.reference!r}; allowed: 'absolute'")
