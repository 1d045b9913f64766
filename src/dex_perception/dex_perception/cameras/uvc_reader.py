# SPDX-License-Identifier: Apache-2.0
"""A thread that reads a device without pause and keeps the newest exposure, so that none grows old in a driver's queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from dex_core.errors import ConnectionLostError, DexError

JOIN_S = 2.0
T = TypeVar("T")


class NewestReader(Generic[T]):
    """One connection: started once, stopped once.

    Args:
        name: of the device, for errors and the thread.
        read: waits for the next exposure, in the thread; None: it was not usable. Raises DexError: the device is gone.
        release: lets the device go, in the thread, whatever happened.

    Attributes:
        dropped: exposures that gave way to a newer one before anybody fetched them.
    """

    def __init__(self, name: str, read: Callable[[], T | None], release: Callable[[], None]) -> None:
        self._name, self._read, self._release = name, read, release
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._newest: T | None = None
        self._failure: DexError | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"read {name}", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def take(self, timeout_s: float) -> T | None:
        """The newest exposure not handed out yet; None when none came in time. Raises what ``read`` raised, once all is handed out."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._failure is not None, max(0.0, timeout_s))
            newest, self._newest = self._newest, None
            if newest is None and self._failure is not None:
                raise self._failure
        return newest

    def stop(self) -> None:
        """Ends the thread; one that hangs in its driver releases the device when that lets go."""
        self._stop.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        failure: DexError = ConnectionLostError(f"{self._name} is no longer read")
        try:
            while not self._stop.is_set():
                item = self._read()
                if item is not None:
                    self._put(item)
        except DexError as error:
            failure = error
        finally:
            self._release()
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _put(self, item: T) -> None:
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = item
            self._changed.notify_all()
