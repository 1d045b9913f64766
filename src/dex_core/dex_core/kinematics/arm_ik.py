# SPDX-License-Identifier: Apache-2.0
"""Tool pose -> joints of an arm, inside its limits, near a rest posture: ``load_arm_ik("xarm7").solve(pose)``."""
from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import ConfigError, ShapeError
from dex_core.kinematics.arm import ArmKinematics
from dex_core.kinematics.arm_ik_chunk import Solver, solve_track
from dex_core.kinematics.arm_ik_kernel import CompiledArmIk
from dex_core.kinematics.arm_ik_numpy import NumpyArmIk
from dex_core.kinematics.arm_ik_problem import COLD, FOLLOW, GUESS, Answer, ArmIkOptions, checked, make_problem, require_poses, tool_places
from dex_core.kinematics.chain import RobotKinematics
from dex_core.kinematics.kernel import kernel
from dex_core.kinematics.load import load_arm
from dex_core.types import Array

ENGINES = ("", "numpy")


class ArmIkStatus(IntEnum):
    """How a solve ended; all but SOLVED leave the nearest pose found."""

    SOLVED = 0
    LIMITS = 1
    """Not reached, with a joint at its limit."""
    SINGULAR = 2
    """Not reached, near a singularity: the step was damped."""
    RESIDUAL = 3
    """Not reached: out of reach, or further than a following step may go."""


class ArmIkSolution(NamedTuple):
    """Joints for one tool pose.

    Attributes:
        position_rad: (n,) inside the limits [rad].
        position_error_m, orientation_error_rad: of the tool; of several tools the largest.
        status: how it ended.
        iterations: of all local searches together.
        manipulability: sqrt(det(J J')) of the tool, the smallest of several.
        near_singularity: manipulability below ``ArmIkOptions.singular``.
        branch_changed: nothing near the previous solution reaches the pose, so the arm was put elsewhere: do not go there in one step.
    """

    position_rad: Array
    position_error_m: float
    orientation_error_rad: float
    status: ArmIkStatus
    iterations: int
    manipulability: float
    near_singularity: bool
    branch_changed: bool


class ArmIkTrack(NamedTuple):
    """Joints for T poses.

    Attributes:
        position_rad: (T, n) [rad].
        position_error_m, orientation_error_rad: (T,). status: (T,) of ArmIkStatus. manipulability: (T,).
        branch_changed: (T,) bool, as in ArmIkSolution.
    """

    position_rad: Array
    position_error_m: Array
    orientation_error_rad: Array
    status: np.ndarray
    manipulability: Array
    branch_changed: np.ndarray


_STATUS = tuple(ArmIkStatus)


class ToolIk:
    """Poses of k tools of one kinematic tree -> its joints; the base of ArmIk and DualArmIk. One thread at a time.

    Args:
        robot: the tree. links: what each tool is mounted on. tools: (4, 4) each, tool in link; None: the link itself.
        rest_rad: (n,) posture to stay near where the tools leave a choice; None: the middle of the limits.
        engine: empty for the compiled kernel where there is one, or ``numpy``.
        options: see ArmIkOptions.
        stiffness: (n,) how many times more than by default each joint keeps to the rest posture; None: 1.
    """

    def __init__(
        self, robot: RobotKinematics, links: Sequence[str], tools: Sequence[ArrayLike | None], rest_rad: ArrayLike | None, engine: str,
        options: ArmIkOptions, stiffness: ArrayLike | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"engine is {engine!r}; allowed: {list(ENGINES)}")
        self.robot, self.names = robot, robot.names
        places = tool_places(robot.tree, links, tools)
        self._problem = make_problem(robot.tree, places, (robot.lower_rad, robot.upper_rad), rest_rad, options, stiffness)
        self.rest_rad, self.options = self._problem.rest, options
        library = None if engine else kernel()
        self.compiled = library is not None
        self._solver: Solver = NumpyArmIk(robot, self._problem) if library is None else CompiledArmIk(library, self._problem)
        self._k, self._n = len(links), len(self.names)

    def _solve(self, poses: ArrayLike, shape: tuple[int, ...], previous_rad: ArrayLike | None, start_rad: ArrayLike | None) -> ArmIkSolution:
        target = np.asarray(poses, dtype=float)
        if target.shape != shape:
            raise ShapeError(f"target pose: shape {target.shape}, expected {shape}")
        mode, start = self._start(previous_rad, start_rad)
        answer = self._solver.solve(target, mode, start)
        status, iterations, _, changed = answer.report[0].tolist()
        if self._k == 1:
            (position, orientation), measure = answer.error[0, 0].tolist(), answer.manipulability.item()
        else:
            (position, orientation), measure = answer.error[0].max(axis=0).tolist(), float(answer.manipulability.min())
        return ArmIkSolution(
            answer.q[0].copy(), position, orientation, _STATUS[status], iterations, measure, measure < self.options.singular, changed != 0,
        )

    def _track(self, poses: ArrayLike, shape: tuple[int, ...], previous_rad: ArrayLike | None, start_rad: ArrayLike | None) -> ArmIkTrack:
        targets = np.ascontiguousarray(poses, dtype=float)
        if targets.shape[1:] != shape:
            raise ShapeError(f"target poses: shape {targets.shape}, expected (T, {', '.join(map(str, shape))})")
        mode, start = self._start(previous_rad, start_rad)
        if not len(targets):
            nothing = np.zeros(0)
            return ArmIkTrack(np.zeros((0, self._n)), nothing, nothing, nothing.astype(int), nothing, nothing.astype(bool))
        answer: Answer = solve_track(self._solver, self._problem, targets.reshape(-1, self._k, 4, 4), mode, start)
        error = answer.error.max(axis=1)
        return ArmIkTrack(answer.q, error[:, 0], error[:, 1], answer.report[:, 0], answer.manipulability.min(axis=1), answer.report[:, 3] != 0)

    def _start(self, previous_rad: ArrayLike | None, start_rad: ArrayLike | None) -> tuple[int, Array | None]:
        if previous_rad is not None and start_rad is not None:
            raise ConfigError("previous_rad and start_rad are both given; follow the one or start at the other")
        given = previous_rad if previous_rad is not None else start_rad
        if given is None:
            return COLD, None
        start = np.asarray(given, dtype=float)
        if start.shape != (self._n,):
            raise ShapeError(f"{'start' if previous_rad is None else 'previous'} posture: shape {start.shape}, expected {(self._n,)}")
        return GUESS if previous_rad is None else FOLLOW, start


class ArmIk(ToolIk):
    """Inverse kinematics of one arm.

    Args:
        arm: its kinematics.
        tool: (4, 4) tool in the flange; None: the flange itself.
        rest_rad, engine, stiffness: as in ToolIk.
        options: fields of ArmIkOptions by name.

    Raises:
        ConfigError: a tool that is no pose, or a rest posture outside the limits.
    """

    def __init__(
        self, arm: ArmKinematics, *, tool: ArrayLike | None = None, rest_rad: ArrayLike | None = None, engine: str = "",
        stiffness: ArrayLike | None = None, **options: Any,
    ) -> None:
        super().__init__(arm, (arm.flange,), (tool,), rest_rad, engine, ArmIkOptions(**options), stiffness)
        self.arm = arm

    def solve(self, pose_tool_in_base: ArrayLike, *, previous_rad: ArrayLike | None = None, start_rad: ArrayLike | None = None) -> ArmIkSolution:
        """Joints whose tool is at a pose.

        Args:
            pose_tool_in_base: (4, 4) in the root frame of the arm.
            previous_rad: (n,) the solution before this one: the new one is never further from it than ``reach_rad`` per joint, and
                drifts towards the rest posture. A start outside the limits is moved inside.
            start_rad: (n,) a guess: tried first, not binding. Neither: the best of a fixed set of starts.

        Raises:
            ConfigError: the pose is no pose; says how far off. NonFiniteError, ShapeError: NaN, infinity, or another shape.
        """
        return self._solve(pose_tool_in_base, (4, 4), previous_rad, start_rad)

    def solve_chunk(self, poses_tool_in_base: ArrayLike, *, previous_rad: ArrayLike | None = None, start_rad: ArrayLike | None = None) -> ArmIkTrack:
        """(T, 4, 4) poses -> (T, n) joints of one branch, chosen with all T in view; arguments and errors as in ``solve``."""
        return self._track(poses_tool_in_base, (4, 4), previous_rad, start_rad)


def load_arm_ik(name: str, side: str = "", **arguments: Any) -> ArmIk:
    """``ArmIk`` of an arm of ``config/arms``, e.g. ``load_arm_ik("g1", "left", rest_rad=...)``."""
    return ArmIk(load_arm(name, side), **arguments)


def pose_in_base(pose_wrist_in_camera: ArrayLike, pose_camera_in_base: ArrayLike) -> Array:
    """(4, 4) or (T, 4, 4) wrist poses seen by a camera -> in the base frame of the arm, ready for ``solve``.

    Args:
        pose_wrist_in_camera: (..., 4, 4).
        pose_camera_in_base: (4, 4) the camera's optical frame.

    Raises:
        ConfigError, NonFiniteError, ShapeError: a matrix that is no pose.
    """
    camera = checked(pose_camera_in_base, (4, 4), "camera pose")
    require_poses(camera[None], "camera pose")
    wrist = np.asarray(pose_wrist_in_camera, dtype=float)
    if wrist.ndim not in (2, 3) or wrist.shape[-2:] != (4, 4):
        raise ShapeError(f"wrist poses: shape {wrist.shape}, expected (4, 4) or (T, 4, 4)")
    require_poses(wrist.reshape(-1, 4, 4), "wrist pose")
    return camera @ wrist
