# SPDX-License-Identifier: Apache-2.0
"""The robot around a policy: measured joints -> what the policy is told, its chunk -> joints, by the decoders of the mounted hands and arms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig
from dex_core.decode import PoseDecoder, tool_poses_from_columns
from dex_learn.policy.codes import HandCode
from dex_learn.policy.layout import SIDES, STEPS

Array = NDArray[np.float64]
Joints = Mapping[str, NDArray[np.float64]]


class Embodied:
    """One cell's arms and hands.

    Args:
        cell: with the hands that are mounted.
        codes: by embodiment, ``<side>_<hand>``; those of the mounted hands are used.

    Attributes:
        codes: by side.
        unreached: steps whose pose an arm could not reach within the decoder's tolerance, and how many there were.
    """

    def __init__(self, cell: CellConfig, codes: Mapping[str, HandCode]) -> None:
        self._arms = {side: PoseDecoder.of_cell(cell, side) for side in SIDES}
        self.codes = {side: codes[f"{side}_{cell.interface(f'{side}_hand').robot.name}"] for side in SIDES}
        self.dim = self.codes["left"].dim
        self.unreached = [0, 0]

    def reset(self) -> None:
        """A new goal begins."""
        for code in self.codes.values():
            code.reset()

    def poses(self, joints: Joints) -> Array:
        """(18,) measured poses of the grasp frames in ``world``, left first."""
        return np.concatenate([self._arms[side].columns(joints[f"{side}_arm"]) for side in SIDES])

    def tools(self, joints: Joints) -> Array:
        """(2, 4) measured tool poses x, y, z [m], yaw [rad]."""
        return tool_poses_from_columns(self.poses(joints).reshape(2, 9))

    def encode(self, joints: Joints) -> Array:
        """(2, 64, D) codes of the measured hands: what stands for the chunk before at the start of a goal."""
        return np.stack([np.repeat(self.codes[side].encode(joints[f"{side}_hand"][None]), STEPS, axis=0) for side in SIDES])

    def joints(self, chunk: Array, measured: Joints) -> Array:
        """(64, 18 + 2 D) -> (64, n) targets [rad]: left arm, right arm, left hand, right hand."""
        parts = []
        for i, side in enumerate(SIDES):
            solved = self._arms[side].decode(chunk[:, 9 * i : 9 * i + 9], measured[f"{side}_arm"])
            self.unreached[0] += int(np.count_nonzero(~solved.feasible))
            self.unreached[1] += len(solved.feasible)
            parts.append(solved.position_rad)
        for i, side in enumerate(SIDES):
            first = 18 + i * self.dim
            parts.append(self.codes[side].decode(chunk[:, first : first + self.dim]))
        return np.concatenate(parts, axis=1)
