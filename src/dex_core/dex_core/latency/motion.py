# SPDX-License-Identifier: Apache-2.0
"""The first measured motion after a command: which joints were told to move, and when the first of them was seen to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.types import Array

FLOOR_RAD = 2e-4
"""Less than this is no motion on any encoder."""
NOISE_FACTOR = 6.0
"""A motion is more than so many standard deviations of the encoder's noise."""
NOISE_SAMPLES, NOISE_BLOCKS = 25, 40
"""Noise is looked at in blocks of so many measurements; the quiet quarter of so many newest blocks counts, i.e. those at rest."""
BEFORE_NS = 100_000_000
"""The joints count as resting when neither they nor their commands moved in this time before the first command."""
HORIZON_NS = 500_000_000
"""A joint that has not moved by then did not follow."""
DEPTH = 256


class MotionKind(IntEnum):
    """Values as in dex_msgs/ChunkLatency."""

    NONE = 0
    SEEN = 1
    MISSED = 2
    UNKNOWN = 3


class Motion(NamedTuple):
    """``stamp_ns`` of the measurement that shows the first motion (0 unless SEEN), the joint, and whether all rested before."""

    kind: MotionKind
    stamp_ns: int = 0
    joint: str = ""
    from_rest: bool = False


class _Track:
    """Stamped rows of some joints, newest last."""

    def __init__(self) -> None:
        self.stamps: deque[int] = deque(maxlen=DEPTH)
        self.rows: deque[Array] = deque(maxlen=DEPTH)

    def add(self, stamp_ns: int, row: Array) -> None:
        if not self.stamps or stamp_ns > self.stamps[-1]:
            self.stamps.append(stamp_ns)
            self.rows.append(row)

    def between(self, first_ns: int, last_ns: int) -> tuple[np.ndarray, Array]:
        """(k,) stamps and (k, n) rows within [first_ns, last_ns]."""
        kept = [(s, r) for s, r in zip(self.stamps, self.rows, strict=True) if first_ns <= s <= last_ns]
        return np.array([s for s, _ in kept], dtype=np.int64), np.array([r for _, r in kept])


class _Device:
    """One interface: what was measured, and what its encoders cannot tell from noise."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.track = _Track()
        self._noise: deque[Array] = deque(maxlen=NOISE_BLOCKS)
        self._block: list[Array] = []

    def add(self, stamp_ns: int, row: Array) -> None:
        self.track.add(stamp_ns, row)
        self._block.append(row)
        if len(self._block) == NOISE_SAMPLES:
            bends = np.diff(np.array(self._block), n=2, axis=0)  # they see noise, and little of a smooth motion
            self._noise.append(np.sqrt((bends**2).mean(axis=0) / 6.0))
            self._block = []

    def threshold(self) -> Array:
        """(n,) [rad]."""
        if not self._noise:
            return np.full(len(self.names), FLOOR_RAD)
        return np.maximum(FLOOR_RAD, NOISE_FACTOR * np.quantile(np.array(self._noise), 0.25, axis=0))

    def first_motion(self, directions: Array, first_ns: int, end_ns: int) -> Motion | None:
        """SEEN or MISSED, ``from_rest`` by the measurements before alone; None where there are none before ``first_ns``.

        Args:
            directions: (n,) +1 or -1 for joints told to move, else 0.
        """
        _, before = self.track.between(first_ns - BEFORE_NS, first_ns)
        if not len(before):
            return None
        limit, chosen = self.threshold(), directions != 0.0
        quiet = bool((np.ptp(before[:, chosen], axis=0) <= limit[chosen]).all())
        stamps, rows = self.track.between(first_ns + 1, end_ns)
        moved = (rows - before[-1]) * directions > limit if len(rows) else np.zeros((0, len(limit)), bool)
        when = np.flatnonzero(moved.any(axis=1))
        if not len(when):
            return Motion(MotionKind.MISSED, from_rest=quiet)
        return Motion(MotionKind.SEEN, int(stamps[when[0]]), self.names[int(np.argmax(moved[when[0]]))], quiet)


class MotionFinder:
    """Finds the motion after each chunk's first command. One thread at a time; all stamps on one clock [ns].

    A joint was told to move when the command went further than its threshold from the command before the chunk. It moved when it was measured
    further than the threshold from where it was at the first command, the same way. While the robot follows the chunk before, that motion
    counts: what the new chunk added to it cannot be told apart. The threshold is 0.0002 rad or six standard deviations of the encoder's noise,
    whichever is more; the noise is learnt from the measurements.

    Args:
        interfaces: interface -> its joints, as commands name them.
    """

    def __init__(self, interfaces: Mapping[str, Sequence[str]]) -> None:
        self._devices = {interface: _Device(names) for interface, names in interfaces.items()}
        self._names = tuple(name for device in self._devices.values() for name in device.names)
        self._commands = _Track()

    def measured(self, interface: str, stamp_ns: int, names: Sequence[str], position_rad: Array) -> None:
        """Takes one measurement; one that does not name all joints of the interface is left out."""
        device = self._devices[interface]
        row = _ordered(names, position_rad, device.names)
        if row is not None:
            device.add(stamp_ns, row)

    def commanded(self, stamp_ns: int, names: Sequence[str], position_rad: Array) -> None:
        """Takes one command; one without all joints (idle, stopped) is left out."""
        row = _ordered(names, position_rad, self._names)
        if row is not None:
            self._commands.add(stamp_ns, row)

    def heard_until_ns(self) -> int:
        """Up to when all interfaces have been measured [ns]."""
        return min((d.track.stamps[-1] if d.track.stamps else 0 for d in self._devices.values()), default=0)

    def find(self, first_command_ns: int, next_ns: int | None, now_ns: int) -> Motion | None:
        """What moved first after a chunk's first command; None while it is too early to say.

        Args:
            first_command_ns: when it went out. next_ns: first command of the next chunk, where there is one. now_ns: time now.
        """
        end_ns = min(first_command_ns + HORIZON_NS, next_ns or now_ns)
        over = now_ns > end_ns + BEFORE_NS  # what is still to come cannot count, messages on their way neither
        told = self._told(first_command_ns, end_ns)
        seen = None if told is None else self._seen(told, first_command_ns, end_ns)
        if seen is None:
            return Motion(MotionKind.UNKNOWN) if over else None
        if seen.kind is MotionKind.SEEN and self._heard_until_ns() >= seen.stamp_ns:
            return seen
        return seen if over else None

    def _heard_until_ns(self) -> int:
        """Up to when all interfaces have been measured [ns]."""
        return min((d.track.stamps[-1] if d.track.stamps else 0 for d in self._devices.values()), default=0)

    def _told(self, first_ns: int, end_ns: int) -> tuple[Array, Array] | None:
        """Commands (k, n) that use the chunk and (m, n) those before, less the last one before [rad]; None where they are not known."""
        stamps, rows = self._commands.between(first_ns - BEFORE_NS, end_ns)
        if not len(stamps):
            return None
        used = max(int(np.searchsorted(stamps, first_ns, side="right")) - 1, 0)  # the note is written just after the command
        last = rows[used - 1] if used else self._measured_at(first_ns)
        return None if last is None else (rows[used:] - last, rows[:used] - last)

    def _measured_at(self, at_ns: int) -> Array | None:
        parts = [device.track.between(at_ns - BEFORE_NS, at_ns)[1] for device in self._devices.values()]
        return None if any(not len(part) for part in parts) else np.concatenate([part[-1] for part in parts])

    def _seen(self, told: tuple[Array, Array], first_ns: int, end_ns: int) -> Motion | None:
        """The earliest motion among all devices; None where one that was told to move was not measured before the first command."""
        after, before = told
        found, rested, offset = Motion(MotionKind.NONE), True, 0
        for device in self._devices.values():
            columns = slice(offset, offset + len(device.names))
            offset += len(device.names)
            limit = device.threshold()
            directions = _directions(after[:, columns], limit)
            if not directions.any():
                continue
            own = device.first_motion(directions, first_ns, end_ns)
            if own is None:
                return None
            rested = rested and own.from_rest and not (np.abs(before[:, columns]) > limit).any()
            if found.kind is not MotionKind.SEEN or own.kind is MotionKind.SEEN and own.stamp_ns < found.stamp_ns:
                found = own
        return found._replace(from_rest=rested and found.kind is not MotionKind.NONE)


def _directions(told: Array, limit: Array) -> Array:
    """(n,) +1 or -1 for joints told to move, by where the command first left the threshold; 0 for the others."""
    out = np.zeros(len(limit))
    for row in told:
        fresh = (out == 0.0) & (np.abs(row) > limit)
        out[fresh] = np.sign(row[fresh])
    return out


def _ordered(names: Sequence[str], values: Array, wanted: Sequence[str]) -> Array | None:
    """Values in the order of ``wanted``; None when one is missing or not finite."""
    place = {name: i for i, name in enumerate(names)}
    if len(values) != len(names) or any(name not in place for name in wanted):
        return None
    row = np.asarray(values, dtype=float)[[place[name] for name in wanted]]
    return row if np.isfinite(row).all() else None
