# SPDX-License-Identifier: Apache-2.0
"""A closed SDK at arm's length: it may crash, hang or answer late in a process of its own, and all three are a lost link."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_hands.vendor_worker_main import MAX_MESSAGE_BYTES

MAIN = Path(__file__).with_name("vendor_worker_main.py")
START_S = 5.0
"""An interpreter on a busy machine may need this long before it answers its first call."""
END_S = 1.0


class VendorWorker:
    """Calls an adapter module's functions in a process of their own. Thread-safe.

    Nothing but JSON crosses the line. An answer that is late is never used: the process is ended, and the next ``start`` makes a new one.

    Args:
        adapter: Python file with a table ``CALLS``; it may import the standard library and the SDK only.
        who: for error texts, e.g. ``left_hand``.
        install: how to install the SDK, for the error when it is missing.
        python: interpreter; another one than ours where the SDK needs it.
    """

    def __init__(self, adapter: Path, who: str, install: str, *, python: str = sys.executable) -> None:
        self._adapter, self._who, self._install, self._python = adapter, who, install, python
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._ids = 0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether there is a process; one that died unnoticed counts until the next call."""
        return self._process is not None

    def start(self) -> None:
        """Starts a fresh process; ends one that is there. Raises ConfigError when the interpreter cannot be run."""
        with self._lock:
            self.stop()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._process = subprocess.Popen(
                    [self._python, str(MAIN), str(theirs.fileno()), str(self._adapter)], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                )
            except OSError as error:
                ours.close()
                raise ConfigError(f"{self._who}: the interpreter {self._python!r} of its SDK cannot be run: {error}") from error
            finally:
                theirs.close()
            self._link = ours

    def stop(self) -> None:
        """Ends the process: politely first, by force when it does not listen. Any number of times."""
        with self._lock:
            if self._link is not None:
                self._link.close()
                self._link = None
            if self._process is not None:
                try:
                    self._process.wait(END_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                self._process = None

    def call(self, name: str, *args: Any, timeout_s: float) -> Any:
        """Result of one function of the adapter.

        Raises:
            ConfigError: the SDK is not installed; says how to install it.
            ConnectionLostError: the process died, or did not answer in time and was ended, or says that it has lost the hand.
            DeviceError: the SDK refused or failed.
        """
        with self._lock:
            if self._link is None:
                raise ConnectionLostError(f"{self._who}: the process of its SDK does not run; connect first")
            self._ids += 1
            request = {"id": self._ids, "call": name, "args": args, "limit_s": timeout_s}
            try:
                self._link.send(json.dumps(request).encode())
                reply = self._receive(self._link, time.monotonic() + timeout_s)
            except TimeoutError as error:
                self._kill()
                raise ConnectionLostError(f"{self._who}: its SDK did not answer {name!r} within {timeout_s:.3g} s; its process was ended") from error
            except (OSError, ValueError) as error:
                raise ConnectionLostError(f"{self._who}: the process of its SDK {self._kill()} during {name!r}") from error
        if "result" in reply:
            return reply["result"]
        if reply.get("kind") == "missing":
            raise ConfigError(f"{self._who}: {reply.get('error')}; {self._install}")
        if reply.get("kind") == "lost":
            self.stop()
            raise ConnectionLostError(f"{self._who}: the SDK lost the hand at {name!r}: {reply.get('error')}", device_code=reply.get("code"))
        raise DeviceError(f"{self._who}: the SDK failed at {name!r}: {reply.get('error')}", device_code=reply.get("code"))

    def _receive(self, link: socket.socket, deadline_s: float) -> dict[str, Any]:
        """The answer to the newest request. Raises TimeoutError, or OSError or ValueError when the process has gone or talks nonsense."""
        link.settimeout(max(deadline_s - time.monotonic(), 1e-6))
        data = link.recv(MAX_MESSAGE_BYTES)
        if not data:
            raise ConnectionResetError("it closed the line")
        reply = json.loads(data)
        if reply.get("id") != self._ids:
            raise ConnectionResetError(f"it answered request {reply.get('id')}, not {self._ids}")
        return dict(reply)

    def _kill(self) -> str:
        """Ends the process at once; returns how it ended, in words."""
        if self._link is not None:
            self._link.close()
            self._link = None
        process, self._process = self._process, None
        if process is None:
            return "had ended"
        try:
            code = process.wait(0.05)  # one that ended by itself says why
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return "was ended"
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
