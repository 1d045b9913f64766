# SPDX-License-Identifier: Apache-2.0
"""One client of a simulated Franka: requests and replies on TCP, states and motion commands on UDP."""

from __future__ import annotations

import contextlib
import select
import socket
import struct

import numpy as np

from dex_sim import franka_wire as wire


class Link:
    """One client: its TCP connection, and the UDP socket that leads to the port it named."""

    def __init__(self, tcp: socket.socket, host: str) -> None:
        self.tcp, self.reader = tcp, wire.RequestReader()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.connected = False
        tcp.setblocking(False)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.udp.bind((host, 0))
        self.udp.setblocking(False)

    def connect(self, port: int) -> None:
        """States go to this UDP port of the client from now on."""
        self.udp.connect((self.tcp.getpeername()[0], port))
        self.connected = True

    def requests(self) -> list[wire.Request]:
        """Requests that have arrived. Raises ConnectionError when the client is gone, FrankaWireError when it talks nonsense."""
        try:
            data = self.tcp.recv(65536)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionError("closed by the client")
        return self.reader.feed(data)

    def motion(self, lose: int) -> tuple[np.void | None, int]:
        """Newest motion command that has arrived, and how many of the ``lose`` next ones are still to be lost."""
        newest = None
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                command = wire.parse_motion(self.udp.recv(2048))
                if lose > 0:
                    lose -= 1
                elif command is not None and (newest is None or command["message_id"] > newest["message_id"]):
                    newest = command
        return newest, lose

    def wait_motion(self, timeout_s: float) -> None:
        """Until a motion command is there, or the time is over."""
        select.select([self.udp], [], [], timeout_s)

    def send_state(self, state: bytes) -> None:
        """One datagram; a client that does not listen any more shows on TCP."""
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self.udp.send(state)

    def close(self, *, reset: bool = False) -> None:
        """Ends the connection, with a TCP reset when asked."""
        if reset:
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.close()
        self.udp.close()
