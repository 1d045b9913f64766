# SPDX-License-Identifier: Apache-2.0
"""What a driver needs of a publish-subscribe middleware, serialized messages in and out, and one without a network for tests."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dex_core.errors import ConfigError, ConnectionLostError

_ADDRESS = re.compile(r"dds:(\d{1,3})(@localhost)?")
MAX_DOMAIN = 232


@dataclass(frozen=True)
class Topic:
    """A topic by its ROS name (DDS adds ``rt/``).

    Attributes:
        kind: message type, e.g. ``unitree_hg/LowCmd``.
        depth: how many unread messages are kept; the newest win.
    """

    name: str
    kind: str
    depth: int = 1


@dataclass(frozen=True)
class Sample:
    """One message as it came: serialized, with its encapsulation; wall-clock time of its arrival [ns]."""

    data: bytes
    stamp_ns: int


class TopicLink(Protocol):
    """Some topics written, some read. Thread-safe; nothing blocks.

    Attributes:
        address: where, in words for people.
    """

    address: str

    def open(self) -> None:
        """Joins. Raises DeviceError."""
        ...

    def close(self) -> None:
        """Leaves; any number of times."""
        ...

    def publish(self, topic: Topic, data: bytes) -> None:
        """Sends one message. Raises ConnectionLostError when not open."""
        ...

    def take(self, topic: Topic) -> list[Sample]:
        """What has come since the last call, oldest first. Raises ConnectionLostError when not open."""
        ...

    def readers(self, topic: Topic) -> int:
        """How many read this topic, anywhere, oneself included."""
        ...

    def writers(self, topic: Topic) -> int:
        """How many write this topic, anywhere, oneself included."""
        ...


def split_dds_address(address: str, who: str) -> tuple[int, bool]:
    """``dds:1@localhost`` -> (domain, whether it stays on this machine). Raises ConfigError."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[1]) > MAX_DOMAIN:
        raise ConfigError(f"{who}: address {address!r} is not dds:DOMAIN (0 to {MAX_DOMAIN}), or dds:DOMAIN@localhost to stay on this machine")
    return int(match[1]), match[2] is not None


@dataclass
class DeskBus:
    """A middleware without network: links made by ``join`` hear each other."""

    links: list[DeskLink] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def join(self, writes: Sequence[Topic], reads: Sequence[Topic]) -> DeskLink:
        """A link, not open yet."""
        return DeskLink(self, writes, reads)


class DeskLink:
    """A TopicLink of a DeskBus.

    Attributes:
        cut: set it to lose everything sent and received, as with a cable pulled out.
    """

    def __init__(self, bus: DeskBus, writes: Sequence[Topic], reads: Sequence[Topic]) -> None:
        self.address = "a desk"
        self.cut = False
        self._bus, self._writes = bus, tuple(writes)
        self._queues = {topic: deque[Sample](maxlen=topic.depth) for topic in reads}

    def open(self) -> None:
        """Joins."""
        with self._bus.lock:
            if self not in self._bus.links:
                self._bus.links.append(self)

    def close(self) -> None:
        """Leaves."""
        with self._bus.lock:
            if self in self._bus.links:
                self._bus.links.remove(self)
            for queue in self._queues.values():
                queue.clear()

    def publish(self, topic: Topic, data: bytes) -> None:
        """Sends to every open link that reads the topic, oneself included."""
        with self._bus.lock:
            self._check_open()
            sample = Sample(bytes(data), time.time_ns())
            for link in () if self.cut else self._bus.links:
                if not link.cut:
                    for known, queue in link._queues.items():
                        if known.name == topic.name and known.kind == topic.kind:
                            queue.append(sample)

    def take(self, topic: Topic) -> list[Sample]:
        """What has come."""
        with self._bus.lock:
            self._check_open()
            samples = list(self._queues[topic])
            self._queues[topic].clear()
            return samples

    def readers(self, topic: Topic) -> int:
        """Open links that read it."""
        with self._bus.lock:
            return sum(any(known.name == topic.name for known in link._queues) for link in self._bus.links)

    def writers(self, topic: Topic) -> int:
        """Open links that write it."""
        with self._bus.lock:
            return sum(any(known.name == topic.name for known in link._writes) for link in self._bus.links)

    def _check_open(self) -> None:
        if self not in self._bus.links:
            raise ConnectionLostError("the link is not open")
