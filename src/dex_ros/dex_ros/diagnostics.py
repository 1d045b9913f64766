# SPDX-License-Identifier: Apache-2.0
"""/diagnostics (REP 107): named statuses of one node, published at 1 Hz and at once when a level changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from dex_ros import names, qos

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


class Diagnostics:
    """The statuses of one node; ``set`` may be called from any thread."""

    def __init__(self, node: Node, hardware_id: str = "", period_s: float = 1.0) -> None:
        self._node = node
        self._hardware_id = hardware_id
        self._lock = threading.Lock()
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._publisher = node.create_publisher(DiagnosticArray, names.DIAGNOSTICS, qos.REPORT)
        self._timer = node.create_timer(period_s, self.publish)

    def set(self, name: str, level: bytes, message: str, values: Mapping[str, object] | None = None) -> None:
        """Sets one status; a change of level or message is published at once."""
        status = DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name()}: {name}", level=level, message=message, hardware_id=self._hardware_id,
            values=[KeyValue(key=str(k), value=str(v)) for k, v in (values or {}).items()],
        )
        with self._lock:
            before = self._statuses.get(name)
            self._statuses[name] = status
        if before is None or before.level != level or before.message != message:
            self.publish()

    def publish(self) -> None:
        """Publishes all statuses."""
        with self._lock:
            statuses = list(self._statuses.values())
        if statuses:
            array = DiagnosticArray(status=statuses)
            array.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(array)
