# SPDX-License-Identifier: Apache-2.0
"""Labelled states of episodes with one pair of hands: joints and tool poses, no latents, so that any latent space can be trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Records:
    """N labelled states of one pair of hands with n joints each, arrays of N rows; sides in the order left, right.

    Attributes:
        hand: name of the hand on both arms, as in ``config/hands``.
        qpos: (N, nq) whole state of the world, to draw the picture later.
        tools: (N, 2, 4) measured tool poses, x, y, z [m], yaw [rad].
        fingers: (N, 2, n) measured hand joints [rad].
        objects: (N, 5, 3) true positions [m] in the order of ``layout.OBJECTS``; zero where absent.
        there: (N, 5) whether the object is in the scene.
        task: (N,) index into ``layout.TASKS``.
        previous: (N, 6, 2, n) hand joints [rad] of the chunk before at ``layout.PREVIOUS_STEPS``.
        paths: (N, 64, 2, 4) the expert's tool poses.
        hands: (N, 13, 2, n) the expert's hand joints [rad] at ``layout.HAND_STEPS``.
        group: (N,) seed of the episode, to split by episode.
    """

    hand: str
    qpos: Floats
    tools: Floats
    fingers: Floats
    objects: Floats
    there: NDArray[np.bool_]
    task: NDArray[np.int64]
    previous: Floats
    paths: Floats
    hands: Floats
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tools)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Records:
        """Some of the rows."""
        return Records(self.hand, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def save(self, path: Path) -> None:
        """Writes one npz; it appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, hand=np.array(self.hand), **{name: getattr(self, name) for name in COLUMNS})
        partial.rename(path)

    @staticmethod
    def load(path: Path) -> Records:
        """Reads what ``save`` wrote. Raises DexError when a field is missing."""
        with np.load(path, allow_pickle=False) as data:
            missing = [name for name in ("hand", *COLUMNS) if name not in data]
            if missing:
                raise DexError(f"{path} has no {missing}; it was written by another version, delete it")
            return Records(str(data["hand"]), **{name: data[name] for name in COLUMNS})

    @staticmethod
    def join(parts: Sequence[Records]) -> Records:
        """All rows of several with the same hand. Raises DexError when there are none, or of several hands."""
        if not parts:
            raise DexError("there are no records to join")
        hands = sorted({part.hand for part in parts})
        if len(hands) > 1:
            raise DexError(f"records of the hands {hands} have other joints; join those of one hand")
        return Records(hands[0], **{name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS})


COLUMNS = tuple(f.name for f in fields(Records) if f.name != "hand")
