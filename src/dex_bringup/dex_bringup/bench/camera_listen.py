# SPDX-License-Identifier: Apache-2.0
"""One subscriber of ``dex bench camera``, a process of its own: how late the pictures of a pattern camera come here, and how many are missing."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from dex_core.clock import NS
from dex_perception.cameras.pattern import COUNT, sequence_of
from dex_ros import names
from dex_ros.convert import pixels_from_msg, time_from_msg

QUEUE = 5
"""Depth of the queue, that of ROS's own sensor_data profile."""


@dataclass
class Stream:
    """What came of one topic: delays from stamp to callback [ms], and the pictures' numbers."""

    delay_ms: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def lost(self, modulus: int = 0) -> int:
        """How many are missing between the first and the last."""
        steps = [later - earlier for earlier, later in zip(self.numbers[:-1], self.numbers[1:], strict=True)]
        return sum((step % modulus if modulus else step) - 1 for step in steps)


class Listener:
    """Three subscriptions, as a policy has them; measures from ``warm_up_s`` after the first picture on, for ``seconds``."""

    def __init__(self, node: rclpy.node.Node, reliable: bool, warm_up_s: float, seconds: float) -> None:
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        profile = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=QUEUE, reliability=reliability)
        self.colour, self.depth, self.infos = Stream(), Stream(), 0
        self._warm_up_ns, self._period_ns = round(warm_up_s * NS), round(seconds * NS)
        self._first_ns = 0
        node.create_subscription(Image, names.IMAGE, self._on_colour, profile)
        node.create_subscription(Image, names.DEPTH, self._on_depth, profile)
        node.create_subscription(CameraInfo, names.CAMERA_INFO, self._on_info, profile)

    def phase(self) -> int:
        """0 before, 1 while, 2 after measuring."""
        since_ns = time.monotonic_ns() - self._first_ns
        return 0 if not self._first_ns or since_ns < self._warm_up_ns else 1 if since_ns < self._warm_up_ns + self._period_ns else 2

    def _on_colour(self, message: Image) -> None:
        self._first_ns = self._first_ns or time.monotonic_ns()
        self._note(self.colour, message, lambda: sequence_of(message.data))

    def _on_depth(self, message: Image) -> None:
        self._note(self.depth, message, lambda: int(pixels_from_msg(message)[0, 0] * (1 if message.encoding == "16UC1" else 1000) + 0.5))

    def _on_info(self, _message: CameraInfo) -> None:
        self.infos += self.phase() == 1

    def _note(self, stream: Stream, message: Image, number: Callable[[], int]) -> None:
        delay_ms = (time.time_ns() - time_from_msg(message.header.stamp)) * 1e-6
        if self.phase() == 1:
            stream.delay_ms.append(delay_ms)
            stream.numbers.append(number())


def main() -> int:
    """Measures and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--warm-up", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--timeout", type=float, default=30.0, help="longest wait for the first picture, beyond the measuring")
    options, ros = parser.parse_known_args()
    rclpy.init(args=[sys.argv[0], *ros])
    node = rclpy.create_node("listener")
    listener = Listener(node, options.reliable, options.warm_up, options.seconds)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + options.timeout + options.warm_up + options.seconds
    while listener.phase() < 2 and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    json.dump({
        "colour_ms": listener.colour.delay_ms, "depth_ms": listener.depth.delay_ms, "colour_lost": listener.colour.lost(),
        "depth_lost": listener.depth.lost(COUNT), "infos": listener.infos,
    }, sys.stdout)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
