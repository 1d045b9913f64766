# SPDX-License-Identifier: Apache-2.0
"""The camera's line to the simulation: length-prefixed JSON headers with bare numbers behind. Nothing is unpickled.

A message is a 4-byte big-endian header length, a JSON object, and ``bytes`` (a key of the header) bytes of payload.
Both lengths are checked before anything of that size is allocated. The model itself never travels: both ends build
it from the cell's description and compare fingerprints.
"""
from __future__ import annotations

import hashlib
import json
import socket
import struct
import time
from dataclasses import dataclass, fields

import mujoco
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ConnectionLostError, DeadlineError, DeviceError
from dex_sim.scene import Visual
from dex_sim.world import WorldState

VERSION = 1
MAX_HEADER_BYTES = 4096
MAX_PAYLOAD_BYTES = 1 << 20
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Message:
    """One message: ``header`` as sent, and what came behind it."""

    header: dict[str, object]
    payload: bytes

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number of the header. Raises DeviceError when it is missing or out of range."""
        value = self.header.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise DeviceError(f"state message {key!r} is {value!r}; expected a whole number from {low} to {high}", code="malformed")
        return value


def send(sock: socket.socket, header: dict[str, object], payload: bytes = b"", *, timeout_s: float = 2.0) -> None:
    """Sends one message. Raises DeadlineError or ConnectionLostError."""
    text = json.dumps({**header, "bytes": len(payload)}).encode()
    if len(text) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise DeviceError(f"state message of {len(text)} + {len(payload)} bytes is too long to send", code="malformed")
    sock.settimeout(timeout_s)
    try:
        sock.sendall(_LENGTH.pack(len(text)) + text + payload)
    except TimeoutError as error:
        raise DeadlineError("the other end of the state line", timeout_s, "it does not take the data") from error
    except OSError as error:
        raise ConnectionLostError(f"the state line broke: {error}") from error


def receive(sock: socket.socket, *, timeout_s: float) -> Message:
    """Waits for one whole message.

    Raises:
        DeadlineError: it is not complete in time.
        ConnectionLostError: the other end closed.
        DeviceError: code ``malformed``: lengths or JSON make no sense; nothing was allocated for them.
    """
    deadline = time.monotonic() + timeout_s
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size, deadline, timeout_s))
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise DeviceError(f"state header of {length} bytes; allowed 2 to {MAX_HEADER_BYTES}", code="malformed")
    try:
        header = json.loads(_exactly(sock, length, deadline, timeout_s))
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"state header is not JSON: {error}", code="malformed") from error
    if not isinstance(header, dict):
        raise DeviceError(f"state header is a JSON {type(header).__name__}, expected an object", code="malformed")
    message = Message(header, b"")
    size = message.integer("bytes", 0, MAX_PAYLOAD_BYTES)
    return Message(header, _exactly(sock, size, deadline, timeout_s))


def _exactly(sock: socket.socket, count: int, deadline: float, timeout_s: float) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise DeadlineError("the other end of the state line", timeout_s)
        sock.settimeout(left)
        try:
            part = sock.recv(count - len(parts))
        except TimeoutError as error:
            raise DeadlineError("the other end of the state line", timeout_s) from error
        except OSError as error:
            raise ConnectionLostError(f"the state line broke: {error}") from error
        if not part:
            raise ConnectionLostError("the other end closed the state line")
        parts += part
    return bytes(parts)


def fingerprint(model: mujoco.MjModel) -> str:
    """Says whether two models draw the same: sha256 of names, tree and shapes, not of the looks a reset changes."""
    digest = hashlib.sha256(model.names)
    for array in (model.body_parentid, model.body_pos, model.body_quat, model.jnt_qposadr, model.geom_type, model.geom_size, model.geom_pos):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def encode_state(state: WorldState, known_epoch: int) -> tuple[dict[str, object], bytes]:
    """Header and payload of a state; the looks go along only when the receiver does not know the epoch."""
    changed = state.epoch != known_epoch
    header = {"kind": "state", "stamp_ns": state.stamp_ns, "epoch": state.epoch, "looks": changed}
    parts = [state.qpos.tobytes()]
    if changed:
        parts += [np.ascontiguousarray(getattr(state.visual, field.name)).tobytes() for field in fields(Visual)]
    return header, b"".join(parts)


def decode_state(message: Message, nq: int, known: Visual) -> WorldState:
    """The state in a message; ``known`` gives the looks of an unchanged epoch, and their shapes.

    Raises:
        DeviceError: not a state of this model, or numbers that are not finite.
    """
    if message.header.get("kind") != "state":
        raise DeviceError(f"expected a state, got {message.header.get('kind')!r}", code="malformed")
    looks = message.header.get("looks") is True
    templates = [getattr(known, field.name) for field in fields(Visual)] if looks else []
    expected = 8 * nq + sum(template.nbytes for template in templates)
    if len(message.payload) != expected:
        raise DeviceError(f"state payload has {len(message.payload)} bytes; this model takes {expected}", code="malformed")
    qpos = _array(message.payload, 0, np.dtype(np.float64), (nq,))
    offset, arrays = 8 * nq, {}
    for field, template in zip(fields(Visual), templates, strict=False):
        arrays[field.name] = _array(message.payload, offset, template.dtype, template.shape)
        offset += template.nbytes
    stamp = message.integer("stamp_ns", 0, 2**63 - 1)
    epoch = message.integer("epoch", 0, 2**62)
    return WorldState(stamp, qpos, epoch, Visual(**arrays) if looks else known)


def _array(payload: bytes, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray:
    array = np.frombuffer(payload, dtype, int(np.prod(shape)), offset).reshape(shape)
    if not np.isfinite(array).all():
        raise DeviceError("state payload holds a number that is not finite", code="malformed")
    return array
