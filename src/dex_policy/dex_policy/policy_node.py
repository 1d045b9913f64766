# SPDX-License-Identifier: Apache-2.0
"""The policy server: verified bundle in, observations around one stamp in, action chunks out; infers off the executor's thread."""

from __future__ import annotations

import sys
import threading
import time
import traceback

import numpy as np
from sensor_msgs.msg import Image, JointState

from dex_core.clock import Priority
from dex_core.errors import DexError
from dex_core.policy import MeasuredPoses, Observation, ObservationRefused, StateHistory, load_policy
from dex_msgs.msg import ActionChunk, MountedHand, PolicyStatus
from dex_msgs.srv import SetGoal
from dex_policy.serving import PolicyServer
from dex_ros import names, qos
from dex_ros.convert import chunk_to_msg, image_from_msg, joint_state_from_msg, time_from_msg, time_to_msg
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.mounted import mounted_from_msg
from dex_ros.node import DexNode, node_parser, spin_main
from dex_ros.polling import PolledSubscription

IDLE_WAIT_S = 0.1
POLL_S = 0.015


class PolicyNode(DexNode):
    """Publishes ``action_chunk`` and ``policy_status``; serves ``policy/set_goal``."""

    realtime_priority = Priority.ACTION

    def __init__(self, **kwargs: object) -> None:
        super().__init__("policy", **kwargs)
        self._server: PolicyServer | None = None
        self._worker: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._image: PolledSubscription[Image] | None = None
        self._states: dict[str, PolledSubscription[JointState]] = {}
        self._history: dict[str, StateHistory] = {}
        self._hands: dict[str, PolledSubscription[MountedHand]] = {}
        self._measured: MeasuredPoses | None = None
        self._picture_ns = 0
        self._failure = ""
        self._chunks = self.create_publisher(ActionChunk, names.ACTION_CHUNK, qos.CHUNK)
        self._status = self.create_publisher(PolicyStatus, names.POLICY_STATUS, qos.LATCHED)
        self._service = self.create_service(SetGoal, names.POLICY_SET_GOAL, self._on_set_goal)

    def configure(self) -> None:
        """Loads and verifies the cell's policy and latent bundles; every check of the loader must pass."""
        try:
            policy, self._bundle = load_policy(self.cell, wall_clock_ns=self.now_ns)
        except DexError as error:
            self._publish_status(PolicyStatus.REFUSED, error.code, str(error))
            raise
        self._server = PolicyServer(policy, self.cell.policy)
        speed = self._bundle.speed
        level = OK if speed is None or speed.ok else WARN
        self.diagnostics.set(
            "bundle",
            level,
            f"{policy.spec.name} {self._bundle.manifest.version} on {policy.spec.provider}",
            {
                "hash": policy.spec.bundle_hash,
                "p50_ms": f"{speed.p50_ms:.2f}" if speed else "",
                "p99_ms": f"{speed.p99_ms:.2f}" if speed else "",
                "checks": "; ".join(f"{r.number} {r.name}: {r.detail}" for r in self._bundle.report),
            },
        )
        if self._image is None:
            self._image = PolledSubscription(self, Image, names.IMAGE, qos.SENSOR)
        for interface in policy.spec.joint_interfaces:
            if interface not in self._states:
                self._states[interface] = PolledSubscription(self, JointState, names.device_states(interface), qos.SENSOR)
        for side in policy.spec.mounted_sides:
            if side not in self._hands:
                self._hands[side] = PolledSubscription(self, MountedHand, names.mounted_hand(side), qos.LATCHED)
        self._measured = MeasuredPoses(self.cell, policy.spec.pose_interfaces)
        self._history = {interface: StateHistory() for interface in self._states}
        self._publish_status(PolicyStatus.INACTIVE)

    def activate(self) -> None:
        """Starts the inferring thread; refuses a bundle that is too slow for its own budget (``too_slow``)."""
        speed = self._bundle.speed
        if speed is not None and speed.p50_ms > speed.budget_ms:
            speed = self._bundle.measure_speed()  # once more: the machine may have been busy with the start
        if speed is not None and speed.p50_ms > speed.budget_ms:
            raise DexError(f"{speed.graph}: median inference {speed.p50_ms:.1f} ms is above the budget of {speed.budget_ms} ms", code="too_slow")
        self._failure = ""
        self._stop.clear()
        self._worker = threading.Thread(target=self._work, name="inference", daemon=True)
        self._worker.start()
        self._publish_status(PolicyStatus.READY)

    def deactivate(self) -> None:
        """Ends the goal and the thread; no chunk goes out any more."""
        self._end_worker()
        self._publish_status(PolicyStatus.INACTIVE)

    def cleanup(self) -> None:
        """Lets the bundle and the subscriptions go."""
        for subscription in (self._image, *self._states.values(), *self._hands.values()):
            if subscription is not None:
                subscription.destroy()
        self._image, self._states, self._history, self._hands = None, {}, {}, {}
        self._server = None

    def destroy_node(self) -> None:
        """Ends the inferring thread first."""
        self._end_worker()
        super().destroy_node()

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
                if self._failure:
                    raise DexError(self._failure, code="policy_lost")
                goal = server.begin(request.goal_id, request.instruction)
                response.detail = goal.known_as
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

    def _work(self) -> None:
        """The inferring thread's outermost border: what goes wrong here ends the goal and shows."""
        try:
            while not self._stop.is_set():
                self._round()
        except Exception:  # noqa: BLE001 - a dead worker must be seen, never silent
            self._failure = f"the inferring thread died: {sys.exc_info()[1]!r}"
            self.get_logger().fatal(f"{self._failure}\n{traceback.format_exc()}")
            self.heartbeat.reason = "internal_error"
            self.diagnostics.set("policy", ERROR, self._failure, {"code": "internal_error"})
            if self._server is not None:
                self._server.end()
            self._publish_status(PolicyStatus.REFUSED, "internal_error", self._failure)

    def _round(self) -> None:
        server = self._server
        assert server is not None and self._image is not None and self._measured is not None
        self._take_mounted(server)
        now_ns = time.monotonic_ns()
        if not server.collecting(now_ns):
            self._wake.wait(min(IDLE_WAIT_S, server.wait_s(now_ns)) if server.goal else IDLE_WAIT_S)
            self._wake.clear()
            return
        self._take_states()
        message = self._image.take_newest() if self._image.wait(POLL_S) else None
        if message is not None:
            self._picture_ns = time.monotonic_ns()
        if not server.due(time.monotonic_ns()):
            return
        if message is None:
            self._miss_picture(server)
        else:
            self._infer(server, message)

    def _take_mounted(self, server: PolicyServer) -> None:
        """Follows an exchanged hand at once, also between goals."""
        for side, subscription in self._hands.items():
            message = subscription.take_newest()
            if message is None:
                continue
            try:
                hand = mounted_from_msg(message)
            except DexError as error:
                self._refused(ObservationRefused(f"mounted hand of the {side} side: {error}", code="hand_unknown"))
                continue
            if hand != server.mounted.get(side):
                self.get_logger().info(f"{hand.embodiment} is mounted on {hand.flange}")
            server.note_mounted(hand)

    def _take_states(self) -> None:
        for interface, subscription in self._states.items():
            message = subscription.take_newest()
            if message is not None:
                self._note_state(interface, message)

    def _note_state(self, interface: str, message: JointState) -> None:
        try:
            self._history[interface].add(joint_state_from_msg(message))
        except DexError as error:
            self._refused(ObservationRefused(f"joint state of {interface}: {error}", code=error.code))

    def _miss_picture(self, server: PolicyServer) -> None:
        now_ns = time.monotonic_ns()
        silent_s = min(server.overdue_s(now_ns), (now_ns - self._picture_ns) * 1e-9)
        if silent_s > self.cell.policy.image_max_age_s:
            self._refused(ObservationRefused(f"no picture on {names.IMAGE} for more than {self.cell.policy.image_max_age_s} s", code="camera_lost"))
            self._wake.wait(IDLE_WAIT_S)

    def _infer(self, server: PolicyServer, message: Image) -> None:
        stamp_ns = time_from_msg(message.header.stamp)
        self._take_states()
        before = server.status()
        try:
            image = np.ascontiguousarray(image_from_msg(message))
        except DexError as error:
            self._refused(ObservationRefused(str(error), code="image_shape"))
            return
        joints = {i: s for i, h in self._history.items() if (s := h.nearest(stamp_ns)) is not None}
        self._take_mounted(server)
        try:
            observation = self._measured.complete(Observation(stamp_ns, {next(iter(server.policy.spec.cameras)): image}, joints, ""), server.mounted)
        except DexError as error:
            self._refused(error)
            return
        ready_ns = self.now_ns()
        prediction = server.step(observation, time.monotonic_ns(), ready_ns)
        if prediction is None:
            self._after_refusal(before.reason)
            return
        chunk = chunk_to_msg(prediction.chunk)
        chunk.timing.observation_ready = time_to_msg(ready_ns)
        chunk.timing.published = time_to_msg(self.now_ns())
        self._chunks.publish(chunk)
        self._publish_status(PolicyStatus.RUNNING)
        self.diagnostics.set(
            "policy",
            WARN if prediction.flags else OK,
            "serving" if not prediction.flags else "serving, flagged",
            {
                "flags": "; ".join(prediction.flags),
                "hands": ", ".join(hand.embodiment for hand in server.mounted.values()),
                "hand_changes": server.policy.hand_changes,
                "refusals": dict(server.refusals),
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
            self.diagnostics.set(
                "policy", ERROR, f"observation refused: {status.detail}", {"code": status.reason, "refusals": dict(self._server.refusals)}
            )
            self._publish_status(self._state())

    def _state(self) -> int:
        if self._server is None or not self.is_active:
            return PolicyStatus.INACTIVE
        return PolicyStatus.RUNNING if self._server.goal else PolicyStatus.READY

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
