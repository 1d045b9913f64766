# SPDX-License-Identifier: Apache-2.0
"""Takes the place of topics of a simulated cell and puts faults on them; bring-up inserts it with ``faults:=TOPIC,...`` and never otherwise.

The processes that publish a topic T are remapped to ``unfaulted/T``; this node passes ``unfaulted/T`` on as T. Nobody else knows it is there.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message

from dex_core.errors import ConfigError, DexError
from dex_msgs.srv import InjectFault
from dex_ros import names
from dex_ros.diagnostics import OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main
from dex_sim.fault import FaultLine
from dex_sim.fault_message import MessageContent

LOOK_PERIOD_S = 0.1
RELEASE_PERIOD_S = 0.005
DEPTH = 10


class Relay:
    """One topic: subscribes where its publishers were sent, publishes where its readers listen. Type and QoS are those of its publishers."""

    def __init__(self, node: DexNode, topic: str) -> None:
        self.topic = topic
        self._node, self._source = node, node.resolve_topic_name(names.unfaulted(topic))
        self._publisher: Any = None
        self._subscription: Any = None
        self.line: FaultLine | None = None
        self._wanted: tuple[str, float] = ("ok", 0.0)

    def find(self) -> bool:
        """Opens the relay once a publisher is on the graph; True when it is open."""
        if self.line is None:
            offered = self._node.get_publishers_info_by_topic(self._source)
            if offered:
                self._open(offered[0])
        return self.line is not None

    def set(self, kind: str, amount: float) -> str:
        """Takes a fault, also before anybody published. Raises ConfigError."""
        line = self.line or FaultLine(None)  # type: ignore[arg-type]  # judged now, kept for later
        text = line.set(kind, amount, time.monotonic_ns())
        self._wanted = kind, amount
        return text

    def release(self) -> None:
        """Lets go what a delay held long enough."""
        if self.line is not None:
            for data in self.line.due(time.monotonic_ns()):
                self._publisher.publish(data)

    def close(self) -> None:
        """Ends both ends."""
        if self.line is not None:
            self._node.destroy_subscription(self._subscription)
            self._node.destroy_publisher(self._publisher)
            self.line = None

    def _open(self, offered: Any) -> None:
        kind = message_class(offered.topic_type)
        profile = relayed_qos(offered.qos_profile)
        self.line = FaultLine(MessageContent(lambda data: deserialize_message(data, kind), serialize_message))
        self.line.set(*self._wanted, time.monotonic_ns())
        self._publisher = self._node.create_publisher(kind, self.topic, profile)
        self._subscription = self._node.create_subscription(kind, names.unfaulted(self.topic), self._on_message, profile, raw=True)

    def _on_message(self, data: bytes) -> None:
        for out in self.line.put(data, time.monotonic_ns()):
            self._publisher.publish(out)


def message_class(type_name: str) -> type:
    """``sensor_msgs/msg/Image`` -> its class. Raises ConfigError when it is not installed."""
    package, _, name = type_name.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"message type {type_name} is not installed here: {error}") from error


def relayed_qos(offered: QoSProfile) -> QoSProfile:
    """The publishers' reliability and durability; the depth does not travel on the graph."""
    latched = offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    reliable = offered.reliability == ReliabilityPolicy.RELIABLE
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1 if latched else DEPTH, reliability=reliability, durability=durability)


class FaultNode(DexNode):
    """Parameter ``topics``: relative names, joined by commas. Service ``faults/inject``. A fault ends with this node."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("faults", **kwargs)
        self.declare_parameter("topics", "", ParameterDescriptor(read_only=True))
        self._relays: dict[str, Relay] = {}
        self._service = self.create_service(InjectFault, names.FAULTS_INJECT, self._on_inject)
        self._look = self.create_timer(LOOK_PERIOD_S, self._on_look, autostart=False)
        self._release = self.create_timer(RELEASE_PERIOD_S, self._on_release, autostart=False)

    def configure(self) -> None:
        """Reads which topics; refuses a cell that is not simulated."""
        if not self.cell.simulated:
            raise ConfigError("faults are injected into a simulated cell alone; this one is real")
        topics = [topic for topic in self.get_parameter("topics").value.split(",") if topic]
        self._relays = {topic: Relay(self, topic) for topic in topics}

    def activate(self) -> None:
        """Opens the relays as their publishers appear."""
        self._look.reset()
        self._release.reset()

    def deactivate(self) -> None:
        """Ends the relays: their topics fall silent."""
        self._look.cancel()
        self._release.cancel()
        for relay in self._relays.values():
            relay.close()

    def _on_look(self) -> None:
        missing = [topic for topic, relay in self._relays.items() if not relay.find()]
        faulty = {topic: relay.line.kind for topic, relay in self._relays.items() if relay.line is not None and relay.line.kind != "ok"}
        text = f"waits for publishers of {missing}" if missing else "every topic goes through"
        self.diagnostics.set("faults", WARN if missing or faulty else OK, f"faults on {faulty}" if faulty else text, faulty)

    def _on_release(self) -> None:
        for relay in self._relays.values():
            relay.release()

    def _on_inject(self, request: InjectFault.Request, response: InjectFault.Response) -> InjectFault.Response:
        try:
            if request.component not in self._relays:
                raise ConfigError(f"topic {request.component!r} does not go through here; faults:= was given {list(self._relays)}")
            response.message = self._relays[request.component].set(request.type, request.amount)
            response.success = True
            self.get_logger().warning(f"{request.component}: {request.type}: {response.message}")
        except DexError as error:
            response.message = str(error)
        return response


def main() -> int:
    """Entry of the executable."""
    node_parser("Puts faults on topics of a simulated cell.").parse_known_args(sys.argv[1:])
    return spin_main(FaultNode)


if __name__ == "__main__":
    raise SystemExit(main())
