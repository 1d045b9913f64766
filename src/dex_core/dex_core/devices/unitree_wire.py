# SPDX-License-Identifier: Apache-2.0
"""Unitree's DDS messages as bytes: NumPy layouts of their CDR form (XCDR1, little endian), and the CRC of a G1's frames.

Layouts after unitree_ros2's ``unitree_hg`` and ``unitree_go``; the CRC as in unitree_sdk2's ``crc32_core``.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError

ENCAPSULATION = b"\x00\x01\x00\x00"
MOTORS = 35
WEIGHT_MOTOR = 29
"""Not a motor: in ``arm_sdk`` its ``q`` says how much of the command counts, 0 to 1."""


class UnitreeWireError(DexError):
    """Bytes are no such message; says what is wrong."""

    code = "wire"


def _layout(size: int, *fields: tuple[str, object, int]) -> np.dtype:
    return np.dtype({"names": [f[0] for f in fields], "formats": [f[1] for f in fields], "offsets": [f[2] for f in fields], "itemsize": size})


_F, _U = "<f4", "<u4"
MOTOR_CMD = _layout(28, ("mode", "u1", 0), ("q", _F, 4), ("dq", _F, 8), ("tau", _F, 12), ("kp", _F, 16), ("kd", _F, 20), ("reserve", _U, 24))
MOTOR_STATE = _layout(
    56, ("mode", "u1", 0), ("q", _F, 4), ("dq", _F, 8), ("ddq", _F, 12), ("tau_est", _F, 16), ("temperature", ("<i2", 2), 20), ("vol", _F, 24),
    ("sensor", (_U, 2), 28), ("motorstate", _U, 36), ("reserve", (_U, 4), 40),
)
IMU_STATE = _layout(
    56, ("quaternion", (_F, 4), 0), ("gyroscope", (_F, 3), 16), ("accelerometer", (_F, 3), 28), ("rpy", (_F, 3), 40), ("temperature", "<i2", 52),
)
LOW_CMD = _layout(
    1004, ("mode_pr", "u1", 0), ("mode_machine", "u1", 1), ("motor_cmd", (MOTOR_CMD, MOTORS), 4), ("reserve", (_U, 4), 984), ("crc", _U, 1000),
)
LOW_STATE = _layout(
    2092, ("version", (_U, 2), 0), ("mode_pr", "u1", 8), ("mode_machine", "u1", 9), ("tick", _U, 12), ("imu_state", IMU_STATE, 16),
    ("motor_state", (MOTOR_STATE, MOTORS), 72), ("wireless_remote", ("u1", 40), 2032), ("reserve", (_U, 4), 2072), ("crc", _U, 2088),
)
"""LOW_CMD and LOW_STATE are the C structs that the CRC covers; padding is zero."""
_GAP = {LOW_CMD: 2, LOW_STATE: 70}
"""Where CDR and the C struct differ: CDR has the first motor's ``mode`` and one byte of padding, the struct 2 of padding, ``mode``, and 3."""

HAND_CMD = _layout(
    36, ("mode", "u1", 0), ("q", _F, 4), ("dq", _F, 8), ("tau", _F, 12), ("kp", _F, 16), ("kd", _F, 20), ("reserve", (_U, 3), 24),
)
HAND_STATE = _layout(
    48, ("mode", "u1", 0), ("q", _F, 4), ("dq", _F, 8), ("ddq", _F, 12), ("tau_est", _F, 16), ("q_raw", _F, 20), ("dq_raw", _F, 24),
    ("ddq_raw", _F, 28), ("temperature", "i1", 32), ("lost", _U, 36), ("reserve", (_U, 2), 40),
)
"""Elements of ``unitree_go`` MotorCmds and MotorStates."""



def _covered(layout: np.dtype) -> NDArray[np.uint8]:
    """(bytes of an element,) 255 where a field lies, 0 where padding does."""
    mask = np.zeros(layout.itemsize, np.uint8)
    for field, offset, *_ in layout.fields.values():
        inner = np.full(field.base.itemsize, 255, np.uint8) if field.base.fields is None else _covered(field.base)
        mask[offset:offset + field.itemsize] = np.tile(inner, field.itemsize // len(inner))
    return mask


_CONTENT = {layout: _covered(layout) for layout in _GAP}
"""Writers leave whatever was there in the padding; the CRC takes it as zero."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32_core(struct: NDArray) -> int:
    """Unitree's CRC of a frame (a scalar of LOW_CMD or LOW_STATE): all words but the last, each most significant bit first.

    CRC-32/MPEG-2 is the mirror image of zlib's CRC, which is fast: bits in reverse in, bits in reverse out.
    """
    words = np.frombuffer(struct.tobytes(), dtype="<u4")[:-1].astype(">u4").tobytes()
    mirrored = zlib.crc32(words.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def pack_frame(struct: NDArray) -> bytes:
    """A scalar of LOW_CMD or LOW_STATE, its CRC set here -> one serialized message."""
    struct["crc"] = crc32_core(struct)
    gap, native = _GAP[struct.dtype], struct.tobytes()
    return b"".join((ENCAPSULATION, native[:gap], native[gap + 2:gap + 4], native[gap + 6:]))


def unpack_frame(data: bytes, layout: np.dtype) -> NDArray:
    """One serialized LowCmd or LowState -> a scalar of ``layout``. Its CRC is not looked at: see :func:`crc_is_right`.

    Raises:
        UnitreeWireError: another length or encapsulation.
    """
    _check(data, layout.itemsize)  # CDR has four bytes of encapsulation and lacks four of padding
    gap, cdr = _GAP[layout], data[4:]
    native = b"".join((cdr[:gap], b"\0\0", cdr[gap:gap + 1], b"\0\0\0", cdr[gap + 2:]))
    return (np.frombuffer(native, np.uint8) & _CONTENT[layout]).view(layout).reshape(())


def crc_is_right(struct: NDArray) -> bool:
    """Whether a frame's CRC is that of its content."""
    return int(struct["crc"]) == crc32_core(struct)


def pack_motors(motors: NDArray) -> bytes:
    """(n,) of HAND_CMD or HAND_STATE -> one serialized MotorCmds or MotorStates."""
    return ENCAPSULATION + len(motors).to_bytes(4, "little") + motors.tobytes()


def unpack_motors(data: bytes, layout: np.dtype, count: int) -> NDArray:
    """One serialized MotorCmds or MotorStates -> (count,) of ``layout``.

    Raises:
        UnitreeWireError: another number of motors, length or encapsulation.
    """
    _check(data, 8 + count * layout.itemsize)
    if (found := int.from_bytes(data[4:8], "little")) != count:
        raise UnitreeWireError(f"{found} motors; expected {count}")
    return np.frombuffer(bytearray(data[8:]), layout)


def _check(data: bytes, size: int) -> None:
    if len(data) != size or data[:4] != ENCAPSULATION:
        raise UnitreeWireError(f"{len(data)} bytes that begin with {data[:4].hex()}; expected {size} that begin with {ENCAPSULATION.hex()}")
