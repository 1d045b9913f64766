# SPDX-License-Identifier: Apache-2.0
"""Frames of the simulated transport: there and back, in pieces, among garbage, and never by accident."""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.devices.simulated_wire import (
    FRAME_BYTES,
    MAGIC,
    MAX_JOINTS,
    DeviceFault,
    Frame,
    FrameReader,
    Kind,
    Refusal,
    WireError,
    fault_names,
    names_checksum,
    split_address,
)
from dex_core.errors import ConfigError

number = st.floats(-1e3, 1e3)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    count = draw(st.integers(0, MAX_JOINTS))
    parts = [tuple(draw(st.lists(number, min_size=count, max_size=count))) for _ in range(3)]
    word = st.integers(0, 2**32 - 1)
    who = draw(st.text("abcdefghijklmnopqrstuvwxyz_0123456789", max_size=48))
    return Frame(draw(st.sampled_from(Kind)), draw(word), who, draw(word), draw(st.sampled_from(Refusal)), draw(word), draw(word),
                 draw(st.integers(0, 2**63 - 1)), *parts)


FRAME = Frame(Kind.COMMAND, 7, "left_leap", 99, position_rad=(0.1, -0.2), velocity_rad_s=(0.0, 1.0), effort_nm=(2.0, 3.0))


@given(frames())
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    data = frame.pack()
    assert len(data) == FRAME_BYTES and Frame.unpack(data) == frame


@given(st.integers(0, FRAME_BYTES * 8 - 1))
def test_any_wrong_bit_is_noticed(bit: int) -> None:
    data = bytearray(FRAME.pack())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        Frame.unpack(bytes(data))


@given(st.lists(frames(), max_size=4), st.lists(st.integers(1, 2 * FRAME_BYTES), min_size=1, max_size=20))
def test_frames_in_any_pieces_are_whole(sent: list[Frame], cuts: list[int]) -> None:
    reader, data, got = FrameReader(), b"".join(frame.pack() for frame in sent), []
    while data:
        size = cuts[len(data) % len(cuts)]
        got += reader.feed(data[:size])
        data = data[size:]
    assert got == sent and reader.dropped == 0


@given(st.binary(max_size=3000))
def test_garbage_before_a_frame_costs_only_itself(garbage: bytes) -> None:
    reader = FrameReader()
    got = reader.feed(garbage + FRAME.pack() + FRAME.pack())
    assert got[-1:] == [FRAME]
    assert reader.dropped > 0 or not garbage
    assert len(reader._buffer) < FRAME_BYTES


def test_a_truncated_frame_does_not_take_the_next_one_along() -> None:
    reader = FrameReader()
    assert reader.feed(FRAME.pack()[:300]) == []
    assert reader.feed(FRAME.pack()) == [FRAME]
    assert reader.dropped == 1


def test_what_is_kept_is_bounded() -> None:
    reader = FrameReader()
    for _ in range(50):
        reader.feed(MAGIC + bytes(1000))
        reader.feed(b"\xff" * 5000)
    assert len(reader._buffer) < FRAME_BYTES and reader.dropped > 0


def resealed(frame: Frame, offset: int, value: bytes) -> bytes:
    """The frame with some bytes replaced and a checksum that fits again."""
    body = bytearray(frame.pack()[:-4])
    body[offset : offset + len(value)] = value
    return bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))


@pytest.mark.parametrize(("offset", "value", "words"), [
    (0, b"DXIF", "magic"), (4, b"\x02", "version 2"), (5, b"\x63", "nothing known"), (6, b"\x63", "nothing known"), (7, b"\x21", "33 joints"),
    (32, b"\xff", "nothing known"), (80, struct.pack("<d", math.nan), "not finite"), (88, struct.pack("<d", math.inf), "not finite"),
])
def test_a_lawful_checksum_does_not_make_nonsense_lawful(offset: int, value: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        Frame.unpack(resealed(FRAME, offset, value))


@pytest.mark.parametrize("change", [
    {"position_rad": (math.nan, 0.0)}, {"effort_nm": (math.inf, 0.0)}, {"velocity_rad_s": (0.0,)}, {"who": "x" * 49}, {"sequence": -1},
    {"sequence": 2**32}, {"position_rad": (0.0,) * 33, "velocity_rad_s": (), "effort_nm": ()},
])
def test_what_does_not_fit_is_not_sent(change: dict) -> None:
    with pytest.raises(WireError):
        dataclasses.replace(FRAME, **change).pack()


def test_a_wrong_length_is_no_frame() -> None:
    with pytest.raises(WireError, match="bytes are no frame"):
        Frame.unpack(FRAME.pack()[:-1])


def test_other_names_or_another_order_have_another_checksum() -> None:
    assert len({names_checksum(names) for names in (("a", "b"), ("b", "a"), ("a",), ("ab",), ("a", "b", "c"))}) == 5


def test_error_words_have_names() -> None:
    assert fault_names(0) == [] and fault_names(DeviceFault.MOTOR | DeviceFault.OVERLOAD) == ["overload", "motor"]
    assert fault_names(64) == ["unknown"]


@pytest.mark.parametrize("address", ["", "127.0.0.1", ":6001", "host:", "host:0", "host:65536", "host:x", "host:²"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        split_address(address, "left_hand")
    assert split_address("127.0.0.21:6001", "left_hand") == ("127.0.0.21", 6001)
