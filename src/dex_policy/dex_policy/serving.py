# SPDX-License-Identifier: Apache-2.0
"""The policy server without ROS: one goal at a time, when to look and infer, what is refused and why, how fast it was."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from dex_core.chunks import Committed, Pacing
from dex_core.chunks.mixing import ChunkEnsemble, commit
from dex_core.clock import NS
from dex_core.config import ControlConfig, PolicyConfig
from dex_core.decode import MountedHand
from dex_core.errors import DexError
from dex_core.latency import Window
from dex_core.policy import FrozenGuard, Observation, Policy, Prediction, check_observation, stream_digests, whole_digest
from dex_core.runtime import GraphFailed
from dex_core.types import ActionChunk

EARLY_S = 0.02
LOOK_AHEAD_S = 0.15
"""Joint states are collected from this long before a picture is due, so that the one nearest to its exposure is known."""
MOUNTED_WAIT_S = 0.5
"""How long a goal waits for decoders that have just started to say which hands are mounted."""
MISMATCH = "space_mismatch"
"""Reason that stands in the status as long as a hand is mounted which the policy cannot move."""


class Goal(NamedTuple):
    """A goal being served. ``known_as``: the trained sentence nearest to its instruction."""

    goal_id: str
    instruction: str
    known_as: str


@dataclass(frozen=True)
class ServerStatus:
    """What PolicyStatus tells, besides the state."""

    goal_id: str
    instruction: str
    chunks: int
    refused: int
    p50_ms: float
    p99_ms: float
    reason: str
    detail: str


class PolicyServer:
    """Serves one goal at a time. ``begin``, ``end``, ``mounted`` and ``status`` may be called from any thread, the rest from one.

    Args:
        policy: verified and warm.
        config: periods and ages.
        control: how its chunks will be scheduled; None: as usual.
    """

    def __init__(self, policy: Policy, config: PolicyConfig, control: ControlConfig | None = None) -> None:
        self.policy = policy
        self._config = config
        spec = policy.spec
        self._look_ahead_ns = round((LOOK_AHEAD_S + spec.history * spec.history_dt_s) * NS)
        self._pacing = Pacing(control or ControlConfig(), config.replan_period_s, spec.chunk, spec.dt_s, spec.first_action_offset)
        self._newest: ActionChunk | None = None
        self._before: ActionChunk | None = None  # what the cell goes on with when it refuses the newest
        self._ensemble = ChunkEnsemble(config.ensemble)
        self._lock = threading.Lock()
        self._told = threading.Condition()
        self._mounted: dict[str, MountedHand] = {}
        self._goal: Goal | None = None
        self._fresh_goal = False
        self._frozen = FrozenGuard()
        self._due_ns = self._asked_ns = self._sequence = self._last_stamp_ns = 0
        self._latencies_ms = Window()
        self.refusals: Counter[str] = Counter()
        self._reason = self._detail = self._failure = ""

    @property
    def goal(self) -> Goal | None:
        """The goal being served, or None."""
        return self._goal

    @property
    def mounted(self) -> Mapping[str, MountedHand]:
        """Side -> hand, as last told."""
        return MappingProxyType(self._mounted)

    def note_mounted(self, hand: MountedHand) -> None:
        """Takes a decoder's word for the hand of its side; what is inferred from now on is for that hand.

        One that the policy cannot move, or whose decoder runs another graph, shows in the status now and not with the first goal.
        """
        with self._told:
            if hand == self._mounted.get(hand.side):
                return
            self._mounted = {**self._mounted, hand.side: hand}
            self._told.notify_all()
        try:
            for known in self.mounted.values():
                self.policy.check_mounted(known)
            reason, detail = "", ""
        except DexError as error:
            reason, detail = error.code, str(error)
        with self._lock:
            if reason or self._reason == MISMATCH:
                self._reason, self._detail = reason, detail

    def begin(self, goal_id: str, instruction: str) -> Goal:
        """Takes a goal.

        Raises:
            DexError: ``busy`` (another goal is served), ``wrong_goal`` (no id), ``instruction_invalid``, ``instruction_unknown``,
                ``hand_unknown`` (no decoder has told which hand is mounted), ``space_mismatch`` (a hand that the latent space does not have),
                ``policy_lost`` (the model failed, or the server that runs it is gone).
        """
        if not goal_id:
            raise DexError("goal_id is empty", code="wrong_goal")
        known_as = self.check(instruction)
        with self._lock:
            if self._goal is not None and self._goal.goal_id != goal_id:
                raise DexError(f"goal {self._goal.goal_id!r} is being served; end it first", code="busy")
            if self._goal is None:
                self._fresh_goal = True
                self._reason = self._detail = ""
            self._goal = Goal(goal_id, instruction, known_as)
            return self._goal

    def check(self, instruction: str) -> str:
        """What the policy knows an instruction as; changes nothing. Raises as ``begin``, ``busy`` and ``wrong_goal`` apart."""
        if why := self.health():
            raise DexError(why.removeprefix("policy_lost: "), code="policy_lost")  # the code is told beside it
        known_as = self.policy.check_instruction(instruction)
        self._require_hands()
        return known_as

    def end(self, goal_id: str = "") -> bool:
        """Ends that goal, or any with an empty id; False when another goal is being served."""
        with self._lock:
            if self._goal is not None and goal_id not in ("", self._goal.goal_id):
                return False
            self._goal = None
            return True

    def collecting(self, now_ns: int) -> bool:
        """True when joint states and pictures are worth taking: a goal is served and a chunk is due soon.

        Args:
            now_ns: monotonic time [ns], here and below.
        """
        self._start_if_fresh(now_ns)
        return self._goal is not None and not self._failure and now_ns >= self._due_ns - self._look_ahead_ns

    def due(self, now_ns: int) -> bool:
        """True when the next picture is to be inferred from; a picture that comes a little early is as good."""
        self._start_if_fresh(now_ns)
        return self._goal is not None and not self._failure and now_ns >= self._due_ns - EARLY_S * NS

    def wait_s(self, now_ns: int) -> float:
        """How long there is nothing to collect [s]."""
        return max(0.0, (self._due_ns - now_ns - self._look_ahead_ns) / NS)

    def overdue_s(self, now_ns: int) -> float:
        """How long the next chunk has been due [s]."""
        return max(0.0, (now_ns - self._due_ns) / NS)

    def step(self, observation: Observation, now_ns: int, wall_ns: int) -> Prediction | None:
        """One chunk from one observation; None, counted and explained in ``status``, when it is refused.

        Args:
            observation: its instruction is ignored: the goal's counts.
            now_ns: monotonic. wall_ns: wall clock, for ages against the observation's stamp.
        """
        goal = self._goal
        if goal is None or self._failure or observation.stamp_ns <= self._last_stamp_ns:
            return None
        try:
            observation = replace(observation, instruction=goal.instruction)
            check_observation(observation, self.policy.spec, wall_ns, self._config)
            self._frozen.check(observation)
            asked_ns = time.monotonic_ns()
            prediction = self._infer(observation, goal.goal_id)
            with self._lock:
                prediction = replace(prediction, chunk=self._ensemble.add(prediction.chunk))
        except DexError as error:
            self.refuse(error)
            return None
        with self._lock:
            if self._goal is None or self._goal.goal_id != goal.goal_id:
                return None  # the goal ended while the network ran
            self._last_stamp_ns = observation.stamp_ns
            self._sequence += 1
            self._newest, self._before = prediction.chunk, self._newest
            latency_ns = wall_ns - observation.stamp_ns + time.monotonic_ns() - asked_ns
            self._asked_ns, self._due_ns = now_ns, self._pacing.next_ns(now_ns, latency_ns / NS)
            self._latencies_ms.add(prediction.inference_ms)
            self._reason, self._detail = "", "; ".join(prediction.flags)
        return _with_digests(prediction, observation)

    def refuse(self, error: DexError) -> None:
        """Counts a refused observation or inference under its reason."""
        with self._lock:
            self.refusals[error.code] += 1
            self._reason, self._detail = error.code, str(error)

    def note_refused(self, goal_id: str, sequence: int, now_ns: int) -> bool:
        """The gate did not take a chunk. If it was the newest (True), nothing is left to wait for: the next is due, one period apart at least."""
        with self._lock:
            if self._goal is None or goal_id != self._goal.goal_id:
                return False
            self._ensemble.forget(sequence)
            if self._newest is None or sequence != self._newest.sequence:
                return False
            self._newest, self._before = self._before, None
            self._due_ns = min(self._due_ns, max(now_ns, self._asked_ns + round(self._config.replan_period_s * NS)))
            return True

    def health(self) -> str | None:
        """None while goals can be served; else why not: the model failed and must be loaded anew, or a remote one is gone."""
        return self._failure or self.policy.health()

    @property
    def failure(self) -> str:
        """What failed in this process; empty: nothing."""
        return self._failure

    def fail(self, why: str) -> None:
        """No chunk is made and no goal taken from now on, until ``recover``; the goal that is served ends with its owner."""
        self._failure = why

    def recover(self) -> None:
        """The model works again, as somebody has tried."""
        self._failure = ""

    def status(self) -> ServerStatus:
        """Counters and latencies of this server since its start."""
        with self._lock:
            goal = self._goal or Goal("", "", "")
            return ServerStatus(
                goal.goal_id,
                goal.instruction,
                self._sequence,
                sum(self.refusals.values()),
                self._latencies_ms.quantile(0.5) if len(self._latencies_ms) else 0.0,
                self._latencies_ms.quantile(0.99) if len(self._latencies_ms) else 0.0,
                self._reason,
                self._detail,
            )

    def _infer(self, observation: Observation, goal_id: str) -> Prediction:
        """A model that failed itself (memory, device lost), not only refused, is in an unknown state: no goal is served any more."""
        try:
            return self.policy.infer(observation, goal_id, self._sequence + 1, self._committed(observation.stamp_ns))
        except Exception as error:
            if isinstance(error, DexError) and not isinstance(error, GraphFailed):
                raise
            self.fail(f"model {self.policy.spec.name!r} failed: {error!r}")
            raise DexError(self._failure, code="model_failed") from error

    def _committed(self, stamp_ns: int) -> Committed | None:
        """What the cell will do until the next chunk can arrive, for a policy that minds it; nothing for a cell that stands."""
        if self._newest is None or self._pacing.standing or not self.policy.spec.continues:
            return None
        return commit(self._newest, stamp_ns, self._pacing.frozen_steps)

    def _require_hands(self) -> None:
        """Raises DexError unless the policy can move the hands that are mounted, or does not need to know them."""
        sides = self.policy.spec.mounted_sides
        with self._told:
            self._told.wait_for(lambda: set(sides) <= set(self._mounted), MOUNTED_WAIT_S)
            hands = dict(self._mounted)
        for side in sides:
            if side not in hands:
                raise DexError(f"{side}_decoder has not told which hand is mounted on the {side} side", code="hand_unknown")
            self.policy.check_mounted(hands[side])

    def _start_if_fresh(self, now_ns: int) -> None:
        """A new goal begins with an empty memory; done here, on the inferring thread, so that no inference is disturbed."""
        with self._lock:
            if not self._fresh_goal:
                return
            self._fresh_goal = False
            self.policy.reset()
            self._frozen.reset()
            self._pacing.latency.begin()
            self._ensemble.clear()
            self._sequence, self._last_stamp_ns, self._due_ns, self._newest, self._before = 0, 0, now_ns, None, None


def _with_digests(prediction: Prediction, observation: Observation) -> Prediction:
    """The prediction whose chunk tells what was observed, so that a replay of a recording can be held against it."""
    parts = stream_digests(observation)
    return replace(prediction, chunk=replace(prediction.chunk, observation_digest=whole_digest(parts), stream_digests=parts))
