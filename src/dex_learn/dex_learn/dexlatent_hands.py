# SPDX-License-Identifier: Apache-2.0
"""The hands of the released XL-VLA latent space: its joints in its order, its limits, and which of our joints they are.

Order and limits are those of the right-hand URDFs of DexLatent (github.com/EmptyBlueBox/DexLatent, revision 502750d, Assets/xarm7_*), joints
in document order without those that mimic another; names without the side's prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDES = ("right", "left")
"""Upstream loads the right hand's weights for the left one: its left hands mirror the right ones at equal joint values."""
Joints = tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class UpstreamHand:
    """One hand of the checkpoint.

    Attributes:
        name: its name in the checkpoint.
        robots: our hands it serves.
        joints: (name, lower, upper) [rad], column order of the network.
        followers: joint of the network that is no joint of our hardware -> the joint it follows there, one to one.
    """

    name: str
    robots: tuple[str, ...]
    joints: Joints
    followers: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Joints in the network's order."""
        return tuple(name for name, _, _ in self.joints)

    @property
    def lower_rad(self) -> list[float]:
        """(n,) [rad]."""
        return [low for _, low, _ in self.joints]

    @property
    def upper_rad(self) -> list[float]:
        """(n,) [rad]."""
        return [high for _, _, high in self.joints]

    def limits_of(self, own: Sequence[str]) -> NDArray[np.float64]:
        """(2, len(own)) lower and upper limits of joints by name [rad]."""
        limits = {name: (low, high) for name, low, high in self.joints}
        return np.array([limits[name] for name in own]).T

    def expansion(self, own: Sequence[str]) -> NDArray[np.float64]:
        """(n, len(own)) 0/1: the network's joints from ours; a follower takes its leader's value where we do not have it."""
        leader = dict(self.followers)
        out = np.zeros((len(self.joints), len(own)))
        for row, name in enumerate(self.names):
            out[row, list(own).index(name if name in own else leader[name])] = 1.0
        return out

    def projection(self, own: Sequence[str]) -> NDArray[np.float64]:
        """(len(own), n) ours from the network's: the nearest pose in which followers follow (their mean with the leader)."""
        expand = self.expansion(own)
        return expand.T / expand.sum(axis=0)[:, None]


def _finger(name: str) -> Joints:
    return ((f"{name}_joint_0", -0.35, 0.35), *((f"{name}_joint_{i}", 0.0, 1.57) for i in (1, 2, 3)))


_HANDS = (
    UpstreamHand("xarm7_xhand_right", ("xhand1",), (
        ("hand_thumb_bend_joint", 0.0, 1.832), ("hand_thumb_rota_joint1", -0.698, 1.745), ("hand_thumb_rota_joint2", 0.0, 1.745),
        ("hand_index_bend_joint", -0.174, 0.174), ("hand_index_joint1", 0.0, 1.919), ("hand_index_joint2", 0.0, 1.919),
        ("hand_mid_joint1", 0.0, 1.919), ("hand_mid_joint2", 0.0, 1.919), ("hand_ring_joint1", 0.0, 1.919), ("hand_ring_joint2", 0.0, 1.919),
        ("hand_pinky_joint1", 0.0, 1.919), ("hand_pinky_joint2", 0.0, 1.919),
    )),
    UpstreamHand("xarm7_ability_right", ("ability",), (
        ("thumb_q1", -2.0943951, 0.0), ("thumb_q2", 0.0, 2.0943951), ("index_q1", 0.0, 2.0943951), ("middle_q1", 0.0, 2.0943951),
        ("ring_q1", 0.0, 2.0943951), ("pinky_q1", 0.0, 2.0943951),
    )),
    UpstreamHand("xarm7_inspire_right", ("inspire",), (
        ("thumb_proximal_yaw_joint", 0.0, 1.308), ("thumb_proximal_pitch_joint", 0.0, 0.6), ("index_proximal_joint", 0.0, 1.47),
        ("middle_proximal_joint", 0.0, 1.47), ("ring_proximal_joint", 0.0, 1.47), ("pinky_proximal_joint", 0.0, 1.47),
    )),
    # the present DexH13, not its first generation: finger roots at 0.13528 m (0.122), thumb root at 0.039278 m (0.026), limits 0.35 and 1.57
    # (0.349 and 1.5707); all 16 joints are free there, 13 have a motor
    UpstreamHand(
        "xarm7_paxini_right", ("dexh13", "dexh13_free"), (*_finger("index"), *_finger("middle"), *_finger("ring"), *_finger("thumb")),
        tuple((f"{finger}_joint_3", f"{finger}_joint_2") for finger in ("index", "middle", "ring")),
    ),
)
UPSTREAM = {hand.name: hand for hand in _HANDS}
"""In the order of the checkpoint."""
HANDS = {
    robot: tuple(j for j in hand.names if robot.endswith("_free") or j not in dict(hand.followers)) for hand in _HANDS for robot in hand.robots
}
"""Our hand -> its joints in the order of the network. ``dexh13_free`` is the released network as it is, 16 free joints, for no real hand."""
