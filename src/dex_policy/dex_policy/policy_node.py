# SPDX-License-Identifier: Apache-2.0
"""The policy server: verified bundle in, observations around one stamp in, action chunks out; infers off the executor's thread."""

from __future__ import annotations

import sys
import threading
import time
import traceback

from dex_core.bundle import Bundle
from dex_core.bundle.probes import Speed
from dex_core.clock import NS, Priority
from dex_core.errors import DexError
from dex_core.policy import ObservationRefused
from dex_msgs.msg import ActionChunk, ChunkReport, PolicyStatus
from dex_msgs.srv import SetGoal
from dex_policy.loading import facts_of, open_policy, words_of
from dex_policy.observing_node import Observing
from dex_policy.serving import PolicyServer
from dex_ros import names, qos
from dex_ros.convert import chunk_to_msg, time_to_msg
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.latency import LatencyWatch
from dex_ros.node import DexNode, node_parser, spin_main

IDLE_WAIT_S = 0.1
POLL_S = 0.005
"""Longest wait for a picture before joint states are looked for again: what has gathered until it comes is read between it and its chunk."""
TELL_PERIOD_S = 0.2
"""How often status and diagnostics are made anew while nothing but the count of chunks changes: they would cost as much as the chunk's message."""


class PolicyNode(DexNode):
    """Publishes ``action_chunk`` and ``policy_status``; serves ``policy/set_goal`` and ``policy/check_goal``, which changes nothing."""

    realtime_priority = Priority.ACTION

    def __init__(self, **kwargs: object) -> None:
        super().__init__("policy", **kwargs)
        self._server: PolicyServer | None = None
        self._worker: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._observing: Observing | None = None
        self._latency: LatencyWatch | None = None
        self._serving: tuple[object, ...] = ()
        self._serving_ns = 0
        self._told_health: str | None = None
        self._bundle: Bundle | None = None
        self._chunks = self.create_publisher(ActionChunk, names.ACTION_CHUNK, qos.CHUNK)
        self._status = self.create_publisher(PolicyStatus, names.POLICY_STATUS, qos.LATCHED)
        self._service = self.create_service(SetGoal, names.POLICY_SET_GOAL, self._on_set_goal)
        self._check_service = self.create_service(SetGoal, names.POLICY_CHECK_GOAL, self._on_check_goal)

    def configure(self) -> None:
        """Loads and verifies the cell's policy and latent bundles; every check of the loader must pass."""
        self._close_policy()
        try:
            policy, self._bundle = open_policy(self.cell, wall_clock_ns=self.now_ns)
        except DexError as error:
            self._publish_status(PolicyStatus.REFUSED, error.code, str(error))
            raise
        self._server = PolicyServer(policy, self.cell.policy, self.cell.control)
        fast, text, values = words_of(policy.spec, self._bundle)
        self.diagnostics.set("bundle", OK if fast else WARN, text, values)
        self._let_go()
        self._observing = Observing(self, self.cell, policy.spec)
        self._latency = LatencyWatch(self, self.cell.policy, self._on_report)
        self._publish_status(PolicyStatus.INACTIVE)

    def activate(self) -> None:
        """Starts the inferring thread; refuses a bundle that is too slow for its own budget (``too_slow``)."""
        assert self._server is not None
        speed = self._bundle.speed if self._bundle else None
        if self._bundle and (self._server.failure or (speed is not None and speed.p50_ms > speed.budget_ms)):
            speed = self._try_once_more(self._bundle)  # the machine may have been busy with the start, the device may be there again
        if speed is not None and speed.p50_ms > speed.budget_ms:
            raise DexError(f"{speed.graph}: median inference {speed.p50_ms:.1f} ms is above the budget of {speed.budget_ms} ms", code="too_slow")
        self._server.recover()
        self._told_health = None
        self._stop.clear()
        self._worker = threading.Thread(target=self._work, name="inference", daemon=True)
        self._worker.start()
        self._publish_status(self._state() if self._server.health() else PolicyStatus.READY)

    def deactivate(self) -> None:
        """Ends the goal and the thread; no chunk goes out any more."""
        self._end_worker()
        self._publish_status(PolicyStatus.INACTIVE)

    def cleanup(self) -> None:
        """Lets the policy and the subscriptions go."""
        self._let_go()
        self._close_policy()

    def destroy_node(self) -> None:
        """Ends the inferring thread first."""
        self._end_worker()
        self._close_policy()
        super().destroy_node()

    def _close_policy(self) -> None:
        if self._server is not None:
            self._server.policy.close()
        self._server = None

    def _try_once_more(self, bundle: Bundle) -> Speed | None:
        """Runs the model. Raises DexError ``model_failed``, whatever it raised."""
        try:
            return bundle.measure_speed()
        except Exception as error:
            raise DexError(f"model {bundle.manifest.name!r} still fails: {error!r}", code="model_failed") from error

    def _let_go(self) -> None:
        for part in (self._observing, self._latency):
            if part is not None:
                part.destroy()
        self._observing = self._latency = None

    def _end_worker(self) -> None:
        if self._server is not None:
            self._server.end()
        self._stop.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join(timeout=5.0)
            self._worker = None

    def _on_set_goal(self, request: SetGoal.Request, response: SetGoal.Response) -> SetGoal.Response:
        server = self._server
        try:
            if server is None or not self.is_active:
                if request.active:
                    raise DexError("the policy node is not active", code="policy_lost")
            elif request.active:
                response.detail = server.begin(request.goal_id, request.instruction).known_as
            elif not server.end(request.goal_id):
                raise DexError(f"goal {server.goal.goal_id if server.goal else ''!r} is being served, not {request.goal_id!r}", code="wrong_goal")
            response.accepted = True
        except DexError as error:
            response.accepted, response.reason, response.detail = False, error.code, str(error)
            self.get_logger().warning(f"goal {request.goal_id!r} refused [{error.code}]: {error}")
            self._publish_status(PolicyStatus.REFUSED, error.code, str(error))
        else:
            self._publish_status(self._state())
        self._wake.set()
        return response

    def _on_check_goal(self, request: SetGoal.Request, response: SetGoal.Response) -> SetGoal.Response:
        try:
            if self._server is None or not self.is_active:
                raise DexError("the policy node is not active", code="policy_lost")
            response.detail, response.accepted = self._server.check(request.instruction), True
        except DexError as error:
            response.reason, response.detail = error.code, str(error)
        return response

    def _on_report(self, report: ChunkReport) -> None:
        if self._server is not None and not report.accepted and self._server.note_refused(report.goal_id, report.sequence, time.monotonic_ns()):
            self._wake.set()

    def _work(self) -> None:
        """The inferring thread's outermost border: what goes wrong here ends the goal and shows."""
        try:
            while not self._stop.is_set():
                self._round()
        except Exception:  # noqa: BLE001 - a dead worker must be seen, never silent
            failure = f"the inferring thread died: {sys.exc_info()[1]!r}"
            self.get_logger().fatal(f"{failure}\n{traceback.format_exc()}")
            self.heartbeat.reason = "internal_error"
            self.diagnostics.set("policy", ERROR, failure, {"code": "internal_error"})
            if self._server is not None:
                self._server.fail(failure)
            self._publish_status(PolicyStatus.REFUSED, "internal_error", failure)

    def _round(self) -> None:
        server, observing = self._server, self._observing
        assert server is not None and observing is not None
        self._take_mounted(server, observing)
        self._tell_health(server)
        now_ns = time.monotonic_ns()
        if not server.collecting(now_ns):
            self._wake.wait(min(IDLE_WAIT_S, server.wait_s(now_ns)) if server.goal else IDLE_WAIT_S)
            self._wake.clear()
            return
        stamp_ns = observing.take(POLL_S)
        if not server.due(time.monotonic_ns()):
            return
        if stamp_ns is None:
            self._miss_picture(server, observing)
        else:
            self._infer(server, observing, stamp_ns)

    def _take_mounted(self, server: PolicyServer, observing: Observing) -> None:
        """Follows an exchanged hand at once, also between goals."""
        try:
            for hand in observing.mounted():
                before = server.status().reason
                if hand != server.mounted.get(hand.side):
                    self.get_logger().info(f"{hand.embodiment} is mounted on {hand.flange}")
                server.note_mounted(hand)
                self._after_refusal(before)
        except DexError as error:
            self._refused(error)

    def _tell_health(self, server: PolicyServer) -> None:
        """A model that failed or a server that is gone shows at once, and so does its return."""
        health = server.health()
        if health == self._told_health:
            return
        self._told_health = health
        self.heartbeat.reason = "policy_lost" if health else ""
        self.diagnostics.set("policy", ERROR if health else OK, health or "ready", facts_of(server.policy))
        if health:
            self.get_logger().error(health)
        self._publish_status(self._state(), *(("policy_lost", health) if health and not server.status().reason else ()))

    def _miss_picture(self, server: PolicyServer, observing: Observing) -> None:
        now_ns, limit_s = time.monotonic_ns(), self.cell.policy.image_max_age_s
        if min(server.overdue_s(now_ns), (now_ns - observing.seen_ns) * 1e-9) > limit_s:
            self._refused(ObservationRefused(f"no picture on {observing.first_topic} for more than {limit_s} s", code="camera_lost"))
            self._wake.wait(IDLE_WAIT_S)

    def _infer(self, server: PolicyServer, observing: Observing, stamp_ns: int) -> None:
        before = server.status()
        self._take_mounted(server, observing)
        try:
            observation = observing.build(stamp_ns, server.mounted)
        except DexError as error:
            return self._refused(error)
        ready_ns = self.now_ns()
        prediction = server.step(observation, time.monotonic_ns(), ready_ns)
        if prediction is None:
            self._after_refusal(before.reason)
            return
        chunk = chunk_to_msg(prediction.chunk)
        chunk.timing.observation_ready = time_to_msg(ready_ns)
        chunk.timing.published = time_to_msg(self.now_ns())
        self._chunks.publish(chunk)
        self._tell_serving(server, prediction.flags)

    def _tell_serving(self, server: PolicyServer, flags: tuple[str, ...]) -> None:
        """Status and diagnostics of a goal that is served: at once when something is new, else every so often."""
        goal, now_ns = server.goal, time.monotonic_ns()
        serving = (goal.goal_id if goal else "", flags, server.policy.hand_changes, server.refusals.total())
        if serving == self._serving and now_ns - self._serving_ns < TELL_PERIOD_S * NS:
            return
        self._serving, self._serving_ns = serving, now_ns
        self._publish_status(PolicyStatus.RUNNING)
        self.diagnostics.set(
            "policy", WARN if flags else OK, "serving, flagged" if flags else "serving", {
                "flags": "; ".join(flags), "hands": ", ".join(hand.embodiment for hand in server.mounted.values()),
                "hand_changes": server.policy.hand_changes, "refusals": dict(server.refusals),
                **facts_of(server.policy),
            },
        )

    def _refused(self, error: DexError) -> None:
        assert self._server is not None
        before = self._server.status().reason
        self._server.refuse(error)
        self._after_refusal(before)

    def _after_refusal(self, reason_before: str) -> None:
        assert self._server is not None
        status = self._server.status()
        if status.reason and status.reason != reason_before:
            self.get_logger().warning(f"observation refused [{status.reason}]: {status.detail}")
            values = {"code": status.reason, "refusals": dict(self._server.refusals)}
            self.diagnostics.set("policy", ERROR, f"observation refused: {status.detail}", values)
            self._publish_status(self._state())

    def _state(self) -> int:
        if self._server is None or not self.is_active:
            return PolicyStatus.INACTIVE
        busy = PolicyStatus.RUNNING if self._server.goal else PolicyStatus.READY
        return PolicyStatus.REFUSED if self._server.health() else busy

    def _publish_status(self, state: int, reason: str = "", detail: str = "") -> None:
        message = PolicyStatus(state=state, reason=reason, detail=detail)
        message.header.stamp = self.get_clock().now().to_msg()
        if self._server is not None:
            spec, status = self._server.policy.spec, self._server.status()
            message.bundle, message.bundle_hash, message.provider = spec.name, spec.bundle_hash, spec.provider
            message.goal_id, message.instruction = status.goal_id, status.instruction
            message.chunks, message.observations_refused = status.chunks, status.refused
            message.inference_p50_ms, message.inference_p99_ms = status.p50_ms, status.p99_ms
            message.reason, message.detail = reason or status.reason, detail or status.detail
        self._status.publish(message)


def main(argv: list[str] | None = None) -> int:
    """Runs the node."""
    node_parser("Policy server of a cell: loads and verifies a model bundle, publishes action chunks while a goal is armed.").parse_known_args(argv)
    return spin_main(PolicyNode, argv)


if __name__ == "__main__":
    sys.exit(main())
