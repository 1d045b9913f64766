# SPDX-License-Identifier: Apache-2.0
"""Publishes the pictures of one camera, what is known of its lens, and where it stands."""

from __future__ import annotations

import sys
import threading
import time

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from dex_core.clock import NS, Priority
from dex_core.config import CameraConfig
from dex_core.devices.camera import Frame, Intrinsics
from dex_core.errors import ConfigError
from dex_core.images import crop_and_resize
from dex_description import camera_rotation
from dex_perception.camera_worker import CameraWorker, make_camera
from dex_perception.frame_watch import FrameWatch
from dex_perception.frames import OPTICAL_IN_LINK_XYZW, quaternion_xyzw
from dex_ros import convert, names, qos
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main

LINK, OPTICAL = "camera_link", "camera_color_optical_frame"
REFUSAL_CODES = {"blank": "image_blank", "frozen": "camera_frozen", "repeated": "camera_frozen"}


def camera_info(intrinsics: Intrinsics, frame_id: str) -> CameraInfo:
    """Intrinsics of an undistorted picture -> sensor_msgs/CameraInfo (plumb_bob, five zeros)."""
    i = intrinsics
    info = CameraInfo(width=i.width, height=i.height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [i.fx, 0.0, i.cx, 0.0, 0.0, i.fy, i.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.frame_id = frame_id
    return info


def static_transforms(config: CameraConfig) -> TFMessage:
    """What the camera is mounted on -> camera_link -> camera_color_optical_frame (REP 103)."""
    link = TransformStamped()
    link.header.frame_id, link.child_frame_id = config.mounted_on, LINK
    t, r = link.transform.translation, link.transform.rotation
    t.x, t.y, t.z = config.centre_m
    r.x, r.y, r.z, r.w = quaternion_xyzw(camera_rotation(config))
    optical = TransformStamped()
    optical.header.frame_id, optical.child_frame_id = LINK, OPTICAL
    r = optical.transform.rotation
    r.x, r.y, r.z, r.w = OPTICAL_IN_LINK_XYZW
    return TFMessage(transforms=[link, optical])


class CameraNode(DexNode):
    """The camera of a cell. Parameter ``interface`` names it; empty takes the only one."""

    realtime_priority = Priority.PICTURE

    def __init__(self, **kwargs: object) -> None:
        super().__init__("camera", **kwargs)
        self._worker: CameraWorker | None = None
        self._output = threading.Event()
        self._last_ns = time.monotonic_ns()
        self._report_passed, self._report_ns = 0, self._last_ns

    def configure(self) -> None:
        """Opens the camera; nothing is published yet."""
        self._config = self._camera_config()
        camera = make_camera(self._config, self.cell)
        noisy = not getattr(camera, "noise_free", False)
        self._watch = FrameWatch(max_age_s=max(0.25, 5.0 / self._config.rate_hz), frozen_after=3 if noisy else 0)
        self._info: CameraInfo | None = None
        worker = CameraWorker(camera, self._config.rate_hz, self._on_frame, self._on_connect)
        worker.start()  # first, so that a camera that is not there leaves nothing behind
        self._worker = worker
        self._image_out = self.create_publisher(Image, names.IMAGE, qos.SENSOR)
        self._info_out = self.create_publisher(CameraInfo, names.CAMERA_INFO, qos.SENSOR)
        self._tf_out = self.create_publisher(TFMessage, "/tf_static", qos.LATCHED)
        if self._config.depth:
            self._depth_out = self.create_publisher(Image, names.DEPTH, qos.SENSOR)
            self._depth_info_out = self.create_publisher(CameraInfo, names.DEPTH_INFO, qos.SENSOR)
        self._timer = self.create_timer(0.5, self._report)

    def activate(self) -> None:
        """Starts to publish."""
        transforms = static_transforms(self._config)
        stamp = self.get_clock().now().to_msg()
        for transform in transforms.transforms:
            transform.header.stamp = stamp
        self._tf_out.publish(transforms)
        self._last_ns = self._report_ns = time.monotonic_ns()
        self._latency_ms = 0.0
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
        outputs = [self._image_out, self._info_out, self._tf_out]
        outputs += [self._depth_out, self._depth_info_out] if self._config.depth else []
        for publisher in outputs:
            self.destroy_publisher(publisher)

    def _camera_config(self) -> CameraConfig:
        cameras, wanted = self.cell.cameras, self.get_parameter("interface").value
        if not wanted and len(cameras) == 1:
            return next(iter(cameras.values()))
        if wanted not in cameras:
            raise ConfigError(f"camera {wanted!r} is not in the cell; it has {list(cameras)}; set the parameter interface")
        return cameras[wanted]

    # -- in the worker's thread -----------------------------------------------------------------------------------------
    def _on_connect(self, intrinsics: Intrinsics) -> None:
        expected = self._config.native_wh
        if (intrinsics.width, intrinsics.height) != tuple(expected):
            raise ConfigError(f"the camera gives {intrinsics.width} x {intrinsics.height} pixels; the cell says {expected[0]} x {expected[1]}")
        self._info = camera_info(intrinsics.cropped_and_resized(self._config.crop_xywh, self._config.output_wh), OPTICAL)
        self._watch.restart()

    def _on_frame(self, frame: Frame) -> None:
        picture = crop_and_resize(frame.rgb, self._config.crop_xywh, self._config.output_wh)
        if self._watch.judge(frame, picture, time.time_ns()):
            return
        self._last_ns = time.monotonic_ns()
        if not self._output.is_set():
            return
        message = convert.image_to_msg(picture, frame.stamp_ns, OPTICAL)
        self._info.header.stamp = message.header.stamp
        self._image_out.publish(message)
        self._info_out.publish(self._info)
        self._latency_ms = 0.9 * self._latency_ms + 0.1 * (time.time_ns() - frame.stamp_ns) * 1e-6
        if self._config.depth and frame.depth_m is not None:
            x, y, w, h = self._config.crop_xywh
            depth = cv2.resize(frame.depth_m[y : y + h, x : x + w], self._config.output_wh, interpolation=cv2.INTER_NEAREST)
            self._depth_out.publish(convert.depth_to_msg(np.ascontiguousarray(depth), frame.stamp_ns, OPTICAL))
            self._depth_info_out.publish(self._info)

    # -- in the executor ------------------------------------------------------------------------------------------------
    def _report(self) -> None:
        now_ns = time.monotonic_ns()
        age_s = (now_ns - self._last_ns) / NS
        values = {
            "driver": self._config.driver, "rate_wanted_hz": self._config.rate_hz, "age_s": f"{age_s:.2f}",
            "exposure_to_publish_ms": f"{self._latency_ms:.1f}",
            "published": self._watch.passed, "connects": self._worker.connects,
            **{f"refused_{reason}": count for reason, count in self._watch.refused.items()},
        }
        elapsed_s = (now_ns - self._report_ns) / NS
        if elapsed_s < 0.9 and age_s < 0.5:
            return
        rate_hz = (self._watch.passed - self._report_passed) / elapsed_s
        self._report_passed, self._report_ns = self._watch.passed, now_ns
        values["rate_hz"] = f"{rate_hz:.1f}"
        level, message, code = self._verdict(age_s, rate_hz)
        values["code"] = code
        self.heartbeat.reason = code if self._output.is_set() else self.heartbeat.reason
        self.diagnostics.set("camera", level, message, values)

    def _verdict(self, age_s: float, rate_hz: float) -> tuple[bytes, str, str]:
        if self._worker.reason:
            return ERROR, f"camera lost: {self._worker.detail}", "camera_lost"
        if age_s > max(0.5, 5.0 / self._config.rate_hz):
            newest = self._watch.newest
            return ERROR, f"no usable picture: exposures are {newest or 'missing'}", REFUSAL_CODES.get(newest, "camera_lost")
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
