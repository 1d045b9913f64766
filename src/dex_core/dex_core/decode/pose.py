# SPDX-License-Identifier: Apache-2.0
"""Wrist poses of a chunk -> joints of the arm that carries the hand; the hand's grasp frame is what arrives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config.cell import CellConfig
from dex_core.decode.mounted import ArmInWorld, MountedHand
from dex_core.errors import ShapeError
from dex_core.kinematics.arm_ik import ArmIk
from dex_core.rot6d import pose_columns, poses_from_columns
from dex_core.types import Array, frozen_array

TOLERANCE_M, TOLERANCE_RAD = 1e-3, 1.75e-3
"""A step nearer than this to its target counts as reached: 1 mm and 0.1 degree."""
STEP_SHARE = 0.96
"""Of the smallest step limit: two steps of a decoded chunk are never further apart, whatever rounding the way to the gate adds."""
STIFFNESS = 100.0
SELF_MOTION = 0.1
"""A joint inside the arm that moves at least so much of a self-motion (a unit vector of joint speeds) bends the elbow sideways."""


class PoseSolution(NamedTuple):
    """Result for T steps.

    Attributes:
        position_rad: (T, n) inside the limits [rad]; where a pose is out of reach, the nearest one found.
        residual_m, residual_rad: (T,) distance and angle of the grasp frame from its target.
        feasible: (T,) both within the tolerance.
    """

    position_rad: Array
    residual_m: Array
    residual_rad: Array
    feasible: np.ndarray


class PoseDecoder:
    """Solves a chunk of grasp-frame poses as one, started from the measured joints, elbow as at home. One thread at a time.

    An arm with a joint to spare could answer one pose with many postures; it takes the one whose inner joints (joint3 and joint5 of an
    xArm7) are as near to home as they can be, so that chunk after chunk the arm does not wander.

    Deterministic: no random numbers, no time limit.

    Args:
        arm: where it stands.
        hand: what it carries.
        rest_rad: (n,) posture it leans to, mostly the cell's home [rad].
    """

    def __init__(self, arm: ArmInWorld, hand: MountedHand, rest_rad: ArrayLike) -> None:
        arm.require(hand)
        self.arm, self.hand = arm, hand
        self.names: tuple[str, ...] = arm.kinematics.names
        rest = frozen_array(rest_rad, (len(self.names),), f"rest posture of {arm.interface.name}")
        step_rad = min(arm.interface.robot.limits[name].step_rad for name in self.names)
        self._ik = ArmIk(
            arm.kinematics, tool=hand.grasp_in_flange, rest_rad=rest, stiffness=elbow_stiffness(arm, rest), look_ahead=False,
            reach_rad=STEP_SHARE * step_rad,
        )
        self._world_in_base = np.linalg.inv(arm.base_in_world)
        self.home_columns = frozen_array(self.columns(rest), (9,), "home pose")

    @classmethod
    def of_cell(cls, cell: CellConfig, side: str) -> PoseDecoder:
        """The arm and hand of one side as a cell describes them. Raises ConfigError: no arm on the world there, or a hand without grasp frame."""
        arm = ArmInWorld(cell, side)
        return cls(arm, MountedHand.of_cell(cell, side), [arm.interface.home_rad[name] for name in arm.kinematics.names])

    def columns(self, position_rad: ArrayLike) -> Array:
        """(9,) or (T, 9) grasp-frame poses in ``world`` of (n,) or (T, n) joints: what a policy is shown as measured."""
        q = np.asarray(position_rad, dtype=np.float64)
        if q.ndim == 1:
            return pose_columns(self.arm.grasp_pose(q, self.hand))
        return pose_columns(np.array([self.arm.grasp_pose(row, self.hand) for row in q]).reshape(-1, 4, 4))

    def decode(self, columns: ArrayLike, start_rad: ArrayLike) -> PoseSolution:
        """Joints whose grasp frame is at (T, 9) poses in ``world``.

        Args:
            columns: ``POSE_COLUMNS``, T steps; rotations are made orthonormal.
            start_rad: (n,) measured joints, in the order of ``names`` [rad]; the first step is near them.

        Raises:
            DexError: ``rotation``, six numbers that are no rotation. ShapeError, NonFiniteError: another shape, NaN or infinity.
        """
        values = frozen_array(columns, (None, 9), f"wrist poses of {self.arm.interface.name}")
        if not len(values):
            raise ShapeError(f"wrist poses of {self.arm.interface.name}: no step")
        start = frozen_array(start_rad, (len(self.names),), f"measured joints of {self.arm.interface.name}")
        track = self._ik.solve_chunk(self._world_in_base @ poses_from_columns(values), previous_rad=start)
        reached = (track.position_error_m <= TOLERANCE_M) & (track.orientation_error_rad <= TOLERANCE_RAD)
        return PoseSolution(track.position_rad, track.position_error_m, track.orientation_error_rad, reached)


def elbow_stiffness(arm: ArmInWorld, rest_rad: Array) -> Array:
    """(n,) how firmly each joint keeps to the rest posture: the inner joints that swing the elbow firmly, the others as they are.

    The first and the last joint take part in a self-motion too, but they must turn freely with the hand's bearing and heading.
    """
    jacobian = arm.kinematics.flange_jacobian(rest_rad)
    stiffness = np.ones(jacobian.shape[1])
    for motion in np.linalg.svd(jacobian)[2][6:]:
        inner = np.flatnonzero(np.abs(motion[1:-1]) >= SELF_MOTION) + 1
        stiffness[inner] = STIFFNESS
    return stiffness
