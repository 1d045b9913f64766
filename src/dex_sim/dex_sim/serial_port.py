# SPDX-License-Identifier: Apache-2.0
"""A serial line without hardware: a raw pseudo-terminal reachable at a fixed path, at the pace of its baud rate."""

from __future__ import annotations

import fcntl
import os
import selectors
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.errors import DeviceError
from dex_sim.xarm_controller_loop import SocketLoop

BITS_PER_BYTE = 10
READ_SIZE = 4096
PACE_S = 0.0005
"""Replies leave on ticks of this length; at 4 Mbit/s a tick is 200 bytes."""


class _Master:
    """The device's end, as the selector wants it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


class SerialPort:
    """The device's end of a serial line. Callbacks come on the loop's thread; ``send`` is for that thread, the rest for any other.

    Args:
        loop: shared with other devices.
        path: where clients open the line, e.g. ``/tmp/dex-sim/left_leap``: a link to the pseudo-terminal, replaced when nobody serves it any more.
        on_data: gets what a client sent.
        baud: a reply is complete as long after its request as it takes on such a wire; 0: at once.
        clock: monotonic.

    Raises:
        DeviceError: ``address_unavailable``, another process serves the path, or it cannot be written.
    """

    def __init__(self, loop: SocketLoop, path: str, on_data: Callable[[bytes], None], *, baud: int = 0, clock: Clock | None = None) -> None:
        self.path, self.on_data = Path(path), on_data
        self._loop, self._baud = loop, baud
        self._clock = clock or SteadyClock()
        self._master: _Master | None = None
        self._slave = self._held = -1
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._free_ns = 0
        self.plug()

    @property
    def plugged(self) -> bool:
        """False while the cable is pulled."""
        return self._master is not None

    def plug(self) -> None:
        """Puts the line at its path (again): a new terminal, as a replugged adapter is. Raises DeviceError."""
        if self.plugged:
            return
        lock = self._lock()
        number, slave = os.openpty()
        for end in (number, slave):  # the slave end stays open here, so that clients may come and go
            tty.setraw(end)
        os.set_blocking(number, False)
        try:
            self._link(os.ttyname(slave))
        except OSError as error:
            for end in (number, slave, lock):
                os.close(end)
            raise DeviceError(f"{self.path} cannot be made: {error.strerror}", code="address_unavailable") from error
        self._master, self._slave, self._held = _Master(number), slave, lock
        master = self._master
        self._loop.call_and_wait(lambda: self._loop.watch(master, self._ready, write=False))  # type: ignore[arg-type]

    def hang_up(self) -> None:
        """Pulls the cable: the path goes away and clients read an error."""
        master, self._master = self._master, None
        if master is None:
            return
        self.path.unlink(missing_ok=True)

        def end() -> None:
            self._waiting.clear()
            self._loop.forget(master)  # type: ignore[arg-type]
            os.close(master.number)
            os.close(self._slave)
            os.close(self._held)

        self._loop.call_and_wait(end)

    def close(self) -> None:
        """As ``hang_up``; any number of times."""
        self.hang_up()

    def send(self, data: bytes) -> None:
        """Sends in order, each byte when the wire would have carried it; loop thread only. Lost while the cable is pulled."""
        if self._master is None or not data:
            return
        if not self._baud:
            self._write(data)
            return
        self._free_ns = max(self._free_ns, self._clock.now_ns()) + round(len(data) * BITS_PER_BYTE * NS / self._baud)
        idle = not self._waiting
        self._waiting.append((self._free_ns, data))
        if idle:
            self._loop.every(PACE_S, self._release)

    def _release(self) -> bool:
        """Writes what is due; True while more waits."""
        now_ns = self._clock.now_ns()
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._write(self._waiting.popleft()[1])
        return bool(self._waiting)

    def _write(self, data: bytes) -> None:
        if self._master is None:
            return
        try:
            os.write(self._master.number, data)
        except OSError:
            return  # nobody reads and the terminal's buffer is full: a wire would lose it too

    def _ready(self, mask: int) -> None:
        master = self._master
        if master is None or not mask & selectors.EVENT_READ:
            return
        try:
            data = os.read(master.number, READ_SIZE)
        except OSError:
            return
        if data:
            if self._baud:  # the request took its time on the wire as well
                self._free_ns = max(self._free_ns, self._clock.now_ns()) + round(len(data) * BITS_PER_BYTE * NS / self._baud)
            self.on_data(data)

    def _lock(self) -> int:
        """A lock that ends with this process, however it ends: what a link leads to says nothing, since terminals' numbers are used again."""
        if self.path.exists() and not self.path.is_symlink():
            raise DeviceError(f"{self.path} exists and is no simulated serial line; name another path", code="address_unavailable")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise DeviceError(f"{self.path} cannot be made: {error.strerror}", code="address_unavailable") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise DeviceError(f"{self.path} is served by another process; end it, or name another path", code="address_unavailable") from error
        return lock

    def _link(self, terminal: str) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(terminal)
        fresh.replace(self.path)
