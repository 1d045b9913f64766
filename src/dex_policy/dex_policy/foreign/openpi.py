# SPDX-License-Identifier: Apache-2.0
"""Client of openpi's policy server: one websocket, metadata first, then an observation for a chunk, in order and without numbers."""

from __future__ import annotations

import json
import math
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dex_core.errors import ConfigError
from dex_policy.credentials import read_token, tls_context
from dex_policy.foreign.link import AnswerLate, LateAnswerCame, Reply, ServerError, ServerLost, ServerMismatch
from dex_policy.foreign.manifest import Server
from dex_policy.foreign.wire import INSTALL, decode, encode

CLOSE_TIMEOUT_S = 0.5
MAX_WORDS = 300
"""So much of a server's traceback is told: its end."""


class OpenpiLink:
    """A connection to one server. An answer that came too late is waited for before the next question: answers carry no numbers.

    Args:
        server: where it is, and what its metadata must be.
        action_key: the name of the actions in an answer.
        wall_clock_ns: wall-clock time [ns].

    Raises:
        ConfigError: the package websockets is missing, or the token or the certificates cannot be read.
    """

    def __init__(self, server: Server, action_key: str, wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        try:
            import websockets.exceptions
            import websockets.sync.client
        except ImportError as error:
            raise ConfigError(f"protocol 'openpi' needs the package websockets: {INSTALL}") from error
        self._client, self._exceptions = websockets.sync.client, websockets.exceptions
        self._server, self._key, self._wall_clock_ns = server, action_key, wall_clock_ns
        self.address = server.url
        token = read_token(server.token_file, "server.token_file")
        self._headers = {"Authorization": f"Api-Key {token}"} if token else None
        self._tls = _tls_context(server)
        self._connection: Any = None
        self._owed = 0

    @property
    def is_open(self) -> bool:
        """See ``Link``."""
        return self._connection is not None

    def open(self) -> None:
        """Connects and compares the metadata with those described. Raises ServerLost, ServerMismatch, WireError."""
        self.close()
        timeout_s = self._server.connect_timeout_s
        try:
            self._connection = self._client.connect(
                self.address, compression=None, max_size=round(self._server.max_reply_mib * 2**20), max_queue=2, additional_headers=self._headers,
                open_timeout=timeout_s, close_timeout=CLOSE_TIMEOUT_S, ping_interval=None, proxy=None, ssl=self._tls,
            )
        except (OSError, TimeoutError, ssl.SSLError, self._exceptions.WebSocketException) as error:
            raise ServerLost(f"{self.address} cannot be reached: {error or type(error).__name__}") from error
        seconds = self._server.deadline_s
        limit = struct.pack("ll", int(seconds), int(seconds % 1.0 * 1e6))
        self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)  # else a server that reads nothing would be waited for
        self._connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        metadata = decode(self._receive(timeout_s))
        check_metadata(metadata, self._server.metadata, self.address)

    def ask(self, request: Mapping[str, Any], stamp_ns: int, timeout_s: float) -> Reply:
        """See ``Link``. Raises AnswerLate, ServerLost, ServerError, ServerMismatch, WireError."""
        del stamp_ns  # openpi's messages have none
        if self._owed:
            self._receive(timeout_s)
            self._owed -= 1
            raise LateAnswerCame(f"{self.address}: the answer to an earlier observation has only come now; the next one will be sent")
        message = encode(dict(request))
        sent_ns = self._wall_clock_ns()
        self._send(message)
        self._owed += 1
        data = self._receive(timeout_s)
        self._owed -= 1
        received_ns = self._wall_clock_ns()
        return Reply(*_read(decode(data), self._key, self.address), sent_ns, received_ns)

    def beat(self, timeout_s: float) -> None:
        """A ping must come back."""
        if self._owed:
            return  # openpi's server answers no ping while it infers
        try:
            answered = self._connection.ping().wait(timeout_s)
        except (OSError, self._exceptions.WebSocketException) as error:
            raise ServerLost(f"{self.address} has gone: {error}") from error
        if not answered:
            raise ServerLost(f"{self.address} has not answered a ping for {timeout_s} s")

    def close(self) -> None:
        """See ``Link``."""
        connection, self._connection, self._owed = self._connection, None, 0
        if connection is not None:
            try:
                connection.close()
            except (OSError, self._exceptions.WebSocketException):
                return  # it was gone already

    def _send(self, message: bytes) -> None:
        try:
            self._connection.send(message)
        except (OSError, self._exceptions.WebSocketException) as error:
            self._drop()
            raise ServerLost(f"{self.address} takes no observation: {error}") from error

    def _receive(self, timeout_s: float) -> bytes:
        try:
            data = self._connection.recv(timeout=timeout_s)
        except TimeoutError as error:
            raise AnswerLate(f"{self.address} was silent for {timeout_s:.3g} s") from error
        except (OSError, self._exceptions.WebSocketException) as error:
            self._drop()
            raise ServerLost(f"{self.address} has gone: {error}") from error
        if isinstance(data, str):  # openpi's way to say that it failed; it closes then
            self._drop()
            raise ServerError(f"{self.address} failed: {_printable(data)}")
        return data

    def _drop(self) -> None:
        """Lets a connection go that is of no use any more, without the closing handshake."""
        connection, self._connection, self._owed = self._connection, None, 0
        if connection is not None:
            connection.close_socket()


def check_metadata(found: Any, stated: Mapping[str, Any], address: str) -> None:
    """Raises ServerMismatch unless both say the same; texts, numbers and arrays are compared as JSON would write them."""
    if not isinstance(found, dict):
        raise ServerMismatch(f"{address} greets with a {type(found).__name__}; expected a map of metadata")
    has, wants = ({str(k): _plain(v) for k, v in values.items()} for values in (found, stated))
    for key in sorted(has.keys() | wants.keys()):
        if key not in has or key not in wants or has[key] != wants[key]:
            server, description = (_printable(json.dumps(v[key])) if key in v else "nothing" for v in (has, wants))
            raise ServerMismatch(f"{address}: metadata {key!r}: the server says {server}, server.metadata of the description {description}")


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _read(message: Any, key: str, address: str) -> tuple[np.ndarray, float | None]:
    """Actions and the network's own time [ms] of an answer."""
    if not isinstance(message, dict) or not isinstance(message.get(key), np.ndarray):
        has = sorted(map(str, message)) if isinstance(message, dict) else type(message).__name__
        raise ServerMismatch(f"{address} answers with {has}; an array {key!r} is described")
    timing = message.get("server_timing")
    infer_ms = timing.get("infer_ms") if isinstance(timing, dict) else None
    sane = isinstance(infer_ms, (int, float)) and math.isfinite(infer_ms) and infer_ms >= 0.0
    return message[key], float(infer_ms) if sane else None


def _tls_context(server: Server) -> ssl.SSLContext | None:
    if not server.url.startswith("wss:"):
        if server.ca_file:
            raise ConfigError(f"ca_file is given, but {server.url} is not encrypted; write wss://")
        return None
    return tls_context(server.ca_file, "server.ca_file")


def _printable(text: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text[-4 * MAX_WORDS :]).split())
    return words if len(words) <= MAX_WORDS else "..." + words[-MAX_WORDS:]
