# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from std_srvs.srv import Trigger
from unique_identifier_msgs.msg import UUID

from dex_bringup.client import CellClient
from dex_msgs.action import RunTask
from dex_msgs.msg import PolicyStatus, SafetyState
from dex_policy.task_node import TaskNode
from dex_ros import names, qos
from dex_ros.testing import wait_for

pytestmark = pytest.mark.ros
INSTRUCTION = "Push the two tomato cans together"


class Client:
    """Sends one goal and keeps its feedback."""

    def __init__(self, fakes: Any) -> None:
        self._client = ActionClient(fakes, RunTask, names.RUN_TASK)
        assert self._client.wait_for_server(5.0)
        self.feedback: list[RunTask.Feedback] = []

    def send(self, instruction: str = INSTRUCTION, deadline_s: float = 10.0, **goal: Any) -> Any:
        future = self._client.send_goal_async(
            RunTask.Goal(instruction=instruction, deadline_s=deadline_s, **goal), feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        wait_for(future.done, "run_task goal")
        return future.result()

    def result_later(self, handle: Any) -> Any:
        return handle.get_result_async()

    def result(self, handle: Any, timeout_s: float = 8.0) -> tuple[int, RunTask.Result]:
        future = handle.get_result_async()
        wait_for(future.done, "run_task result", timeout_s)
        return future.result().status, future.result().result

    def run(self, **goal: Any) -> tuple[int, RunTask.Result]:
        handle = self.send(**goal)
        assert handle.accepted
        return self.result(handle)

    def running(self, instruction: str = INSTRUCTION) -> Any:
        handle = self.send(instruction)
        wait_for(lambda: any(f.stage == "waiting_for_chunk" for f in self.feedback), "an armed goal")
        return handle


def armed(fakes: Any, who: str) -> bool:
    """Whether the last call to ``who`` armed a goal."""
    return [c for c in fakes.calls if c[0] == who][-1][2]


def test_success_is_the_judges_word(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        fakes.judge(False, 0.1)
        handle = client.running()
        assert [c[0] for c in fakes.calls] == ["gate", "policy"], "the gate is armed first"
        goal_id = fakes.calls[0][1]
        for k in range(3):
            fakes.report(goal_id=goal_id, sequence=k + 1, accepted=True, inference_ms=10.0 + k, overhead_ms=20.0)
        wait_for(lambda: any(f.stage == "running" and f.chunks == 3 for f in client.feedback), "running with three chunks")
        fakes.judge(True, 1.0)
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_SUCCEEDED and result.outcome == RunTask.Result.SUCCEEDED
        assert result.chunks == 3 and result.inference_p50_ms == 11.0 and result.overhead_p50_ms == 20.0
        assert not armed(fakes, "policy") and not armed(fakes, "gate")
        assert any(f.stage == "settling" for f in client.feedback) or result.duration_s > 0


def test_second_goal_is_rejected_and_the_first_goes_on(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        first, second = Client(fakes), Client(fakes)
        handle = first.running()
        assert not second.send().accepted
        wait_for(
            lambda: fakes.complaints("another goal is running") or fakes.complaints(f"{INSTRUCTION!r} rejected: another goal is running"),
            "diagnostics",
        )
        fakes.judge(True, 1.0)
        assert first.result(handle)[1].outcome == RunTask.Result.SUCCEEDED
        fakes.judge(False, 0.0)
        third = second.running()
        fakes.judge(True, 1.0)
        assert second.result(third)[1].outcome == RunTask.Result.SUCCEEDED


def test_cancel(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        handle = client.running()
        handle.cancel_goal_async()
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_CANCELED and result.outcome == RunTask.Result.CANCELLED and result.reason == "cancelled"
        assert not armed(fakes, "policy") and not armed(fakes, "gate")


def test_cancel_at_once_is_not_lost(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        for _ in range(3):
            handle = client.send()
            handle.cancel_goal_async()
            status, result = client.result(handle)
            assert status == GoalStatus.STATUS_CANCELED and result.outcome == RunTask.Result.CANCELLED


def test_cancel_service(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        trigger = fakes.create_client(Trigger, names.TASK_CANCEL)
        assert trigger.wait_for_service(5.0)
        reply = trigger.call_async(Trigger.Request())
        wait_for(reply.done, "task/cancel")
        assert not reply.result().success and reply.result().message == "no task is running"
        handle = client.running()
        reply = trigger.call_async(Trigger.Request())
        wait_for(reply.done, "task/cancel")
        assert reply.result().success
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_ABORTED and result.outcome == RunTask.Result.CANCELLED


def test_deadline(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        fakes.judge(False, 0.4)
        status, result = Client(fakes).run(deadline_s=0.6)
        assert status == GoalStatus.STATUS_ABORTED and result.outcome == RunTask.Result.DEADLINE and result.reason == "deadline"
        assert 0.6 <= result.duration_s < 3.0 and not armed(fakes, "gate")


def test_an_instruction_nobody_judges_runs_to_its_deadline(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        fakes.judge(True, 1.0)
        client = Client(fakes)
        _, result = client.run(instruction="Return to the rest pose", deadline_s=1.0)
        assert result.outcome == RunTask.Result.DEADLINE and all(math.isnan(f.progress) for f in client.feedback)


def test_every_task_of_the_cell_succeeds_by_its_own_judge(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        fakes.judge(True, 1.0, task="push_cans")  # the scene before: no success of this goal
        handle = client.running("please put both lemons into the bowl")
        fakes.judge(True, 1.0, task="reorganize_lemons")
        _, result = client.result(handle)
        assert result.outcome == RunTask.Result.SUCCEEDED and result.duration_s < 5.0


@pytest.mark.parametrize("deadline_s", [math.nan, math.inf, -1.0, 1e9])
def test_bad_deadlines_are_refused(bench: Any, deadline_s: float) -> None:
    with bench(TaskNode) as (_, fakes):
        status, result = Client(fakes).run(deadline_s=deadline_s)
        assert status == GoalStatus.STATUS_ABORTED and result.outcome == RunTask.Result.REFUSED and result.reason == "deadline_invalid"
        assert not any(active for _, _, active in fakes.calls)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("policy", "policy_lost"),
        ("left_decoder", "decoder_lost"),
        ("camera", "camera_lost"),
        ("right_arm", "driver_lost"),
        ("gate", "gate_lost"),
    ],
)
def test_nothing_is_armed_while_somebody_is_missing(bench: Any, node: str, reason: str) -> None:
    with bench(TaskNode) as (_, fakes):
        fakes.alive.discard(node)
        _, result = Client(fakes).run()
        assert result.outcome == RunTask.Result.REFUSED and result.reason == reason and node in result.detail
        assert not any(active for _, _, active in fakes.calls)


def test_latched_gate_refuses_until_reset(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        fakes.publish_safety(mode=SafetyState.STOPPED, latched=True, reason="stop_requested", cause="gate/stop")
        client = Client(fakes)
        _, result = client.run()
        assert result.outcome == RunTask.Result.REFUSED and result.reason == "latched" and "stop_requested" in result.detail
        fakes.publish_safety(mode=SafetyState.IDLE, latched=False, reason="", cause="")
        handle = client.running()
        fakes.judge(True, 1.0)
        assert client.result(handle)[1].outcome == RunTask.Result.SUCCEEDED


@pytest.mark.parametrize("who", ["gate", "policy"])
def test_refusals_of_gate_and_policy_are_passed_on(bench: Any, who: str) -> None:
    with bench(TaskNode) as (_, fakes):
        setattr(fakes, f"{who}_reply", ("state_stale" if who == "gate" else "instruction_unknown", "because"))
        _, result = Client(fakes).run()
        assert result.outcome == RunTask.Result.REFUSED and "because" in result.detail
        assert result.reason == ("state_stale" if who == "gate" else "instruction_unknown")
        assert not armed(fakes, "gate")


def test_silent_policy_service_is_named(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        fakes.answer_policy = False
        _, result = Client(fakes).run()
        assert result.outcome == RunTask.Result.REFUSED and result.reason == "deadline" and "policy" in result.detail


def _policy_lost(fakes: Any, goal_id: str) -> None:
    fakes.publish_safety(mode=SafetyState.HOLDING, latched=True, goal_id=goal_id, reason="policy_lost", cause="policy", detail="policy is silent")


def _stopped(fakes: Any, goal_id: str) -> None:
    fakes.publish_safety(
        mode=SafetyState.STOPPED, latched=True, goal_id=goal_id, reason="stop_requested", cause="gate/stop", detail="a stop was requested"
    )


def _gate_restarted(fakes: Any, goal_id: str) -> None:
    fakes.publish_safety(mode=SafetyState.IDLE, goal_id="", reason="")


def _gate_killed(fakes: Any, goal_id: str) -> None:
    fakes.alive.discard("gate")


@pytest.mark.parametrize(
    ("fault", "reason", "said"),
    [
        (_policy_lost, "policy_lost", "policy is silent"),
        (_stopped, "stop_requested", "gate/stop"),
        (_gate_restarted, "gate_lost", "IDLE"),
        (_gate_killed, "gate_lost", "gate is silent"),
    ],
)
def test_leaving_running_aborts_with_reason_and_cause(bench: Any, fault: Callable[[Any, str], None], reason: str, said: str) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        handle = client.running()
        fault(fakes, fakes.calls[0][1])
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_ABORTED and result.outcome == RunTask.Result.ABORTED
        assert result.reason == reason and said in result.detail
        wait_for(lambda: fakes.complaints(reason), "diagnostics with the reason")


def test_inactive_node_rejects_and_deactivate_aborts(bench: Any) -> None:
    with bench(TaskNode, start=False) as (node, fakes):
        client = Client(fakes)
        assert not client.send().accepted
        node.trigger_configure()
        assert not client.send().accepted
        node.trigger_activate()
        handle = client.running()
        node.trigger_deactivate()
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_ABORTED and result.outcome == RunTask.Result.ABORTED and result.reason == "task_lost"
        assert not armed(fakes, "gate")


def test_a_preempting_goal_begins_when_the_one_before_has_ended(bench: Any) -> None:
    """F28: two clients."""
    with bench(TaskNode) as (_, fakes):
        first, second = Client(fakes), Client(fakes)
        running = first.running()
        gone = first.result_later(running)
        handle = second.send(instruction="Return to the rest pose", preempt=True)
        assert handle.accepted
        wait_for(gone.done, "the end of the goal before")
        status, result = gone.result().status, gone.result().result
        assert status == GoalStatus.STATUS_ABORTED and (result.outcome, result.reason) == (RunTask.Result.PREEMPTED, "preempted")
        wait_for(lambda: any(f.stage == "waiting_for_chunk" for f in second.feedback), "the new goal armed")
        goals = [(who, goal, active) for who, goal, active in fakes.calls]
        old, new = goals[0][1], goals[-1][1]
        assert goals == [
            ("gate", old, True), ("policy", old, True), ("policy", old, False), ("gate", old, False), ("gate", new, True), ("policy", new, True)
        ], "disarmed at policy and gate before the new goal arms"
        fakes.report(goal_id=old, sequence=9, accepted=True, inference_ms=1.0, overhead_ms=1.0)
        fakes.report(goal_id=new, sequence=1, accepted=True, inference_ms=2.0, overhead_ms=2.0)
        wait_for(lambda: any(f.chunks for f in second.feedback), "a chunk of the new goal")
        handle.cancel_goal_async()
        status, result = second.result(handle)
        assert status == GoalStatus.STATUS_CANCELED and result.chunks == 1, "chunks of the goal before are not the new one's"


def test_a_waiting_goal_is_displaced_by_a_third_and_may_be_cancelled(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        first, second, third = Client(fakes), Client(fakes), Client(fakes)
        running = first.running()
        fakes.answer_policy = False  # disarming the first takes a second: there is a goal that waits
        ends = [first.result_later(running)]
        waits = second.send(preempt=True)
        takes_over = third.send(preempt=True)
        assert waits.accepted and takes_over.accepted and not Client(fakes).send().accepted
        ends.append(second.result_later(waits))
        takes_over.cancel_goal_async()
        ends.append(third.result_later(takes_over))
        for future in ends:
            wait_for(future.done, "a terminal state", 12.0)
        outcomes = [f.result().result.outcome for f in ends]
        assert outcomes == [RunTask.Result.PREEMPTED, RunTask.Result.PREEMPTED, RunTask.Result.CANCELLED]
        fakes.answer_policy = True
        fakes.judge(False, 0.0)
        again = second.running()
        again.cancel_goal_async()
        assert second.result(again)[1].outcome == RunTask.Result.CANCELLED, "nobody keeps a place"


def test_a_goal_with_wrong_numbers_takes_nobodys_place(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        first, second = Client(fakes), Client(fakes)
        running = first.running()
        for wrong in (dict(deadline_s=-1.0), dict(keepalive_s=0.01), dict(keepalive_s=float("nan"))):
            assert not second.send(preempt=True, **wrong).accepted
        running.cancel_goal_async()
        assert first.result(running)[1].outcome == RunTask.Result.CANCELLED
        status, result = second.run(keepalive_s=99.0)
        assert (result.outcome, result.reason) == (RunTask.Result.REFUSED, "keepalive_invalid")


def test_a_goal_that_the_policy_would_refuse_ends_nobodys_goal(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        first, second = Client(fakes), Client(fakes)
        running = first.running()
        fakes.check_reply = ("instruction_unknown", "'make coffee' is not known; known are 'push the cans'")
        before = list(fakes.calls)
        status, result = second.run(instruction="make coffee", preempt=True)
        assert status == GoalStatus.STATUS_ABORTED and (result.outcome, result.reason) == (RunTask.Result.REFUSED, "instruction_unknown")
        assert "push the cans" in result.detail and fakes.calls == before, "neither gate nor policy heard of it"
        assert running.status == GoalStatus.STATUS_EXECUTING
        fakes.check_reply = ("", "")
        over = first.result_later(running)
        handle = second.send(preempt=True)
        wait_for(over.done, "the end of the first")
        assert over.result().result.outcome == RunTask.Result.PREEMPTED
        handle.cancel_goal_async()
        assert second.result(handle)[1].outcome == RunTask.Result.CANCELLED


def test_a_client_that_dies_in_mid_goal_is_missed(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        alive = fakes.create_publisher(UUID, names.TASK_KEEPALIVE, qos.REPORT)
        handle = client.send(keepalive_s=0.5)
        lives = fakes.create_timer(0.05, lambda: alive.publish(handle.goal_id))
        ended = client.result_later(handle)
        wait_for(lambda: any(f.elapsed_s > 1.2 for f in client.feedback), "a goal that lives longer than its client may be silent")
        assert not ended.done()
        fakes.destroy_timer(lives)
        other = UUID(uuid=[7] * 16)
        lives = fakes.create_timer(0.05, lambda: alive.publish(other))  # somebody else's word does not count
        wait_for(ended.done, "the end of a goal without client")
        status, result = ended.result().status, ended.result().result
        assert status == GoalStatus.STATUS_ABORTED and (result.outcome, result.reason) == (RunTask.Result.ABORTED, "client_lost")
        assert not armed(fakes, "policy") and not armed(fakes, "gate")
        fakes.destroy_timer(lives)


def test_a_model_that_fails_ends_the_goal_at_once(bench: Any) -> None:
    """F39."""
    with bench(TaskNode) as (_, fakes):
        client = Client(fakes)
        handle = client.running()
        statuses = fakes.create_publisher(PolicyStatus, names.POLICY_STATUS, qos.LATCHED)
        wait_for(lambda: statuses.get_subscription_count() >= 2, "the task node's subscription")
        statuses.publish(PolicyStatus(goal_id=fakes.calls[0][1], reason="model_failed", detail="MemoryError('device')"))
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_ABORTED and result.reason == "policy_lost" and "MemoryError" in result.detail


def test_deactivating_the_node_ends_a_goal_that_waits_too(bench: Any) -> None:
    with bench(TaskNode) as (node, fakes):
        first, second = Client(fakes), Client(fakes)
        ends = [first.result_later(first.running())]
        fakes.answer_policy = False
        ends.append(second.result_later(second.send(preempt=True)))
        node.trigger_deactivate()
        for future in ends:
            wait_for(future.done, "a terminal state", 12.0)
        assert [f.result().status for f in ends] == [GoalStatus.STATUS_ABORTED] * 2


def test_the_tools_client_keeps_its_goal_alive_and_may_preempt(bench: Any) -> None:
    with bench(TaskNode) as (_, fakes), CellClient(context=fakes.context) as client:
        done = client.run_task(INSTRUCTION, 2.5, keepalive_s=1.5)
        assert done.outcome == "DEADLINE" and done.duration_s > 2.4, "it was heard all the time"
        other = Client(fakes)
        ended = other.result_later(other.running())
        done = client.run_task("Return to the rest pose", 0.5, preempt=True)
        assert done.outcome == "DEADLINE"
        wait_for(ended.done, "the goal before")
        assert ended.result().result.outcome == RunTask.Result.PREEMPTED
