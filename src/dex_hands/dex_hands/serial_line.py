# SPDX-License-Identifier: Apache-2.0
"""A serial port held by one driver: opened for this process alone, closed any number of times, also when its cable is out."""

from __future__ import annotations

import threading

import serial

from dex_core.errors import ConfigError, ConnectionLostError


class SerialLine:
    """What every link on a serial port shares; the frames are the link's own.

    Args:
        path: of the port. baud: of the wire.
        timeout_s: longest any write may take [s].
        who: for errors.
    """

    def __init__(self, path: str, baud: int, timeout_s: float, who: str) -> None:
        if not path.startswith("/"):
            raise ConfigError(f"{who}: address {path!r} is not the path of a serial port")
        if not 0.01 <= timeout_s <= 60.0:
            raise ConfigError(f"{who}: timeout_s is {timeout_s}; allowed 0.01 to 60 s")
        self.address, self.timeout_s = path, timeout_s
        self._who, self._baud = who, baud
        self._lock = threading.RLock()
        self._port: serial.Serial | None = None

    @property
    def connected(self) -> bool:
        """Whether the port is open; a cable may be out all the same."""
        return self._port is not None

    def open(self) -> None:
        """Opens the port for this process alone. Raises ConnectionLostError."""
        with self._lock:
            self.close()
            try:
                self._port = serial.Serial(self.address, self._baud, timeout=0.0, write_timeout=self.timeout_s, exclusive=True)
            except (serial.SerialException, OSError, ValueError) as error:
                raise ConnectionLostError(f"{self._who}: {self.address} cannot be opened at {self._baud} baud: {error}") from error

    def close(self) -> None:
        """Closes the port; any number of times."""
        with self._lock:
            port, self._port = self._port, None
            if port is not None:
                try:
                    port.close()
                except (serial.SerialException, OSError):
                    pass  # the cable is out; there is nothing left to close
