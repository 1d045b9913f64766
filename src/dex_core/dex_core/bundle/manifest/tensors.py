# SPDX-License-Identifier: Apache-2.0
"""Graphs, their tensors, and what the columns of those mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError
from dex_core.types import POSE_COLUMNS, SPACES

DTYPES = ("float32", "uint8", "int64")


@dataclass(frozen=True)
class Slice:
    """Columns ``at[0]`` to ``at[1]`` (exclusive) of a tensor's last axis.

    Attributes:
        interface: what they belong to, e.g. ``left_arm``.
        space: action space.
        names: joint names WITHOUT the side's prefix (joint_position), in column order; POSE_COLUMNS or nothing (wrist_pose).
        frame: what Cartesian numbers are in; ``world`` (wrist_pose).
        anchor: graph of the required latent space that decodes them, of any hand the policy was trained on, e.g. ``left_inspire/decoder``
            (latent); another hand of the same space may be mounted.
        fingers: semantic fingers, three columns each (fingertip_position).
    """

    at: tuple[int, int]
    interface: str
    space: str = choice(*SPACES)
    names: tuple[str, ...] = ()
    unit: str = ""
    frame: str = ""
    anchor: str = ""
    fingers: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.at[1] - self.at[0]

    @property
    def side(self) -> str:
        """left or right, from the interface's name."""
        return self.interface.split("_", 1)[0]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns as chunks carry them: joints with the side's prefix, parts of a pose, axes of fingertips; latents have none."""
        if self.space == "wrist_pose":
            return POSE_COLUMNS
        if self.space == "fingertip_position":
            return tuple(f"{finger}_{axis}" for finger in self.fingers for axis in "xyz")
        return tuple(f"{self.side}_{n}" for n in self.names)


@dataclass(frozen=True)
class Tensor:
    """One input or output of a graph.

    Attributes:
        shape: numbers, and names of dynamic axes (``B``).
        space, unit, names: for a tensor that is one slice as a whole.
        interfaces: of a (B, interfaces, steps, latent) tensor, axis 1.
        slices: columns of the last axis; they must tile it exactly.
    """

    name: str
    dtype: str = choice(*DTYPES)
    shape: tuple[Any, ...] = ()
    space: str = ""
    unit: str = ""
    names: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    kind: str = choice("absolute", "delta_to_observation", "delta_to_previous", default="absolute")
    slices: tuple[Slice, ...] = ()

    def __post_init__(self) -> None:
        if not self.shape:
            raise ConfigError("shape is empty; expected e.g. [B, 32]")
        for axis in self.shape:
            named = isinstance(axis, str) and axis.isidentifier()
            if not named and not (isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1):
                raise ConfigError(f"shape holds {axis!r}; an axis is a positive number or a name such as B")
        if self.space and self.space not in SPACES:
            raise ConfigError(f"space is {self.space!r}; allowed: {list(SPACES)}")


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs the trainer computed for them (npz), with the allowed error."""

    file: str
    atol: float = bounded(0.0, 1.0, default=1e-5)
    rtol: float = bounded(0.0, 1.0, default=1e-4)


@dataclass(frozen=True)
class Graph:
    """One exported network. ``dynamic``: axis name -> smallest and largest length it may have."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    golden: Golden
    dynamic: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        used = {a for t in (*self.inputs, *self.outputs) for a in t.shape if isinstance(a, str)}
        if used != set(self.dynamic):
            raise ConfigError(f"dynamic names axes {sorted(self.dynamic)}, the shapes use {sorted(used)}")
        for axis, (low, high) in self.dynamic.items():
            if not 1 <= low <= high:
                raise ConfigError(f"dynamic.{axis} is [{low}, {high}]; expected 1 <= low <= high")

    def input(self, name: str) -> Tensor | None:
        """The input of that name, or None."""
        return next((t for t in self.inputs if t.name == name), None)

    def output(self, name: str) -> Tensor | None:
        """The output of that name, or None."""
        return next((t for t in self.outputs if t.name == name), None)
