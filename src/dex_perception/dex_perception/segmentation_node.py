# SPDX-License-Identifier: Apache-2.0
"""Finds one object by words, box or clicks and follows it: mask, result and object cloud, or 'no target' with the reason."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from typing import Any

import cv2
import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from dex_core.clock import NS
from dex_core.clouds import Cloud
from dex_core.config import PerceptionConfig
from dex_core.errors import ShapeError
from dex_msgs.action import Segment
from dex_msgs.msg import Segmentation
from dex_perception.segment import codes
from dex_perception.segment.codes import PictureError, PromptError
from dex_perception.segment.eye import Eye, Trust
from dex_perception.segment.intake import Intake, intrinsics_of
from dex_perception.segment.job import Ending, Job, Outcome, Patience
from dex_perception.segment.models import make_completer, make_reader, make_segmenter
from dex_perception.segment.owner import Ownership
from dex_perception.segment.pairing import Pair
from dex_perception.segment.request import Request
from dex_perception.segment.result import Result, Standing
from dex_perception.segment.server import Server
from dex_perception.segment.transforms import TransformBuffer
from dex_perception.segment.view import Picture, Workspace
from dex_ros import convert, names, qos
from dex_ros.clouds import cloud_to_msg
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main
from dex_ros.polling import PolledSubscription, WaitForAny
from dex_ros.segmentation import add_object, goal_to_fields, result_to_msg, transforms_in

WITHDRAW_S, LISTEN_S = 0.02, 1.0
LEAVE_S = 5.0
"""How long a deactivation waits for a goal that is in the middle of an inference."""
TF = QoSProfile(depth=100, reliability=qos.SENSOR.reliability)
TF_STATIC = QoSProfile(depth=100, reliability=qos.LATCHED.reliability, durability=qos.LATCHED.durability)
"""Many nodes say where their frames are, each in a message of its own."""
EMPTY = Cloud(np.zeros((0, 3), dtype=np.float32), np.zeros((0, 3), dtype=np.uint8), np.zeros((0, 3), dtype=np.float32))


def said(result: Result, world_frame: str) -> Segmentation:
    """A result as a message."""
    t, found = result.times, result.object
    msg = result_to_msg(
        result.stamp_ns, result.frame_id, goal_id=result.goal_id, target=result.target, code=result.code, detail=result.detail,
        confidence=result.confidence, world_frame=world_frame, segmenter=result.segmenter, tracked=result.tracked, prompt_ms=t.prompt_ms,
        encode_ms=t.encode_ms, decode_ms=t.decode_ms, total_ms=t.total_ms,
    )
    if found is not None:
        add_object(msg, found.mask, found.centre_m, found.size_m, len(found.cloud))
    return msg


def feedback_of(job: Job, wall_ns: int) -> Segment.Feedback:
    """How a goal stands; an object counts as found only while its pictures are good."""
    last, trouble = job.last, job.trouble[0]
    if last is None:
        return Segment.Feedback(stage=job.stage, code=trouble, age_s=float("nan"))
    return Segment.Feedback(
        stage=job.stage, found=last.object is not None and not trouble, confidence=last.confidence, code=trouble or last.code,
        age_s=(wall_ns - last.stamp_ns) / NS, pictures=job.pictures,
    )


class SegmentationNode(DexNode):
    """Serves ``~/segment``, one goal at a time, and ``~/cancel``; nothing is read from the camera while there is no goal."""

    executor_threads = 4

    def __init__(self, **kwargs: object) -> None:
        super().__init__("segmentation", **kwargs)
        group = ReentrantCallbackGroup()
        self._owner, self._standing, self._cancelled = Ownership(), Standing(), ""
        self._subs: list[PolledSubscription] = []
        self._publishing = threading.RLock()
        self._made: list[tuple[Any, Any]] = []
        self._goals = ActionServer(
            self, Segment, names.SEGMENT, self._execute, callback_group=group, goal_callback=self._on_goal,
            cancel_callback=lambda _handle: CancelResponse.ACCEPT,
        )
        self._service = self.create_service(Trigger, names.SEGMENT_CANCEL, self._on_cancel, callback_group=group)

    # -- lifecycle ------------------------------------------------------------------------------------------------------
    def configure(self) -> None:
        """Loads the models and subscribes."""
        config = self._config = self.cell.perception or PerceptionConfig()
        name = self.cell.camera(config.camera)
        scope = self.cell.camera_scope(name)
        eye = Eye(make_segmenter(config), make_reader(config), Trust(config.min_confidence, config.min_points))
        self._models = f"{eye.segmenter.name}, words: {eye.reader.name if eye.reader else 'nobody reads them'}"
        frozen_after = 0 if self.cell.cameras[name].driver == "simulated" else config.frozen_after
        self._server = Server(
            eye, self, self._owner, Intake(config.pairing_s, config.max_age_s, frozen_after), TransformBuffer(config.transform_ahead_s),
            workspace=Workspace(config.workspace_low_m, config.workspace_high_m, config.depth_max_m),
            patience=Patience(config.budget_s, config.max_age_s, config.picture_timeout_s, config.lost_timeout_s),
            world_frame=config.world_frame, rate_hz=config.rate_hz, wall_ns=self.now_ns, completer=(completer := make_completer(config)),
        )
        colour, depth, info = (names.of_camera(topic, scope) for topic in (names.IMAGE, names.DEPTH, names.DEPTH_INFO))
        pictures = ((Image, colour, qos.SENSOR), (Image, depth, qos.SENSOR), (CameraInfo, info, qos.SENSOR))
        self._wanted = (*pictures, (TFMessage, "/tf", TF), (TFMessage, "/tf_static", TF_STATIC))
        self._subs = [PolledSubscription(self, *wanted) for wanted in self._wanted]
        self._any = WaitForAny(self._subs[:2])
        self._result_out = self._publisher(Segmentation, names.SEGMENT_RESULT)
        self._mask_out = self._publisher(Image, names.SEGMENT_MASK)
        self._cloud_out = self._publisher(PointCloud2, names.SEGMENT_CLOUD)
        self._completed_out = self._publisher(PointCloud2, names.SEGMENT_COMPLETED) if completer else None
        self._withdrawal = self.create_timer(WITHDRAW_S, self._withdraw)
        self._withdrawal.cancel()  # runs while an object is out there
        self._made += [(timer, self.destroy_timer) for timer in (self._withdrawal, self.create_timer(LISTEN_S, self._listen))]
        self.tell("", "ready", {})

    def activate(self) -> None:
        """Goals are accepted from now on."""
        self._owner.open()

    def deactivate(self) -> None:
        """Aborts the running goal and waits until it has ended."""
        self._owner.close()
        self._owner.wait_idle(LEAVE_S)
        self._withdraw(at_once=True)

    def cleanup(self) -> None:
        """Lets models and subscriptions go."""
        self._any = self._server = None
        for thing, destroy in self._made:
            destroy(thing)
        for subscription in self._subs:
            subscription.destroy()
        self._made, self._subs = [], []

    def destroy_node(self) -> None:
        """Ends the running goal and the action server first."""
        self._owner.close()
        self._owner.wait_idle(1.0)
        self._goals.destroy()
        super().destroy_node()

    def _publisher(self, kind: type, topic: str) -> Any:
        publisher = self.create_publisher(kind, topic, qos.REPORT)
        self._made.append((publisher, self.destroy_publisher))
        return publisher

    # -- goals ----------------------------------------------------------------------------------------------------------
    def _on_goal(self, goal: Segment.Goal) -> GoalResponse:
        if why := self._owner.refusal(preempt=goal.preempt):
            self.get_logger().warning(f"goal rejected: {why}")
            self.diagnostics.set("rejected goal", WARN, why, {"text": goal.text})
        return GoalResponse.REJECT if why else GoalResponse.ACCEPT

    def _on_cancel(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._cancelled = self._owner.owner
        response.success = bool(self._cancelled)
        response.message = "the running goal is being cancelled" if response.success else "no goal is running"
        return response

    def _execute(self, handle: ServerGoalHandle) -> Segment.Result:
        """One goal from acceptance to its terminal state."""
        goal_id = str(uuid.UUID(bytes=bytes(handle.goal_id.uuid)))
        job, ending = None, Ending(Outcome.ABORTED, "internal_error", "the segmentation node failed; see its log")
        try:
            request = Request(**goal_to_fields(handle.request))
            job, ending = self._server.run(
                goal_id, request, lambda: handle.is_cancel_requested or self._cancelled == goal_id,
                lambda running: handle.publish_feedback(feedback_of(running, self.now_ns())),
            )
        except (PromptError, ShapeError) as error:
            ending = Ending(Outcome.REFUSED, error.code, str(error))
        finally:
            self._finish(handle, ending)
        result = Segment.Result(outcome=int(ending.outcome), reason=ending.reason, detail=ending.detail, pictures=job.pictures if job else 0)
        if job is not None and job.last is not None:
            result.segmentation = said(job.last, self._config.world_frame)
        return result

    def _finish(self, handle: ServerGoalHandle, ending: Ending) -> None:
        """The goal's terminal state, whatever happened before."""
        if ending.outcome is Outcome.SUCCEEDED:
            handle.succeed()
        elif ending.outcome is Outcome.CANCELLED and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        text = ending.outcome.name + (f" [{ending.reason}] {ending.detail}" if ending.reason else "")
        self.get_logger().info(text)
        if not self._owner.owner:
            good = ending.outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED)
            self.tell("" if good else ending.reason, f"the last goal ended: {text}", {})

    # -- ports of the server, in the goal's thread ----------------------------------------------------------------------
    def wait(self, timeout_s: float) -> None:
        """Until a picture came, or the time is over."""
        self._any.wait(timeout_s)

    def take(self, intake: Intake[Image], transforms: TransformBuffer) -> None:
        """Hands over everything that came since."""
        colour, depth, info, moving, fixed = self._subs
        now_ns = time.monotonic_ns()
        for message in colour.take_all():
            intake.colour(message, convert.time_from_msg(message.header.stamp), now_ns)
        for message in depth.take_all():
            intake.depth(message, convert.time_from_msg(message.header.stamp), now_ns)
        if (message := info.take_newest()) is not None:
            intake.info(intrinsics_of(message.width, message.height, message.k, message.d, message.distortion_model))
        for subscription in (fixed, moving):
            for message in subscription.take_all():
                for transform in transforms_in(message):
                    transforms.add(*transform, fixed=subscription is fixed)

    def picture(self, pair: Pair[Image, Image], intake: Intake[Image]) -> tuple[Picture, str]:
        """A pair as arrays, and the frame its depth names. Raises PictureError ``image_encoding`` or ``image_size``."""
        try:
            rgb, depth_m = convert.image_from_msg(pair.colour), convert.depth_from_msg(pair.depth)
        except ShapeError as error:
            raise PictureError(str(error), code="image_encoding" if error.code.startswith("encoding") else "image_size") from error
        return Picture(rgb, depth_m, intake.intrinsics, pair.stamp_ns, pair.colour.header.frame_id), pair.depth.header.frame_id

    def publish(self, result: Result, max_age_s: float) -> None:
        """Says a result; without an object mask and cloud are empty."""
        found = result.object
        mask = found.mask if found is not None else np.zeros(result.size_hw, dtype=np.uint8)
        with self._publishing:
            self._result_out.publish(said(result, self._config.world_frame))
            if self._mask_out.get_subscription_count():
                self._mask_out.publish(convert.pixels_to_msg(mask, "mono8", result.stamp_ns, result.frame_id))
            self._cloud_out.publish(cloud_to_msg(found.cloud if found is not None else EMPTY, result.stamp_ns, self._config.world_frame))
            if found is None and self._completed_out is not None:
                self.publish_completed(result, EMPTY)
            self._standing.put(result, max_age_s, self.now_ns(), time.monotonic_ns())
            if found is not None and self._withdrawal.is_canceled():
                self._withdrawal.reset()
                self.executor.wake()  # it waits for the timers that ran when it began to wait

    def publish_completed(self, result: Result, cloud: Cloud) -> None:
        """Says the whole object of a result that was published, unless that was withdrawn meanwhile."""
        with self._publishing:
            if not len(cloud) or self._standing.left_standing:
                self._completed_out.publish(cloud_to_msg(cloud, result.stamp_ns, self._config.world_frame))

    def tell(self, code: str, text: str, values: dict[str, object]) -> None:
        """The state for /diagnostics; an empty code is a good one."""
        level = OK if not code else ERROR if code in codes.PICTURE else WARN
        self.diagnostics.set("segmentation", level, text, {"code": code, "segmenter": self._models, **values})

    # -- in the executor ------------------------------------------------------------------------------------------------
    def _withdraw(self, *, at_once: bool = False) -> None:
        """A result that became too old is said to be no more, once; no newer one comes in between."""
        with self._publishing:
            fallen = self._standing.fallen(time.monotonic_ns(), at_once=at_once)
            if fallen is not None:
                self.publish(fallen, 0.0)
            if not self._standing.left_standing:
                self._withdrawal.cancel()

    def _listen(self) -> None:
        """Whose pictures or transforms cannot be heard, because their QoS and ours do not fit."""
        deaf = []
        for subscription, (_, _, profile) in zip(self._subs, self._wanted, strict=True):
            for publisher in self.get_publishers_info_by_topic(subscription.topic):
                verdict, why = qos_check_compatible(publisher.qos_profile, profile)
                if verdict == QoSCompatibility.ERROR:
                    deaf.append(f"{publisher.node_name} on {subscription.topic}: {why.strip()}")
        text = codes.PICTURE["qos_incompatible"] if deaf else "every publisher is heard"
        self.diagnostics.set("streams", ERROR if deaf else OK, text, {"code": "qos_incompatible" if deaf else "", "detail": "; ".join(deaf)})


def main() -> int:
    """Executable ``segmentation_node``."""
    node_parser("Finds one object by words, box or clicks, and follows it.").parse_known_args()
    cv2.setNumThreads(1)
    return spin_main(SegmentationNode)


if __name__ == "__main__":
    sys.exit(main())
