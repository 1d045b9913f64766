# SPDX-License-Identifier: Apache-2.0
"""A connection that is kept: made again with growing pauses, asked for signs of life, and never waited for without end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from dex_core.errors import DexError
from dex_core.types import Array

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
MISSES_MAX = 3
"""So many answers in a row that came too late, and the connection is made anew."""
_log = logging.getLogger(__name__)


class ServerLost(DexError):
    """There is no connection, or it broke."""

    code = "policy_lost"


class AnswerLate(DexError):
    """No answer within the deadline; the connection stands."""

    code = "policy_late"


class LateAnswerCame(AnswerLate):
    """An answer that was given up has come: the server is slow but lives, and may be asked again."""


class ServerError(DexError):
    """The server says that it failed."""

    code = "remote_error"


class ServerMismatch(DexError):
    """The server is not the one that is described; the text has both values."""

    code = "remote_mismatch"


class Reply(NamedTuple):
    """An answer.

    Attributes:
        actions: (chunk, columns) as the server gave them, of any type of number.
        infer_ms: what the server says the network took, or None.
        sent_ns, received_ns: wall-clock times of this host [ns].
    """

    actions: Array
    infer_ms: float | None
    sent_ns: int
    received_ns: int


class Link(Protocol):
    """One protocol's connection. Used by one thread at a time. Every method but ``close`` raises DexError and then may or may not be open."""

    address: str

    @property
    def is_open(self) -> bool:
        """Whether it is worth asking."""
        ...

    def open(self) -> None:
        """Connects and refuses (ServerMismatch) a server that is not as described."""
        ...

    def ask(self, request: Mapping[str, Any], stamp_ns: int, timeout_s: float) -> Reply:
        """One observation for one chunk. ``stamp_ns``: wall-clock time of the observation."""
        ...

    def beat(self, timeout_s: float) -> None:
        """Asks an idle connection for a sign of life. Raises ServerLost."""
        ...

    def close(self) -> None:
        """Ends the connection; may be called twice, and raises nothing."""
        ...


class KeptLink:
    """Keeps a link open from a thread of its own; ``ask`` and ``health`` may be called from others and return in time.

    Args:
        link: not yet open.
        greet: asks a link that has just been opened for a first chunk and checks it. Raises DexError.
        heartbeat_s: pause between signs of life [s]. patience_s: longest wait for one.
    """

    def __init__(self, link: Link, greet: Callable[[Link], None], heartbeat_s: float, patience_s: float) -> None:
        self._link, self._greet = link, greet
        self._heartbeat_s, self._patience_s = heartbeat_s, patience_s
        self._lock = threading.Lock()
        self._stop, self._wake, self._ready = threading.Event(), threading.Event(), threading.Event()
        self._fault: DexError = ServerLost(f"{link.address}: not connected yet")
        self._misses = 0
        self.connections = 0
        self._thread = threading.Thread(target=self._keep, name=f"link to {link.address}", daemon=True)
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """True once the server has been greeted; False after ``timeout_s``."""
        return self._ready.wait(timeout_s)

    @property
    def fault(self) -> DexError | None:
        """Why there is no connection, or None."""
        return None if self._ready.is_set() else self._fault

    def ask(self, request: Mapping[str, Any], stamp_ns: int, timeout_s: float) -> Reply:
        """See ``Link.ask``; at once ServerLost, or why the server was refused, while there is no connection."""
        give_up = time.monotonic() + timeout_s
        self._require_ready()
        if not self._lock.acquire(timeout=timeout_s):
            raise AnswerLate(f"{self._link.address} gives no sign of life; {timeout_s} s are over")
        try:
            self._require_ready()
            reply = self._link.ask(request, stamp_ns, max(0.0, give_up - time.monotonic()))
            self._misses = 0
            return reply
        except LateAnswerCame:
            self._misses = 0
            raise
        except AnswerLate as error:
            self._misses += 1
            if self._misses >= MISSES_MAX:
                self._lose(ServerLost(f"{error}, {self._misses} times in a row: connecting anew"))
            raise
        except DexError as error:
            if self._ready.is_set() and not self._link.is_open:
                self._lose(error)
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Ends the thread and the connection. May be called twice."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=0.1)
        self._link.close()  # and with it what the thread may still be waiting for
        self._thread.join(timeout=2.0)
        self._ready.clear()
        self._fault = ServerLost(f"{self._link.address}: closed")

    def _require_ready(self) -> None:
        if not self._ready.is_set():
            raise DexError(str(self._fault), code=self._fault.code)

    def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            if self._ready.is_set():
                self._wake.wait(self._heartbeat_s)
                self._wake.clear()
                self._beat()
            elif self._connect():
                pause_s = FIRST_PAUSE_S
            else:
                self._stop.wait(pause_s)
                pause_s = min(2.0 * pause_s, LONGEST_PAUSE_S)

    def _connect(self) -> bool:
        with self._lock:
            try:
                self._link.open()
                self._greet(self._link)
            except DexError as error:
                self._lose(error)
                return False
            except Exception as error:  # noqa: BLE001 - the thread's outermost border: a server's odd answer must not end it
                _log.exception("connecting to %s", self._link.address)
                self._lose(ServerLost(f"{self._link.address}: {type(error).__name__}: {error}"))
                return False
            self._misses = 0
            self.connections += 1
            self._ready.set()
        return True

    def _beat(self) -> None:
        if self._stop.is_set() or not self._ready.is_set() or not self._lock.acquire(blocking=False):
            return  # being asked is sign of life enough
        try:
            self._link.beat(self._patience_s)
        except DexError as error:
            self._lose(error)
        finally:
            self._lock.release()

    def _lose(self, error: DexError) -> None:
        if str(error) != str(self._fault):
            _log.warning("%s", error)
        self._fault = error
        self._ready.clear()
        self._link.close()
        self._wake.set()
