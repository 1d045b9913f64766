# SPDX-License-Identifier: Apache-2.0
"""Both wrists of a body with two arms in one problem, with the waist free or still: ``load_dual_arm_ik("g1")``."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from dex_core.config import load_robot, read_description
from dex_core.config.robot import RobotConfig
from dex_core.errors import ConfigError
from dex_core.kinematics.arm_ik import ArmIkSolution, ArmIkTrack, ToolIk
from dex_core.kinematics.arm_ik_problem import ArmIkOptions
from dex_core.kinematics.chain import RobotKinematics
from dex_core.kinematics.tree import KinematicTree


class DualArmIk(ToolIk):
    """Inverse kinematics of two wrists on one body; joints that both share (the waist) serve both.

    Args:
        body: kinematics whose joints move the two wrists and nothing else.
        flanges: links of the left and of the right wrist.
        tools: (4, 4) tool in each; None: the wrist itself.
        rest_rad, engine: as in ToolIk. options: fields of ArmIkOptions by name.
    """

    def __init__(
        self, body: RobotKinematics, flanges: Sequence[str], *, tools: Sequence[ArrayLike | None] = (None, None), rest_rad: ArrayLike | None = None,
        engine: str = "", **options: Any,
    ) -> None:
        if len(flanges) != 2 or len(tools) != 2:
            raise ConfigError(f"{len(flanges)} wrists and {len(tools)} tools; two of each are needed, left and right")
        super().__init__(body, flanges, tools, rest_rad, engine, ArmIkOptions(**options))
        self.flanges = tuple(flanges)

    def solve(self, poses_in_root: ArrayLike, *, previous_rad: ArrayLike | None = None, start_rad: ArrayLike | None = None) -> ArmIkSolution:
        """(2, 4, 4) poses of the left and right tool in the body's root -> (n,) joints; arguments and errors as in ``ArmIk.solve``."""
        return self._solve(poses_in_root, (2, 4, 4), previous_rad, start_rad)

    def solve_chunk(self, poses_in_root: ArrayLike, *, previous_rad: ArrayLike | None = None, start_rad: ArrayLike | None = None) -> ArmIkTrack:
        """(T, 2, 4, 4) poses -> (T, n) joints, as ``ArmIk.solve_chunk``."""
        return self._track(poses_in_root, (2, 4, 4), previous_rad, start_rad)


def load_dual_arm(name: str, *, waist: bool = True, waist_rad: Mapping[str, float] | None = None) -> tuple[RobotKinematics, tuple[str, str]]:
    """Kinematics of both arms of a body, and the links of its left and right wrist.

    Args:
        name: of ``config/arms``, e.g. ``g1``.
        waist: True: the joints that move both wrists are among its joints; False: they stand still.
        waist_rad: where they stand, by name; a joint not named stands at zero.

    Raises:
        ConfigError: a robot with one arm, or a joint that is not of the waist.
    """
    robot = load_robot(name)
    wrists, text = _wrists(robot), read_description(robot.urdf)
    whole = KinematicTree(text, robot.actuated)
    left, right = (set(whole.columns_of(link)) for link in wrists)
    still = {robot.actuated[c] for c in left & right} if not waist else set()
    unknown = sorted(set(waist_rad or {}) - still)
    if unknown:
        raise ConfigError(f"{unknown[0]!r} does not stand still; allowed with a fixed waist: {sorted(still)}")
    own = [joint for c, joint in enumerate(robot.actuated) if c in left | right and joint not in still]
    locked = {joint: (waist_rad or {}).get(joint, 0.0) for joint in robot.actuated if joint not in own}
    body = RobotKinematics(text, own, locked_rad=locked)
    body.limit(*([getattr(robot.limits[joint], side) for joint in own] for side in ("lower_rad", "upper_rad")))
    return body, wrists


def load_dual_arm_ik(name: str, *, waist: bool = True, waist_rad: Mapping[str, float] | None = None, **arguments: Any) -> DualArmIk:
    """``DualArmIk`` of a body of ``config/arms``."""
    body, wrists = load_dual_arm(name, waist=waist, waist_rad=waist_rad)
    return DualArmIk(body, wrists, **arguments)


def _wrists(robot: RobotConfig) -> tuple[str, str]:
    links = {link.split("_")[0]: link for link in (robot.tip_link, *robot.tool_links)}
    if not {"left", "right"} <= set(links):
        raise ConfigError(f"{robot.name!r} has no left and right wrist; its flanges are {sorted(links.values())}")
    return links["left"], links["right"]
