# SPDX-License-Identifier: Apache-2.0
"""A node's sign of life, from a thread of its own so that a busy callback does not look like a crash."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy

from dex_core.clock import Priority, Ticker, set_realtime_priority
from dex_core.safety import machine_id
from dex_msgs.msg import Heartbeat
from dex_ros import names, qos

if TYPE_CHECKING:
    from dex_ros.node import DexNode


class HeartbeatThread:
    """Publishes ``heartbeats`` at ``rate_hz`` until stopped.

    Attributes:
        reason: code of what is wrong, sent along; empty when nothing is.
        every_beat: called with each one; None: nothing is.
    """

    def __init__(self, node: DexNode, rate_hz: float = 20.0) -> None:
        self.reason = ""
        self.every_beat: Callable[[], object] | None = None
        self._node = node
        self._rate_hz = rate_hz
        self._last_spin_ns = time.monotonic_ns()
        self._publisher = node.create_publisher(Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def executor_ran(self) -> None:
        """Tells that the executor is alive."""
        self._last_spin_ns = time.monotonic_ns()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        set_realtime_priority(Priority.CONTROL_PROCESS)
        ticker = Ticker(self._rate_hz)
        message = Heartbeat(node=self._node.get_name(), pid=os.getpid(), machine=machine_id())
        while not self._stop.is_set():
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.sequence += 1
            message.state = self._node.state_id
            message.executor_age_s = (time.monotonic_ns() - self._last_spin_ns) * 1e-9
            message.reason = self.reason
            try:
                self._publisher.publish(message)
            except (InvalidHandle, _rclpy.RCLError):
                return  # the context is gone: the process is ending
            if (call := self.every_beat) is not None:
                call()
            ticker.wait()
