# SPDX-License-Identifier: Apache-2.0
"""A share of the fuzzing: every reader with some thousand broken frames, and properties of those that cut streams into frames."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_bringup.bench import fuzz_slow, fuzz_targets
from dex_bringup.bench.fuzz import COUNT, Found, fuzz_one
from dex_bringup.bench.fuzz_mutate import Mutator
from dex_bringup.bench.fuzz_targets import Target
from dex_bringup.fault.rig import GateRig
from dex_core.config import load_cell
from dex_core.devices import simulated_wire
from dex_core.errors import DexError
from dex_ros.convert import chunk_from_msg, chunk_to_msg

FAST = list(fuzz_targets.MAKERS)
SLOW = list(fuzz_slow.MAKERS)
CASES = {"configuration": 20, "manifests": 20, "recordings": 60, "chunk_to_command": 150, "golden_cases": 300, "model_files": 300}
FAST_CASES = 3000


@pytest.mark.parametrize("maker", [*FAST, *SLOW], ids=lambda maker: maker.__name__)
def test_no_broken_frame_crashes_hangs_or_moves_anything_unsafely(maker: Callable[[], Target]) -> None:
    target = maker()
    try:
        found = fuzz_one(target, CASES.get(maker.__name__, FAST_CASES), np.random.default_rng(7))
    finally:
        target.close()
    assert found.crashes == 0 and found.hangs == 0, found.words


def test_a_crash_is_found_and_told() -> None:
    def feed(data: bytes) -> None:
        if len(data) > 3 and data[3] != 4:
            raise IndexError("beyond")
        raise DexError("refused")

    found: Found = fuzz_one(Target("broken", [bytes(range(1, 9))], feed), 500, np.random.default_rng(0))
    assert 0 < found.crashes < 500 and found.refused == 500 - found.crashes
    assert "IndexError beyond" in found.words[0] and "feed" in found.words[0]
    assert COUNT == 10_000_000


def test_frames_are_broken_in_every_way_and_the_same_for_a_seed() -> None:
    seed = bytes(range(40))
    frames = list(Mutator([seed], np.random.default_rng(3)).frames(2000))
    assert len(frames) == 2000 and frames == list(Mutator([seed], np.random.default_rng(3)).frames(2000))
    assert {len(frame) < 40 for frame in frames} == {True, False} and max(map(len, frames)) > 40
    sealed = list(Mutator([seed], np.random.default_rng(3), lambda frame: b"sealed" + frame).frames(1000))
    assert sum(frame.startswith(b"sealed") for frame in sealed) == 500


NAMES = tuple(f"left_j{i}" for i in range(3))


def frame(sequence: int) -> simulated_wire.Frame:
    return simulated_wire.Frame(simulated_wire.Kind.COMMAND, sequence, "left_x", simulated_wire.names_checksum(NAMES), position_rad=(0.1, 0.2, 0.3))


@given(order=st.permutations(list(range(5))), cuts=st.lists(st.integers(0, 2000), max_size=6), noise=st.binary(max_size=20))
def test_frames_in_any_order_and_any_pieces_are_read_whole(order: list[int], cuts: list[int], noise: bytes) -> None:
    """Reordered frames in arbitrary pieces come out whole, in the order sent; noise before them costs none, unless it looks like a frame's head."""
    if simulated_wire.MAGIC[:1] in noise:
        noise = b""
    stream = noise + b"".join(frame(k).pack() for k in order)
    reader, got = simulated_wire.FrameReader(), []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for first, last in zip(edges, edges[1:], strict=False):
        got += reader.feed(stream[first:last])
    assert [f.sequence for f in got] == order


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_refusal_or_nothing(data: bytes) -> None:
    for target in FUZZED:
        try:
            target.feed(data)
        except target.allowed:
            pass


FUZZED = [maker() for maker in FAST if maker.__name__ not in ("xarm_reports", "inspire_registers")]


@given(slot=st.integers(0, 25), step=st.integers(0, 3), bits=st.integers(0, 2**32 - 1))
def test_any_float_in_a_chunk_is_read_as_it_is_or_refused(slot: int, step: int, bits: int) -> None:
    """Every bit pattern of a float32: finite ones come through unchanged, all others refuse the whole chunk."""
    message = chunk_to_msg(GateRig(CELL).chunk(0, steps=4))
    part = next(p for p in message.slices if slot < p.cols) if slot < message.slices[0].cols else message.slices[0]
    where = step * part.cols + slot % part.cols
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    part.data[where] = value
    if np.isfinite(value):
        chunk = chunk_from_msg(message)
        assert chunk.slice_of(part.interface).data[step, slot % part.cols] == np.float64(np.float32(value))
    else:
        with pytest.raises(DexError) as caught:
            chunk_from_msg(message)
        assert caught.value.code == "non_finite"


CELL = load_cell("xarm_bimanual")
