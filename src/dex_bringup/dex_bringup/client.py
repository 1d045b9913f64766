# SPDX-License-Identifier: Apache-2.0
"""What the tools say to a running cell: services and the RunTask action, each with a deadline that names who was silent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger
from unique_identifier_msgs.msg import UUID

from dex_core.errors import DeadlineError, DexError
from dex_msgs.action import RunTask
from dex_msgs.msg import Heartbeat, SafetyState
from dex_msgs.srv import ResetCell, SwapHand
from dex_ros import names, qos
from dex_ros.polling import PolledSubscription

OUTCOMES = {value: name for name, value in vars(RunTask.Result).items() if name.isupper() and isinstance(value, int)} or {
    1: "SUCCEEDED", 2: "DEADLINE", 3: "CANCELLED", 4: "ABORTED", 5: "REFUSED", 6: "PREEMPTED",
}
FIND_S = 4.0
BEATS_PER_KEEPALIVE = 5.0
QUIET_S = 0.3  # until the devices' last word of the goal before is said, and until everybody measured the new scene


@dataclass(frozen=True)
class TaskResult:
    """How one RunTask goal ended; fields as in dex_msgs/action/RunTask."""

    outcome: str
    reason: str
    detail: str
    duration_s: float
    chunks: int
    inference_p50_ms: float
    overhead_p50_ms: float

    @property
    def succeeded(self) -> bool:
        """True only when the task was done."""
        return self.outcome == "SUCCEEDED"


class CellClient:
    """A node of the tools, alive only while needed.

    Args:
        namespace: the cell's.
        context: a given one is left alone; otherwise an own one is made and ended by ``close``.
    """

    def __init__(self, namespace: str = "", context: Context | None = None) -> None:
        self._own_context = context is None
        self.context = context or Context()
        if context is None:
            rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(
            f"dex_tool_{os.getpid()}", namespace=namespace, context=self.context, enable_rosout=False, start_parameter_services=False
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._action: ActionClient | None = None
        self._services: dict[str, Any] = {}
        self._safety: Any = None
        self._watching = False

    def __enter__(self) -> CellClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Destroys the node, and the context if it is an own one."""
        if self._action is not None:
            self._action.destroy()
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        if self._own_context:
            rclpy.try_shutdown(context=self.context)

    def spin_until(self, done: Callable[[], bool], who: str, timeout_s: float, tick: Callable[[], None] | None = None) -> None:
        """Runs callbacks until ``done()``. Raises DeadlineError naming ``who``."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise DeadlineError(who, timeout_s)
            self._executor.spin_once(timeout_sec=0.05)
            if tick is not None:
                tick()

    def spin(self, seconds: float) -> None:
        """Runs callbacks for so long [s]."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=min(left, 0.05))

    def prepare(self, kind: Any, name: str) -> Any:
        """Makes a service client ahead of its use, so that discovery is over when it counts."""
        if name not in self._services:
            self._services[name] = self.node.create_client(kind, name)
        return self._services[name]

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 5.0) -> Any:
        """Calls one service, waiting for it to appear. Raises DeadlineError naming it."""
        client = self.prepare(kind, name)
        self.spin_until(client.service_is_ready, f"service {client.srv_name}", timeout_s)
        future = client.call_async(request)
        self.spin_until(future.done, f"service {client.srv_name}", timeout_s)
        return future.result()

    def trigger(self, name: str, timeout_s: float = 5.0) -> str:
        """Calls a std_srvs/Trigger; returns its message. Raises DexError when it answers no."""
        response = self.call(Trigger, name, Trigger.Request(), timeout_s)
        if not response.success:
            raise DexError(f"{name} refused: {response.message}", code="refused")
        return response.message

    def prepare_stop(self) -> None:
        """Makes the line to the gate's stop."""
        self.prepare(Trigger, names.GATE_STOP)

    def stop_gate(self, timeout_s: float = 2.0) -> str:
        """Latched stop of the cell."""
        return self.trigger(names.GATE_STOP, timeout_s)

    def reset_gate(self, timeout_s: float = 5.0) -> str:
        """Leaves a latched stop or fault; nothing moves until a new goal."""
        return self.trigger(names.GATE_RESET, timeout_s)

    def reset_scene(self, seed: int, timeout_s: float = 20.0, *, task: str = "") -> int:
        """Puts the simulated cell back with the objects of ``task`` (the cell's own when empty) placed by ``seed``; returns the scene's epoch."""
        response = self.call(ResetCell, names.SIM_RESET, ResetCell.Request(seed=seed, task=task), timeout_s)
        if not response.success:
            raise DexError(f"{names.SIM_RESET} refused seed {seed}: {response.message}", code="refused")
        return int(response.epoch)

    def quiet_gate(self, timeout_s: float = 10.0) -> None:
        """Waits until the gate is idle, resetting it when it is latched: nothing is commanded then, and a new goal may come.

        Raises:
            DeadlineError: it was silent, or did not become idle; says why it refused a reset.
        """
        self._watch_safety()
        refusal = ""
        end = time.monotonic() + timeout_s
        while self._safety is None or self._safety.mode != SafetyState.IDLE:
            if time.monotonic() > end:
                said = "never said how it is" if self._safety is None else f"is latched: {self._safety.detail}" if self._safety.latched else "goes on"
                raise DeadlineError(f"gate, asked to be idle, {said}; it", timeout_s, refusal)
            if self._safety is not None and self._safety.latched:
                try:
                    self.reset_gate(timeout_s)
                except DexError as error:  # it may still be braking
                    if error.code != "refused":
                        raise
                    refusal = str(error)
            self.pause(0.05)

    def _watch_safety(self) -> None:
        if not self._watching:
            self._watching = True
            self.node.create_subscription(SafetyState, names.SAFETY_STATE, lambda message: setattr(self, "_safety", message), qos.LATCHED)

    def new_scene(self, seed: int, *, task: str = "") -> int:
        """A simulated scene by seed, with the objects of ``task`` (the cell's own when empty), once the robots are quiet.

        A robot moved under its last command would take it for a collision.
        """
        self.quiet_gate()
        self.pause(QUIET_S)
        epoch = self.reset_scene(seed, task=task)
        self.pause(QUIET_S)
        return epoch

    def pause(self, seconds: float) -> None:
        """Runs callbacks for a while."""
        end = time.monotonic() + seconds
        self.spin_until(lambda: time.monotonic() >= end, "the clock", seconds + 1.0)

    def safety(self, timeout_s: float = 5.0) -> SafetyState:
        """What the gate says of itself. Raises DeadlineError when it never did."""
        self._watch_safety()
        self.spin_until(lambda: self._safety is not None, "gate", timeout_s)
        self.pause(0.05)  # news that came while nobody looked
        return self._safety

    def swap_hand(self, side: str, hand: str, address: str = "", timeout_s: float = 120.0) -> SwapHand.Response:
        """Asks the supervisor for another hand on one side.

        Raises:
            DeadlineError: it did not answer.
            DexError: ``no_supervisor``, nobody offers it: the cell does not run, or was started by ros2 launch.
        """
        client = self.prepare(SwapHand, names.SWAP_HAND)
        try:
            self.spin_until(client.service_is_ready, names.SWAP_HAND, FIND_S)
        except DeadlineError as error:
            raise DexError(
                f"nobody offers {client.srv_name}: either no cell runs in this namespace and ROS_DOMAIN_ID, or it was not started by dex up; one "
                f"started by ros2 launch is ended and started again with {side}_hand:={hand}", code="no_supervisor",
            ) from error
        self.pause(QUIET_S)  # until the supervisor has found this client, too: an answer at once would be lost
        return self.call(SwapHand, names.SWAP_HAND, SwapHand.Request(side=side, hand=hand, address=address), timeout_s)

    def heartbeats(self) -> PolledSubscription[Heartbeat]:
        """A polled subscription to every node's sign of life; destroy it when done (13 nodes send 260 a second)."""
        return PolledSubscription(self.node, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)

    def run_task(
        self, instruction: str, deadline_s: float = 0.0, on_feedback: Callable[[Any], None] | None = None,
        tick: Callable[[], None] | None = None, timeout_s: float = 120.0, *, preempt: bool = False, keepalive_s: float = 0.0,
    ) -> TaskResult:
        """Sends one RunTask goal and waits for its end.

        Args:
            instruction: what to do, in words.
            deadline_s: 0 takes the cell's default [s].
            on_feedback: gets dex_msgs RunTask.Feedback.
            tick: called about 20 times a second; raising out of it (also KeyboardInterrupt) cancels the goal first.
            timeout_s: longest silence tolerated beyond the deadline [s].
            preempt: a goal that is running ends for this one.
            keepalive_s: the goal ends when this client was not heard for so long, e.g. because it was killed [s]; 0: nobody minds.

        Raises:
            DeadlineError: the task node was silent.
        """
        if self._action is None:
            self._action = ActionClient(self.node, RunTask, names.RUN_TASK)
        action = self._action
        self.spin_until(action.server_is_ready, f"action {names.RUN_TASK} (node task)", 10.0, tick)
        goal = RunTask.Goal(instruction=instruction, deadline_s=float(deadline_s), preempt=preempt, keepalive_s=float(keepalive_s))
        sent = action.send_goal_async(goal, feedback_callback=(lambda m: on_feedback(m.feedback)) if on_feedback else None)
        self.spin_until(sent.done, f"action {names.RUN_TASK} (node task)", 10.0, tick)
        handle = sent.result()
        if not handle.accepted:
            return TaskResult(
                "REFUSED", "refused", "the task node refused the goal; see its log and /diagnostics", 0.0, 0, float("nan"), float("nan")
            )
        result = handle.get_result_async()
        alive = self.node.create_publisher(UUID, names.TASK_KEEPALIVE, qos.REPORT)
        beat = self.node.create_timer(keepalive_s / BEATS_PER_KEEPALIVE, lambda: alive.publish(handle.goal_id)) if keepalive_s else None
        try:
            self.spin_until(result.done, f"action {names.RUN_TASK} (node task)", timeout_s + deadline_s, tick)
        except BaseException:  # also Ctrl-C: the robot is told before the error goes up
            self.spin_until(handle.cancel_goal_async().done, f"cancelling {names.RUN_TASK}", 2.0)
            raise
        finally:
            if beat is not None:
                self.node.destroy_timer(beat)
            self.node.destroy_publisher(alive)
        found = result.result().result
        return TaskResult(
            OUTCOMES.get(int(found.outcome), f"UNKNOWN_{found.outcome}"), found.reason, found.detail, float(found.duration_s), int(found.chunks),
            float(found.inference_p50_ms), float(found.overhead_p50_ms),
        )


class PolledService:
    """A service that its owner serves when it has time, past any executor: the answer may take seconds, and needs other calls.

    Args:
        client: whose context it uses; a node of its own, ``supervisor``, offers it.
        kind: service class.
        name: relative name.
    """

    def __init__(self, client: CellClient, kind: Any, name: str) -> None:
        self._kind = kind
        self._node = rclpy.create_node(
            "supervisor", namespace=client.node.get_namespace(), context=client.context, enable_rosout=False, start_parameter_services=False
        )
        self._service = self._node.create_service(kind, name, lambda _request, response: response)

    def take(self) -> tuple[Any, Any] | None:
        """(request, header) of the next request, or None at once."""
        handle = self._service.handle
        with handle:
            request, header = handle.service_take_request(self._kind.Request)
        return None if header is None else (request, header)

    def answer(self, response: Any, header: Any) -> None:
        """Sends the answer to a request taken."""
        self._service.send_response(response, header)

    def destroy(self) -> None:
        """Offers it no longer."""
        self._node.destroy_node()
