# SPDX-License-Identifier: Apache-2.0
"""From embodiment-neutral actions to joints: latents by a hand's decoder, fingertips and wrist poses by inverse kinematics."""

from dex_core.decode.fingertip import FingertipSolution, FingertipSolver
from dex_core.decode.latent import DecodedLatents, LatentDecoder
from dex_core.decode.mounted import ArmInWorld, MountedHand
from dex_core.decode.pose import PoseDecoder, PoseSolution
from dex_core.decode.side import SideDecoder
from dex_core.decode.slices import SliceDecoder, columns_of
from dex_core.rot6d import POSE_COLUMNS, pose_columns, poses_from_columns, tool_pose_columns, tool_poses_from_columns

__all__ = [
    "POSE_COLUMNS",
    "ArmInWorld",
    "DecodedLatents",
    "FingertipSolution",
    "FingertipSolver",
    "LatentDecoder",
    "MountedHand",
    "PoseDecoder",
    "PoseSolution",
    "SideDecoder",
    "SliceDecoder",
    "columns_of",
    "pose_columns",
    "poses_from_columns",
    "tool_pose_columns",
    "tool_poses_from_columns",
]
