# SPDX-License-Identifier: Apache-2.0
"""Labelled states: what a policy could have seen at an instant and what the expert would do from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError

TASKS = ("push", "rest")
PREVIOUS_STEPS = (0, 21, 42, 63)
HAND_STEPS = (0, 4, 8, 12, 16, 24, 40, 63)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Records:
    """N labelled states, arrays of N rows.

    Attributes:
        qpos: (N, nq) whole state of the world, to draw the picture later.
        joints: (N, 14) measured arms [rad], left first.
        fingers: (N, 12) measured hands [rad], left first.
        cans: (N, 4) true positions on the table [m]: left x, y, right x, y.
        task: (N,) index into ``TASKS``.
        previous: (N, 4, 12) hand joints [rad] of the chunk before at ``PREVIOUS_STEPS``, left hand first.
        arms: (N, 64, 14) the expert's arm joints [rad].
        hands: (N, 8, 12) the expert's hand joints [rad] at ``HAND_STEPS``.
        group: (N,) seed of the episode, to split by episode.
    """

    qpos: Floats
    joints: Floats
    fingers: Floats
    cans: Floats
    task: NDArray[np.int64]
    previous: Floats
    arms: Floats
    hands: Floats
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.joints)

    def take(self, rows: NDArray[np.intp] | slice) -> Records:
        """Some of the rows."""
        return Records(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def save(self, path: Path) -> None:
        """Writes one npz; it appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **{f.name: getattr(self, f.name) for f in fields(self)})
        partial.rename(path)

    @staticmethod
    def load(path: Path) -> Records:
        """Reads what ``save`` wrote. Raises DexError when a field is missing."""
        with np.load(path, allow_pickle=False) as data:
            missing = [f.name for f in fields(Records) if f.name not in data]
            if missing:
                raise DexError(f"{path} has no {missing}; it was written by another version, delete it")
            return Records(**{f.name: data[f.name] for f in fields(Records)})

    @staticmethod
    def join(parts: Sequence[Records]) -> Records:
        """All rows of several."""
        if not parts:
            raise DexError("there are no records; run  python -m dex_learn.cli demos  first")
        return Records(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Records)})


def load_folder(folder: Path, pattern: str = "*.npz") -> Records:
    """Joins the record files of a folder, in order of name."""
    return Records.join([Records.load(p) for p in sorted(folder.glob(pattern)) if not p.name.endswith(".part.npz")])
