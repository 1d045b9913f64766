# SPDX-License-Identifier: Apache-2.0
"""Memory that driver and 1 kHz process share: the newest state one way, the newest target the other. Nobody ever waits."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.types import Array

_HEAD = struct.Struct("<QI")
_STATE = struct.Struct("<qqQBBBdQQ35d")
_TARGET = struct.Struct("<QB7d")
_TEXT_BYTES = 800
_COUNT = struct.Struct("<Q")
_ATTEMPTS = 10


class _Box(NamedTuple):
    """Two places, written in turn: what is read is never what is being written, unless the reader was away for a whole turn."""

    at: int
    stride: int


_STATE_BOX, _TARGET_BOX, _SIZE = _Box(0, 1536), _Box(4096, 256), 8192


class Act(IntEnum):
    """What the joints shall do."""

    HOLD = 0
    FOLLOW = 1


@dataclass(frozen=True)
class Target:
    """Newest wish of the driver; ``number`` grows with each."""

    number: int
    act: Act
    position_rad: Array


@dataclass(frozen=True)
class Report:
    """Newest state of the robot, as the 1 kHz process has it.

    Attributes:
        alive_ns: monotonic time it was written [ns].
        stamp_ns: wall-clock time the robot's state came in [ns].
        time_ms: the robot's own time.
        mode: the library's name of the robot's mode.
        controlled: the joints are led by this driver.
        lost: the link is gone, and with it this process.
        fault: why the last motion ended, in words; empty while all is well.
        success: part of the last 100 commands that came in time, as the robot counts.
        missed: periods of the robot that this process did not answer, since it was enabled.
        number: of the newest target that was taken.
        position_rad, velocity_rad_s, effort_nm, desired_rad, external_nm: (7,) each.
    """

    alive_ns: int
    stamp_ns: int
    time_ms: int
    mode: str
    controlled: bool
    lost: bool
    fault: str
    success: float
    missed: int
    number: int
    position_rad: Sequence[float]
    velocity_rad_s: Sequence[float]
    effort_nm: Sequence[float]
    desired_rad: Sequence[float]
    external_nm: Sequence[float]


MODES = ("Other", "Idle", "Move", "Guiding", "Reflex", "UserStopped", "AutomaticErrorRecovery")


class SharedMemory:
    """Two boxes in one anonymous file; each has one writer.

    Args:
        fd: the file, from another process; None makes a new one.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            fd = os.memfd_create("dex_franka")
            os.ftruncate(fd, _SIZE)
        self.fd = fd
        self._memory = mmap.mmap(fd, _SIZE)

    def close(self) -> None:
        """Gives it back; the other process keeps its own."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.fd)

    def write_target(self, target: Target) -> None:
        """By the driver."""
        self._write(_TARGET_BOX, _TARGET.pack(target.number, target.act, *target.position_rad))

    def target(self) -> Target | None:
        """None before the first."""
        data = self._read(_TARGET_BOX, _TARGET.size)
        if data is None:
            return None
        number, act, *position = _TARGET.unpack(data)
        return Target(number, Act(act), np.array(position))

    def write_report(self, report: Report) -> None:
        """By the 1 kHz process."""
        text = report.fault.encode()[:_TEXT_BYTES]
        numbers = (report.position_rad, report.velocity_rad_s, report.effort_nm, report.desired_rad, report.external_nm)
        self._write(_STATE_BOX, _STATE.pack(
            report.alive_ns, report.stamp_ns, report.time_ms, MODES.index(report.mode), report.controlled, report.lost, report.success,
            report.missed, report.number, *(value for part in numbers for value in part),
        ) + text.ljust(_TEXT_BYTES, b"\0"))

    def report(self) -> Report | None:
        """None before the first."""
        data = self._read(_STATE_BOX, _STATE.size + _TEXT_BYTES)
        if data is None:
            return None
        alive, stamp, time_ms, mode, controlled, lost, success, missed, number, *values = _STATE.unpack_from(data)
        parts = [np.array(values[i : i + 7]) for i in range(0, 35, 7)]
        text = data[_STATE.size :].rstrip(b"\0").decode("utf-8", "replace")
        return Report(alive, stamp, time_ms, MODES[mode], bool(controlled), bool(lost), text, success, missed, number, *parts)

    def _write(self, box: _Box, payload: bytes) -> None:
        number = _COUNT.unpack_from(self._memory, box.at)[0] + 1
        at = box.at + _COUNT.size + (number & 1) * box.stride
        self._memory[at : at + _HEAD.size + len(payload)] = _HEAD.pack(number, zlib.crc32(payload)) + payload
        _COUNT.pack_into(self._memory, box.at, number)

    def _read(self, box: _Box, size: int) -> bytes | None:
        # the checksum covers machines on which another core may see these writes in another order
        for _attempt in range(_ATTEMPTS):
            number = _COUNT.unpack_from(self._memory, box.at)[0]
            if number == 0:
                return None
            at = box.at + _COUNT.size + (number & 1) * box.stride
            data = self._memory[at : at + _HEAD.size + size]
            written, checksum = _HEAD.unpack_from(data)
            payload = data[_HEAD.size :]
            if written == number and zlib.crc32(payload) == checksum:
                return payload
        return None
