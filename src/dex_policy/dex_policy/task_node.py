# SPDX-License-Identifier: Apache-2.0
"""Owns the action ``run_task``: arms gate and policy, watches them, and brings every goal to a terminal state with its reason."""

from __future__ import annotations

import math
import sys
import threading
import time
import uuid
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from dex_core.clock import NS, Priority
from dex_core.config import load_task
from dex_core.errors import DeadlineError, DexError
from dex_core.policy.instruction import meant_task
from dex_core.safety import Beat, HeartbeatBook, Mode, SafetyStatus
from dex_msgs.action import RunTask
from dex_msgs.msg import ChunkReport, Heartbeat, PolicyStatus, SafetyState, TaskState
from dex_msgs.srv import SetGoal
from dex_policy.task import Ending, Outcome, TaskRun, checked_deadline_s, watched_nodes
from dex_ros import names, qos
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main
from dex_ros.polling import PolledSubscription

FEEDBACK_PERIOD_S = 0.2
POLL_S = 0.03
SERVICE_TIMEOUT_S = 2.0
DISARM_TIMEOUT_S = 1.0
LISTEN_S = 1.0
"""How long missing nodes are waited for before a goal is refused."""


class TaskNode(DexNode):
    """Serves ``run_task`` (one goal at a time) and ``task/cancel``; survives a crash of the policy."""

    executor_threads = 4

    def __init__(self, **kwargs: object) -> None:
        super().__init__("task", **kwargs)
        group = ReentrantCallbackGroup()
        self._lock = threading.Lock()
        self._busy = False
        self._cancel, self._closing, self._idle = (threading.Event() for _ in range(3))
        self._idle.set()
        self._safety = SafetyStatus()
        self._safety_heard = False
        self._judge: TaskState | None = None
        self._subscriptions_made = False
        self._gate = self.create_client(SetGoal, names.GATE_SET_GOAL, callback_group=group)
        self._policy = self.create_client(SetGoal, names.POLICY_SET_GOAL, callback_group=group)
        self._server = ActionServer(
            self, RunTask, names.RUN_TASK, self._execute, callback_group=group, goal_callback=self._on_goal,
            cancel_callback=lambda _handle: CancelResponse.ACCEPT,
        )
        self._cancel_service = self.create_service(Trigger, names.TASK_CANCEL, self._on_cancel, callback_group=group)

    def configure(self) -> None:
        """Reads the cell and subscribes."""
        self._watched = watched_nodes(self.cell)
        self._tasks = tuple(load_task(name) for name in self.cell.sim.every_task) if self.cell.simulated else ()
        if self._subscriptions_made:
            return
        self._safety_sub = PolledSubscription(self, SafetyState, names.SAFETY_STATE, qos.LATCHED)
        self._beats_sub = PolledSubscription(self, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._judge_sub = PolledSubscription(self, TaskState, names.TASK_STATE, qos.LATCHED)
        self._reports_sub = PolledSubscription(self, ChunkReport, names.CHUNK_REPORT, qos.REPORT)
        self._policy_sub = PolledSubscription(self, PolicyStatus, names.POLICY_STATUS, qos.LATCHED)
        self._subscriptions_made = True

    def activate(self) -> None:
        """Goals are accepted from now on."""
        self._closing.clear()
        self.diagnostics.set("task", OK, "ready")

    def deactivate(self) -> None:
        """Aborts the running goal and waits until it has ended."""
        self._closing.set()
        self._idle.wait(2.0 * DISARM_TIMEOUT_S + 1.0)

    def destroy_node(self) -> None:
        """Ends the action server first."""
        self._closing.set()
        self._idle.wait(DISARM_TIMEOUT_S)
        self._server.destroy()
        super().destroy_node()

    def _on_goal(self, request: RunTask.Goal) -> GoalResponse:
        """Exactly one goal at a time; none while the node is not active."""
        with self._lock:
            if not self.is_active or self._busy:
                why = "another goal is running" if self._busy else "the task node is not active"
                self.get_logger().warning(f"goal {request.instruction!r} rejected: {why}")
                self.diagnostics.set("rejected goal", WARN, f"{request.instruction!r} rejected: {why}")
                return GoalResponse.REJECT
            self._busy = True
            self._idle.clear()
            self._cancel.clear()
            return GoalResponse.ACCEPT

    def _on_cancel(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._busy
        response.message = "the running task is being cancelled" if self._busy else "no task is running"
        self._cancel.set()
        return response

    def _execute(self, handle: ServerGoalHandle) -> RunTask.Result:
        """One goal from acceptance to its terminal state."""
        goal_id = str(uuid.UUID(bytes=bytes(handle.goal_id.uuid)))
        started_ns = time.monotonic_ns()
        run = TaskRun(goal_id, handle.request.instruction, started_ns, started_ns, judged="")
        ending = Ending(Outcome.ABORTED, "internal_error", "the task node failed; see its log")
        try:
            try:
                self._prepare(run, handle.request.deadline_s)
                ending = self._arm(run, handle) or self._watch(run, handle)
            except DexError as error:
                ending = Ending(Outcome.REFUSED, error.code, str(error))
            finally:
                self._disarm(run)
        finally:
            self._finish(handle, run, ending)
            with self._lock:
                self._busy = False
            self._idle.set()
        return self._result(run, ending)

    def _prepare(self, run: TaskRun, deadline_s: float) -> None:
        seconds = checked_deadline_s(deadline_s, self.cell.policy.goal_deadline_s)
        run.deadline_ns = run.started_ns + round(seconds * NS)
        run.judged = meant_task(run.instruction, self._tasks)

    def _arm(self, run: TaskRun, handle: ServerGoalHandle) -> Ending | None:
        """Checks everyone and arms gate, then policy. Returns an ending when cancelled on the way; raises DexError when refused."""
        book = HeartbeatBook(self._watched, max(self.cell.control.heartbeat_timeout_s, 2.5 * POLL_S))
        self._beats_sub.take_all()  # beats that waited in the queue are no sign of life
        give_up_ns = time.monotonic_ns() + round(LISTEN_S * NS)
        while True:
            self._beats_sub.wait(POLL_S)
            self._take_beats(book)
            self._take_news(run)
            if ending := self._stopped(handle):
                return ending
            lost = book.lost(time.monotonic_ns())
            if not lost and self._safety_heard:
                break
            if time.monotonic_ns() > give_up_ns:
                if lost:
                    raise DexError("; ".join(t.detail for t in lost), code=lost[0].reason)
                raise DexError(f"no safety_state from the gate within {LISTEN_S} s", code="gate_lost")
        if self._safety.latched:
            raise DexError(
                f"the gate is {self._safety.mode.name} since {self._safety.reason} ({self._safety.cause}); call gate/reset first", code="latched"
            )
        self._feedback(handle, run)
        self._ask(self._gate, run, "gate", SERVICE_TIMEOUT_S)
        self._ask(self._policy, run, "policy", SERVICE_TIMEOUT_S)
        run.armed(time.monotonic_ns())
        return None

    def _watch(self, run: TaskRun, handle: ServerGoalHandle) -> Ending:
        """Follows the armed goal until something ends it."""
        gate = HeartbeatBook(self._watched[:1], max(self.cell.control.heartbeat_timeout_s, 2.5 * POLL_S))
        gate.beat(Beat("gate"), time.monotonic_ns())
        feedback_ns = 0
        while True:
            self._safety_sub.wait(POLL_S)
            ending = self._take_news(run)
            self._take_beats(gate)
            now_ns = time.monotonic_ns()
            ending = self._stopped(handle) or ending or run.on_time(now_ns)
            if ending:
                return ending
            if lost := gate.lost(now_ns):
                return Ending(Outcome.ABORTED, "gate_lost", lost[0].detail)
            if now_ns - feedback_ns >= FEEDBACK_PERIOD_S * NS:
                feedback_ns = now_ns
                self._feedback(handle, run)

    def _stopped(self, handle: ServerGoalHandle) -> Ending | None:
        if handle.is_cancel_requested or self._cancel.is_set():
            return Ending(
                Outcome.CANCELLED, "cancelled", "cancelled by the client" if handle.is_cancel_requested else f"cancelled through {names.TASK_CANCEL}"
            )
        if self._closing.is_set():
            return Ending(Outcome.ABORTED, "task_lost", "the task node was deactivated")
        return None

    def _take_beats(self, book: HeartbeatBook) -> None:
        now_ns = time.monotonic_ns()
        for m in self._beats_sub.take_all():
            book.beat(Beat(m.node, m.state, m.executor_age_s, m.reason), now_ns)

    def _take_news(self, run: TaskRun) -> Ending | None:
        """Takes what gate, policy and judge published; an ending when the gate left RUNNING."""
        policy = self._policy_sub.take_newest()
        if policy is not None:
            run.on_policy(policy.goal_id, policy.reason, policy.detail)
        for report in self._reports_sub.take_all():
            run.on_chunk(report.goal_id, report.accepted, report.inference_ms, report.overhead_ms)
        judge = self._judge_sub.take_newest() or self._judge
        if judge is not None:
            self._judge = judge
            run.on_judge(judge.task, judge.success, judge.progress, time.monotonic_ns())
        ending = None
        for m in self._safety_sub.take_all():
            self._safety_heard = True
            self._safety = SafetyStatus(Mode(m.mode), m.latched, m.goal_id, m.reason, m.cause, m.detail)
            ending = ending or run.on_safety(self._safety)
        return ending

    def _ask(self, client: Any, run: TaskRun, who: str, timeout_s: float, *, active: bool = True) -> SetGoal.Response:
        """Calls set_goal of gate or policy. Raises DexError with their reason when refused, DeadlineError when silent."""
        if not client.service_is_ready():
            raise DeadlineError(f"service of the {who}", 0.0, "it is not there")
        future = client.call_async(SetGoal.Request(goal_id=run.goal_id, instruction=run.instruction, active=active))
        done = threading.Event()
        future.add_done_callback(lambda _future: done.set())
        if not done.wait(timeout_s):
            client.remove_pending_request(future)
            raise DeadlineError(f"the {who}'s set_goal", timeout_s)
        response = future.result()
        if active and not response.accepted:
            raise DexError(f"{who}: {response.detail or response.reason}", code=response.reason or "refused")
        return response

    def _disarm(self, run: TaskRun) -> None:
        """Ends the goal at policy and gate, each with a deadline; who is silent then holds by its own watchdogs."""
        for client, who in ((self._policy, "policy"), (self._gate, "gate")):
            try:
                self._ask(client, run, who, DISARM_TIMEOUT_S, active=False)
            except DexError as error:
                self.get_logger().warning(f"disarming: {error}")

    def _finish(self, handle: ServerGoalHandle, run: TaskRun, ending: Ending) -> None:
        """The goal's terminal state, whatever happened before."""
        if ending.outcome is Outcome.SUCCEEDED:
            handle.succeed()
        elif ending.outcome is Outcome.CANCELLED and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        text = f"{run.instruction!r}: {ending.outcome.name}" + (f" [{ending.reason}] {ending.detail}" if ending.reason else "")
        good = ending.outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED)
        self.get_logger().info(text) if good else self.get_logger().warning(text)
        self.diagnostics.set(
            "task",
            OK if good else ERROR,
            text,
            {
                "code": ending.reason,
                "goal_id": run.goal_id,
                "chunks": run.chunks,
                "duration_s": f"{run.elapsed_s(time.monotonic_ns()):.2f}",
            },
        )

    def _result(self, run: TaskRun, ending: Ending) -> RunTask.Result:
        return RunTask.Result(
            outcome=int(ending.outcome),
            reason=ending.reason,
            detail=ending.detail,
            duration_s=run.elapsed_s(time.monotonic_ns()),
            chunks=run.chunks,
            inference_p50_ms=run.inference_p50_ms,
            overhead_p50_ms=run.overhead_p50_ms,
        )

    def _feedback(self, handle: ServerGoalHandle, run: TaskRun) -> None:
        def last(values: list[float]) -> float:
            return values[-1] if values else math.nan

        handle.publish_feedback(
            RunTask.Feedback(
                stage=run.stage,
                progress=run.progress,
                elapsed_s=run.elapsed_s(time.monotonic_ns()),
                chunks=run.chunks,
                inference_ms=last(run.inference_ms),
                overhead_ms=last(run.overhead_ms),
            )
        )


def main(argv: list[str] | None = None) -> int:
    """Runs the node."""
    node_parser("Task server of a cell: owns the action run_task, arms gate and policy, ends every goal with a reason.").parse_known_args(argv)
    # it calls the gate lost after 0.18 s: set aside by the machine for as long, it would be wrong
    return spin_main(TaskNode, argv, realtime_priority=Priority.CONTROL_PROCESS)


if __name__ == "__main__":
    sys.exit(main())
