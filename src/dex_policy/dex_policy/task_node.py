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
from unique_identifier_msgs.msg import UUID

from dex_core.clock import NS, Priority
from dex_core.config import load_task
from dex_core.errors import DeadlineError, DexError
from dex_core.policy.instruction import meant_task
from dex_core.safety import Beat, HeartbeatBook
from dex_msgs.action import RunTask
from dex_msgs.srv import SetGoal
from dex_policy.news_node import TaskNews
from dex_policy.ownership import Ownership, Ticket, Turn
from dex_policy.task import Ending, Outcome, TaskRun, checked_deadline_s, checked_keepalive_s, may_run, watched_nodes
from dex_ros import names, qos
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main

FEEDBACK_PERIOD_S = 0.2
POLL_S = 0.03
SERVICE_TIMEOUT_S = 2.0
DISARM_TIMEOUT_S = 1.0
REMEMBERED_CLIENTS = 64
LISTEN_S = 1.0
"""How long missing nodes are waited for before a goal is refused."""


class TaskNode(DexNode):
    """Serves ``run_task`` (one goal at a time, a newer one may take its place) and ``task/cancel``; survives a crash of the policy."""

    executor_threads = 4

    def __init__(self, **kwargs: object) -> None:
        super().__init__("task", **kwargs)
        group = ReentrantCallbackGroup()
        self._places = Ownership()
        self._closing = threading.Event()
        self._heard_ns: dict[bytes, int] = {}
        self._news: TaskNews | None = None
        self._gate = self.create_client(SetGoal, names.GATE_SET_GOAL, callback_group=group)
        self._policy = self.create_client(SetGoal, names.POLICY_SET_GOAL, callback_group=group)
        self._check = self.create_client(SetGoal, names.POLICY_CHECK_GOAL, callback_group=group)
        self._refusals: dict[Ticket, DexError] = {}
        self._server = ActionServer(
            self, RunTask, names.RUN_TASK, self._execute, callback_group=group, goal_callback=self._on_goal,
            cancel_callback=lambda _handle: CancelResponse.ACCEPT,
        )
        self._keepalives = self.create_subscription(UUID, names.TASK_KEEPALIVE, self._on_keepalive, qos.REPORT, callback_group=group)
        self._cancel_service = self.create_service(Trigger, names.TASK_CANCEL, self._on_cancel, callback_group=group)

    def configure(self) -> None:
        """Reads the cell and subscribes."""
        self._watched = watched_nodes(self.cell)
        self._tasks = tuple(load_task(name) for name in self.cell.sim.every_task) if self.cell.simulated else ()
        if self._news is None:
            self._news = TaskNews(self)

    def activate(self) -> None:
        """Goals are accepted from now on."""
        self._closing.clear()
        self.diagnostics.set("task", OK, "ready")

    def deactivate(self) -> None:
        """Aborts the running goal, and one that waits, and waits until they have ended."""
        self._closing.set()
        self._places.wait_free(2.0 * DISARM_TIMEOUT_S + 1.0)

    def destroy_node(self) -> None:
        """Ends the action server first."""
        self._closing.set()
        self._places.wait_free(DISARM_TIMEOUT_S)
        self._server.destroy()
        super().destroy_node()

    def _on_goal(self, request: RunTask.Goal) -> GoalResponse:
        """Exactly one goal at a time, and at most one that waits to take its place; none while the node is not active."""
        ticket = Ticket(request)
        if self.is_active and request.preempt and self._places.owner is not None and self._foreseen(ticket):
            return GoalResponse.ACCEPT  # without a place: it ends as REFUSED, and the goal that runs goes on
        if self.is_active and self._places.claim(ticket, preempt=request.preempt and may_run(request.deadline_s, request.keepalive_s)):
            return GoalResponse.ACCEPT
        why = "another goal is running" if self.is_active else "the task node is not active"
        self.get_logger().warning(f"goal {request.instruction!r} rejected: {why}")
        self.diagnostics.set("rejected goal", WARN, f"{request.instruction!r} rejected: {why}")
        return GoalResponse.REJECT

    def _foreseen(self, ticket: Ticket) -> bool:
        """Asks the policy whether it would take that goal; a refusal is kept for its execution. A policy that is silent is asked again then."""
        try:
            answer = self._call(self._check, SetGoal.Request(instruction=ticket.request.instruction), "policy", DISARM_TIMEOUT_S)
        except DeadlineError:
            return False
        if not answer.accepted:
            self._refusals[ticket] = DexError(f"policy: {answer.detail or answer.reason}", code=answer.reason or "refused")
        return not answer.accepted

    def _on_cancel(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._places.cancel_all()
        response.message = "the running task is being cancelled" if response.success else "no task is running"
        return response

    def _on_keepalive(self, message: UUID) -> None:
        while len(self._heard_ns) >= REMEMBERED_CLIENTS:
            self._heard_ns.pop(next(iter(self._heard_ns)), None)
        self._heard_ns[bytes(message.uuid)] = time.monotonic_ns()

    def _execute(self, handle: ServerGoalHandle) -> RunTask.Result:
        """One goal from acceptance to its terminal state; only then its place goes to the one that waits."""
        ticket, goal_id = Ticket(handle.request), str(uuid.UUID(bytes=bytes(handle.goal_id.uuid)))
        started_ns = time.monotonic_ns()
        run = TaskRun(goal_id, handle.request.instruction, started_ns, started_ns, judged="")
        ending = Ending(Outcome.ABORTED, "internal_error", "the task node failed; see its log")
        try:
            ending = self._run(run, handle, ticket)
        except DexError as error:
            ending = Ending(Outcome.REFUSED, error.code, str(error))
        finally:
            self._finish(handle, run, ending)
            self._places.release(ticket)
        return self._result(run, ending)

    def _run(self, run: TaskRun, handle: ServerGoalHandle, ticket: Ticket) -> Ending:
        """Waits for its turn, arms, watches and disarms; a goal that never had its turn touches neither gate nor policy."""
        if refusal := self._refusals.pop(ticket, None):
            raise refusal
        if not self._places.begin(ticket):
            raise DexError("the goal was accepted, but executed too late: its place is taken", code="refused")
        run.keepalive_s = checked_keepalive_s(handle.request.keepalive_s)
        turn = self._places.wait(ticket, lambda: self._stopped(handle, run, ticket) is not None)
        if turn is not Turn.OWNER:
            displaced = Ending(Outcome.PREEMPTED, "preempted", "another goal took its place before its turn came")
            return displaced if turn is Turn.DISPLACED else self._stopped(handle, run, ticket) or displaced
        try:
            self._prepare(run, handle.request.deadline_s)
            return self._arm(run, handle, ticket) or self._watch(run, handle, ticket)
        finally:
            self._disarm(run)

    def _prepare(self, run: TaskRun, deadline_s: float) -> None:
        seconds = checked_deadline_s(deadline_s, self.cell.policy.goal_deadline_s)
        run.started_ns = time.monotonic_ns()
        run.deadline_ns = run.started_ns + round(seconds * NS)
        run.judged = meant_task(run.instruction, self._tasks)

    def _arm(self, run: TaskRun, handle: ServerGoalHandle, ticket: Ticket) -> Ending | None:
        """Checks everyone and arms gate, then policy. Returns an ending when cancelled on the way; raises DexError when refused."""
        book = HeartbeatBook(self._watched, max(self.cell.control.heartbeat_timeout_s, 2.5 * POLL_S))
        news = self._news
        assert news is not None
        news.forget_beats()
        give_up_ns = time.monotonic_ns() + round(LISTEN_S * NS)
        while True:
            news.wait_beat(POLL_S)
            news.take_beats(book)
            news.take(run)
            if ending := self._stopped(handle, run, ticket):
                return ending
            lost = book.lost(time.monotonic_ns())
            if not lost and news.heard:
                break
            if time.monotonic_ns() > give_up_ns:
                if lost:
                    raise DexError("; ".join(t.detail for t in lost), code=lost[0].reason)
                raise DexError(f"no safety_state from the gate within {LISTEN_S} s", code="gate_lost")
        if (safety := news.safety).latched:
            raise DexError(f"the gate is {safety.mode.name} since {safety.reason} ({safety.cause}); call gate/reset first", code="latched")
        self._feedback(handle, run)
        self._ask(self._gate, run, "gate", SERVICE_TIMEOUT_S)
        self._ask(self._policy, run, "policy", SERVICE_TIMEOUT_S)
        run.armed(time.monotonic_ns())
        return None

    def _watch(self, run: TaskRun, handle: ServerGoalHandle, ticket: Ticket) -> Ending:
        """Follows the armed goal until something ends it."""
        gate = HeartbeatBook(self._watched[:1], max(self.cell.control.heartbeat_timeout_s, 2.5 * POLL_S))
        gate.beat(Beat("gate"), time.monotonic_ns())
        news = self._news
        assert news is not None
        feedback_ns = 0
        while True:
            news.wait_safety(POLL_S)
            ending = news.take(run)
            news.take_beats(gate)
            now_ns = time.monotonic_ns()
            ending = self._stopped(handle, run, ticket) or ending or run.on_time(now_ns)
            if ending:
                return ending
            if lost := gate.lost(now_ns):
                return Ending(Outcome.ABORTED, "gate_lost", lost[0].detail)
            if now_ns - feedback_ns >= FEEDBACK_PERIOD_S * NS:
                feedback_ns = now_ns
                self._feedback(handle, run)

    def _stopped(self, handle: ServerGoalHandle, run: TaskRun, ticket: Ticket) -> Ending | None:
        """What ends a goal from outside: its client, everybody's cancel, this node, another goal."""
        if handle.is_cancel_requested:
            return Ending(Outcome.CANCELLED, "cancelled", "cancelled by the client")
        if self._places.cancelled(ticket):
            return Ending(Outcome.CANCELLED, "cancelled", f"cancelled through {names.TASK_CANCEL}")
        if self._closing.is_set():
            return Ending(Outcome.ABORTED, "task_lost", "the task node was deactivated")
        if self._places.displaced(ticket):
            return Ending(Outcome.PREEMPTED, "preempted", "another goal takes its place")
        run.on_client(self._heard_ns.get(bytes(handle.goal_id.uuid), 0))
        return run.client_lost(time.monotonic_ns())

    def _ask(self, client: Any, run: TaskRun, who: str, timeout_s: float, *, active: bool = True) -> SetGoal.Response:
        """Calls set_goal of gate or policy. Raises DexError with their reason when refused, DeadlineError when silent."""
        response = self._call(client, SetGoal.Request(goal_id=run.goal_id, instruction=run.instruction, active=active), who, timeout_s)
        if active and not response.accepted:
            raise DexError(f"{who}: {response.detail or response.reason}", code=response.reason or "refused")
        return response

    def _call(self, client: Any, request: SetGoal.Request, who: str, timeout_s: float) -> SetGoal.Response:
        """Raises DeadlineError: the service is not there, or silent."""
        if not client.service_is_ready():
            raise DeadlineError(f"service of the {who}", 0.0, "it is not there")
        future, done = client.call_async(request), threading.Event()
        future.add_done_callback(lambda _future: done.set())
        if not done.wait(timeout_s):
            client.remove_pending_request(future)
            raise DeadlineError(f"the {who}'s {client.srv_name.rsplit('/', 1)[-1]}", timeout_s)
        return future.result()

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
        good = ending.outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.PREEMPTED)
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
            outcome=int(ending.outcome), reason=ending.reason, detail=ending.detail, duration_s=run.elapsed_s(time.monotonic_ns()),
            chunks=run.chunks, inference_p50_ms=run.inference_p50_ms, overhead_p50_ms=run.overhead_p50_ms,
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
