# SPDX-License-Identifier: Apache-2.0
"""One process of a cell as plain data: what launch and `dex up` both start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class ProcessDescription:
    """One process.

    Attributes:
        package, executable: as `ros2 run` takes them.
        name, namespace: of its node.
        parameters: parameter -> YAML scalar.
        remappings: (from, to) pairs.
        env: environment variables added to the caller's.
        log_level: least severe message it logs.
        arguments: command line before the ROS arguments.
        lifecycle: its node is a lifecycle node with heartbeats.
        essential: its end ends the cell.
        stop_stage: stages end one after another, lowest first.
        nice: how much it yields, -20 to 19; what only shows yields, what moves the robot is preferred where that is allowed.
    """

    package: str
    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    log_level: str = "info"
    arguments: tuple[str, ...] = ()
    lifecycle: bool = True
    essential: bool = False
    stop_stage: int = 1
    nice: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        object.__setattr__(self, "env", MappingProxyType(dict(self.env)))

    @property
    def module(self) -> str:
        """Importable module behind the executable of an ament_python package."""
        return f"{self.package}.{self.executable}"

    @property
    def full_name(self) -> str:
        """Fully qualified node name, e.g. ``/cell1/gate``."""
        return f"/{self.namespace.strip('/')}/{self.name}".replace("//", "/")

    def ros_arguments(self) -> list[str]:
        """What follows ``--ros-args`` on its command line."""
        words = ["-r", f"__node:={self.name}"]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for source, target in self.remappings:
            words += ["-r", f"{source}:={target}"]
        for key, value in self.parameters.items():
            words += ["-p", f"{key}:={_yaml_scalar(value)}"]
        return [*words, "--log-level", self.log_level]


def _yaml_scalar(value: object) -> str:
    """A YAML scalar that reads back with the same type: text that looks like a number or a boolean is quoted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value).replace("'", "''")
    return f"'{text}'"
