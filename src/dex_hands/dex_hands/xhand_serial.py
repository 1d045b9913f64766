# SPDX-License-Identifier: Apache-2.0
"""An XHand1 by its own frames on RS-485, without the vendor's library: every call with a deadline, every failure a DeviceError."""

from __future__ import annotations

import binascii
import struct
import termios
import time

import numpy as np
import serial

from dex_core.clock import NS
from dex_core.errors import ConnectionLostError, DeviceError
from dex_hands.xhand_state import CELLS, JOINTS, NEWTON_PER_COUNT, POWERLESS, TIPS, Identity, Order, Reading

HEAD = b"\x55\xaa"
HOST, BROADCAST, HAND_BASE = 0xFE, 0xFF, 0x80
"""Addresses: this computer, every hand on the line, and the first hand; hand id n listens at HAND_BASE + n."""
REALTIME, READ_REGISTERS, VERSION = 0x02, 0x15, 0x13
TYPE_AT, IDENTITY_BYTES = 0x14, 66
"""Registers: type ('L' or 'R'), serial number (32), hand id, name (32)."""
ATTEMPTS = 2
"""On RS-485 one frame in many thousands is lost."""
BITS_PER_BYTE = 10
SIDES = {b"L": "left", b"R": "right"}

_HEADER = struct.Struct("<2sBBBH")
_CRC = struct.Struct("<H")
_COMMAND = struct.Struct("<Hhhhf6H")
_FORCE = np.dtype([("x", "i1"), ("y", "i1"), ("z", "u1")])
_JOINT = np.dtype([
    ("id", "u1"), ("sensor", "u1"), ("position", "<f4"), ("current", "<u2"), ("raw", "<u2"), ("temperature", "<u2"),
    ("errors", "<u2", 3), ("spare", "<u2", 3),
])
_TIP = np.dtype([("force", _FORCE), ("cells", _FORCE, CELLS), ("temperatures", "u1", 20), ("temperature", "u1")])
STATE = np.dtype([("joints", _JOINT, JOINTS), ("tips", _TIP, TIPS)])


class FrameError(DeviceError):
    """Bytes that are no answer to what was asked."""

    code = "malformed"


def pack(destination: int, command: int, payload: bytes) -> bytes:
    """One frame of this host."""
    body = _HEADER.pack(HEAD, HOST, destination, command, len(payload)) + payload
    return body + _CRC.pack(binascii.crc_hqx(body, 0))


def unpack(data: bytes, source: int, command: int) -> bytes:
    """The payload of one whole frame. Raises FrameError unless it is an answer of ``source`` to ``command``; BROADCAST: of anybody."""
    if len(data) < _HEADER.size + _CRC.size:
        raise FrameError(f"{len(data)} bytes are no frame")
    head, sender, receiver, said, length = _HEADER.unpack_from(data)
    payload = data[_HEADER.size : -_CRC.size]
    if head != HEAD or length != len(payload) or _CRC.unpack(data[-_CRC.size :])[0] != binascii.crc_hqx(data[: -_CRC.size], 0):
        raise FrameError(f"{len(data)} bytes are no whole frame: head {head.hex()}, length {length}, or the checksum is wrong")
    if receiver != HOST or said != command or source not in (sender, BROADCAST):
        raise FrameError(f"frame of {sender:#04x} to {receiver:#04x}, command {said:#04x}; expected one of {source:#04x}, command {command:#04x}")
    return payload


def pack_order(order: Order) -> bytes:
    """The payload of a real-time command: twelve motors."""
    if order.mode == POWERLESS:  # as the vendor's library says it
        return b"".join(_COMMAND.pack(joint, 0, 0, 0, 0.0, 0, POWERLESS, 0, 0, 0, 0) for joint in range(JOINTS))
    return b"".join(
        _COMMAND.pack(joint, gains.kp, gains.ki, gains.kd, target, gains.torque_limit_ma, order.mode, 0, 0, 0, 0)
        for joint, (target, gains) in enumerate(zip(order.target_rad, order.gains, strict=True))
    )


def unpack_state(payload: bytes, stamp_ns: int) -> Reading:
    """A full state. Raises FrameError for another length, joints out of order or a position that is no number."""
    if len(payload) != STATE.itemsize:
        raise FrameError(f"a state has {len(payload)} bytes; expected {STATE.itemsize}")
    joints, tips = (np.frombuffer(payload, STATE)[0][part] for part in ("joints", "tips"))
    if joints["id"].tolist() != list(range(JOINTS)):
        raise FrameError(f"a state counts its joints {joints['id'].tolist()}; expected 0 to {JOINTS - 1}")
    if not np.isfinite(joints["position"]).all():
        raise FrameError(f"a state has positions {joints['position'].tolist()}; every number must be finite", code="implausible")
    return Reading(
        joints["position"].astype(np.float64), joints["current"].astype(np.float64), (joints["temperature"] & 0xFF).astype(np.float64),
        joints["errors"].astype(np.int64), _newtons(tips["force"]), _newtons(tips["cells"]), stamp_ns,
    )


def _newtons(force: np.ndarray) -> np.ndarray:
    return np.stack([force[axis].astype(np.float64) for axis in ("x", "y", "z")], axis=-1) * NEWTON_PER_COUNT


class SerialLink:
    """One hand on one serial line.

    Args:
        port: path of the serial port.
        baud: its speed.
        timeout_s: longest any exchange may take, repetition included.
        who: for error texts.
    """

    transport = "xhand_serial"

    def __init__(self, port: str, baud: int, timeout_s: float, who: str) -> None:
        self._port, self._baud, self._who = port, baud, who
        self._attempt_s = timeout_s / ATTEMPTS
        self._serial: serial.Serial | None = None
        self._hand = BROADCAST
        self.repeated = 0

    @property
    def connected(self) -> bool:
        """Whether the port is open; a cable may be out all the same."""
        return self._serial is not None

    def open(self) -> Identity:
        """Opens the port and asks the one hand on it who it is; no motor notices. Raises ConnectionLostError or DeviceError."""
        self.close()
        self._hand = BROADCAST
        try:
            self._serial = serial.Serial(self._port, self._baud, timeout=self._attempt_s, write_timeout=self._attempt_s, exclusive=True)
        except (OSError, ValueError) as error:
            raise ConnectionLostError(f"{self._who}: {self._port} cannot be opened: {error}") from error
        payload = self._exchange(READ_REGISTERS, struct.pack("<HH", TYPE_AT, IDENTITY_BYTES), 2 + IDENTITY_BYTES)
        kind, number, hand_id = payload[2:3], payload[3:35], payload[35]
        self._hand = HAND_BASE + hand_id
        return Identity(SIDES.get(kind, ""), number.rstrip(b"\0").decode("ascii", "replace"), hand_id)

    def send(self, order: Order) -> Reading:
        """One real-time command and the state it is answered with. Raises ConnectionLostError or DeviceError."""
        payload = self._exchange(REALTIME, pack_order(order), STATE.itemsize)
        wire_ns = round((len(payload) + _HEADER.size) * BITS_PER_BYTE * NS / self._baud)
        return unpack_state(payload, time.time_ns() - wire_ns)

    def close(self) -> None:
        """Closes the port; any number of times. The hand keeps its last command."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def _exchange(self, command: int, payload: bytes, answer_bytes: int) -> bytes:
        """Payload of the answer, of ``answer_bytes``; a damaged or missing one is asked for again once."""
        if self._serial is None:
            raise ConnectionLostError(f"{self._who} is not connected")
        cause: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                self._serial.reset_input_buffer()
                self._serial.write(pack(self._hand, command, payload))
                return unpack(self._serial.read(_HEADER.size + answer_bytes + _CRC.size), self._hand, command)
            except (OSError, termios.error, FrameError) as error:  # a SerialException is an OSError, what a vanished port throws at a flush is none
                cause = error
                self.repeated += 1
        self.close()  # a late answer must not be taken for the next one's
        raise ConnectionLostError(f"{self._who} at {self._port}: no answer to command {command:#04x}: {cause}") from cause
