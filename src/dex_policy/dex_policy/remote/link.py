# SPDX-License-Identifier: Apache-2.0
"""A connection that is watched: asked for signs of life while idle, made anew with growing pauses, and refused at once while it is down."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dex_core.clock import NS
from dex_core.config import PolicyServerConfig
from dex_core.errors import ConfigError, DeadlineError, DexError
from dex_policy.remote.wire import RemoteError, Wire

T = TypeVar("T")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
UP, SUSPECT, DOWN = "up", "suspect", "down"


def pause_s(failed: int, pick: float) -> float:
    """How long to wait after so many failures in a row [s].

    Twice as long each time, up to a limit, and anywhere in the second half of it: a fleet does not come back all at once.

    Args:
        failed: failures in a row; none: at once. pick: in [0, 1), by chance.
    """
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failed - 1, 16)) * (0.5 + 0.5 * pick) if failed else 0.0


class Link:
    """Keeps one server at hand. ``use`` is for one thread; ``health`` and ``facts`` for any.

    A request that fails makes the link suspect: the next one fails at once, while a thread of its own connects anew and examines the server
    as at the start. Only when that fails too, or takes longer than a request may, is the server called down: a single late answer costs one
    answer, not the goal.

    Args:
        who: names the server in errors.
        config: deadlines and period of the heartbeat.
        make_wire: a connection, not yet open; called again for the one that carries heartbeats.
        examine: raises DexError unless the server behind an open wire can serve and is the right one. By the deadline (monotonic [ns]).
        alive: the same, cheaply, for the heartbeat.
        tick: what else is to be done about once in a heartbeat, away from the requests.
        pick: a number in [0, 1), for the jitter.
    """

    def __init__(
        self,
        who: str,
        config: PolicyServerConfig,
        make_wire: Callable[[], Wire],
        examine: Callable[[Wire, int], None],
        alive: Callable[[Wire, int], None],
        tick: Callable[[], None] = lambda: None,
        pick: Callable[[], float] = random.random,
    ) -> None:
        self._who, self._config, self._make_wire, self._examine, self._alive = who, config, make_wire, examine, alive
        self._tick, self._pick = tick, pick
        self._lock = threading.Lock()  # over the wire
        self._wire: Wire | None = None
        self._pulse: Wire | None = None
        self._state, self._why = SUSPECT, "policy_lost: not connected yet"
        self._since_ns = self._heard_ns = time.monotonic_ns()
        self._wake, self._tried, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._connections = self._requests = self._failures = 0
        self._thread = threading.Thread(target=self._watch, name="policy link", daemon=True)

    def start(self) -> None:
        """Connects and examines. Raises RemoteError or DeadlineError; the link goes on trying until it is closed."""
        self._thread.start()
        if not self._tried.wait(self._config.connect_s + 2.0 * self._config.deadline_s):
            raise DeadlineError(self._who, self._config.connect_s, "its name is not resolved, or it does not answer")
        if why := self.health():
            raise self._error(why)

    def use(self, ask: Callable[[Wire, int], T]) -> T:
        """What ``ask`` gives, with the wire and the deadline (monotonic [ns]) of one request.

        Raises:
            RemoteError: at once while the link is not up; or what ``ask`` raised.
            DeadlineError: no answer in time.
        """
        deadline_ns = time.monotonic_ns() + round(self._config.deadline_s * NS)
        if self._state != UP:
            raise self._error(f"{self._who} is being connected anew: {self._why}")
        if not self._lock.acquire(timeout=self._config.deadline_s):
            raise DeadlineError(self._who, self._config.deadline_s, "the connection is in use")
        try:
            if self._wire is None or self._state != UP:
                raise self._error(f"{self._who} is being connected anew: {self._why}")
            self._requests += 1
            found = ask(self._wire, deadline_ns)
            self._heard_ns = time.monotonic_ns()
            return found
        except (RemoteError, DeadlineError) as error:
            self._failures += 1
            self._suspect(error)
            raise
        finally:
            self._lock.release()

    def health(self) -> str | None:
        """None while the server can be asked; else code and reason."""
        state, why, since_ns = self._state, self._why, self._since_ns
        if state == UP or (state == SUSPECT and self._connections and time.monotonic_ns() - since_ns < self._config.deadline_s * NS):
            return None
        return why

    def facts(self) -> dict[str, str]:
        """For diagnostics."""
        return {
            "server": self._who.removeprefix("policy server "),
            "link": self._state if self._state == UP else f"{self._state}: {self._why}",
            "heard_s_ago": f"{(time.monotonic_ns() - self._heard_ns) / NS:.1f}",
            "connections": str(self._connections),
            "requests": str(self._requests),
            "requests_failed": str(self._failures),
        }

    def close(self) -> None:
        """Ends the thread and the connections; twice is once."""
        self._stop.set()
        self._wake.set()
        self._state, self._why = DOWN, "policy_lost: the connection was closed"
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)  # what is under way ends by its own deadline

    def _error(self, why: str) -> RemoteError:
        code, _, _ = self._why.partition(": ")
        return RemoteError(why, code=code)

    def _suspect(self, error: DexError) -> None:
        if self._state == UP:
            self._state, self._since_ns, self._why = SUSPECT, time.monotonic_ns(), f"{_code(error)}: {error}"
        self._wake.set()

    def _watch(self) -> None:
        failed = 0
        while not self._stop.is_set():
            if self._state != UP:
                failed = 0 if self._connect() else failed + 1
                self._tried.set()
                self._stop.wait(pause_s(failed, self._pick()))
            elif not self._wake.wait(self._config.heartbeat_s):
                self._tick()
                if time.monotonic_ns() - self._heard_ns >= self._config.heartbeat_s * NS:
                    self._beat()
            if self._state == UP:
                self._wake.clear()
        with self._lock:
            self._drop()

    def _connect(self) -> bool:
        with self._lock:
            try:
                self._drop()
                wire = self._make_wire()
                deadline_ns = time.monotonic_ns() + round(self._config.connect_s * NS)
                self._wire = wire
                wire.open(deadline_ns)
                self._examine(wire, deadline_ns)
            except DexError as error:
                self._drop()
                if not self._stop.is_set():
                    self._state, self._why = DOWN, f"{_code(error)}: {error}"
                return False
            self._connections += 1
            self._heard_ns = time.monotonic_ns()
            if not self._stop.is_set():
                self._state, self._why = UP, ""
            return True

    def _beat(self) -> None:
        """Asks on a connection of its own, so that no request waits for it."""
        began_ns = time.monotonic_ns()
        deadline_ns = began_ns + round(max(self._config.deadline_s, self._config.heartbeat_s) * NS)
        try:
            if self._pulse is None:
                self._pulse = self._make_wire()
                self._pulse.open(deadline_ns)
            self._alive(self._pulse, deadline_ns)
            self._heard_ns = max(self._heard_ns, time.monotonic_ns())
        except DexError as error:
            if self._heard_ns < began_ns:  # a server that is busy with a request of ours answers that one first
                self._suspect(error)

    def _drop(self) -> None:
        for wire in (self._wire, self._pulse):
            if wire is not None:
                wire.close()
        self._wire = self._pulse = None


def _code(error: DexError) -> str:
    return error.code if isinstance(error, (RemoteError, ConfigError)) else "policy_lost"
