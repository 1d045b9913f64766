# SPDX-License-Identifier: Apache-2.0
"""How a hand's joints become the numbers that a policy predicts, and back: a latent space, padded raw joints, or another hand's joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle import Bundle
from dex_core.config import FINGERS, RobotConfig, load_robot
from dex_core.decode.latent import LatentDecoder
from dex_core.errors import DexError
from dex_core.retarget import Retargeter, TargetHand
from dex_core.retarget.keypoints import INDEX_KNUCKLE, MIDDLE_KNUCKLE

Array = NDArray[np.float64]
PADDED = 16
KNUCKLES_M = 0.02


class HandCode(Protocol):
    """Codes of one hand of one side.

    Attributes:
        dim: numbers per step.
        used: (dim,) which of them mean something for this hand; the others are never learnt.
    """

    dim: int
    used: NDArray[np.bool_]

    def encode(self, joints_rad: Array) -> Array:
        """(T, n) joints [rad], hardware order -> (T, dim)."""
        ...

    def decode(self, codes: Array) -> Array:
        """(T, dim) -> (T, n) joints inside the limits [rad]."""
        ...

    def reset(self) -> None:
        """A new goal begins."""
        ...


class LatentCode:
    """The shared latent space: the same numbers mean the same pose of every hand."""

    def __init__(self, space: Bundle, embodiment: str) -> None:
        self._decoder = LatentDecoder(space, embodiment)
        self.dim = self._decoder.dim
        self.used = np.ones(self.dim, dtype=bool)
        self.flagged = 0

    def encode(self, joints_rad: Array) -> Array:
        """See HandCode."""
        return self._decoder.encode(joints_rad)

    def decode(self, codes: Array) -> Array:
        """See HandCode; counts chunks that leave the space."""
        decoded = self._decoder.decode(codes)
        self.flagged += int(decoded.flagged.any())
        return decoded.position_rad

    def reset(self) -> None:
        """Nothing is remembered."""


class CommonCode(LatentCode):
    """Latents as one hand of the space would have said them: a posture is decoded by that hand and encoded again.

    Encoders put the same pinch of two hands near to each other, not onto one point, and a decoder minds where the encoder of its own hand
    put it. A policy that averages over hands must not average over these places; so its labels are said in one hand's way.

    Args:
        space: the latent space.
        embodiment: whose joints are encoded.
        pivot: in whose way it is said, e.g. ``left_xhand1``.
    """

    def __init__(self, space: Bundle, embodiment: str, pivot: str) -> None:
        super().__init__(space, embodiment)
        self._pivot = LatentDecoder(space, pivot)

    def encode(self, joints_rad: Array) -> Array:
        """See HandCode."""
        return self._pivot.encode(self._pivot.decode(super().encode(joints_rad)).position_rad)


class PaddedCode:
    """Raw joints, from -1 at the lower to 1 at the upper limit, in the first n of 16 numbers; the rest is zero."""

    def __init__(self, robot: RobotConfig) -> None:
        limits = [robot.limits[name] for name in robot.actuated]
        if len(limits) > PADDED:
            raise DexError(f"hand {robot.name!r} has {len(limits)} joints; a padded code holds {PADDED}")
        self._low = np.array([limit.lower_rad for limit in limits])
        self._span = np.array([limit.upper_rad for limit in limits]) - self._low
        self.dim = PADDED
        self.used = np.arange(PADDED) < len(limits)

    def encode(self, joints_rad: Array) -> Array:
        """See HandCode."""
        out = np.zeros((len(joints_rad), PADDED))
        out[:, self.used] = np.clip(2.0 * (np.asarray(joints_rad) - self._low) / self._span - 1.0, -1.0, 1.0)
        return out

    def decode(self, codes: Array) -> Array:
        """See HandCode."""
        unit = np.clip(np.asarray(codes)[:, self.used], -1.0, 1.0)
        return np.clip(self._low + 0.5 * (unit + 1.0) * self._span, self._low, self._low + self._span)

    def reset(self) -> None:
        """Nothing is remembered."""


class RetargetCode:
    """Another hand's padded joints, retargeted to this hand by its keypoints: wrist, knuckles, middle joints and tips of the source hand.

    Args:
        source, robot: names of the hand the policy was trained on and of the one that is mounted.
        side: left or right.
    """

    def __init__(self, source: str, robot: str, side: str) -> None:
        self._source = TargetHand.load(source, side)
        self._padded = PaddedCode(load_robot(source).for_side(side))
        self._home = self._source.rest_rad
        self._same = load_robot(source).name == load_robot(robot).name
        self._retargeter = None if self._same else Retargeter.load(robot, side, "dexpilot", 1.0)
        self._previous: Array | None = None
        self.dim, self.used = self._padded.dim, self._padded.used

    def encode(self, joints_rad: Array) -> Array:
        """The source hand's own joints; of another hand what is known is only that it is open: the source hand at rest."""
        joints = np.asarray(joints_rad) if self._same else np.tile(self._home, (len(joints_rad), 1))
        return self._padded.encode(joints)

    def decode(self, codes: Array) -> Array:
        """See HandCode."""
        joints = self._padded.decode(codes)
        if self._retargeter is None:
            return joints
        out = []
        for q in joints:
            points = source_keypoints(self._source, q)
            self._previous = self._retargeter.retarget(points, self._previous).position_rad
            out.append(self._previous)
        return np.array(out)

    def reset(self) -> None:
        """The next chunk is searched afresh."""
        self._previous = None


def source_keypoints(hand: TargetHand, joints_rad: Array) -> Array:
    """(21, 3) keypoints of a five-finger robot hand in its root frame [m]: wrist, then knuckle, middle joint, a point between, tip per finger.

    The index finger's knuckle is put straight beside the middle one, so that the keypoints' palm is the hand's own.
    """
    missing = [finger for finger in FINGERS if finger not in hand.fingers]
    if missing:
        raise DexError(f"a hand without {missing} cannot be the source of retargeting")
    points = [hand.wrist_m]
    for finger in FINGERS:
        knuckle, bend = _knuckles(hand, finger)
        tip = hand.kinematics.tips[hand.fingers.index(finger)]
        first, second, end = hand.kinematics.positions(joints_rad, (knuckle, bend, tip))
        points += [first, second, 0.5 * (second + end), end]
    sideways = KNUCKLES_M if hand.side == "right" else -KNUCKLES_M
    points[INDEX_KNUCKLE] = points[MIDDLE_KNUCKLE] + sideways * hand.palm[:, 1]
    return np.array(points)


def _knuckles(hand: TargetHand, finger: str) -> tuple[str, str]:
    """Joint frames of a finger's knuckle and of where its middle phalanx begins (a finger with one knuckle: twice that)."""
    tree = hand.kinematics.tree
    joint, names = tree.place(hand.kinematics.tips[hand.fingers.index(finger)]).joint, []
    while joint >= 0:
        names.append(tree.joints[joint])
        joint = int(tree.parent[joint])
    return names[-1], hand.phalanges.get(finger, names[-1])


def make_codes(kind: str, hands: Sequence[str], sides: Sequence[str], space: Bundle | None = None, source: str = "xhand1") -> dict[str, HandCode]:
    """Codes by embodiment, ``<side>_<hand>``.

    Args:
        kind: ``latents`` (of ``space``), ``common`` (the same, said in the way of ``source``), ``joints`` (padded) or ``retarget`` (from
            ``source``).
        hands, sides: whose.
        space: the latent space's bundle.
        source: the hand a retargeted policy was trained on.

    Raises:
        DexError: unknown kind, or latents without a space.
    """
    out: dict[str, HandCode] = {}
    for hand in hands:
        robot = load_robot(hand)
        for side in sides:
            name = f"{side}_{robot.name}"
            if kind in ("latents", "common"):
                if space is None:
                    raise DexError("latents need a latent space; give its bundle")
                out[name] = LatentCode(space, name) if kind == "latents" else CommonCode(space, name, f"{side}_{source}")
            elif kind == "joints":
                out[name] = PaddedCode(robot.for_side(side))
            elif kind == "retarget":
                out[name] = RetargetCode(source, robot.name, side)
            else:
                raise DexError(f"kind of hand code is {kind!r}; allowed: latents, common, joints, retarget")
    return out
