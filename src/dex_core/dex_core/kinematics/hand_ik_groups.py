# SPDX-License-Identifier: Apache-2.0
"""A hand's fingers as small independent problems, and sampled configurations to start them from."""
from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from dex_core.errors import ConfigError
from dex_core.kinematics.hand_ik_forward import ManyForward
from dex_core.kinematics.tree import KinematicTree
from dex_core.types import Array

SAMPLES = 512
"""Of each block; these and the two figures below are what kernel/hand_ik.h has room for."""
BLOCKS = 16
"""Postures of the joints that several fingers share; of each, the other joints are sampled."""
PULL_REDUNDANT = 1e-6
"""A finger of more than three joints has a choice left, and the reference makes it."""
PULL_BRANCHES = 1e-5
"""Three joints: branches that meet where the finger is singular; the pull carries the search through on its own side."""
MOST_TIPS, MOST_COLUMNS = 8, 32
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131)


class FingerGroup:
    """Fingers that share actuated joints, directly or through one another: one problem of its own.

    Attributes:
        fingers: (k,) rows of the hand's fingers.
        columns: (c,) columns of the hand's actuated joints, ascending; every other array counts columns within the group.
        tree: the joints that move these tips: as ``KinematicTree``, but without names of links.
        tip_joint, tip_local_m: (k,), (k, 3) where the tips are.
        moves: (k, c) bool. owner: (c,) the one tip a column moves, or -1.
        pull: to its reference, with which a search begins; 0: none, as the solutions are isolated [m^2/rad^2].
        forward: kinematics of the group alone.
        sample_rad: (b, s, c); the columns with several tips are the same within a block. sample_tip_m: (b, k, 3, s).
    """

    def __init__(self, tree: KinematicTree, tips: Sequence[str], fingers: Sequence[int], lower_rad: Array, upper_rad: Array) -> None:
        self.fingers = np.array(fingers, dtype=np.int32)
        columns = [tree.columns_of(tips[f]) for f in fingers]
        self.columns = np.array(sorted(set().union(*columns)), dtype=np.int32)
        if len(fingers) > MOST_TIPS or len(self.columns) > MOST_COLUMNS:
            raise ConfigError(f"{len(fingers)} fingers share {len(self.columns)} joints; at most {MOST_TIPS} and {MOST_COLUMNS} are solved together")
        self.moves = np.array([np.isin(self.columns, c) for c in columns])
        self.owner = np.where(self.moves.sum(axis=0) == 1, self.moves.argmax(axis=0), -1).astype(np.int32)
        most = int(self.moves.sum(axis=1).max())
        self.pull = PULL_REDUNDANT if most > 3 else PULL_BRANCHES if most == 3 else 0.0
        places = [tree.place(tips[f]) for f in fingers]
        joints = _ancestors(tree, [p.joint for p in places])
        self.tree = _part(tree, joints, self.columns)
        self.tip_joint = np.array([joints.index(p.joint) if p.joint >= 0 else -1 for p in places], dtype=np.int32)
        self.tip_local_m = np.array([p.position_m for p in places])
        self.lower_rad, self.upper_rad = lower_rad[self.columns], upper_rad[self.columns]
        self._sample()

    def _sample(self) -> None:
        shared = self.owner < 0
        blocks, count = (BLOCKS if shared.any() else 1), len(self.columns)
        share = halton(blocks * SAMPLES, count).reshape(blocks, SAMPLES, count)
        share[:, :, shared] = halton(blocks, int(shared.sum()))[:, None, :]
        self.sample_rad = self.lower_rad + share * (self.upper_rad - self.lower_rad)
        self.forward = ManyForward(self)
        tips = self.forward.tips(self.sample_rad.reshape(-1, count))  # (b * s, k, 3)
        self.sample_tip_m = np.ascontiguousarray(tips.reshape(blocks, SAMPLES, len(self.fingers), 3).transpose(0, 2, 3, 1))


def groups_of(tree: KinematicTree, tips: Sequence[str], lower_rad: Array, upper_rad: Array) -> list[FingerGroup]:
    """The groups of a hand, by their first finger; a finger that no joint moves is in none of them."""
    parts: list[tuple[set[int], list[int]]] = []
    for finger, tip in enumerate(tips):
        columns, fingers = set(tree.columns_of(tip)), [finger]
        if not columns:
            raise ConfigError(f"no actuated joint moves the tip {tip!r}")
        for part in [p for p in parts if p[0] & columns]:
            parts.remove(part)
            columns |= part[0]
            fingers = part[1] + fingers
        parts.append((columns, sorted(fingers)))
    return [FingerGroup(tree, tips, fingers, lower_rad, upper_rad) for _columns, fingers in sorted(parts, key=lambda part: part[1])]


def halton(count: int, dimensions: int) -> Array:
    """(count, dimensions) points that fill the unit cube evenly, always the same ones."""
    out = np.empty((count, dimensions))
    for d in range(dimensions):
        index, base = np.arange(1, count + 1), PRIMES[d]
        value, place = np.zeros(count), 1.0 / base
        while index.any():
            value += place * (index % base)
            index, place = index // base, place / base
        out[:, d] = value
    return out


def _ancestors(tree: KinematicTree, joints: Sequence[int]) -> list[int]:
    found = set()
    for start in joints:
        joint = start
        while joint >= 0:
            found.add(int(joint))
            joint = tree.parent[joint]
    return sorted(found)


def _part(tree: KinematicTree, joints: list[int], columns: np.ndarray) -> SimpleNamespace:
    row = {joint: i for i, joint in enumerate(joints)} | {-1: -1}
    return SimpleNamespace(
        joints=tuple(tree.joints[j] for j in joints), names=tuple(tree.names[c] for c in columns),
        parent=np.array([row[int(tree.parent[j])] for j in joints], dtype=np.int32),
        actuated=np.searchsorted(columns, tree.actuated[joints]).astype(np.int32), prismatic=tree.prismatic[joints],
        rotation=tree.rotation[joints], offset_m=tree.offset_m[joints], axis=tree.axis[joints],
        coupling=tree.coupling[joints], four_bar=tree.four_bar[joints],
    )
