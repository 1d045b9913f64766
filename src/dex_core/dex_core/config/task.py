# SPDX-License-Identifier: Apache-2.0
"""A task of the simulated cell: instruction, objects, where they may start, and when it is done."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError

KINDS = ("can", "fruit", "bowl")
RULES = ("together", "inside")


@dataclass(frozen=True)
class Region:
    """A rectangle on the table, in ``world`` [m]."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]

    def __post_init__(self) -> None:
        for axis, (low, high) in (("x_m", self.x_m), ("y_m", self.y_m)):
            if not low < high:
                raise ConfigError(f"{axis} [{low}, {high}] must grow")


@dataclass(frozen=True)
class ObjectConfig:
    """A thing on the table.

    Attributes:
        kind: can (upright cylinder), fruit (ellipsoid that lies on its side) or bowl (open, round).
        size_m: full width along its own x, y and z as it stands.
        region: where its middle may start.
        friction: sliding friction of its surface.
        rgb: its colour; cans, whose looks are their own, leave it.
    """

    kind: str = choice(*KINDS)
    size_m: tuple[float, float, float] = (0.05, 0.05, 0.05)
    region: Region = None  # type: ignore[assignment]
    mass_kg: float = bounded(0.01, 5.0, default=0.1)
    friction: float = bounded(0.01, 3.0, default=0.5)
    rgb: tuple[float, float, float] = (0.7, 0.7, 0.7)

    def __post_init__(self) -> None:
        if self.region is None:
            raise ConfigError("key 'region' is missing")
        if not all(0.01 <= width <= 0.5 for width in self.size_m):
            raise ConfigError(f"size_m {list(self.size_m)}: each width must be 0.01 to 0.5 m")
        if self.kind == "can" and self.size_m[0] != self.size_m[1]:
            raise ConfigError(f"a can is round: size_m {list(self.size_m)} must have equal x and y")

    @property
    def radius_m(self) -> float:
        """Half its largest width on the table."""
        return 0.5 * max(self.size_m[:2])


@dataclass(frozen=True)
class TaskConfig:
    """One task.

    Attributes:
        instruction: the sentence that names the task; paraphrases also count.
        objects: name -> what is on the table. Names are unique over all tasks of a cell.
        rule: together - its two cans touch, upright; inside - its fruits lie in its bowl, let go.
        success_gap_m: together: largest gap between the cans that counts as touching.
        rest_speed_m_s: inside: a fruit slower than this rests.
        max_tilt_rad: beyond it a can has fallen, or a bowl has tipped.
        time_limit_s: after it the simulator's judge calls the attempt lost.
    """

    name: str
    instruction: str
    paraphrases: tuple[str, ...]
    objects: dict[str, ObjectConfig]
    rule: str = choice(*RULES)
    success_gap_m: float = bounded(0.0, 0.1, default=0.005)
    rest_speed_m_s: float = bounded(1e-3, 1.0, default=0.05)
    max_tilt_rad: float = bounded(0.01, 1.5, default=0.1745)
    time_limit_s: float = bounded(1.0, 600.0, default=40.0)

    def __post_init__(self) -> None:
        kinds = [thing.kind for thing in self.objects.values()]
        if self.rule == "together" and kinds != ["can", "can"]:
            raise ConfigError(f"rule 'together' needs two cans, got {kinds}")
        if self.rule == "inside" and (kinds.count("bowl") != 1 or kinds.count("fruit") < 1):
            raise ConfigError(f"rule 'inside' needs one bowl and at least one fruit, got {kinds}")

    @property
    def regions(self) -> dict[str, Region]:
        """Object -> where it may start."""
        return {name: thing.region for name, thing in self.objects.items()}

    def of_kind(self, kind: str) -> dict[str, ObjectConfig]:
        """Its objects of one kind, by name."""
        return {name: thing for name, thing in self.objects.items() if thing.kind == kind}
