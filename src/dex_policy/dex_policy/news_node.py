# SPDX-License-Identifier: Apache-2.0
"""What the task node hears of gate, policy and judge, read by the thread that runs the goal."""

from __future__ import annotations

import time

from dex_core.safety import Beat, HeartbeatBook, Mode, SafetyStatus
from dex_msgs.msg import ChunkReport, Heartbeat, PolicyStatus, SafetyState, TaskState
from dex_policy.task import Ending, TaskRun
from dex_ros import names, qos
from dex_ros.node import DexNode
from dex_ros.polling import PolledSubscription


class TaskNews:
    """Subscriptions of one task node; only the goal that has the cell reads them.

    Attributes:
        safety: the gate's newest state. heard: whether the gate ever told it.
    """

    def __init__(self, node: DexNode) -> None:
        self._safety = PolledSubscription(node, SafetyState, names.SAFETY_STATE, qos.LATCHED)
        self._beats = PolledSubscription(node, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._judge = PolledSubscription(node, TaskState, names.TASK_STATE, qos.LATCHED)
        self._reports = PolledSubscription(node, ChunkReport, names.CHUNK_REPORT, qos.REPORT)
        self._policy = PolledSubscription(node, PolicyStatus, names.POLICY_STATUS, qos.LATCHED)
        self._last_judge: TaskState | None = None
        self.safety = SafetyStatus()
        self.heard = False

    def forget_beats(self) -> None:
        """Beats that waited in the queue are no sign of life."""
        self._beats.take_all()

    def wait_beat(self, timeout_s: float) -> None:
        """Blocks until a node beats."""
        self._beats.wait(timeout_s)

    def wait_safety(self, timeout_s: float) -> None:
        """Blocks until the gate tells its state."""
        self._safety.wait(timeout_s)

    def take_beats(self, book: HeartbeatBook) -> None:
        """Notes every beat that came."""
        now_ns = time.monotonic_ns()
        for m in self._beats.take_all():
            book.beat(Beat(m.node, m.state, m.executor_age_s, m.reason), now_ns)

    def take(self, run: TaskRun) -> Ending | None:
        """Takes what gate, policy and judge published; an ending when the gate left RUNNING or the model failed."""
        ending = None
        policy = self._policy.take_newest()
        if policy is not None:
            ending = run.on_policy(policy.goal_id, policy.reason, policy.detail)
        for report in self._reports.take_all():
            run.on_chunk(report.goal_id, report.accepted, report.inference_ms, report.overhead_ms)
        judge = self._judge.take_newest() or self._last_judge
        if judge is not None:
            self._last_judge = judge
            run.on_judge(judge.task, judge.success, judge.progress, time.monotonic_ns())
        for m in self._safety.take_all():
            self.heard = True
            self.safety = SafetyStatus(Mode(m.mode), m.latched, m.goal_id, m.reason, m.cause, m.detail)
            ending = ending or run.on_safety(self.safety)
        return ending
