# SPDX-License-Identifier: Apache-2.0
"""One line with a fault on it, in PX4's words (`failure <component> <type>`): what goes in, what comes out, and when. No ROS, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from dex_core.clock import NS
from dex_core.errors import ConfigError


class Kind(NamedTuple):
    """One word: what it does to a line, what its amount means, and the amount when none is given."""

    does: str
    amount: str
    default: float


KINDS: dict[str, Kind] = {
    "ok": Kind("everything goes on, as it comes", "", 0.0),
    "off": Kind("nothing goes on", "", 0.0),
    "stuck": Kind("the last message's content again and again, under each new stamp", "", 0.0),
    "garbage": Kind("every number replaced at random; NaN and infinity are among them", "", 0.0),
    "wrong": Kind("finite but false: numbers shifted, pictures rolled, another model's hash", "shift", 0.5),
    "slow": Kind("only every n-th goes on", "n", 10.0),
    "delayed": Kind("everything goes on, late", "delay [s]", 0.5),
    "intermittent": Kind("goes on for half of each period, nothing in the other half", "period [s]", 1.0),
}
QUEUE_MAX = 1000
"""Messages a delay may hold; the oldest is dropped, so that memory stays what it is."""


def amount_of(kind: str, amount: float) -> float:
    """The amount to use: the kind's own where none (0) is given. Raises ConfigError with what is allowed."""
    if kind not in KINDS:
        raise ConfigError(f"fault type {kind!r}; allowed: {', '.join(KINDS)}")
    if not 0.0 <= amount <= 3600.0:
        raise ConfigError(f"amount {amount} of {kind}; allowed: 0 (its default, {KINDS[kind].default:g}) to 3600")
    if kind == "slow" and amount and amount < 1.0:
        raise ConfigError(f"amount {amount} of slow: every n-th message goes on, n at least 1")
    return amount or KINDS[kind].default


class Content(Protocol):
    """What a line must know of its messages to falsify them; each returns a new message."""

    def again(self, old: bytes, new: bytes) -> bytes:
        """``old`` under the stamp and sequence of ``new``."""
        ...

    def garbage(self, data: bytes) -> bytes:
        """Its numbers at random."""
        ...

    def wrong(self, data: bytes, amount: float) -> bytes:
        """Finite but false."""
        ...


class FaultLine:
    """Passes serialized messages on, or not, as its fault says. Times monotonic [ns].

    Args:
        content: falsifies messages.

    Attributes:
        kind: its fault. passed, dropped, changed: messages so far.
    """

    def __init__(self, content: Content) -> None:
        self.kind, self._amount = "ok", 0.0
        self.passed = self.dropped = self.changed = 0
        self._content = content
        self._last: bytes | None = None
        self._since_ns = 0
        self._count = 0
        self._late: deque[tuple[int, bytes]] = deque()
        self._actions: dict[str, Callable[[bytes, int], list[bytes]]] = {
            "ok": lambda data, _now: [data], "off": lambda _data, _now: [], "stuck": self._stuck, "slow": self._slow, "delayed": self._delayed,
            "garbage": lambda data, _now: self._false(content.garbage(data)),
            "wrong": lambda data, _now: self._false(content.wrong(data, self._amount)),
            "intermittent": self._intermittent,
        }

    def set(self, kind: str, amount: float, now_ns: int) -> str:
        """Takes a fault; returns what happens now, in words. Raises ConfigError."""
        self._amount = amount_of(kind, amount)
        self.kind, self._since_ns, self._count = kind, now_ns, 0
        self._late.clear()
        what = KINDS[kind]
        return what.does + (f"; {what.amount} = {self._amount:g}" if what.amount else "")

    def put(self, data: bytes, now_ns: int) -> list[bytes]:
        """Takes one message; returns what goes on at once."""
        out = self._actions[self.kind](data, now_ns)
        if self.kind != "stuck":
            self._last = data
        if not out and self.kind != "delayed":
            self.dropped += 1
        self.passed += len(out)
        return out

    def due(self, now_ns: int) -> list[bytes]:
        """What a delay lets go now."""
        out = []
        while self._late and self._late[0][0] <= now_ns:
            out.append(self._late.popleft()[1])
        self.passed += len(out)
        return out

    def _stuck(self, data: bytes, _now_ns: int) -> list[bytes]:
        self._last = self._last or data
        return self._false(self._content.again(self._last, data))

    def _slow(self, data: bytes, _now_ns: int) -> list[bytes]:
        self._count += 1
        return [data] if self._count % max(1, round(self._amount)) == 0 else []

    def _delayed(self, data: bytes, now_ns: int) -> list[bytes]:
        if len(self._late) == QUEUE_MAX:
            self._late.popleft()
            self.dropped += 1
        self._late.append((now_ns + round(self._amount * NS), data))
        return []

    def _intermittent(self, data: bytes, now_ns: int) -> list[bytes]:
        share = (now_ns - self._since_ns) / NS % self._amount / self._amount
        return [data] if share >= 0.5 else []

    def _false(self, data: bytes) -> list[bytes]:
        self.changed += 1
        return [data]
