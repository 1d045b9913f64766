# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.chunks import ChunkJoiner, ChunkRefused, Incomplete
from dex_core.types import ActionChunk, ActionSlice

MS = 1_000_000
PARTS = ("left_arm", "right_arm", "left_hand", "right_hand")
SIDES = ("left", "right")


def part(name: str, space: str = "joint_position", steps: int = 4) -> ActionSlice:
    return ActionSlice(name, space, np.ones((steps, 2)), (f"{name}_a", f"{name}_b") if space == "joint_position" else ())


def chunk(sequence: int, *slices: ActionSlice, **changes) -> ActionChunk:
    return dataclasses.replace(ActionChunk(1000, "g", sequence, 0.05, 1.0, slices, "hash", {"observed": 1000}), **changes)


def arms(sequence: int, **changes) -> ActionChunk:
    return chunk(sequence, part("left_arm"), part("right_arm"), part("left_hand", "latent"), part("right_hand", "latent"), **changes)


@pytest.fixture
def joiner() -> ChunkJoiner:
    return ChunkJoiner(PARTS, 0.15)


@given(order=st.permutations([0, 1, 2]))
def test_parts_join_in_any_order(order):
    joiner = ChunkJoiner(PARTS, 0.15)
    pieces = [arms(0), chunk(0, part("left_hand"), timing_ns={"decoded": 5}), chunk(0, part("right_hand"), timing_ns={"decoded": 7})]
    results = [joiner.offer(pieces[i], 0) for i in order]
    assert results[:2] == [None, None]
    whole = results[2].chunk
    assert {s.interface for s in whole.slices} == set(PARTS)
    assert all(s.space == "joint_position" for s in whole.slices)
    assert whole.timing_ns == {"observed": 1000, "decoded": 7}


def test_a_part_or_a_chunk_that_comes_twice_is_a_duplicate(joiner):
    joiner.offer(arms(0), 0)
    with pytest.raises(ChunkRefused) as refused:
        joiner.offer(arms(0), 0)
    assert refused.value.code == "duplicate"
    whole = chunk(1, *(part(name) for name in PARTS))
    assert joiner.offer(whole, 0)
    with pytest.raises(ChunkRefused, match="came before"):
        joiner.offer(whole, 0)


def test_an_older_sequence_is_late(joiner):
    joiner.offer(chunk(5, *(part(name) for name in PARTS)), 0)
    with pytest.raises(ChunkRefused) as refused:
        joiner.offer(arms(4), 0)
    assert refused.value.code == "late"


def test_missing_parts_expire_and_are_named(joiner):
    joiner.offer(arms(0), 0)
    joiner.offer(chunk(0, part("left_hand")), 100 * MS)
    assert joiner.expire(150 * MS) == []
    [(partial, reason)] = joiner.expire(151 * MS)
    assert (partial.sequence, reason.code) == (0, "incomplete") and "right_hand" in str(reason)
    assert joiner.expire(900 * MS) == []
    with pytest.raises(ChunkRefused, match="came before"):
        joiner.offer(chunk(0, part("right_hand")), 200 * MS)


def test_a_chunk_overtaken_by_a_newer_one_is_reported_late(joiner):
    joiner.offer(arms(0), 0)
    joiner.offer(chunk(1, *(part(name) for name in PARTS)), 0)
    [(partial, reason)] = joiner.expire(1)
    assert (partial.sequence, reason.code) == (0, "late")


@pytest.mark.parametrize("changes", [{"stamp_ns": 1001}, {"dt_s": 0.1}, {"first_action_offset": 0.0}])
def test_parts_that_contradict_each_other_are_refused(joiner, changes):
    joiner.offer(arms(0), 0)
    with pytest.raises(ChunkRefused) as refused:
        joiner.offer(chunk(0, part("left_hand"), **changes), 0)
    assert refused.value.code == "incomplete"


def test_an_interface_the_cell_lacks_is_refused(joiner):
    with pytest.raises(ChunkRefused, match="third_arm") as refused:
        joiner.offer(chunk(0, part("third_arm")), 0)
    assert refused.value.code == "joint_names"


def test_memory_stays_bounded_and_nothing_vanishes_unreported(joiner):
    for sequence in range(1000):
        joiner.offer(arms(sequence), 0)
    assert len(joiner._pending) <= 8 and len(joiner._finished) <= 256
    assert len(joiner.expire(0)) == 992


def test_a_new_goal_forgets_everything(joiner):
    whole = chunk(1, *(part(name) for name in PARTS))
    joiner.offer(whole, 0)
    joiner.clear()
    assert joiner.offer(whole, 0)


def blind(sequence: int, **changes) -> ActionChunk:
    """A chunk of a policy that knows no joint: everything is left to the decoders."""
    return chunk(sequence, *(part(f"{s}_arm", "wrist_pose") for s in SIDES), *(part(f"{s}_hand", "latent") for s in SIDES), **changes)


def decoded(sequence: int, side: str, **changes) -> ActionChunk:
    return chunk(sequence, part(f"{side}_arm"), part(f"{side}_hand"), **changes)


@given(order=st.permutations([0, 1, 2]))
def test_a_chunk_that_is_all_decoded_joins_whoever_is_first(order):
    joiner = ChunkJoiner(PARTS, 0.15)
    pieces = [blind(0), decoded(0, "left", timing_ns={"decoded": 5}), decoded(0, "right", timing_ns={"decoded": 7})]
    results = [joined for i in order if (joined := joiner.offer(pieces[i], 0))]
    assert len(results) == 1 and {s.interface for s in results[0].chunk.slices} == set(PARTS)
    assert all(s.space == "joint_position" for s in results[0].chunk.slices) and results[0].chunk.timing_ns["decoded"] == 7
    assert joiner.expire(900 * MS) == []
    with pytest.raises(ChunkRefused, match="came before"):
        joiner.offer(pieces[1], 0)


@pytest.mark.parametrize("silent", [("right",), ("left",), ("left", "right")])
def test_silent_decoders_are_named_even_when_none_speaks(joiner, silent):
    joiner.offer(blind(0), 0)
    for side in set(SIDES) - set(silent):
        joiner.offer(decoded(0, side), 1)
    [(partial, reason)] = joiner.expire(151 * MS)
    assert (partial.sequence, partial.goal_id, reason.code) == (0, "g", "incomplete") and isinstance(reason, Incomplete)
    assert reason.silent == tuple(f"{side}_decoder" for side in silent) and all(f"{side}_decoder" in str(reason) for side in silent)
    assert joiner.expire(900 * MS) == []


def test_what_the_policy_does_not_move_is_no_decoders_fault(joiner):
    joiner.offer(chunk(0, part("left_arm", "wrist_pose"), part("left_hand", "latent")), 0)
    joiner.offer(decoded(0, "left"), 0)
    [(_, reason)] = joiner.expire(151 * MS)
    assert reason.silent == () and "policy does not move" in str(reason) and "right_arm" in str(reason)


def test_a_blind_chunk_twice_is_a_duplicate_and_parts_must_agree(joiner):
    joiner.offer(blind(0), 0)
    with pytest.raises(ChunkRefused) as refused:
        joiner.offer(blind(0), 0)
    assert refused.value.code == "duplicate"
    with pytest.raises(ChunkRefused) as refused:
        joiner.offer(decoded(0, "left", stamp_ns=5), 0)
    assert refused.value.code == "incomplete"


def test_blind_chunks_stay_bounded(joiner):
    for sequence in range(100):
        joiner.offer(blind(sequence), 0)
    assert len(joiner._pending) <= 8 and len(joiner.expire(0)) == 92
