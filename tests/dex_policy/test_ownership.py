# SPDX-License-Identifier: Apache-2.0
"""F27, F28: whatever clients, gate and policy do, one goal has the cell, and every goal that was accepted ends exactly once."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from dex_core.config import PolicyConfig
from dex_core.decode import MountedHand
from dex_core.errors import DexError
from dex_core.policy import Observation, PolicySpec, Prediction
from dex_core.safety import Mode, SafetyMachine, Trip
from dex_core.types import ActionChunk, ActionSlice, JointState
from dex_policy.ownership import BEGIN_S, Ownership, Turn
from dex_policy.serving import PolicyServer
from dex_policy.task import Ending, Outcome, TaskRun

NS = 1_000_000_000
IMAGE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_one_owner_one_in_waiting_and_the_rest_is_turned_away() -> None:
    places = Ownership()
    assert places.claim("a") and not places.claim("b") and places.owner == "a" and not places.displaced("a")
    assert places.claim("c", preempt=True) and places.displaced("a") and not places.displaced("c")
    assert places.owner == "a", "until it has reached its terminal state"
    assert not places.claim("d") and places.claim("e", preempt=True) and places.waiting == "e"
    assert places.begin("c") is False and places.wait("c", lambda: False) is Turn.DISPLACED
    assert places.begin("e") and places.wait("e", lambda: True) is Turn.GIVEN_UP
    places.release("a")
    assert places.owner == "e" and places.wait("e", lambda: False) is Turn.OWNER
    places.release("e")
    assert places.owner is None and places.wait_free(0.0) and places.claim("f", preempt=True) and places.owner == "f"


def test_a_waiting_goal_is_woken_by_the_owners_end() -> None:
    places, turns = Ownership(), []
    places.claim("a")
    places.claim("b", preempt=True)
    waiter = threading.Thread(target=lambda: turns.append(places.wait("b", lambda: False)))
    waiter.start()
    places.release("a")
    waiter.join(5.0)
    assert turns == [Turn.OWNER]


def test_cancel_all_reaches_owner_and_waiting_goal_but_none_after_them() -> None:
    places = Ownership()
    assert not places.cancel_all()
    places.claim("a")
    places.claim("b", preempt=True)
    assert places.cancel_all() and places.cancelled("a") and places.cancelled("b")
    places.release("a")
    places.release("b")
    assert places.claim("a") and not places.cancelled("a")


def test_a_place_that_nobody_begins_is_free_again() -> None:
    clock = Clock()
    places = Ownership(clock)
    assert places.claim("lost")
    clock.now_s += BEGIN_S + 0.1
    assert places.claim("b") and places.owner == "b" and not places.begin("lost")
    assert places.begin("b")
    clock.now_s += 10.0 * BEGIN_S
    assert not places.claim("c"), "a goal that runs is not lost, however long"


class FakePolicy:
    """Gives one-step chunks until it breaks."""

    spec = PolicySpec("fake", "0", "cpu", {"front": (24, 32)}, (), ("left_arm",), 4, 0.5, 1.0, ())
    hand_changes = 0
    broken = gone = False

    def check_instruction(self, instruction: str) -> str:
        if not instruction:
            raise DexError("no words", code="instruction_invalid")
        return instruction

    def check_mounted(self, hand: MountedHand) -> None:
        raise AssertionError(hand)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass

    def health(self) -> str | None:
        return "no answer" if self.gone else None

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0, committed: object = None) -> Prediction:
        if self.broken:
            raise MemoryError("device out of memory")
        if self.gone:
            raise DexError("no answer", code="policy_lost")
        part = ActionSlice("left_arm", "joint_position", np.zeros((4, 1)), ("left_joint1",))
        return Prediction(ActionChunk(observation.stamp_ns, goal_id, sequence, 0.5, 1.0, (part,)), 1.0)


class Goals(RuleBasedStateMachine):
    """Clients, the task node's flow, policy server and safety machine, in any order of events."""

    accepted = Bundle("accepted")

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.policy, self.gate = Clock(), FakePolicy(), SafetyMachine()
        self.places, self.server = Ownership(self.clock), PolicyServer(self.policy, PolicyConfig())
        self.runs: dict[str, TaskRun] = {}
        self.endings: dict[str, list[Ending]] = {}
        self.old_chunks: list[ActionChunk] = []
        self.claimed: set[str] = set()
        self.armed: str | None = None
        self.count = 0

    def _ns(self) -> int:
        return round(self.clock.now_s * NS)

    @rule(
        target=accepted, preempt=st.booleans(), words=st.sampled_from(["push", "pull", "lift", ""]), keepalive_s=st.sampled_from([0.0, 0.0, 2.0]),
        at_once=st.booleans(),
    )
    def client_sends(self, preempt: bool, words: str, keepalive_s: float, at_once: bool) -> str:
        self.count += 1
        goal = f"g{self.count}"
        before = self.places.owner
        taken = self.places.claim(goal, preempt=preempt)
        assert taken == (before is None or preempt or self.places.owner == goal)
        if taken:
            self.claimed.add(goal)
            self.runs[goal] = TaskRun(goal, words, self._ns(), self._ns() + 30 * NS, judged="", keepalive_s=keepalive_s)
            self.endings[goal] = []
        if at_once:
            self.executes(goal)
        return goal

    @rule(goal=consumes(accepted))
    def executes_later(self, goal: str) -> None:
        self.executes(goal)

    def executes(self, goal: str) -> None:
        """The action server calls execute: as TaskNode._run does it, up to the armed goal."""
        if goal not in self.claimed or self.armed == goal:
            return
        run = self.runs[goal]
        if not self.places.begin(goal):
            self._end(goal, Ending(Outcome.REFUSED, "refused"))
        elif self.places.owner == goal:
            self._arm(goal, run)

    @rule()
    def turn_comes(self) -> None:
        for goal in sorted(self.claimed):
            run, turn = self.runs[goal], self.places.wait(goal, lambda: True)
            if goal in self.places._claimed_s or self.armed == goal:
                continue  # not executed yet, or armed already
            if turn is Turn.OWNER:
                self._arm(goal, run)
            elif turn is Turn.DISPLACED:
                self._end(goal, Ending(Outcome.PREEMPTED, "preempted"))

    def _arm(self, goal: str, run: TaskRun) -> None:
        try:
            self.gate.arm(goal)
            self.armed = goal
            self.server.begin(goal, run.instruction)
        except DexError as error:
            self._end(goal, Ending(Outcome.REFUSED, error.code))
            return
        run.armed(self._ns())

    def _end(self, goal: str, ending: Ending) -> None:
        """As TaskNode: disarm, terminal state, place given back, in this order."""
        if self.armed == goal:
            self.server.end(goal)
            if self.gate.status.goal_id == goal:
                self.gate.hold(Trip("goal_ended", "task", ""), latched=False)
            self.armed = None
        self.endings[goal].append(ending)
        self.places.release(goal)
        self.claimed.discard(goal)

    @rule(seconds=st.sampled_from([0.02, 0.5, 0.5, 0.5, 3.0, BEGIN_S + 0.1, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def watches(self) -> None:
        """One round of TaskNode._watch for the armed goal."""
        goal = self.armed
        if goal is None:
            return
        run, now, status = self.runs[goal], self._ns(), self.server.status()
        ending = run.on_policy(status.goal_id, status.reason, status.detail) or run.on_safety(self.gate.status)
        if self.places.cancelled(goal):
            ending = Ending(Outcome.CANCELLED, "cancelled")
        elif self.places.displaced(goal):
            ending = Ending(Outcome.PREEMPTED, "preempted")
        ending = ending or run.client_lost(now) or run.on_time(now)
        if ending:
            self._end(goal, ending)

    @rule()
    def client_lives(self) -> None:
        for goal in self.claimed:
            self.runs[goal].on_client(self._ns())

    @rule()
    def everybody_cancels(self) -> None:
        self.places.cancel_all()

    @rule()
    def picture_comes(self) -> None:
        self.clock.now_s += 0.001  # every picture is a new one
        now = self._ns()
        if not self.server.due(now):
            return
        goal = self.server.goal
        failures = self.server.refusals["model_failed"]
        prediction = self.server.step(Observation(now, {"front": IMAGE}, {}, ""), now, now)
        if prediction is None:
            assert self.server.refusals["model_failed"] == failures or self.server.health() and not self.server.due(now)
            return
        assert goal is not None and prediction.chunk.goal_id == goal.goal_id == self.armed
        self.old_chunks.append(prediction.chunk)
        if self.gate.status.goal_id == prediction.chunk.goal_id:
            self.gate.start()

    @rule()
    def model_breaks(self) -> None:
        self.policy.broken = True
        self.picture_comes()

    @rule(gone=st.sampled_from([True, False, False]))
    def server_goes_and_comes(self, gone: bool) -> None:
        self.policy.gone = gone

    @rule()
    def policy_is_activated_anew(self) -> None:
        self.policy.broken = False
        self.server.recover()
        assert self.server.health() == self.policy.health()

    @rule(latched=st.booleans())
    def gate_trips(self, latched: bool) -> None:
        self.gate.hold(Trip("chunk_starved", "gate", ""), latched=latched)

    @rule()
    def gate_is_reset(self) -> None:
        self.gate.reset()

    @invariant()
    def one_owner_and_nobody_else_serves(self) -> None:
        served = self.server.goal.goal_id if self.server.goal else None
        assert served in (None, self.armed) and (self.armed is None or self.places.owner == self.armed)
        if self.gate.mode in (Mode.ARMED, Mode.RUNNING):
            assert self.gate.status.goal_id == self.armed

    @invariant()
    def no_goal_ends_twice_and_none_without_a_place_runs(self) -> None:
        assert all(len(found) <= 1 for found in self.endings.values())
        assert all(len(self.endings[goal]) == (goal not in self.claimed) for goal in self.endings)

    def teardown(self) -> None:
        """Every goal that was accepted ends: the deadline alone is enough."""
        for _ in range(2 * len(self.claimed) + 2):
            for goal in sorted(self.claimed):
                if goal in self.places._claimed_s or not self.places.begin(goal):
                    self.executes_late(goal)
            self.turn_comes()
            self.clock.now_s += 31.0
            self.watches()
        assert not self.claimed and self.places.owner is None and self.server.goal is None
        assert self.gate.mode not in (Mode.ARMED, Mode.RUNNING)

    def executes_late(self, goal: str) -> None:
        if not self.places.begin(goal):
            self._end(goal, Ending(Outcome.REFUSED, "refused"))


TestGoals = Goals.TestCase
TestGoals.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def observation(stamp_ns: int) -> Observation:
    return Observation(stamp_ns, {"front": IMAGE}, {"left_arm": JointState(("j",), np.zeros(1), np.zeros(1), np.zeros(1), stamp_ns)}, "")


def test_a_model_that_runs_out_of_memory_is_told_and_serves_nobody_until_it_is_activated_anew() -> None:
    """F39."""
    policy = FakePolicy()
    server = PolicyServer(policy, PolicyConfig())
    server.begin("a", "push")
    server.due(0)
    assert server.step(observation(NS), NS, NS) is not None and server.health() is None
    policy.broken = True
    assert server.step(observation(2 * NS), 2 * NS, 2 * NS) is None
    status = server.status()
    assert (status.reason, status.goal_id) == ("model_failed", "a") and "device out of memory" in status.detail
    assert server.refusals["model_failed"] == 1
    policy.broken = False
    assert not server.due(10 * NS) and not server.collecting(10 * NS) and server.step(observation(3 * NS), 3 * NS, 3 * NS) is None
    assert server.end("a")
    with pytest.raises(DexError, match="device out of memory") as info:
        server.begin("b", "push")
    assert info.value.code == "policy_lost" and server.goal is None
    server.recover()
    server.begin("b", "push")
    server.due(20 * NS)
    made = server.step(observation(4 * NS), 4 * NS, 4 * NS)
    assert made is not None and made.chunk.sequence == 1 and made.chunk.goal_id == "b"


def test_a_remote_server_that_is_gone_takes_no_goal_and_is_served_again_when_it_is_back() -> None:
    policy = FakePolicy()
    server = PolicyServer(policy, PolicyConfig())
    policy.gone = True
    with pytest.raises(DexError) as info:
        server.begin("a", "push")
    assert info.value.code == "policy_lost"
    policy.gone = False
    server.begin("a", "push")
    server.due(0)
    policy.gone = True
    assert server.step(observation(NS), 0, NS) is None and server.status().reason == "policy_lost" and server.due(0)
    policy.gone = False
    assert server.step(observation(NS + 1), 0, NS) is not None, "a short absence costs one chunk, not the goal"


def test_a_chunk_says_what_it_was_made_from() -> None:
    server = PolicyServer(FakePolicy(), PolicyConfig())
    server.begin("a", "push")
    server.due(0)
    made = server.step(observation(NS), 0, NS)
    again = server.step(replace(observation(NS + 1), stamp_ns=NS + 1), 0, NS)
    assert made is not None and again is not None and made.chunk.observation_digest not in (0, again.chunk.observation_digest)
    assert set(made.chunk.stream_digests) == {"stamp", "instruction", "image/front", "joints/left_arm"}


def test_a_chunk_inferred_for_a_goal_that_ended_meanwhile_is_thrown_away() -> None:
    policy = FakePolicy()
    server, infer = PolicyServer(policy, PolicyConfig()), policy.infer

    def slow(*args: object) -> Prediction:
        """While the network runs, another client takes the goal's place."""
        policy.infer = infer  # type: ignore[method-assign]
        assert server.end("a")
        server.begin("b", "push")
        return infer(*args)  # type: ignore[arg-type]

    server.begin("a", "push")
    server.due(0)
    policy.infer = slow  # type: ignore[method-assign, assignment]
    assert server.step(observation(NS), 0, NS) is None and server.status().chunks == 0
    server.due(0)
    made = server.step(observation(NS + 1), 0, NS)
    assert made is not None and (made.chunk.goal_id, made.chunk.sequence) == ("b", 1)
