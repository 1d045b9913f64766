# SPDX-License-Identifier: Apache-2.0
"""Unitree's frames as bytes: the CRC's known values, the CDR form that ROS itself writes, and whatever is no frame."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.devices.unitree_wire import (
    ENCAPSULATION,
    HAND_CMD,
    HAND_STATE,
    LOW_CMD,
    LOW_STATE,
    UnitreeWireError,
    crc32_core,
    crc_is_right,
    pack_frame,
    pack_motors,
    unpack_frame,
    unpack_motors,
)


def filled(layout: np.dtype) -> np.ndarray:
    """Every byte of every field other than its neighbours, so that a shift by one is seen."""
    rng = np.random.default_rng(5)
    struct = np.zeros((), layout)
    _fill(struct, rng)
    return struct


def _fill(value: np.ndarray, rng: np.random.Generator) -> None:
    for name in value.dtype.names:
        part = value[name]
        if part.dtype.names:
            for element in np.nditer(part, flags=["refs_ok", "zerosize_ok"], op_flags=[["readwrite"]]):
                _fill(element, rng)
        elif part.dtype.kind == "f":
            part[...] = rng.normal(size=part.shape)
        else:
            part[...] = rng.integers(1, 100, part.shape)


def as_message(kind: type, value: np.ndarray):
    """The same numbers as a ROS message."""
    message = kind()
    for name in value.dtype.names:
        part, field = value[name], getattr(message, name)
        if part.dtype.names and part.shape:
            setattr(message, name, [as_message(type(element), part[i]) for i, element in enumerate(field)])
        elif part.dtype.names:
            setattr(message, name, as_message(type(field), part))
        else:
            setattr(message, name, part.tolist() if part.shape else part.item())
    return message


def test_the_crc_is_unitrees() -> None:
    command = np.zeros((), LOW_CMD)
    assert crc32_core(command) == 0xFE172F9F
    command["mode_machine"], command["motor_cmd"]["q"][15], command["motor_cmd"]["kd"][34] = 5, 0.25, 1.5
    assert crc32_core(command) == 0x613F1090
    assert crc32_core(np.zeros((), LOW_STATE)) == 0xD64BB04A


@pytest.mark.parametrize(("layout", "size"), [(LOW_CMD, 1004), (LOW_STATE, 2092)])
def test_a_frame_survives_the_wire(layout: np.dtype, size: int) -> None:
    frame = filled(layout)
    data = pack_frame(frame)
    back = unpack_frame(data, layout)
    assert len(data) == size and back == frame and crc_is_right(back)
    back["crc"] ^= 1
    assert not crc_is_right(back)


@pytest.mark.parametrize("name", ["LowCmd", "LowState"])
def test_ros_reads_what_is_written_here_and_the_other_way_round(name: str) -> None:
    messages = pytest.importorskip("unitree_hg.msg", reason="unitree_hg is not built: make setup")
    from rclpy.serialization import deserialize_message, serialize_message

    kind, layout = getattr(messages, name), LOW_CMD if name == "LowCmd" else LOW_STATE
    frame = filled(layout)
    data = pack_frame(frame)
    message = as_message(kind, frame)
    assert deserialize_message(data, kind) == message
    back = unpack_frame(serialize_message(message), layout)
    assert back == frame and crc_is_right(back), "ROS leaves rubbish in the padding, which the CRC does not cover"


@pytest.mark.parametrize(("name", "layout"), [("MotorCmds", HAND_CMD), ("MotorStates", HAND_STATE)])
def test_the_same_for_hands(name: str, layout: np.dtype) -> None:
    messages = pytest.importorskip("unitree_go.msg", reason="unitree_go is not built: make setup")
    from rclpy.serialization import deserialize_message, serialize_message

    kind, motors = getattr(messages, name), np.frombuffer(filled(layout).tobytes() * 12, layout)
    element, field = getattr(messages, name[:-1]), "cmds" if name == "MotorCmds" else "states"
    message = kind(**{field: [as_message(element, motor) for motor in motors]})
    assert deserialize_message(pack_motors(motors), kind) == message
    assert (unpack_motors(serialize_message(message), layout, 12) == motors).all()


@given(st.binary(min_size=1000, max_size=1000))
def test_padding_of_others_does_not_count(rubbish: bytes) -> None:
    data = pack_frame(filled(LOW_CMD))
    noisy = bytearray(data)
    for place in (7, *(8 + 20 + 4 + 28 * motor + 1 for motor in range(34))):  # before the first q, and behind each later mode
        noisy[place] = rubbish[place - 7]
    assert crc_is_right(unpack_frame(bytes(noisy), LOW_CMD))


@given(st.binary(max_size=2100))
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    for layout in (LOW_CMD, LOW_STATE):
        if len(data) != layout.itemsize or data[:4] != ENCAPSULATION:
            with pytest.raises(UnitreeWireError, match="bytes that begin with"):
                unpack_frame(data, layout)


@given(st.integers(0, 999), st.integers(0, 7))
def test_a_flipped_bit_is_seen_or_lies_in_the_padding(place: int, bit: int) -> None:
    frame = filled(LOW_CMD)
    data = bytearray(pack_frame(frame))
    data[4 + place] ^= 1 << bit
    back = unpack_frame(bytes(data), LOW_CMD)
    assert back == frame or not crc_is_right(back)


def test_another_number_of_hand_motors_is_refused() -> None:
    data = pack_motors(np.zeros(12, HAND_CMD))
    with pytest.raises(UnitreeWireError):
        unpack_motors(data, HAND_CMD, 6)
    with pytest.raises(UnitreeWireError, match="11 motors; expected 12"):
        unpack_motors(data[:4] + b"\x0b" + data[5:], HAND_CMD, 12)
