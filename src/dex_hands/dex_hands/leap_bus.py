# SPDX-License-Identifier: Apache-2.0
"""A line of Dynamixel servos: bytes in and out of their registers, every call with a deadline, every failure a DeviceError that names joints."""

from __future__ import annotations

import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from dynamixel_sdk import BROADCAST_ID, COMM_SUCCESS, Protocol2PacketHandler

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_hands.leap_port import DeadlinePort
from dex_hands.leap_registers import Register

ALERT, REFUSAL = 0x80, 0x7F
"""Parts of the error byte of a reply."""
ATTEMPTS = 4
"""Waits that one call may need at most: a fast read, a plain one, a ping of all, and what their bytes take."""
REFUSALS = {1: "failed", 2: "instruction not known", 3: "wrong CRC", 4: "out of range", 5: "data too short", 6: "beyond its limit", 7: "no access"}


class Reply(NamedTuple):
    """What one servo answered. ``alert``: its hardware error register holds something."""

    alert: bool
    data: bytes


class ServoBus:
    """One serial line. Thread-safe.

    The SDK's packet handler is used without its groups: those drop the error byte of every servo, in which a fault shows at once.

    Args:
        path: of the serial port. baud: its speed.
        joints: id -> name, for error texts.
        timeout_s: longest any call may take.
        who: name for error texts, e.g. ``left_hand``.

    Attributes:
        fast: many servos are read in one packet; False once a hand has shown that it does not know how.
        repeated: reads that had to be asked for again.
    """

    def __init__(self, path: str, baud: int, joints: Mapping[int, str], timeout_s: float, who: str) -> None:
        if not 0.02 <= timeout_s <= 60.0:
            raise ConfigError(f"{who}: timeout_s is {timeout_s}; allowed 0.02 to 60 s")
        if not path.startswith("/"):
            raise ConfigError(f"{who}: address {path!r} is not the path of a serial port")
        self.path, self.joints = path, dict(joints)
        self.fast, self.repeated = True, 0
        self._fast_proven = False
        self._who, self._baud, self._timeout_s = who, baud, timeout_s
        self._packets = Protocol2PacketHandler()
        self._port = DeadlinePort(path, timeout_s / ATTEMPTS)
        if self._port.getCFlagBaud(baud) < 0:
            raise ConfigError(f"{who}: baud {baud} is none of dynamixel-sdk's")
        self._lock = threading.RLock()
        self._used_ns = 0

    @property
    def connected(self) -> bool:
        """Whether the line is open; a cable may be out all the same."""
        return bool(self._port.is_open)

    @property
    def silent_s(self) -> float:
        """For how long nothing has been sent [s]."""
        return (time.monotonic_ns() - self._used_ns) / 1e9

    def open(self) -> None:
        """Opens the line. Raises ConnectionLostError."""
        with self._lock:
            self.close()
            self.fast, self._fast_proven = True, False
            try:
                self._port.setBaudRate(self._baud)
            except (OSError, ValueError, termios.error) as error:
                raise ConnectionLostError(f"{self._who}: {self.path} cannot be opened: {error}; is it plugged in, and nobody else on it?") from error

    def close(self) -> None:
        """Closes the line; any number of times."""
        with self._lock:
            if self._port.is_open:
                self._port.closePort()

    def found(self) -> dict[int, tuple[int, int]]:
        """Id -> model number and firmware of every servo on the line up to id 44. Raises ConnectionLostError."""
        with self._exchange("a broadcast ping"):
            answers, _ = self._packets.broadcastPing(self._port)
        return {identifier: (model, firmware) for identifier, (model, firmware) in answers.items()}

    def read(self, register: Register) -> dict[int, Reply]:
        """The same register of every servo.

        Raises:
            ConnectionLostError: nobody answers, or the line is gone.
            DeviceError: ``servo_silent``, some answer and one does not, named; or a servo refuses.
        """
        wanted = list(self.joints)
        with self._exchange(f"a read of {register.size} bytes from {register.address}"):
            replies = self._fast(register, wanted) if self.fast else {}
            if replies:
                self._fast_proven = True
                return replies
            replies = self._plain(register, wanted)
            if len(replies) < len(wanted):
                self._tell_silent(wanted, f"a read of {register.size} bytes from {register.address}")
            self.repeated += self.fast
            self.fast = self._fast_proven
            return replies

    def read_who_answers(self, register: Register) -> dict[int, Reply]:
        """The same register of every servo that answers, one by one: for the last word to a hand with a silent servo."""
        replies = {}
        with self._exchange(f"a read of {register.size} bytes from {register.address}"):
            for identifier in self.joints:
                data, result, error = self._packets.readTxRx(self._port, identifier, register.address, register.size)
                if result == COMM_SUCCESS and len(data) == register.size:
                    replies[identifier] = Reply(bool(error & ALERT), bytes(data))
        return replies

    def write(self, register: Register, values: Mapping[int, bytes]) -> None:
        """Writes many servos with one packet, which none of them acknowledges. Raises ConnectionLostError."""
        parameters = [byte for identifier, value in values.items() for byte in (identifier, *value)]
        with self._exchange(f"a write to {register.address}"):
            result = self._packets.syncWriteTxOnly(self._port, register.address, register.size, parameters, len(parameters))
            if result != COMM_SUCCESS:
                raise OSError(self._packets.getTxRxResult(result))

    def write_one(self, identifier: int, register: Register, value: int) -> None:
        """Writes one servo and waits for its word. Raises ConnectionLostError or DeviceError."""
        data = list(value.to_bytes(register.size, "little"))
        self._ask(
            identifier, f"a write of {value} to {register.address}",
            lambda: self._packets.writeTxRx(self._port, identifier, register.address, register.size, data),
        )

    def reboot(self, identifier: int) -> None:
        """Restarts one servo; it is deaf for a while. Raises ConnectionLostError or DeviceError."""
        self._ask(identifier, "a reboot", lambda: self._packets.reboot(self._port, identifier))

    def answers(self, identifier: int) -> bool:
        """Whether a servo is there. Raises ConnectionLostError when the line is gone."""
        with self._exchange("a ping"):
            _, result, _ = self._packets.ping(self._port, identifier)
        return bool(result == COMM_SUCCESS)

    def _ask(self, identifier: int, what: str, send: Callable[[], tuple[int, int]]) -> None:
        with self._exchange(what):
            for _ in range(2):
                result, error = send()
                if result == COMM_SUCCESS:
                    break
            else:
                raise DeviceError(f"{self._who} {self.joints[identifier]} (id {identifier}) does not answer {what}", code="servo_silent")
        if error & REFUSAL:
            raise DeviceError(f"{self._who} {self.joints[identifier]} (id {identifier}) refused {what}: {REFUSALS.get(error & REFUSAL, error)}")

    @contextmanager
    def _exchange(self, what: str) -> Iterator[None]:
        """One use of the line, alone; an error of the line closes it."""
        with self._lock:
            if not self._port.is_open:
                raise ConnectionLostError(f"{self._who}: the line {self.path} is closed; recover first")
            self._port.is_using = False  # an error within the SDK would leave it set
            try:
                yield
            except (OSError, termios.error, IndexError) as error:  # the SDK trips over a reply that is whole and too short
                self.close()  # a late reply must not be taken for the next one's
                raise ConnectionLostError(f"{self._who} at {self.path}: {what} failed: {error}; unplugged?") from error
            finally:
                self._used_ns = time.monotonic_ns()

    def _fast(self, register: Register, wanted: list[int]) -> dict[int, Reply]:
        """One packet with everything, or nothing."""
        self._packets.syncReadTx(self._port, *register, wanted, len(wanted), True)
        stride = register.size + 4
        raw, result, _ = self._packets.fastSyncReadRx(self._port, BROADCAST_ID, stride * len(wanted))
        parts = [bytes(raw[start : start + stride]) for start in range(0, len(raw), stride)]
        if result != COMM_SUCCESS or [part[1] for part in parts if len(part) == stride] != wanted:
            return {}
        return {part[1]: self._checked(part[1], part[0], part[2 : 2 + register.size], register) for part in parts}

    def _plain(self, register: Register, wanted: list[int]) -> dict[int, Reply]:
        """A packet of each, as far as they come."""
        self._packets.syncReadTx(self._port, *register, wanted, len(wanted), False)
        replies = {}
        for identifier in wanted:
            data, result, error = self._packets.readRx(self._port, identifier, register.size)
            if result != COMM_SUCCESS:
                break
            replies[identifier] = self._checked(identifier, error, bytes(data), register)
        self._port.is_using = False
        return replies

    def _checked(self, identifier: int, error: int, data: bytes, register: Register) -> Reply:
        if error & REFUSAL or len(data) != register.size:
            raise DeviceError(
                f"{self._who} {self.joints[identifier]} (id {identifier}) answered {len(data)} of {register.size} bytes from {register.address}: "
                f"{REFUSALS.get(error & REFUSAL, 'no reason given')}"
            )
        return Reply(bool(error & ALERT), data)

    def _tell_silent(self, wanted: list[int], what: str) -> None:
        """Raises the error of an incomplete read: those behind a silent servo wait in vain for their turn, so all are called by name."""
        there = self._packets.broadcastPing(self._port)[0]
        silent = [f"{self.joints[identifier]} (id {identifier})" for identifier in wanted if identifier not in there]
        if there and silent:
            raise DeviceError(f"{self._who}: no answer from the servo of {', '.join(silent)}; look at its cable", code="servo_silent")
        self.close()
        cause = "replies are garbled" if there else "no servo answers; is the hand powered?"
        raise ConnectionLostError(f"{self._who} at {self.path}: {what} failed within {self._timeout_s:.3g} s: {cause}")
