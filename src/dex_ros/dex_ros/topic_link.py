# SPDX-License-Identifier: Apache-2.0
"""The TopicLink of ROS: a participant of its own in another DDS domain, serialized messages in and out, no executor."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rclpy.context import Context
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from dex_core.devices.topic_link import Sample, Topic, split_dds_address
from dex_core.errors import ConfigError, ConnectionLostError

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_environment_lock = threading.Lock()


class RosTopicLink:
    """Joins the DDS domain that an address names, whatever the domain of the rest of the process.

    Publishers are reliable, subscriptions best effort, both volatile: what Cyclone DDS' defaults, with which Unitree's services run, match.

    Args:
        who: name of the ROS node, and in errors.
        address: ``dds:DOMAIN``, or ``dds:DOMAIN@localhost`` to stay on this machine.
        writes, reads: the topics.

    Raises:
        ConfigError: no such address, or a message package is not installed.
    """

    def __init__(self, who: str, address: str, writes: Sequence[Topic], reads: Sequence[Topic]) -> None:
        self.address = address
        self._who = who
        self._domain, self._local = split_dds_address(address, who)
        self._writes = {topic: _message_of(topic) for topic in writes}
        self._reads = {topic: _message_of(topic) for topic in reads}
        self._lock = threading.RLock()
        self._context: Context | None = None
        self._node: Node | None = None
        self._publishers: dict[Topic, Publisher] = {}
        self._subscriptions: dict[Topic, Subscription] = {}

    def open(self) -> None:
        """Joins the domain."""
        with self._lock:
            if self._node is not None:
                return
            self._context = Context()
            with _discovery_range("LOCALHOST" if self._local else "SUBNET"):
                self._context.init(domain_id=self._domain)
                self._node = Node(
                    self._who, context=self._context, use_global_arguments=False, enable_rosout=False, start_parameter_services=False,
                )
            self._publishers = {
                topic: self._node.create_publisher(kind, "/" + topic.name, _qos(1, ReliabilityPolicy.RELIABLE))
                for topic, kind in self._writes.items()
            }
            self._subscriptions = {
                topic: self._node.create_subscription(
                    kind, "/" + topic.name, _never_called, _qos(topic.depth, ReliabilityPolicy.BEST_EFFORT), raw=True
                )
                for topic, kind in self._reads.items()
            }

    def close(self) -> None:
        """Leaves the domain."""
        with self._lock:
            node, self._node = self._node, None
            self._publishers, self._subscriptions = {}, {}
            if node is not None:
                node.destroy_node()
            if self._context is not None:
                self._context.try_shutdown()
                self._context = None

    def publish(self, topic: Topic, data: bytes) -> None:
        """Sends one message."""
        with self._lock:
            self._open_node()
            self._publishers[topic].publish(data)

    def take(self, topic: Topic) -> list[Sample]:
        """What has come since the last call."""
        samples = []
        with self._lock:
            self._open_node()
            subscription = self._subscriptions[topic]
            with subscription.handle:
                while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                    samples.append(Sample(bytes(taken[0]), int(taken[1]["received_timestamp"]) or time.time_ns()))
        return samples

    def readers(self, topic: Topic) -> int:
        """As the graph shows."""
        with self._lock:
            return self._open_node().count_subscribers("/" + topic.name)

    def writers(self, topic: Topic) -> int:
        """As the graph shows."""
        with self._lock:
            return self._open_node().count_publishers("/" + topic.name)

    def _open_node(self) -> Node:
        if self._node is None:
            raise ConnectionLostError(f"{self._who} has not joined {self.address}")
        return self._node


def _message_of(topic: Topic) -> Any:
    package, _, name = topic.kind.partition("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"topic {topic.name!r} carries {topic.kind}, which is not installed: {error}; make setup builds it") from error


def _qos(depth: int, reliability: ReliabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=DurabilityPolicy.VOLATILE)


def _never_called(_data: bytes) -> None:
    """Messages are taken; no executor runs."""


@contextmanager
def _discovery_range(value: str) -> Iterator[None]:
    """How far a participant looks for others is read from the environment when its context begins."""
    with _environment_lock:
        before = os.environ.get(_RANGE)
        os.environ[_RANGE] = value
        try:
            yield
        finally:
            os.environ.pop(_RANGE) if before is None else os.environ.update({_RANGE: before})
