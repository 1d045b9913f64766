# SPDX-License-Identifier: Apache-2.0
"""Clocks and fixed-rate loops: integer nanoseconds, monotonic, absolute ticks."""

from __future__ import annotations

import time
from enum import IntEnum
from typing import Protocol

NS = 1_000_000_000


class Clock(Protocol):
    """Monotonic time. Watchdogs use nothing else, so no wall-clock step or replayed bag disarms them."""

    def now_ns(self) -> int:
        """Monotonic time [ns]."""
        ...

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Blocks until ``now_ns() >= deadline_ns``."""
        ...


class SteadyClock:
    """The machine's CLOCK_MONOTONIC."""

    def now_ns(self) -> int:
        """Monotonic time [ns]."""
        return time.monotonic_ns()

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Sleeps until the deadline; returns at once when it has passed."""
        left = deadline_ns - time.monotonic_ns()
        if left > 0:
            time.sleep(left / NS)


class ManualClock:
    """A clock that a test or a lockstep run moves by hand; sleeping moves it."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Current time [ns]."""
        return self._now_ns

    def advance_s(self, seconds: float) -> None:
        """Moves time forward [s]; time never goes back."""
        if not seconds >= 0.0:
            raise ValueError(f"seconds must be >= 0, got {seconds}")
        self._now_ns += round(seconds * NS)

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Jumps to the deadline."""
        self._now_ns = max(self._now_ns, deadline_ns)


class Ticker:
    """Absolute ticks at a fixed rate: an overshoot is never carried on; ticks that are already past are skipped and counted.

    Attributes:
        missed: ticks skipped because the loop was late by more than one period.
        lateness_ns: how late the last tick woke up [ns].
    """

    def __init__(self, rate_hz: float, clock: Clock | None = None) -> None:
        if not 0.0 < rate_hz < float("inf"):
            raise ValueError(f"rate_hz must be positive and finite, got {rate_hz}")
        self.clock: Clock = clock or SteadyClock()
        self.period_ns = round(NS / rate_hz)
        self.missed = 0
        self.lateness_ns = 0
        self._next_ns = self.clock.now_ns() + self.period_ns

    @property
    def next_ns(self) -> int:
        """Scheduled time of the next tick [ns]."""
        return self._next_ns

    def wait(self) -> int:
        """Sleeps to the next tick and returns its scheduled time [ns]."""
        self.clock.sleep_until_ns(self._next_ns)
        tick_ns = self._next_ns
        self.lateness_ns = self.clock.now_ns() - tick_ns
        skipped = max(0, self.lateness_ns // self.period_ns)
        self.missed += skipped
        self._next_ns = tick_ns + (skipped + 1) * self.period_ns
        return tick_ns


class Priority(IntEnum):
    """The one ladder of real-time priorities of a cell's threads; asked for, and used where the machine allows it.

    A thread that holds the interpreter's lock makes the fast thread of its process wait, so the other threads of a control
    process stand above everything outside the control processes.
    """

    GATE = 80
    """The gate's loop."""
    DRIVER = 30
    """The command loops of arms and hands."""
    SIMULATED_DEVICE = 20
    """What plays a device: it must answer as promptly as the device would."""
    CONTROL_PROCESS = 10
    """Every other thread of gate, drivers and simulation, and all heartbeats: a busy machine must not look like a dead node."""
    ACTION = 9
    """Policy and decoders: between a picture and its first command every millisecond counts."""
    PICTURE = 8
    """Cameras: the next picture must not stand in the way of what the last one led to."""


def set_realtime_priority(priority: int) -> bool:
    """Asks for SCHED_FIFO of this thread (1..99); returns False where the machine does not allow it."""
    import os

    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (PermissionError, OSError):
        return False
    return True


def set_process_realtime(priority: int) -> int:
    """Asks for SCHED_RR of every thread of this process that has no real-time priority yet; returns how many got it.

    One thread is not enough: the transport's threads deliver what the fast one waits for, and any thread may hold the
    interpreter's lock.
    """
    import os

    changed = 0
    for name in os.listdir("/proc/self/task"):
        try:
            if os.sched_getscheduler(int(name)) == os.SCHED_OTHER:
                os.sched_setscheduler(int(name), os.SCHED_RR, os.sched_param(priority))
                changed += 1
        except OSError:
            continue  # not allowed here, or the thread has just ended
    return changed
