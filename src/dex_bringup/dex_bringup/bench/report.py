# SPDX-License-Identifier: Apache-2.0
"""What every benchmark returns: figures beside the goals they are held against."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Goal:
    """``figure`` must be ``at_most`` or ``at_least`` the limit; a missing or NaN figure misses it."""

    figure: str
    at_most: float = math.inf
    at_least: float = -math.inf
    unit: str = ""

    def met(self, figures: Mapping[str, Any]) -> bool:
        """True when the figure is there and within the limit."""
        value = figures.get(self.figure)
        return isinstance(value, (int, float)) and self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        bound = f"at most {self.at_most:g}" if math.isfinite(self.at_most) else f"at least {self.at_least:g}"
        return f"{self.figure} {bound} {self.unit}".rstrip()


@dataclass(frozen=True)
class Report:
    """One run of one benchmark.

    Attributes:
        name: of the benchmark. figures: name -> number (unit in the name) or text. goals: what the figures must reach.
    """

    name: str
    figures: Mapping[str, Any]
    goals: Sequence[Goal] = field(default_factory=tuple)

    @property
    def missed(self) -> list[str]:
        """Goals not met, for people."""
        return [f"{goal}: {self.figures.get(goal.figure)}" for goal in self.goals if not goal.met(self.figures)]

    def as_json(self) -> dict[str, Any]:
        """{name, machine, versions, figures, goals, met}."""
        goals = {str(goal): goal.met(self.figures) for goal in self.goals}
        return {
            "name": self.name,
            "machine": machine(),
            "versions": versions(),
            "figures": dict(self.figures),
            "goals": goals,
            "met": all(goals.values()),
        }

    def as_table(self) -> str:
        """Figures, one a line, with the goal beside those that have one."""
        goals = {goal.figure: goal for goal in self.goals}
        width = max((len(name) for name in self.figures), default=0)
        lines = [f"{self.name} on {machine()['cpu']}, {machine()['cores']} cores"]
        for name, value in self.figures.items():
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            verdict = f"   goal: {goals[name]}: {'met' if goals[name].met(self.figures) else 'MISSED'}" if name in goals else ""
            lines.append(f"  {name:<{width}}  {text}{verdict}")
        return "\n".join(lines)


def machine() -> dict[str, Any]:
    """The machine the figures belong to."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), cpu)
    except OSError:
        pass
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "system": platform.platform(), "load_1min_at_end": round(os.getloadavg()[0], 2)}


def versions() -> dict[str, str]:
    """Versions of what decides the figures."""
    found = {"python": platform.python_version()}
    for name in ("ros-rclpy", "mujoco", "onnxruntime", "numpy", "xarm-python-sdk", "pymodbus", "pin", "dex-retargeting", "pin-pink", "mink", "daqp"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile of the finite values; NaN when there is none."""
    finite = sorted(v for v in values if math.isfinite(v))
    if not finite:
        return math.nan
    place = (len(finite) - 1) * percent / 100.0
    low, high = math.floor(place), math.ceil(place)
    return finite[low] + (finite[high] - finite[low]) * (place - low)
