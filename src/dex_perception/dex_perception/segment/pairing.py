# SPDX-License-Identifier: Apache-2.0
"""Colour and depth that belong together: the newest two whose stamps differ by no more than a limit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from dex_core.clock import NS

C = TypeVar("C")
D = TypeVar("D")
KEPT = 8
"""Pictures of each kind that wait for their partner."""


@dataclass(frozen=True)
class Pair(Generic[C, D]):
    """Colour, depth, and how much later the depth was taken (negative: earlier) [ns]."""

    colour: C
    depth: D
    stamp_ns: int
    depth_later_ns: int


class Pairing(Generic[C, D]):
    """Holds the newest pictures of both kinds; each colour picture is given out at most once, and never one older than the last.

    Args:
        limit_s: largest difference of the stamps.

    Attributes:
        nearest_s: smallest difference found for the newest colour picture; infinity before any.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_ns = round(limit_s * NS)
        self._colour: deque[tuple[int, C]] = deque(maxlen=KEPT)
        self._depth: deque[tuple[int, D]] = deque(maxlen=KEPT)
        self._last_ns: int | None = None
        self.nearest_s = float("inf")

    def restart(self) -> None:
        """Forgets everything: between two goals, after a reconnect, after a step of the clock."""
        self._colour.clear()
        self._depth.clear()
        self._last_ns = None
        self.nearest_s = float("inf")

    def add_colour(self, picture: C, stamp_ns: int) -> None:
        """A colour picture as it comes."""
        self._colour.append((stamp_ns, picture))

    def add_depth(self, picture: D, stamp_ns: int) -> None:
        """A depth picture as it comes."""
        self._depth.append((stamp_ns, picture))

    def newest(self) -> Pair[C, D] | None:
        """The newest colour picture that has a partner and is newer than the last pair; older ones are dropped with it."""
        for stamp_ns, colour in sorted(self._colour, key=lambda entry: -entry[0]):
            if self._last_ns is not None and stamp_ns <= self._last_ns:
                break
            if not self._depth:
                break
            depth_ns, depth = min(self._depth, key=lambda entry: abs(entry[0] - stamp_ns))
            self.nearest_s = abs(depth_ns - stamp_ns) / NS
            if abs(depth_ns - stamp_ns) <= self._limit_ns:
                self._last_ns = stamp_ns
                self._colour = deque((entry for entry in self._colour if entry[0] > stamp_ns), maxlen=KEPT)
                self._depth = deque((entry for entry in self._depth if entry[0] > depth_ns), maxlen=KEPT)
                return Pair(colour, depth, stamp_ns, depth_ns - stamp_ns)
        return None
