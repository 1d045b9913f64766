# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.latency import MotionKind
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_monitor.chunk_motion import WAITING, ChunkMotion, Followed

MS = 1_000_000
T0 = 5_000 * MS
ARM = "left_arm"


@pytest.fixture(scope="module")
def cell():
    return load_cell("xarm_bimanual")


def chunk(cell, sequence, at_ms, slope, goal="g"):
    """Every joint of the left arm at ``slope`` [rad/s] from T0 + ``at_ms`` on."""
    names = cell.interface(ARM).names
    rows = slope * (at_ms * 1e-3 + 0.05 * np.arange(64))[:, None] * np.ones((1, len(names)))
    return ActionChunk(T0 + at_ms * MS, goal, sequence, 0.05, 0.0, (ActionSlice(ARM, "joint_position", rows, names),))


def feed(motion, cell, first_ms, last_ms, position):
    names = cell.interface(ARM).names
    for t in range(first_ms, last_ms, 10):
        q = np.full(len(names), position(t))
        motion.measured(ARM, JointState(names, q, np.zeros(len(names)), np.zeros(len(names)), T0 + t * MS))


def told(sequence, at_ms, goal="g"):
    return Followed(goal, sequence, {"observed": T0 + (at_ms - 50) * MS, "first_command": T0 + at_ms * MS})


def test_chunks_end_in_order_each_against_the_one_before(cell):
    motion = ChunkMotion(cell)
    assert not motion.waiting and motion.done(T0) == []
    for sequence, at_ms in ((1, 0), (2, 200)):
        motion.planned(chunk(cell, sequence, at_ms, 1.0))
        motion.followed(told(sequence, at_ms))
    feed(motion, cell, -300, 900, lambda t: max(0.0, t - 30) * 1e-3)
    first, second = motion.done(T0 + 900 * MS)
    assert (first[0].sequence, second[0].sequence) == (1, 2) and not motion.waiting
    assert first[1].kind is second[1].kind is MotionKind.SEEN
    assert first[1].from_rest and not second[1].from_rest
    assert first[1].stamp_ns - T0 >= 30 * MS


def test_another_goals_chunk_is_no_chunk_before(cell):
    motion = ChunkMotion(cell)
    motion.planned(chunk(cell, 7, -1000, 5.0, goal="old"))
    motion.followed(told(7, -1000, goal="old"))
    motion.planned(chunk(cell, 1, 0, 1.0))
    motion.followed(told(1, 0))
    feed(motion, cell, -300, 900, lambda t: max(0.0, t - 30) * 1e-3)
    found = motion.done(T0 + 2000 * MS)
    assert found[0][1].kind is MotionKind.UNKNOWN and found[1][1].from_rest


def test_what_never_came_to_a_command_and_too_many_are_let_go(cell):
    motion = ChunkMotion(cell)
    motion.followed(Followed("g", 1, {"observed": T0}))
    assert not motion.waiting
    for sequence in range(3 * WAITING):
        motion.followed(told(sequence, 10 * sequence))
    found = motion.done(T0 + 5_000 * MS)
    assert [f.sequence for f, _ in found] == list(range(2 * WAITING, 3 * WAITING)) and {m.kind for _, m in found} == {MotionKind.UNKNOWN}
