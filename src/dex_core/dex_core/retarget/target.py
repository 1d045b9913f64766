# SPDX-License-Identifier: Apache-2.0
"""A robot hand as retargeting sees it: its palm, its fingers' lengths, and the points that follow keypoints."""
from __future__ import annotations

import numpy as np

from dex_core.config import FixedFrame, RobotConfig, load_robot
from dex_core.errors import ConfigError
from dex_core.kinematics import HandKinematics, load_hand
from dex_core.kinematics.tree import rotation_rpy
from dex_core.types import Array

WRIST_BEHIND = 0.95
"""Wrist to middle knuckle of a human hand, in lengths of the middle finger; puts a wrist into a robot hand, wherever its flange is."""
APART_M = 5e-3
"""Joints nearer to each other than this count as one knuckle."""


class TargetHand:
    """A hand of one side with its palm frame.

    Args:
        robot: the hand's configuration; needs ``palm``.
        side: left or right.
        kinematics: of that side.

    Attributes:
        kinematics, side, fingers: as given.
        rest_rad: (n,) open hand.
        free: (n,) bool, joints that retargeting moves; those that carry the palm (a wrist) stay where they are.
        groups: of every finger the columns that move its tip.
        palm: (3, 3) axes of the palm frame in the root frame, hand at rest.
        wrist_m: (3,) where the human wrist belongs, root frame [m].
        length_m: knuckle to tip of the middle finger (without one: index) along its joints, of a gripper its opening [m].
        reference_finger: that finger.
        phalanges: finger -> frame where its middle phalanx begins; fingers with one knuckle have none.
    """

    def __init__(self, robot: RobotConfig, side: str, kinematics: HandKinematics) -> None:
        if robot.palm is None or side not in robot.palm:
            raise ConfigError(f"hand {robot.name!r} gives no palm frame for side {side!r}; retargeting needs one")
        self.kinematics, self.side, self.fingers = kinematics, side, kinematics.fingers
        if "thumb" not in self.fingers or len(self.fingers) < 2:
            raise ConfigError(f"hand {robot.name!r} has the fingers {list(self.fingers)}; retargeting needs a thumb and one more")
        gripper = len(kinematics.names) == 1
        self.rest_rad = kinematics.upper_rad.copy() if gripper else kinematics.clip(np.zeros(len(kinematics.names)))
        self.reference_finger = "middle" if "middle" in self.fingers else next(f for f in self.fingers if f != "thumb")
        frame: FixedFrame = robot.palm[side]
        self.free = np.ones(len(kinematics.names), dtype=bool)
        self.free[list(kinematics.tree.columns_of(frame.link))] = False
        self.palm = kinematics.pose(self.rest_rad, frame.link)[:3, :3] @ rotation_rpy(frame.rpy_rad)
        tree = kinematics.tree
        self.groups = [np.array(columns, dtype=np.intp) for columns in dict.fromkeys(tree.columns_of(tip) for tip in kinematics.tips)]
        chains = {finger: self._chain(tip, frame.link) for finger, tip in zip(self.fingers, kinematics.tips, strict=True)}
        self.phalanges = {f: knuckles[max(1, len(knuckles) - 2)] for f, knuckles in chains.items() if len(knuckles) > 1}
        middle = kinematics.tips[self.fingers.index(self.reference_finger)]
        places = kinematics.positions(self.rest_rad, (*chains[self.reference_finger], middle))
        opening = kinematics.positions(self.rest_rad, kinematics.tips[:2])
        chain = np.diff(opening if gripper else places, axis=0)  # a gripper's jaws slide: it is as large as it opens
        self.length_m = float(np.linalg.norm(chain, axis=1).sum())
        self.wrist_m = places[0] - WRIST_BEHIND * self.length_m * self.palm[:, 2]

    @classmethod
    def load(cls, name: str, side: str, *, coupling: str = "") -> TargetHand:
        """A hand of ``config/hands`` by name or alias. Raises ConfigError; says what there is."""
        return cls(load_robot(name).for_side(side), side, load_hand(name, side, coupling=coupling))

    def in_palm(self, vectors_m: Array) -> Array:
        """(..., 3) vectors of the root frame on the palm's axes."""
        return vectors_m @ self.palm

    def in_root(self, vectors_m: Array) -> Array:
        """(..., 3) vectors on the palm's axes in the root frame."""
        return vectors_m @ self.palm.T

    def _chain(self, tip: str, palm: str) -> tuple[str, ...]:
        """Joint frames of a finger from its knuckle on, those at one place once."""
        tree, rest = self.kinematics.tree, self.rest_rad
        stop, joint, rows = self._above(palm), tree.place(tip).joint, []
        while joint >= 0 and joint not in stop:
            rows.insert(0, joint)
            joint = int(tree.parent[joint])
        names = tuple(tree.joints[row] for row in rows)
        places = self.kinematics.positions(rest, names)
        kept = [i for i in range(len(names)) if i == 0 or np.linalg.norm(places[i] - places[i - 1]) > APART_M]
        return tuple(names[i] for i in kept)

    def _above(self, link: str) -> set[int]:
        tree, joint, found = self.kinematics.tree, self.kinematics.tree.place(link).joint, set()
        while joint >= 0:
            found.add(joint)
            joint = int(tree.parent[joint])
        return found
