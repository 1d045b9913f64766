# SPDX-License-Identifier: Apache-2.0
"""Follows each chunk from its first command to the first measured motion."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from dex_core.config import CellConfig
from dex_core.latency import Motion, MotionFinder
from dex_core.latency.motion import ChunkKey
from dex_core.types import ActionChunk, JointState

WAITING = 8
"""Chunks whose motion may be waited for at a time; at more than 13 chunks a second the oldest are let go."""


@dataclass(frozen=True)
class Followed:
    """An accepted chunk: stage -> wall clock [ns] up to its first command."""

    goal_id: str
    sequence: int
    timing_ns: Mapping[str, int]

    @property
    def key(self) -> ChunkKey:
        """Goal and sequence."""
        return self.goal_id, self.sequence

    @property
    def first_command_ns(self) -> int:
        """When it was used first [ns]."""
        return self.timing_ns["first_command"]


class ChunkMotion:
    """The motion of a cell's chunks. One thread.

    Args:
        cell: names interfaces and joints.
    """

    def __init__(self, cell: CellConfig) -> None:
        self._finder = MotionFinder({name: interface.names for name, interface in cell.interfaces.items()})
        self._waiting: deque[tuple[Followed, ChunkKey | None]] = deque(maxlen=WAITING)
        self._newest: Followed | None = None

    @property
    def waiting(self) -> bool:
        """True while measurements are of use."""
        return bool(self._waiting)

    def planned(self, chunk: ActionChunk) -> None:
        """Takes a chunk, or a decoded part of one."""
        self._finder.planned(chunk)

    def measured(self, interface: str, state: JointState) -> None:
        """Takes one measurement of one interface."""
        self._finder.measured(interface, state.stamp_ns, state.names, state.position_rad)

    def followed(self, chunk: Followed) -> None:
        """Takes what the gate tells of an accepted chunk; one that never came to a command is left out."""
        if not chunk.timing_ns.get("first_command"):
            return
        newest = self._newest
        self._waiting.append((chunk, newest.key if newest and newest.goal_id == chunk.goal_id else None))
        self._newest = chunk

    def done(self, now_ns: int) -> list[tuple[Followed, Motion]]:
        """Chunks of which more will not be known, oldest first.

        Args:
            now_ns: on the clock of the stamps [ns].
        """
        found = []
        while self._waiting:
            chunk, before = self._waiting[0]
            after = self._waiting[1][0] if len(self._waiting) > 1 else None
            motion = self._finder.find(chunk.key, before, chunk.first_command_ns, after.first_command_ns if after else None, now_ns)
            if motion is None:
                break
            found.append((chunk, motion))
            self._waiting.popleft()
        return found
