# SPDX-License-Identifier: Apache-2.0
"""One thread for many sockets: listeners, streams and periodic work on a selector, without polling."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import socket
import threading
from collections.abc import Callable

from dex_core.clock import NS, Priority, SteadyClock, set_realtime_priority
from dex_core.errors import DeviceError

BACKLOG_LIMIT = 256 * 1024
"""A peer that leaves this many bytes unread is disconnected."""


class Stream:
    """One accepted connection. ``send`` may be called from any thread."""

    def __init__(self, loop: SocketLoop, sock: socket.socket) -> None:
        self.on_data: Callable[[bytes], None] = lambda _data: None
        self.on_close: Callable[[], None] = lambda: None
        self.open = True
        self._loop, self._sock = loop, sock
        self._backlog = bytearray()
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        """Sends in order; keeps what the kernel does not take yet."""
        with self._lock:
            if not self.open:
                return
            if not self._backlog:
                try:
                    data = data[self._sock.send(data):]
                except BlockingIOError:
                    pass
                except OSError:
                    self._loop.call(self.close)
                    return
            if not data:
                return
            self._backlog += data
            too_slow = len(self._backlog) > BACKLOG_LIMIT
        self._loop.call(self.close if too_slow else self._watch_writable)

    def close(self) -> None:
        """Ends the connection; loop thread only."""
        if not self.open:
            return
        self.open = False
        self._loop.forget(self._sock)
        self._sock.close()
        self.on_close()

    def reset(self) -> None:
        """Ends the connection with a TCP reset instead of a goodbye; loop thread only."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def _watch_writable(self) -> None:
        if self.open:
            self._loop.watch(self._sock, self._ready, write=True)

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            try:
                data = self._sock.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self.on_data(data)
        if mask & selectors.EVENT_WRITE and self.open:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            try:
                del self._backlog[: self._sock.send(self._backlog)]
            except OSError:
                self._loop.call(self.close)
                return
            empty = not self._backlog
        if empty:
            self._loop.watch(self._sock, self._ready, write=False)


class SocketLoop:
    """The thread and its selector. ``call`` hands work to it from any thread."""

    def __init__(self, name: str, *, realtime: bool = True) -> None:
        self._selector = selectors.DefaultSelector()
        self._clock = SteadyClock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, lambda _mask: os.read(self._wake_read, 4096))
        self._calls: list[Callable[[], None]] = []
        self._calls_lock = threading.Lock()
        self._timers: list[tuple[int, int, int, Callable[[], bool]]] = []
        self._ids = itertools.count()
        self._stopped = False
        self._realtime = realtime
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def listen(self, host: str, port: int, accepted: Callable[[Stream], None]) -> Callable[[], None]:
        """Listens on ``host:port``; ``accepted`` gets each connection. Returns what ends it. Raises DeviceError."""
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError as error:
            server.close()
            raise DeviceError(f"cannot listen on {host}:{port}: {error.strerror}", code="address_unavailable") from error
        server.listen(8)
        server.setblocking(False)

        def ready(_mask: int) -> None:
            try:
                sock, _peer = server.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = Stream(self, sock)
            accepted(stream)
            self.watch(sock, stream._ready, write=False)

        def end() -> None:
            if server.fileno() >= 0:
                self.forget(server)
                server.close()

        self.call(lambda: self.watch(server, ready, write=False))
        return lambda: self.call(end)

    def every(self, period_s: float, work: Callable[[], bool]) -> None:
        """Runs ``work`` each ``period_s`` on absolute ticks until it returns False; loop thread only."""
        period_ns = round(period_s * NS)
        heapq.heappush(self._timers, (self._clock.now_ns() + period_ns, next(self._ids), period_ns, work))

    def call(self, work: Callable[[], None]) -> None:
        """Runs ``work`` on the loop's thread, soon."""
        with self._calls_lock:
            self._calls.append(work)
        if threading.current_thread() is not self._thread and not self._stopped:
            os.write(self._wake_write, b"x")

    def call_and_wait(self, work: Callable[[], None], timeout_s: float = 2.0) -> None:
        """Runs ``work`` on the loop's thread and waits for its end."""
        if threading.current_thread() is self._thread:
            work()
            return
        done = threading.Event()
        self.call(lambda: (work(), done.set())[0])  # type: ignore[func-returns-value]
        done.wait(timeout_s)

    def watch(self, sock: socket.socket, ready: Callable[[int], None], *, write: bool) -> None:
        """Adds or changes what a socket waits for; loop thread only."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        if sock.fileno() < 0:
            return
        if sock.fileno() in self._selector.get_map():
            self._selector.modify(sock, events, ready)
        else:
            self._selector.register(sock, events, ready)

    def forget(self, sock: socket.socket) -> None:
        """Stops watching a socket; loop thread only."""
        if sock.fileno() >= 0 and sock.fileno() in self._selector.get_map():
            self._selector.unregister(sock)

    def stop(self) -> None:
        """Ends the thread and closes every socket it still has."""
        if self._stopped:
            return
        self.call(lambda: setattr(self, "_stopped", True))
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        if self._realtime:
            set_realtime_priority(Priority.SIMULATED_DEVICE)
        while not self._stopped:
            for key, mask in self._selector.select(self._timeout_s()):
                if key.fileobj in self._selector.get_map():
                    key.data(mask)
            self._run_calls()
            self._run_timers()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _timeout_s(self) -> float | None:
        if self._calls:
            return 0.0
        return max(0.0, (self._timers[0][0] - self._clock.now_ns()) / NS) if self._timers else None

    def _run_calls(self) -> None:
        with self._calls_lock:
            calls, self._calls = self._calls, []
        for work in calls:
            work()

    def _run_timers(self) -> None:
        now_ns = self._clock.now_ns()
        while self._timers and self._timers[0][0] <= now_ns:
            due_ns, number, period_ns, work = heapq.heappop(self._timers)
            if work():
                missed = max(0, (now_ns - due_ns) // period_ns)
                heapq.heappush(self._timers, (due_ns + (missed + 1) * period_ns, number, period_ns, work))
