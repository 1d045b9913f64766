# SPDX-License-Identifier: Apache-2.0
"""Open, closed, home: postures of any hand, from its geometry alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import FixedFrame, RobotConfig
from dex_core.config.load import default_home
from dex_description import RobotDescription
from dex_description.forward import link_poses, transform
from dex_description.urdf import Origin

POSES = ("open", "half", "closed", "home")
CLOSED, HALF = 0.85, 0.4
"""How far towards its closed end a joint goes in the poses ``closed`` and ``half``."""
PROBE = 0.4
"""How far towards an end a joint is turned to see what it does: a finger turned all the way comes back."""
LEAST_GAIN = {"finger": 0.45, "thumb": 0.35}
"""A joint whose tip goes this part of its way, or less, where closing goes, spreads or turns the finger: it stays at rest."""
LEAST_WAY_M = 0.001
"""A tip that moves less is only twisted about itself."""
GRASP_M = (0.06, 0.0, 0.03)
"""Where a thumb closes to, in the palm frame: in front of the palm, a little towards the fingers."""


@dataclass(frozen=True)
class Ends:
    """Where a joint is when the hand is open and when it is closed [rad or m]; equal for a joint that takes no part."""

    open_rad: float
    closed_rad: float


def posture(pose: str, home_rad: dict[str, float], ends: dict[str, Ends]) -> dict[str, float]:
    """Joint -> position in a pose of POSES; joints without ends stay at home."""
    share = {"open": 0.0, "half": HALF, "closed": CLOSED}
    if pose not in share:
        return dict(home_rad)
    return {
        joint: home if joint not in ends else ends[joint].open_rad + share[pose] * (ends[joint].closed_rad - ends[joint].open_rad)
        for joint, home in home_rad.items()
    }


def finger_ends(robot: RobotConfig, description: RobotDescription, side: str) -> dict[str, Ends]:
    """Which end of each joint closes the hand, found by trying each joint alone, the others at rest.

    A joint of a finger closes where its tip goes out of the palm (+X of the palm frame), one of the thumb where its tip comes nearer to
    where it would meet the fingers, and one of a gripper where its two tips come together. A joint that does neither at either end
    spreads the fingers or turns the wrist, and takes no part.

    Args:
        description: the hand alone, names without prefix.

    Returns:
        Actuated joint -> its ends.
    """
    rest = default_home(robot)
    return {joint: _ends(robot, description, side, joint, rest) for joint in robot.actuated}


def palm_pose(palm: FixedFrame, poses: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(4, 4) pose of a palm frame, given those of the links."""
    return poses[palm.link] @ transform(Origin(palm.xyz_m, palm.rpy_rad))


def _ends(robot: RobotConfig, description: RobotDescription, side: str, joint: str, rest: dict[str, float]) -> Ends:
    fingers, limit = robot.fingers or {}, robot.limits[joint]
    moved = [name for name, finger in fingers.items() if joint in finger.joints]
    if not moved or len(fingers) > 2 and len(moved) == len(fingers):  # a wrist moves all fingers and closes none
        return Ends(rest[joint], rest[joint])
    measure = _gap if len(fingers) <= 2 else _to_grasp if "thumb" in moved else _into_palm
    tips = [fingers[name].tip for name in (fingers if measure is _gap else ("thumb",) if measure is _to_grasp else moved)]
    before = link_poses(description, rest)
    frame = palm_pose(robot.palm[side], before) if robot.palm else np.eye(4)
    gains = {}
    for end in (limit.lower_rad, limit.upper_rad):
        after = link_poses(description, {**rest, joint: rest[joint] + PROBE * (end - rest[joint])})
        track = np.linalg.inv(frame) @ np.array([[poses[tip] @ (0.0, 0.0, 0.0, 1.0) for tip in tips] for poses in (before, after)])[..., None]
        way = float(np.linalg.norm(track[1] - track[0], axis=1).mean())
        gains[end] = measure(track[0, :, :3, 0], track[1, :, :3, 0]) if way > LEAST_WAY_M else 0.0
    closed = max(gains, key=gains.__getitem__)
    least = LEAST_GAIN["thumb" if measure is _to_grasp else "finger"]
    return Ends(rest[joint], closed if gains[closed] > least else rest[joint])


def _into_palm(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    return float((after - before)[:, 0].sum() / max(np.linalg.norm(after - before, axis=1).sum(), 1e-9))


def _to_grasp(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    nearer = np.linalg.norm(before - GRASP_M, axis=1) - np.linalg.norm(after - GRASP_M, axis=1)
    return float(nearer.sum() / max(np.linalg.norm(after - before, axis=1).sum(), 1e-9))


def _gap(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    nearer = np.linalg.norm(before[0] - before[1]) - np.linalg.norm(after[0] - after[1])
    return float(nearer / max(np.linalg.norm(after - before, axis=1).sum(), 1e-9))
