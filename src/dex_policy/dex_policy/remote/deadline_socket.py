# SPDX-License-Identifier: Apache-2.0
"""A TCP or TLS connection whose every wait counts against one deadline, however slowly the other side drips."""

from __future__ import annotations

import io
import select
import socket
import ssl
import time

from dex_core.clock import NS


class DeadlinePassed(OSError):
    """The deadline of the request under way has passed."""


class DeadlineSocket:
    """What http.client needs of a socket, with ``deadline_ns`` (monotonic) over all of it: connecting, handshake, sending, reading.

    A socket's own timeout starts anew with each byte, so a server that sends one byte a second holds its client for ever.

    Args:
        address: (host, port); the host is resolved here, which no deadline can bound: pass a numeric one where that matters.
        tls: context and the name the certificate must have; None: plain.
    """

    def __init__(self, address: tuple[str, int], deadline_ns: int, tls: tuple[ssl.SSLContext, str] | None = None) -> None:
        self.deadline_ns = deadline_ns
        self._socket = socket.create_connection(address, timeout=self._left_s())
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                context, name = tls
                self._socket = context.wrap_socket(self._socket, server_hostname=name, do_handshake_on_connect=False)
                self._handshake(self._socket)
        except BaseException:
            self._socket.close()
            raise

    def _left_s(self) -> float:
        left_s = (self.deadline_ns - time.monotonic_ns()) / NS
        if left_s <= 0.0:
            raise DeadlinePassed("the deadline has passed")
        return left_s

    def _handshake(self, wrapped: ssl.SSLSocket) -> None:
        wrapped.setblocking(False)
        while True:
            try:
                wrapped.do_handshake()
                return
            except ssl.SSLWantReadError:
                select.select([wrapped], [], [], self._left_s())
            except ssl.SSLWantWriteError:
                select.select([], [wrapped], [], self._left_s())

    @property
    def stale(self) -> bool:
        """Whether the other side has closed an idle connection, or said something nobody asked for: both make it useless."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def sendall(self, data: bytes) -> None:
        """Sends all of it; the timeout is Python's total one."""
        self._socket.settimeout(self._left_s())
        self._socket.sendall(data)

    def recv_into(self, buffer: memoryview) -> int:
        """Reads what is there."""
        self._socket.settimeout(self._left_s())
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A reader; closing it leaves the connection open."""
        assert mode == "rb"
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Ends the connection at once."""
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, source: DeadlineSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._source.recv_into(buffer)
