# SPDX-License-Identifier: Apache-2.0
"""The server asks by the schedule of the cell, and tells what is committed to a policy that can continue it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dex_core.chunks import Committed
from dex_core.chunks.pacing import AFTER_S
from dex_core.chunks.schedule.synchronous import SETTLE_S
from dex_core.config import CellConfig, EnsembleConfig
from dex_core.policy import Observation, PolicySpec, Prediction
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_policy.serving import PolicyServer

NS = 1_000_000_000
WALL = 1_700_000_000 * NS
CHUNK, DT_S = 32, 0.05
HEIGHT, WIDTH = 24, 32


class Ramp:
    """A policy that says its step numbers and remembers what it was told."""

    hand_changes = 0

    def __init__(self, continues: bool) -> None:
        cameras = {"front": (HEIGHT, WIDTH)}
        self.spec = PolicySpec("ramp", "h", "none", cameras, ("left_arm",), ("left_arm",), CHUNK, DT_S, 1.0, ("go",), continues=continues)
        self.told: list[Committed | None] = []

    def check_instruction(self, instruction: str) -> str:
        return instruction

    def reset(self) -> None:
        self.told.clear()

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0, committed: Committed | None = None) -> Prediction:
        self.told.append(committed)
        data = np.arange(CHUNK, dtype=float)[:, None]
        chunk = ActionChunk(observation.stamp_ns, goal_id, sequence, DT_S, 1.0, (ActionSlice("left_arm", "latent", data),))
        return Prediction(chunk, 1.0)

    def health(self) -> None:
        return None


def served(cell: CellConfig, schedule: str, continues: bool = False, **control) -> PolicyServer:
    server = PolicyServer(Ramp(continues), cell.policy, dataclasses.replace(cell.control, schedule=schedule, **control))
    server.begin("g", "go")
    server.due(0)
    return server


def step(server: PolicyServer, at_s: float) -> Prediction:
    stamp = WALL + round(at_s * NS)
    picture = np.random.default_rng(round(1000 * at_s)).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    joints = {"left_arm": JointState(("j",), np.array([0.1 + at_s]), np.zeros(1), np.zeros(1), stamp)}
    made = server.step(Observation(stamp, {"front": picture}, joints, "go"), round(at_s * NS), stamp)
    assert made is not None, server.status()
    return made


@pytest.mark.parametrize("schedule", ["blending", "real_time", "asynchronous", "ensemble"])
def test_a_cell_in_motion_is_asked_every_period(cell: CellConfig, schedule: str) -> None:
    server = served(cell, schedule, execution_horizon_s=0.4)
    step(server, 0.0)
    assert not server.due(round(0.3 * NS)) and server.due(round(0.41 * NS))


def test_a_cell_that_stands_is_asked_when_it_stands(cell: CellConfig) -> None:
    server = served(cell, "synchronous", execution_horizon_s=0.4)
    step(server, 0.0)
    stands_s = 0.4 + AFTER_S + SETTLE_S
    assert not server.due(round((stands_s - 0.1) * NS)) and server.due(round((stands_s + 0.2) * NS))


def test_a_policy_that_continues_is_told_what_is_committed(cell: CellConfig) -> None:
    server = served(cell, "blending", continues=True)
    for k in range(3):
        step(server, 0.5 * k)
    first, second, third = server.policy.told
    assert first is None and second.frozen == 0, "the first chunk of a goal says nothing about latency"
    np.testing.assert_allclose(third.steps["left_arm"][:, 0], np.arange(10, CHUNK))
    assert third.start_step == 0 and third.frozen <= 1, "this one answers at once"


@pytest.mark.parametrize(("schedule", "continues"), [("synchronous", True), ("blending", False)])
def test_others_are_told_nothing(cell: CellConfig, schedule: str, continues: bool) -> None:
    server = served(cell, schedule, continues)
    for k in range(3):
        step(server, 0.5 * k)
    assert server.policy.told == [None] * 3


def test_a_new_goal_begins_with_nothing_committed(cell: CellConfig) -> None:
    server = served(cell, "blending", continues=True)
    step(server, 0.0)
    server.end("g")
    server.begin("g2", "go")
    server.due(NS)
    step(server, 1.0)
    assert server.policy.told == [None]


@pytest.mark.parametrize("schedule", ["synchronous", "blending"])
def test_a_chunk_that_the_gate_refused_is_not_waited_for(cell: CellConfig, schedule: str) -> None:
    server = served(cell, schedule, continues=True)
    step(server, 0.0)
    period_s = cell.policy.replan_period_s
    assert not server.note_refused("g", 7, 0) and not server.note_refused("other", 1, 0), "not the newest"
    assert server.note_refused("g", 1, round(0.01 * NS))
    assert not server.due(round((period_s - 0.05) * NS)), "not more often than every period, however often it is refused"
    assert server.due(round((period_s + 0.01) * NS))
    step(server, period_s + 0.05)
    assert server.policy.told[-1] is None, "what was refused is not continued"
    assert not server.note_refused("g", 1, round(NS)), "an old one"


def test_after_a_refusal_the_chunk_before_is_continued(cell: CellConfig) -> None:
    server = served(cell, "blending", continues=True)
    for number, at_s in enumerate((0.0, 0.1, 0.2), 1):
        step(server, at_s)
        if number > 1:
            assert server.note_refused("g", number, round((at_s + 0.01) * NS))
    step(server, 0.3)
    stamps_apart = 0.3 / DT_S  # from the first chunk, which the cell still follows
    assert server.policy.told[-1].steps["left_arm"][0, 0] == pytest.approx(stamps_apart), "neither the second nor the third"


def test_a_refusal_that_comes_late_makes_the_next_due_at_once(cell: CellConfig) -> None:
    server = served(cell, "synchronous")
    step(server, 0.0)
    assert not server.due(round(1.0 * NS))
    assert server.note_refused("g", 1, round(1.0 * NS)) and server.due(round(1.0 * NS))
    server.end("g")
    assert not server.note_refused("g", 1, round(1.1 * NS))


def test_chunks_are_mixed_in_the_policys_space_before_they_are_sent(cell: CellConfig) -> None:
    mixing = dataclasses.replace(cell, policy=dataclasses.replace(cell.policy, ensemble=EnsembleConfig(0.0)))
    server = served(mixing, "asynchronous", continues=True)

    def sent(at_s: float) -> np.ndarray:
        return step(server, at_s).chunk.slices[0].data[:, 0]

    steps = np.arange(float(CHUNK))
    assert np.array_equal(sent(0.0), steps)
    assert np.allclose(sent(4 * DT_S)[:-4], steps[:-4] + 2.0), "the mean of k and k + 4, of one time"
    assert np.array_equal(sent(4 * DT_S + 0.001)[-1:], steps[-1:]), "nobody else speaks of the end"
    assert np.allclose(server.policy.told[-1].steps["left_arm"][:20, 0], steps[:20] + 2.0 + 0.001 / DT_S, atol=1e-6), "what was sent is continued"
    assert server.note_refused("g", 3, 0)
    server.end("g")
    server.begin("h", "go")
    server.due(0)
    assert np.array_equal(sent(1.0), steps), "a new goal begins alone"
