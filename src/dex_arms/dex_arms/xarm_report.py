# SPDX-License-Identifier: Apache-2.0
"""Reads the controller's pushed 5 Hz report in a thread that sleeps in ``recv``.

The SDK's own report thread looks at a queue a thousand times a second (7 % of a core per arm here); this one wakes
five times a second. The layout is the SDK's own structure.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass

from dex_core.errors import DeadlineError

RECONNECT_S = 2.0
READ_TIMEOUT_S = 2.0
MAX_FRAME = 4096


@dataclass(frozen=True)
class XArmReport:
    """One rich report; seven joints each.

    Attributes:
        time_ns: monotonic arrival time.
        ready: motors enabled, brakes released, state neither stopped nor not-ready.
    """

    time_ns: int
    state: int
    mode: int
    error: int
    warning: int
    ready: bool
    servo_codes: tuple[tuple[int, int], ...]
    temperature_c: tuple[int, ...]
    current_a: tuple[float, ...]
    axes: int


class ReportReader:
    """Keeps the newest report of one controller; reconnects by itself.

    Attributes:
        newest: the newest report, None before the first.
    """

    def __init__(self, host: str, port: int) -> None:
        self.newest: XArmReport | None = None
        self._host, self._port = host, port
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"xarm report {host}", daemon=True)
        self._thread.start()

    def wait_first(self, timeout_s: float) -> XArmReport:
        """The first report. Raises DeadlineError."""
        if not self._arrived.wait(timeout_s) or self.newest is None:
            raise DeadlineError(f"report port {self._port} of the xArm at {self._host}", timeout_s)
        return self.newest

    def age_s(self) -> float:
        """Age of the newest report, infinite before the first."""
        return float("inf") if self.newest is None else (time.monotonic_ns() - self.newest.time_ns) * 1e-9

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(timeout=READ_TIMEOUT_S + 0.5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection((self._host, self._port), timeout=READ_TIMEOUT_S) as sock:
                    self._socket = sock
                    self._read(sock)
            except OSError:
                pass  # the age of the newest report tells; tried again below
            self._socket = None
            self._stop.wait(RECONNECT_S)

    def _read(self, sock: socket.socket) -> None:
        while not self._stop.is_set():
            head = _exactly(sock, 4)
            size = int.from_bytes(head, "big")
            if not 245 <= size <= MAX_FRAME:
                raise ConnectionError(f"report announces {size} bytes")
            self.newest = parse_rich_report(head + _exactly(sock, size - 4))
            self._arrived.set()


def _exactly(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        piece = sock.recv(count - len(parts))
        if not piece:
            raise ConnectionError("report port closed")
        parts += piece
    return bytes(parts)


def parse_rich_report(frame: bytes) -> XArmReport:
    """A frame of port 30002, by the SDK's own structure (shorter, older layouts leave the rest zero)."""
    from xarm.x3.report import ReportDataStructure

    data = ReportDataStructure.create(30002)
    data.update(frame)
    motors_on = data.motor_brake_status & data.motor_enable_status & 0x7F == 0x7F
    return XArmReport(
        time_ns=time.monotonic_ns(), state=data.state, mode=data.mode, error=data.error_code, warning=data.warn_code,
        ready=motors_on and data.state not in (4, 5), servo_codes=tuple((int(status), int(code)) for status, code in data.servo_status_codes),
        temperature_c=tuple(data.temperatures), current_a=tuple(round(c, 3) for c in data.joint_currents), axes=data.robot_axis,
    )
