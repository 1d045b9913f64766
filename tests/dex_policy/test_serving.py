# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from dex_core.errors import DexError
from dex_core.types import JointState
from dex_policy.serving import PolicyServer

from dex_core.bundle import load_bundle
from dex_core.config import CellConfig
from dex_core.policy import ChunkPolicy, Observation

NS = 1_000_000_000
WALL = 1_700_000_000 * NS
TEXT = "Push the two tomato cans together"


@pytest.fixture()
def server(cell: CellConfig) -> PolicyServer:
    return PolicyServer(ChunkPolicy(load_bundle(cell.policy.bundle)), cell.policy)


def observe(cell: CellConfig, stamp_ns: int, seed: int = 0) -> Observation:
    image = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    joints = {n: JointState(i.names, np.array(i.home), np.zeros(len(i.names)), np.zeros(len(i.names)), stamp_ns) for n, i in cell.interfaces.items()}
    return Observation(stamp_ns, image, joints, "ignored")


def test_replans_every_period(server: PolicyServer, cell: CellConfig) -> None:
    assert not server.collecting(0) and not server.due(0)
    server.begin("g", TEXT)
    assert server.due(5 * NS)
    assert server.step(observe(cell, WALL), 5 * NS, WALL) is not None
    period = round(cell.policy.replan_period_s * NS)
    assert not server.due(5 * NS + period // 2) and server.due(5 * NS + period)
    assert server.wait_s(5 * NS) == 0.0, "the look-ahead is longer than this short period"


def test_a_picture_is_used_once(server: PolicyServer, cell: CellConfig) -> None:
    server.begin("g", TEXT)
    server.due(0)
    assert server.step(observe(cell, WALL), 0, WALL) is not None
    assert server.step(observe(cell, WALL), NS, WALL) is None
    assert server.step(observe(cell, WALL - 1), NS, WALL) is None
    assert server.status().refused == 0 and server.status().chunks == 1


def test_refusals_are_counted_by_reason_and_the_sequence_has_no_hole(server: PolicyServer, cell: CellConfig) -> None:
    server.begin("g", TEXT)
    server.due(0)
    for k in range(3):
        assert server.step(observe(cell, WALL + k), 0, WALL + NS) is None
    assert server.refusals == {"camera_lost": 3} and server.status().reason == "camera_lost"
    prediction = server.step(observe(cell, WALL + NS), 0, WALL + NS)
    assert prediction is not None and prediction.chunk.sequence == 1 and server.status().reason == ""


def test_each_goal_begins_anew(server: PolicyServer, cell: CellConfig) -> None:
    for goal in ("a", "b"):
        server.begin(goal, TEXT)
        server.due(0)
        prediction = server.step(observe(cell, WALL), 0, WALL)
        assert prediction is not None and prediction.chunk.sequence == 1 and prediction.chunk.goal_id == goal
        with pytest.raises(DexError) as info:
            server.begin("other", TEXT)
        assert info.value.code == "busy"
        assert not server.end("other") and server.end(goal) and server.goal is None
    assert server.step(observe(cell, WALL + 5), 0, WALL) is None, "no goal, no chunk"
