# SPDX-License-Identifier: Apache-2.0
"""Publishes the pictures of one camera, what is known of its lens, and where it stands."""

from __future__ import annotations

import array
import sys
import threading
import time

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from dex_core.clock import NS, Priority
from dex_core.config import CameraConfig
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, ReportingCamera
from dex_core.errors import ConfigError
from dex_core.images import crop_and_resize
from dex_description import camera_rotation
from dex_perception.camera_worker import CameraWorker, make_camera
from dex_perception.frame_watch import FrameWatch
from dex_perception.frames import OPTICAL_IN_LINK_XYZW, frame_names, quaternion_xyzw
from dex_ros import convert, names, qos
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main

LINK, OPTICAL = frame_names()
PICTURES = QoSProfile(depth=4, reliability=ReliabilityPolicy.RELIABLE)
"""As realsense2_camera's: readers of either kind match it, and what a reliable one asks for again is still there."""
REFUSAL_CODES = {"blank": "image_blank", "frozen": "camera_frozen", "repeated": "camera_frozen", "malformed": "image_shape"}
PLUMB_BOB, RATIONAL = "plumb_bob", "rational_polynomial"
JPEG = "rgb8; jpeg compressed bgr8"
"""Format as compressed_image_transport writes it: what the picture was, and the order of its colours in the file."""


def camera_info(intrinsics: Intrinsics, frame_id: str) -> CameraInfo:
    """Intrinsics -> sensor_msgs/CameraInfo: at most five coefficients are plumb_bob (with five numbers), more are rational_polynomial."""
    i = intrinsics
    lens = list(i.distortion)
    model = PLUMB_BOB if len(lens) <= 5 else RATIONAL
    info = CameraInfo(width=i.width, height=i.height, distortion_model=model, d=[*lens, *[0.0] * (5 - len(lens))])
    info.k = [i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [i.fx, 0.0, i.cx, 0.0, 0.0, i.fy, i.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.frame_id = frame_id
    return info


def compressed(picture: NDArray[np.uint8], quality: int, stamp_ns: int, frame_id: str) -> CompressedImage:
    """(H, W, 3) uint8 RGB -> sensor_msgs/CompressedImage as JPEG."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    message = CompressedImage(format=JPEG, data=array.array("B", data.tobytes()))
    message.header.stamp, message.header.frame_id = convert.time_to_msg(stamp_ns), frame_id
    return message


def static_transforms(config: CameraConfig, stem: str = "camera") -> TFMessage:
    """What the camera is mounted on -> camera_link -> camera_color_optical_frame (REP 103)."""
    link, optical = TransformStamped(), TransformStamped()
    link.header.frame_id, (link.child_frame_id, optical.child_frame_id) = config.mounted_on, frame_names(stem)
    t, r = link.transform.translation, link.transform.rotation
    t.x, t.y, t.z = config.centre_m
    r.x, r.y, r.z, r.w = quaternion_xyzw(camera_rotation(config))
    optical.header.frame_id = link.child_frame_id
    r = optical.transform.rotation
    r.x, r.y, r.z, r.w = OPTICAL_IN_LINK_XYZW
    return TFMessage(transforms=[link, optical])


class _Outputs:
    """The topics of one camera. Published on from the worker's thread."""

    def __init__(self, node: DexNode, config: CameraConfig, scope: str, stem: str) -> None:
        self._node, self._config, self._frame_id = node, config, frame_names(stem)[1]
        wanted = {"image": (Image, names.IMAGE), "compressed": (CompressedImage, names.COMPRESSED), "info": (CameraInfo, names.CAMERA_INFO)}
        if config.depth:
            wanted |= {"depth": (Image, names.DEPTH), "depth_info": (CameraInfo, names.DEPTH_INFO)}
        self._out = {key: node.create_publisher(kind, names.of_camera(topic, scope), PICTURES) for key, (kind, topic) in wanted.items()}
        self._tf = node.create_publisher(TFMessage, "/tf_static", qos.LATCHED)
        self._transforms = static_transforms(config, stem)

    def set_intrinsics(self, intrinsics: Intrinsics) -> None:
        """Of what is published; depth lies on the colour, and so has the same in a message of its own."""
        self._info, self._depth_info = (camera_info(intrinsics, self._frame_id) for _ in range(2))

    def publish_transforms(self) -> None:
        """Where the camera stands, once for all."""
        stamp = self._node.get_clock().now().to_msg()
        for transform in self._transforms.transforms:
            transform.header.stamp = stamp
        self._tf.publish(self._transforms)

    def publish(self, picture: NDArray[np.uint8], depth_m: NDArray[np.float32] | None, stamp_ns: int) -> None:
        """One exposure on every topic, what a policy waits for first; compressed only while somebody listens."""
        message = convert.image_to_msg(picture, stamp_ns, self._frame_id)
        self._out["image"].publish(message)
        self._info.header.stamp = message.header.stamp
        self._out["info"].publish(self._info)
        if depth_m is not None and "depth" in self._out:
            self._out["depth"].publish(convert.depth_to_msg(depth_m, stamp_ns, self._frame_id, self._config.depth_encoding))
            self._depth_info.header.stamp = message.header.stamp
            self._out["depth_info"].publish(self._depth_info)
        if self._out["compressed"].get_subscription_count():
            self._out["compressed"].publish(compressed(picture, self._config.jpeg_quality, stamp_ns, self._frame_id))

    def destroy(self) -> None:
        """Takes the topics back."""
        for publisher in (*self._out.values(), self._tf):
            self._node.destroy_publisher(publisher)


class CameraNode(DexNode):
    """One camera of a cell. Parameter ``interface`` names it; empty takes the only one."""

    realtime_priority = Priority.PICTURE

    def __init__(self, **kwargs: object) -> None:
        super().__init__("camera", **kwargs)
        self._worker: CameraWorker | None = None
        self._output = threading.Event()
        self._last_ns = time.monotonic_ns()
        self._report_passed, self._report_ns = 0, self._last_ns
        self._latency_ms, self._depth_share = 0.0, 1.0

    def configure(self) -> None:
        """Opens the camera; nothing is published yet."""
        name = self.cell.camera(self.get_parameter("interface").value)
        self._config = self.cell.cameras[name]
        self._camera = make_camera(self._config, self.cell)
        noisy = not getattr(self._camera, "noise_free", False)
        self._watch = FrameWatch(max_age_s=max(0.25, 5.0 / self._config.rate_hz), frozen_after=3 if noisy else 0)
        self._outputs: _Outputs | None = None
        self._intrinsics: Intrinsics | None = None
        worker = CameraWorker(self._camera, self._config.rate_hz, self._on_frame, self._on_connect)
        worker.start()  # first, so that a camera that is not there leaves nothing behind
        self._worker = worker
        outputs = _Outputs(self, self._config, self.cell.camera_scope(name), self.cell.camera_stem(name))
        outputs.set_intrinsics(self._intrinsics)
        self._outputs = outputs
        self._timer = self.create_timer(0.5, self._report)

    def activate(self) -> None:
        """Starts to publish."""
        self._outputs.publish_transforms()
        self._last_ns = self._report_ns = time.monotonic_ns()
        self._latency_ms, self._depth_share = 0.0, 1.0
        self._report_passed = self._watch.passed
        self._output.set()

    def deactivate(self) -> None:
        """Stops to publish; the camera stays open."""
        self._output.clear()

    def cleanup(self) -> None:
        """Closes the camera."""
        self._output.clear()
        if self._worker is None:
            return
        self._worker.stop()
        self._worker = None
        self.destroy_timer(self._timer)
        self._outputs.destroy()

    # -- in the worker's thread -----------------------------------------------------------------------------------------
    def _on_connect(self, intrinsics: Intrinsics) -> None:
        expected, given = tuple(self._config.native_wh), (intrinsics.width, intrinsics.height)
        if given != expected:
            raise ConfigError(f"the camera gives {given[0]} x {given[1]} pixels; the cell says {expected[0]} x {expected[1]}")
        x, y, w, h = self._config.crop_xywh
        if min(x, y) < 0 or min(w, h) < 1 or x + w > given[0] or y + h > given[1]:
            raise ConfigError(f"crop_xywh {self._config.crop_xywh} leaves the picture of {given[0]} x {given[1]} pixels")
        self._intrinsics = intrinsics.cropped_and_resized(self._config.crop_xywh, self._config.output_wh)
        if self._outputs is not None:
            self._outputs.set_intrinsics(self._intrinsics)
        self._watch.restart(given)

    def _on_frame(self, frame: Frame) -> None:
        if not self._watch.fits(frame):
            return
        picture = crop_and_resize(frame.rgb, self._config.crop_xywh, self._config.output_wh)
        if self._watch.judge(frame, picture, time.time_ns()):
            return
        self._last_ns = time.monotonic_ns()
        if not self._output.is_set():
            return
        depth_m = self._cut(frame.depth_m)
        self._outputs.publish(picture, depth_m, frame.stamp_ns)
        self._latency_ms = 0.9 * self._latency_ms + 0.1 * (time.time_ns() - frame.stamp_ns) * 1e-6
        if depth_m is not None:
            self._depth_share = 0.9 * self._depth_share + 0.1 * float(np.isfinite(depth_m[::4, ::4]).mean())

    def _cut(self, depth_m: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Depth as the picture is cut and sized; never averaged, for between two surfaces there is nothing."""
        if depth_m is None:
            return None
        x, y, w, h = self._config.crop_xywh
        cut = depth_m[y : y + h, x : x + w]
        return cut if (w, h) == tuple(self._config.output_wh) else cv2.resize(cut, self._config.output_wh, interpolation=cv2.INTER_NEAREST)

    # -- in the executor ------------------------------------------------------------------------------------------------
    def _report(self) -> None:
        now_ns = time.monotonic_ns()
        age_s, elapsed_s = (now_ns - self._last_ns) / NS, (now_ns - self._report_ns) / NS
        if elapsed_s < 0.9 and age_s < 0.5:
            return
        rate_hz = (self._watch.passed - self._report_passed) / elapsed_s
        self._report_passed, self._report_ns = self._watch.passed, now_ns
        own = self._camera.report() if isinstance(self._camera, ReportingCamera) else CameraReport()
        level, message, code = self._verdict(age_s, rate_hz, own.warning)
        self.heartbeat.reason = code if self._output.is_set() else self.heartbeat.reason
        depth = {"depth_known": f"{100 * self._depth_share:.0f} %"} if self._config.depth else {}
        self.diagnostics.set("camera", level, message, {
            **own.values, "driver": self._config.driver, "rate_wanted_hz": self._config.rate_hz, "rate_hz": f"{rate_hz:.1f}",
            "age_s": f"{age_s:.2f}", "exposure_to_publish_ms": f"{self._latency_ms:.1f}", "published": self._watch.passed,
            "connects": self._worker.connects, **depth, "code": code,
            **{f"refused_{reason}": count for reason, count in self._watch.refused.items()},
        })

    def _verdict(self, age_s: float, rate_hz: float, warning: str) -> tuple[bytes, str, str]:
        if self._worker.reason:
            return ERROR, f"camera lost: {self._worker.detail}", "camera_lost"
        if age_s > max(0.5, 5.0 / self._config.rate_hz):
            newest = self._watch.newest
            return ERROR, f"no usable picture: exposures are {newest or 'missing'}", REFUSAL_CODES.get(newest, "camera_lost")
        if warning:
            return WARN, warning, ""
        if self._config.depth and self._depth_share < 0.01:
            return WARN, "depth is unknown everywhere: covered lens, no projector, or nothing within range", ""
        if rate_hz < 0.7 * self._config.rate_hz:
            return WARN, "pictures come slower than configured", ""
        return OK, "pictures come as configured", ""


def main() -> int:
    """Executable ``camera_node``."""
    node_parser("Publishes the pictures of one camera of the cell.").parse_known_args()
    cv2.setNumThreads(1)  # a small picture gains nothing from a second thread, and the other cores have work
    return spin_main(CameraNode)


if __name__ == "__main__":
    sys.exit(main())
