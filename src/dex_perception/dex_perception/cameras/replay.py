# SPDX-License-Identifier: Apache-2.0
"""Plays recorded exposures at their recorded intervals, on this machine's clocks, pass after pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from dex_core.clock import NS
from dex_core.errors import ConnectionLostError, DeviceError

ENDED = "ended"
FIRST_INTERVAL_S = 0.1


class Stamped(Protocol):
    """Anything recorded with a time of its exposure [ns]."""

    @property
    def stamp_ns(self) -> int:
        """As recorded [ns]."""
        ...


T = TypeVar("T", bound=Stamped)


class ReplayClock:
    """Lays a recording on the time line of the monotonic clock, pass after pass.

    Args:
        rate: of time; 2 plays twice as fast. 0: nothing is ever waited for, an exposure is due when it is asked for.
        live: exposures are stamped as if they were taken now; else they keep their recorded stamps.
    """

    def __init__(self, rate: float, live: bool = True) -> None:
        self._rate, self._live = rate, live
        self._first_ns = self._start_ns = self._newest_ns = 0

    def start(self, first_ns: int) -> None:
        """The exposure with the recorded stamp ``first_ns`` is due now."""
        self._first_ns, self._start_ns = first_ns, time.monotonic_ns()

    def next_pass(self, last_ns: int, first_ns: int, interval_s: float) -> None:
        """The recording begins anew: ``first_ns`` is due ``interval_s`` of recorded time after ``last_ns`` of this pass."""
        self._start_ns = self._due_ns(last_ns + round(interval_s * NS))
        self._first_ns = first_ns

    def due_in_s(self, recorded_ns: int) -> float:
        """Until an exposure is due; negative when it is late."""
        return (self._due_ns(recorded_ns) - time.monotonic_ns()) / NS if self._rate else 0.0

    def stamp_ns(self, recorded_ns: int) -> int:
        """Wall-clock stamp of an exposure; live stamps follow the wall clock also where it is set, and grow where time is not kept (rate 0)."""
        if not self._live:
            return recorded_ns
        late_ns = time.monotonic_ns() - self._due_ns(recorded_ns) if self._rate else 0
        stamp_ns = time.time_ns() - late_ns
        if not self._rate:
            stamp_ns = max(stamp_ns, self._newest_ns + 1)
        self._newest_ns = stamp_ns
        return stamp_ns

    def _due_ns(self, recorded_ns: int) -> int:
        return self._start_ns + (round((recorded_ns - self._first_ns) / self._rate) if self._rate else 0)


@dataclass(frozen=True)
class Played(Generic[T]):
    """One recorded exposure, when it was played [ns, wall clock unless stamps are kept], and its number since the start, from 1."""

    item: T
    stamp_ns: int
    sequence: int


class Player(Generic[T]):
    """Hands out recorded exposures as a device would: one that nobody fetched in time gives way to the newest that is due.

    Unpaced (rate 0) it moves on only with calls that wait, and skips none.

    Args:
        name: of the recording, for errors.
        one_pass: reads the recording from its beginning; it holds at least one exposure, or raises.
        rate, live: of :class:`ReplayClock`.
        loop: begins anew at the end; else the recording is over then, for good.

    Attributes:
        skipped: exposures that gave way. passes: how often it began anew.
    """

    def __init__(self, name: str, one_pass: Callable[[], Iterator[T]], *, rate: float, loop: bool, live: bool = True) -> None:
        self._name, self._one_pass = name, one_pass
        self._rate, self._loop, self._live = rate, loop, live
        self._items: Iterator[T] = iter(())
        self._upcoming: T | None = None
        self._open = self._ended = False
        self.skipped = self.passes = 0

    def start(self) -> T:
        """Begins at the beginning; returns the first exposure without playing it. Raises DeviceError: ``ended``, or what reading raises."""
        self.stop()
        if self._ended:
            raise self._end()
        self._clock = ReplayClock(self._rate, self._live)
        self._interval_s, self._sequence = FIRST_INTERVAL_S, 0
        self.skipped = self.passes = 0
        first = self._first()
        self._upcoming, self._open = first, True
        self._clock.start(first.stamp_ns)
        return first

    def take(self, timeout_s: float) -> Played[T] | None:
        """The newest exposure that is due, else the next one when it is; None when none is in time.

        Raises:
            ConnectionLostError: not started. DeviceError: ``ended``, or what reading raises.
        """
        if not self._open:
            raise ConnectionLostError(f"{self._name} is not open")
        if self._upcoming is None:
            self._ended = True
            raise self._end()
        if not self._rate and timeout_s <= 0.0:
            return None
        wait_s = self._clock.due_in_s(self._upcoming.stamp_ns)
        if wait_s > timeout_s:
            time.sleep(max(0.0, timeout_s))
            return None
        time.sleep(max(0.0, wait_s))
        played = self._advance(self._upcoming)
        while self._rate and self._upcoming is not None and self._clock.due_in_s(self._upcoming.stamp_ns) <= 0.0:
            played = self._advance(self._upcoming)
            self.skipped += 1
        return played

    def stop(self) -> None:
        """Closes the recording; any number of times."""
        self._items, self._upcoming, self._open = iter(()), None, False

    def _advance(self, item: T) -> Played[T]:
        self._sequence += 1
        played = Played(item, self._clock.stamp_ns(item.stamp_ns), self._sequence)
        self._upcoming = next(self._items, None)
        if self._upcoming is not None:
            self._interval_s = max(0.0, (self._upcoming.stamp_ns - item.stamp_ns) / NS) or self._interval_s
        elif self._loop:
            self._upcoming = self._first()
            self._clock.next_pass(item.stamp_ns, self._upcoming.stamp_ns, self._interval_s)
            self.passes += 1
        return played

    def _first(self) -> T:
        self._items = self._one_pass()
        return next(self._items)

    def _end(self) -> DeviceError:
        return DeviceError(f"{self._name} has ended; options loop: true plays it again and again", code=ENDED)
