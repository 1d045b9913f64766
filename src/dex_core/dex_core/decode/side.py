# SPDX-License-Identifier: Apache-2.0
"""What one side of a cell decodes: the slices of its hand and of the arm that carries it. It alone knows which hand that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from dex_core.config import read_description
from dex_core.config.cell import CellConfig
from dex_core.decode.fingertip import FingertipSolver
from dex_core.decode.latent import LatentDecoder
from dex_core.decode.mounted import MountedHand
from dex_core.decode.pose import PoseDecoder
from dex_core.decode.slices import SEARCHED, SliceDecoder
from dex_core.kinematics import HandKinematics
from dex_core.types import ActionChunk, ActionSlice, Array

DECODED = "joint_position"


class SideDecoder:
    """Decoders of the arm and hand of one side. One thread at a time.

    Args:
        side: left or right.
        parts: of its arm and hand.
        mounted: the hand and its grasp frame; None where the hand gives none or no arm carries it: then wrist poses cannot be decoded.
    """

    def __init__(self, side: str, parts: Iterable[SliceDecoder], mounted: MountedHand | None) -> None:
        self.side, self.mounted = side, mounted
        self.parts = {part.interface_name: part for part in parts}

    @classmethod
    def of_cell(cls, cell: CellConfig, side: str, latent: LatentDecoder, decoder_sha256: str = "") -> SideDecoder:
        """The side as a cell describes it.

        Args:
            latent: of the mounted hand. decoder_sha256: of its graph.
        """
        name, arm_name = f"{side}_hand", f"{side}_arm"
        hand = cell.interface(name)
        kinematics = HandKinematics(hand.robot, read_description(hand.robot.urdf, side))
        limits = [hand.robot.limits[joint] for joint in kinematics.names]
        fingertip = FingertipSolver(kinematics, [m.lower_rad for m in limits], [m.upper_rad for m in limits])
        parts = [SliceDecoder(name, hand, latent, fingertip)]
        if arm_name not in cell.interfaces or side not in (hand.robot.grasp or {}):
            return cls(side, parts, None)
        pose = PoseDecoder.of_cell(cell, side)
        parts.append(SliceDecoder(arm_name, cell.interface(arm_name), pose=pose))
        return cls(side, parts, replace(pose.hand, decoder_sha256=decoder_sha256))

    @property
    def flagged_steps(self) -> int:
        """Latent steps off the space so far."""
        return sum(part.flagged_steps for part in self.parts.values())

    @property
    def infeasible_steps(self) -> int:
        """Fingertip and wrist steps out of reach so far."""
        return sum(part.infeasible_steps for part in self.parts.values())

    def decode(self, chunk: ActionChunk, measured: Callable[[str], Array]) -> ActionChunk | None:
        """The chunk with this side's slices as named joints and nothing else; None where there is nothing to decode.

        Args:
            chunk: as the policy gave it; slices in ``joint_position`` need no decoder.
            measured: interface -> (n,) measured joints in the order of its names [rad]; asked only where a search starts from them.

        Raises:
            DexError: one of the slices cannot be decoded; the other one is not given either.
        """
        own = [s for s in chunk.slices if s.interface in self.parts and s.space != DECODED]
        if not own:
            return None
        return replace(chunk, slices=tuple(self._one(s, measured) for s in own))

    def _one(self, part: ActionSlice, measured: Callable[[str], Array]) -> ActionSlice:
        decoder = self.parts[part.interface]
        return decoder.decode(part, measured(part.interface) if part.space in SEARCHED else np.array(decoder.interface.home))
