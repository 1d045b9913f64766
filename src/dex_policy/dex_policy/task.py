# SPDX-License-Identifier: Apache-2.0
"""One run of a task without ROS: what arms it, what ends it, and with which outcome; every run ends exactly once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.chunks.join import decoder_of
from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.errors import DexError
from dex_core.safety import Mode, Reason, SafetyStatus, Watch

MAX_DEADLINE_S = 3600.0
GATE_ANSWER_S = 1.0
SETTLE_S = 0.3
"""Success must last this long."""
OBSERVATION_REASONS = (
    "camera_lost",
    "camera_frozen",
    "image_blank",
    "image_shape",
    "state_stale",
    "joint_names",
    "joint_limits",
    "non_finite",
    "output_range",
    "state_frozen",
    "history_short",
    "policy_lost",
    "policy_late",
    "remote_error",
    "remote_invalid",
    "remote_mismatch",
    "pickle_refused",
    "rotation",
)
"""Complaints of the policy that explain why its chunks stopped."""
MODEL_FAILED = ("model_failed", "internal_error")
"""Complaints after which no chunk of this goal can come: it ends at once."""
MIN_KEEPALIVE_S, MAX_KEEPALIVE_S = 0.2, 60.0


class Outcome(IntEnum):
    """Values as in dex_msgs/RunTask."""

    SUCCEEDED = 1
    DEADLINE = 2
    CANCELLED = 3
    ABORTED = 4
    REFUSED = 5
    PREEMPTED = 6


class Ending(NamedTuple):
    """How a run ended."""

    outcome: Outcome
    reason: str = ""
    detail: str = ""


def watched_nodes(cell: CellConfig) -> tuple[Watch, ...]:
    """Nodes that must be heard before a task is armed, the gate first."""
    hands = [name for name, i in cell.interfaces.items() if i.robot.kind == "hand"]
    return (
        Watch("gate", "gate_lost"),
        Watch("policy", Reason.POLICY_LOST),
        *(Watch(decoder_of(h), Reason.DECODER_LOST) for h in hands),
        *((Watch("camera", Reason.CAMERA_LOST),) if "camera" in cell.camera_nodes else ()),
        *(Watch(name, Reason.DRIVER_LOST) for name in cell.interfaces),
    )


def checked_deadline_s(requested_s: float, default_s: float) -> float:
    """The deadline of a goal [s]; 0 means the cell's default.

    Raises:
        DexError: ``deadline_invalid`` for NaN, infinity, a negative number or more than an hour.
    """
    if not math.isfinite(requested_s) or not 0.0 <= requested_s <= MAX_DEADLINE_S:
        raise DexError(f"deadline_s is {requested_s}; allowed 0 (the cell's default) to {MAX_DEADLINE_S} s", code="deadline_invalid")
    return requested_s or default_s


def checked_keepalive_s(requested_s: float) -> float:
    """How long a client may be silent [s]; 0: for ever.

    Raises:
        DexError: ``keepalive_invalid`` for anything but 0 or 0.2 to 60 s.
    """
    if requested_s and not MIN_KEEPALIVE_S <= requested_s <= MAX_KEEPALIVE_S:
        text = f"keepalive_s is {requested_s}; allowed 0 (nobody watches the client) or {MIN_KEEPALIVE_S} to {MAX_KEEPALIVE_S} s"
        raise DexError(text, code="keepalive_invalid")
    return requested_s


def may_run(deadline_s: float, keepalive_s: float) -> bool:
    """Whether a goal's numbers will do: nobody loses his place to one that would be refused for them."""
    try:
        return checked_deadline_s(deadline_s, 1.0) > 0.0 and checked_keepalive_s(keepalive_s) >= 0.0
    except DexError:
        return False


@dataclass
class TaskRun:
    """Progress of one armed task. Times are monotonic [ns].

    Attributes:
        goal_id, instruction: which task.
        deadline_ns: it ends then at the latest.
        judged: task whose judge says when it is done; empty: nobody does.
        keepalive_s: the client may be silent for so long; 0: for ever.
        stage: arming, waiting_for_chunk, running, settling.
        progress: 0 to 1, NaN where nobody judges.
    """

    goal_id: str
    instruction: str
    started_ns: int
    deadline_ns: int
    judged: str
    keepalive_s: float = 0.0
    stage: str = "arming"
    progress: float = math.nan
    chunks: int = 0
    policy_reason: str = ""
    policy_detail: str = ""
    inference_ms: list[float] = field(default_factory=list)
    overhead_ms: list[float] = field(default_factory=list)
    _success_since_ns: int | None = None
    _was_running: bool = False
    _armed_ns: int | None = None
    _client_ns: int = 0

    def armed(self, now_ns: int) -> None:
        """Gate and policy have taken the goal."""
        self.stage = "waiting_for_chunk"
        self._armed_ns = now_ns

    def on_chunk(self, goal_id: str, accepted: bool, inference_ms: float, overhead_ms: float) -> None:
        """A chunk's report; those of other goals are ignored."""
        if goal_id != self.goal_id or not accepted:
            return
        self.chunks += 1
        self.inference_ms.append(inference_ms)
        self.overhead_ms.append(overhead_ms)
        if self.stage == "waiting_for_chunk":
            self.stage = "running"

    def on_policy(self, goal_id: str, reason: str, detail: str) -> Ending | None:
        """The policy's own complaint about this goal, the likely cause when chunks stop; an ending when no more can come."""
        if goal_id != self.goal_id:
            return None
        self.policy_reason, self.policy_detail = reason, detail
        return Ending(Outcome.ABORTED, "policy_lost", f"policy: {detail}") if reason in MODEL_FAILED else None

    def on_client(self, heard_ns: int) -> None:
        """The client said at that time that it is there [ns]."""
        self._client_ns = max(self._client_ns, heard_ns)

    def client_lost(self, now_ns: int) -> Ending | None:
        """An ending when a client that wanted to be watched is silent for too long."""
        silent_s = (now_ns - max(self._client_ns, self.started_ns)) / NS
        if not self.keepalive_s or silent_s <= self.keepalive_s:
            return None
        return Ending(Outcome.ABORTED, "client_lost", f"the client is silent for {silent_s:.1f} s; it asked to be missed after {self.keepalive_s} s")

    def on_judge(self, task: str, success: bool, progress: float, now_ns: int) -> None:
        """The judge's newest view of ``task``; what it says of another scene than the goal's is no success of this goal."""
        if not self.judged or task != self.judged:
            self.progress, self._success_since_ns = math.nan, None
            return
        self.progress = progress
        if not success:
            self._success_since_ns = None
        elif self._success_since_ns is None:
            self._success_since_ns = now_ns

    def on_safety(self, status: SafetyStatus) -> Ending | None:
        """The gate's newest state: leaving ARMED or RUNNING ends the run with the gate's reason."""
        if status.mode in (Mode.ARMED, Mode.RUNNING) and status.goal_id == self.goal_id:
            self._was_running = True
            return None
        if not self._was_running and status.goal_id != self.goal_id:
            return None  # the state from before this goal was armed
        if status.goal_id != self.goal_id:
            text = f"the gate is {status.mode.name} with goal {status.goal_id!r}: it forgot this one"
            return Ending(Outcome.ABORTED, status.reason or "gate_lost", text)
        if status.reason == Reason.CHUNK_STARVED and self.policy_reason in OBSERVATION_REASONS:
            return Ending(Outcome.ABORTED, self.policy_reason, f"policy: {self.policy_detail}")
        cause = f"{status.cause}: " if status.cause else ""
        return Ending(Outcome.ABORTED, status.reason or "gate_lost", f"{cause}{status.detail or f'the gate is {status.mode.name}'}")

    def on_time(self, now_ns: int) -> Ending | None:
        """Success that lasted, or the deadline."""
        if self._success_since_ns is not None:
            self.stage = "settling"
            if now_ns - self._success_since_ns >= SETTLE_S * NS:
                return Ending(Outcome.SUCCEEDED, "", "the judge says it is done")
        elif self.stage == "settling":
            self.stage = "running"
        if self._armed_ns is not None and not self._was_running and now_ns - self._armed_ns > GATE_ANSWER_S * NS:
            return Ending(Outcome.ABORTED, "gate_lost", f"the gate took the goal but showed no running state for {GATE_ANSWER_S} s")
        if now_ns >= self.deadline_ns:
            return Ending(Outcome.DEADLINE, "deadline", f"not done after {(now_ns - self.started_ns) / NS:.1f} s")
        return None

    def elapsed_s(self, now_ns: int) -> float:
        """Time since the goal was accepted [s]."""
        return (now_ns - self.started_ns) / NS

    @property
    def inference_p50_ms(self) -> float:
        """Median inference time of the accepted chunks; NaN before the first."""
        return float(np.median(self.inference_ms)) if self.inference_ms else math.nan

    @property
    def overhead_p50_ms(self) -> float:
        """Median time from exposure to first command, less inference; NaN before the first chunk."""
        return float(np.median(self.overhead_ms)) if self.overhead_ms else math.nan
