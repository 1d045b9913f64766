# SPDX-License-Identifier: Apache-2.0
"""A stream of targets that was interrupted goes on where it was, a little faster than it came, instead of with a jump."""

from __future__ import annotations

from collections import deque

import numpy as np

from dex_core.clock import NS
from dex_core.errors import ConfigError
from dex_core.types import Array

MOST_KEPT = 64
"""Targets that wait to be played; more are left out, oldest first: the way to the newest is then a straight line."""


class CatchUp:
    """Plays targets by their times of arrival. All times monotonic [ns].

    While they come in time each is passed on as it is. After a gap longer than ``gap_s`` only so much of the way is gone at once, and the
    rest at ``haste`` times the pace at which it came: a controller that judges a target by its distance from the one before sees no
    more than ``haste`` times the speed that was asked for.

    Args:
        gap_s: the longest pause whose way may be made good in one step [s].
        haste: pace at which the rest follows; above 1.
    """

    def __init__(self, gap_s: float, haste: float) -> None:
        if not (0.0 < gap_s < 1.0 and 1.0 < haste <= 2.0):
            raise ConfigError(f"gap_s is {gap_s}, haste {haste}; allowed are gap_s up to 1 s and haste above 1 up to 2")
        self._gap_ns, self._haste = round(gap_s * NS), haste
        self._way: deque[tuple[int, Array]] = deque(maxlen=MOST_KEPT)
        self._played_ns = self._asked_ns = 0

    @property
    def behind_s(self) -> float:
        """How far what was passed on lies behind the newest target [s]; 0 when it does not."""
        return (self._way[-1][0] - self._played_ns) / NS if self._way else 0.0

    def start(self) -> None:
        """The next target is a first one: it is passed on as it is."""
        self._way.clear()

    def next(self, target_rad: Array, now_ns: int) -> Array:
        """What to send now that ``target_rad`` (n,) has come [rad]."""
        if not self._way:
            self._played_ns = self._asked_ns = now_ns
        self._way.append((now_ns, target_rad))
        gone_ns = round(min(now_ns - self._asked_ns, self._gap_ns) * self._haste)
        self._asked_ns = now_ns
        self._played_ns = min(now_ns, max(self._played_ns, self._way[0][0]) + gone_ns)
        while len(self._way) > 1 and self._way[1][0] <= self._played_ns:
            self._way.popleft()
        return self._place()

    def _place(self) -> Array:
        """Where the way is at the time that is played."""
        from_ns, place = self._way[0]
        if len(self._way) == 1 or self._played_ns <= from_ns:
            return place
        to_ns, goal = self._way[1]
        share = (self._played_ns - from_ns) / (to_ns - from_ns)
        return np.asarray(place + share * (goal - place))
