# SPDX-License-Identifier: Apache-2.0
"""One arm's or hand's slice of a chunk, in whatever space the policy spoke, into named joints."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dex_core.config.cell import Interface
from dex_core.decode.fingertip import FingertipSolver
from dex_core.decode.latent import LatentDecoder
from dex_core.decode.pose import PoseDecoder
from dex_core.errors import DexError, JointNameError, ShapeError
from dex_core.types import POSE_COLUMNS, ActionSlice, Array, index_map

SEARCHED = ("fingertip_position", "wrist_pose")
"""Spaces whose joints are searched for from the measured ones."""
WORLD = "world"
SAME_LATENT = 1e-4
"""How far rows may differ that hold one and the same latent: what float32 on the wire adds, with room."""
_AXES = ("x", "y", "z")


def _latents(part: ActionSlice, decoder: LatentDecoder) -> Array:
    """(K, dim) latents of a slice: one a step, or in a space of chunks the one that every step repeats. Raises ShapeError."""
    if decoder.unit == "frame":
        return part.data
    if part.steps != decoder.frames or np.ptp(part.data, axis=0).max() > SAME_LATENT:
        raise ShapeError(
            f"slice {part.interface!r}: {part.steps} steps whose latents differ by up to "
            f"{np.ptp(part.data, axis=0).max():.3g}; a latent of this space is "
            f"a chunk: {decoder.frames} steps that all hold the same one"
        )
    return part.data[:1]


def columns_of(fingers: tuple[str, ...]) -> tuple[str, ...]:
    """Column names of a fingertip_position slice: ``<finger>_x``, ``_y``, ``_z`` for each finger."""
    return tuple(f"{finger}_{axis}" for finger in fingers for axis in _AXES)


@dataclass
class SliceDecoder:
    """Decodes slices of one arm or hand; counts what it flagged.

    Attributes:
        interface_name, interface: which part of the cell.
        latent: of a hand, for ``latent`` slices, or None.
        fingertip: of a hand, for ``fingertip_position`` slices, or None.
        pose: of an arm, for ``wrist_pose`` slices, or None.
        flagged_steps: latent steps that the guard took to be off the space so far. infeasible_steps: fingertip and wrist steps out of reach so far.
    """

    interface_name: str
    interface: Interface
    latent: LatentDecoder | None = None
    fingertip: FingertipSolver | None = None
    pose: PoseDecoder | None = None
    flagged_steps: int = 0
    infeasible_steps: int = 0
    frames: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        root = self.interface.robot.root_link
        self.frames = ("", root, f"{self.interface.side}_{root}", f"{self.interface.side}_wrist")

    @property
    def spaces(self) -> tuple[str, ...]:
        """Action spaces it takes."""
        able = {"latent": self.latent, "fingertip_position": self.fingertip, "wrist_pose": self.pose}
        return ("joint_position", *(space for space, decoder in able.items() if decoder is not None))

    def decode(self, part: ActionSlice, measured_rad: Array) -> ActionSlice:
        """The slice as ``joint_position`` in the cell's order of names, inside the limits.

        Args:
            part: latent, fingertip_position, wrist_pose or joint_position slice of this interface.
            measured_rad: (n,) measured joints, in the order of ``interface.names``, where a search starts [rad].

        Raises:
            DexError: ``space_mismatch`` (a latent of another space), ``no_decoder``, ``frame_unknown``, ``joint_names``, ``rotation``...
        """
        if part.interface != self.interface_name:
            raise DexError(f"slice of {part.interface!r} came to the decoder of {self.interface_name!r}", code="wrong_interface")
        if part.space == "joint_position":
            return self._finish(part.names, part.data, part.residual_m)
        if part.space == "latent" and self.latent is not None:
            return self._from_latent(part, self.latent)
        if part.space == "fingertip_position" and self.fingertip is not None:
            return self._from_fingertips(part, self.fingertip, measured_rad)
        if part.space == "wrist_pose" and self.pose is not None:
            return self._from_poses(part, self.pose, measured_rad)
        raise DexError(f"{self.interface_name}: cannot decode {part.space!r}; it decodes {list(self.spaces)}", code="no_decoder")

    def _from_latent(self, part: ActionSlice, decoder: LatentDecoder) -> ActionSlice:
        if part.space_hash not in decoder.accepted_hashes:
            raise DexError(
                f"{self.interface_name}: latents of space {part.space_hash[:16] or 'unknown'}; the loaded space has decoders "
                f"{sorted(h[:16] for h in decoder.accepted_hashes)}",
                code="space_mismatch",
            )
        decoded = decoder.decode(_latents(part, decoder))
        self.flagged_steps += int(decoded.flagged.sum())
        names = tuple(f"{self.interface.side}_{j}" for j in decoder.joints)
        return self._finish(names, decoded.position_rad, np.zeros(0))

    def _from_fingertips(self, part: ActionSlice, solver: FingertipSolver, measured_rad: Array) -> ActionSlice:
        if part.frame_id not in self.frames:
            raise DexError(f"{self.interface_name}: fingertips in frame {part.frame_id!r}; allowed: {list(self.frames)}", code="frame_unknown")
        fingers = tuple(dict.fromkeys(name.rsplit("_", 1)[0] for name in part.names))
        if part.names != columns_of(fingers):
            raise JointNameError(f"{self.interface_name} fingertips", part.names, columns_of(solver.fingers))
        names = tuple(f"{self.interface.side}_{j}" for j in solver.joints)
        start = np.asarray(measured_rad)[index_map(self.interface.names, names, f"joints of {self.interface_name}")]
        solution = solver.solve(part.data.reshape(part.steps, len(fingers), 3), fingers, start)
        self.infeasible_steps += int((~solution.feasible).sum())
        return self._finish(names, solution.position_rad, solution.residual_m)

    def _from_poses(self, part: ActionSlice, decoder: PoseDecoder, measured_rad: Array) -> ActionSlice:
        if part.frame_id != WORLD:
            raise DexError(f"{self.interface_name}: wrist poses in frame {part.frame_id!r}; allowed: {WORLD!r}", code="frame_unknown")
        if part.names not in ((), POSE_COLUMNS):
            raise ShapeError(f"{self.interface_name}: wrist poses with columns {list(part.names)}; expected {list(POSE_COLUMNS)}")
        names = tuple(self.interface.prefix + j for j in decoder.names)
        start = np.asarray(measured_rad)[index_map(self.interface.names, names, f"joints of {self.interface_name}")]
        solution = decoder.decode(part.data, start)
        self.infeasible_steps += int((~solution.feasible).sum())
        return self._finish(names, solution.position_rad, solution.residual_m)

    def _finish(self, names: tuple[str, ...], data: Array, residual_m: Array) -> ActionSlice:
        order = index_map(names, self.interface.names, f"joints of {self.interface_name}")
        return ActionSlice(self.interface_name, "joint_position", data[:, order], self.interface.names, residual_m=residual_m)
