# SPDX-License-Identifier: Apache-2.0
"""Where the cell calls: it brings an observation and takes the newest action as a chunk that holds it. openpi's messages over one websocket."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import msgpack
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

STALE_S = 0.5
"""An action older than this is not repeated: the cell is told to stay where it is measured."""


def encode(message: Any) -> bytes:
    """msgpack, arrays as maps of bytes, type and shape."""
    return msgpack.packb(
        message, default=lambda a: {b"__ndarray__": True, b"data": a.tobytes(), b"dtype": a.dtype.str, b"shape": a.shape}
    )


def decode(data: bytes) -> Any:
    """The reverse; arrays of numbers only. Raises ValueError."""

    def unpack(found: dict) -> Any:
        if b"__ndarray__" not in found:
            return found
        dtype = np.dtype(found[b"dtype"])
        if dtype.kind not in "biuf":
            raise ValueError(f"an array of {dtype}")
        return np.frombuffer(found[b"data"], dtype=dtype).reshape(found[b"shape"])

    return msgpack.unpackb(data, object_hook=unpack)


class Mailbox:
    """A server for one cell at a time.

    Args:
        host, port: where it listens; port 0 takes a free one. name: what it greets with.
        steps: of a chunk. answer_s: how long an observation waits for its own action [s].
    """

    def __init__(self, host: str, port: int, name: str, steps: int, answer_s: float) -> None:
        self._name, self._steps, self._answer_s = name, steps, answer_s
        self._news = threading.Condition()
        self._observation: dict[str, Any] | None = None
        self._number = self._read = 0
        self._action: np.ndarray | None = None
        self._acted_s, self._acted_on = 0.0, 0
        self._cells = 0
        self._server: Server = serve(self._talk, host, port, compression=None, max_size=64 << 20, close_timeout=0.5)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="dex mailbox", daemon=True)
        self._thread.start()

    def wait_cell(self, timeout_s: float) -> bool:
        """True once a cell has called."""
        with self._news:
            return self._news.wait_for(lambda: self._cells > 0, timeout_s)

    @property
    def has_cell(self) -> bool:
        """Whether a cell is there now."""
        return self._cells > 0

    def take(self, timeout_s: float) -> dict[str, Any] | None:
        """The newest observation, one not taken before; None when none came in time."""
        with self._news:
            if not self._news.wait_for(lambda: self._number > self._read, timeout_s):
                return None
            self._read = self._number
            return self._observation

    def put(self, action: np.ndarray) -> None:
        """The action that answers the observation taken last, and those after it until the next."""
        with self._news:
            self._action, self._acted_s, self._acted_on = np.array(action, dtype=np.float32), time.monotonic(), self._read
            self._news.notify_all()

    def close(self) -> None:
        """Hangs up."""
        self._server.shutdown()
        self._thread.join(timeout=5.0)

    def _talk(self, connection: ServerConnection) -> None:
        with self._news:
            self._cells += 1
            self._news.notify_all()
        try:
            with contextlib.suppress(ConnectionClosed):
                connection.send(encode({"robot": self._name}))
                request = decode(connection.recv())  # made up, to warm a network that is not there
                connection.send(self._chunk(request["state"]))
                while True:
                    connection.send(self._answer(decode(connection.recv())))
        finally:
            with self._news:
                self._cells -= 1

    def _answer(self, request: dict[str, Any]) -> bytes:
        with self._news:
            self._observation = request
            self._number += 1
            number = self._number
            self._news.notify_all()
            self._news.wait_for(lambda: self._acted_on >= number, self._answer_s)
            fresh = self._action is not None and time.monotonic() - self._acted_s < STALE_S
            return self._chunk(self._action if fresh else request["state"])

    def _chunk(self, action: np.ndarray) -> bytes:
        return encode({"actions": np.tile(np.asarray(action, dtype=np.float32), (self._steps, 1))})
