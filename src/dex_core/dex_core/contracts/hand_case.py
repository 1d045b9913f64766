# SPDX-License-Identifier: Apache-2.0
"""One hand of one side as the conformance kit sees it: loaded once, with the postures and frames its checks share."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dex_core.config import RobotConfig, load_robot, read_description
from dex_core.config.load import names_in
from dex_core.errors import ConfigError
from dex_core.kinematics import HandKinematics, load_hand
from dex_core.kinematics.tree import rotation_rpy
from dex_core.types import Array

FLEXES_ABOVE = 0.7
"""A joint curls a finger when its axis is this much (cosine) along the palm's y axis; others spread it."""
PASSED, FAILED, REPORTED, SKIPPED = "pass", "fail", "report", "skip"


@dataclass(frozen=True)
class Outcome:
    """What one check found. ``status``: pass, fail, report (a figure to know, no fault) or skip (``detail`` says why)."""

    status: str
    detail: str


@dataclass(frozen=True)
class HandCase:
    """A hand and a side, as its configuration names them.

    Attributes:
        name, side: e.g. ``inspire``, ``right``.
        reference: published URDF it must move like; None: that check is skipped.
        known: check -> why the hardware or its published description does not pass it; see :meth:`stated`.
        mirror_within_m: how far a tip may be from its mirror image where ``known`` says that left and right differ.
    """

    name: str
    side: str
    reference: Path | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    mirror_within_m: float = np.inf

    @cached_property
    def robot(self) -> RobotConfig:
        """The configuration as it is on this side."""
        return load_robot(self.name).for_side(self.side)

    @cached_property
    def urdf(self) -> str:
        """Text of this side's URDF."""
        return read_description(self.robot.urdf, self.side)

    @cached_property
    def hand(self) -> HandKinematics:
        """Its kinematics with the couplings of the URDF."""
        return load_hand(self.name, self.side)

    @cached_property
    def bounds_rad(self) -> dict[str, tuple[float, float]]:
        """Limits of every moving joint of the URDF, followers too."""
        found = {}
        for joint in ElementTree.fromstring(self.urdf).findall("joint"):
            limit = joint.find("limit")
            if joint.get("type") != "fixed" and limit is not None:
                found[str(joint.get("name"))] = (float(limit.get("lower", "nan")), float(limit.get("upper", "nan")))
        return found

    def stated(self, check: str) -> str:
        """Why this hand does not pass ``check``; empty when nobody says so.

        From ``known``, or from the configuration's sources under ``conformance_`` and the check's name with underscores.
        """
        return self.known.get(check, "") or (self.robot.sources or {}).get("conformance_" + check.replace(" ", "_"), "")

    @cached_property
    def rest_rad(self) -> Array:
        """(n,) open: zero or the nearest inside the limits; a gripper of one joint opens to its upper limit."""
        hand = self.hand
        return hand.upper_rad.copy() if self.is_gripper else np.clip(np.zeros(len(hand.names)), hand.lower_rad, hand.upper_rad)

    @cached_property
    def far_rad(self) -> Array:
        """(n,) of each joint the limit further from rest: where a curled joint ends."""
        hand = self.hand
        return np.where(hand.upper_rad - self.rest_rad >= self.rest_rad - hand.lower_rad, hand.upper_rad, hand.lower_rad)

    @property
    def is_gripper(self) -> bool:
        """One joint moves everything."""
        return len(self.robot.actuated) == 1

    def palm_pose(self, q: Array) -> Array:
        """(4, 4) palm frame in the root frame. Raises ConfigError where the configuration gives none."""
        if self.robot.palm is None:
            raise ConfigError(f"hand {self.name!r} gives no palm frame")
        frame = self.robot.palm[self.side]
        return self.hand.pose(q, frame.link) @ homogeneous(frame.xyz_m, frame.rpy_rad)

    def tips_in_palm(self, q: Array) -> Array:
        """(k, 3) fingertips in the palm frame [m]."""
        pose = self.palm_pose(q)
        return (self.hand.fingertips(q) - pose[:3, 3]) @ pose[:3, :3]

    def own_columns(self, finger: str) -> list[int]:
        """Columns that move this finger's tip and not every finger's: those of a wrist are left out."""
        reach = {f: set(self.hand.tree.columns_of(tip)) for f, tip in zip(self.hand.fingers, self.hand.tips, strict=True)}
        common = set.intersection(*reach.values()) if len(reach) > 1 and not self.is_gripper else set()
        return sorted(reach[finger] - common)

    def flexors(self, finger: str) -> list[int]:
        """Columns that curl ``finger``: own joints that turn about the palm's y axis."""
        row = self.hand.fingers.index(finger)
        axes = self.hand.jacobian(self.rest_rad, self.hand.tips[row])[3:]
        across = self.palm_pose(self.rest_rad)[:3, 1]
        return [c for c in self.own_columns(finger) if abs(across @ axes[:, c]) > FLEXES_ABOVE * max(float(np.linalg.norm(axes[:, c])), 1e-9)]

    def closed_rad(self, share: float = 1.0) -> Array:
        """(n,) the fist: every curling joint, and every joint of the thumb, ``share`` of the way to its far limit."""
        columns = set(self.own_columns("thumb")) if "thumb" in self.hand.fingers else set()
        for finger in self.hand.fingers:
            columns |= set(self.flexors(finger))
        q = self.rest_rad.copy()
        moved = sorted(columns) if not self.is_gripper else [0]
        q[moved] += share * (self.far_rad - self.rest_rad)[moved]
        return q

    def random_poses(self, count: int, seed: int = 11) -> Array:
        """(count, n) uniform inside the limits."""
        return np.random.default_rng(seed).uniform(self.hand.lower_rad, self.hand.upper_rad, (count, len(self.hand.names)))


def every_hand() -> list[tuple[str, str]]:
    """Name and side of every hand there is a configuration for; one that cannot be read is named with both sides, so that its checks say why."""
    found = []
    for name in names_in("hands"):
        try:
            sides = load_robot(name).sides
        except ConfigError:
            sides = ("left", "right")
        found += [(name, side) for side in sides]
    return found


def homogeneous(xyz_m: tuple[float, ...], rpy_rad: tuple[float, ...]) -> Array:
    """(4, 4) of a URDF origin."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_rpy(rpy_rad), xyz_m
    return out
