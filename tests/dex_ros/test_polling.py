# SPDX-License-Identifier: Apache-2.0
"""Reading past the executor costs the executor nothing, and a publisher that cannot be heard is said."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Int32

from dex_ros.polling import LOOK_S, PolledSubscription
from dex_ros.testing import ros_domain, wait_for

pytestmark = pytest.mark.ros
RELIABLE = QoSProfile(depth=1)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def node() -> Iterator[Node]:
    with ros_domain(int(os.environ["ROS_DOMAIN_ID"])) as context:
        node = rclpy.create_node("reader", context=context)
        yield node
        node.destroy_node()


def test_messages_are_taken_in_order_and_the_newest_wins(node: Node) -> None:
    reader = PolledSubscription(node, Int32, "numbers", QoSProfile(depth=5))
    publisher = node.create_publisher(Int32, "numbers", QoSProfile(depth=5))
    assert reader.take() is None
    wait_for(lambda: publisher.get_subscription_count() == 1, "discovery")
    for number in range(3):
        publisher.publish(Int32(data=number))
    assert reader.wait(5.0)
    got = wait_for(lambda: (reader.take_all()), "three numbers")
    while len(got) < 3:
        assert reader.wait(5.0)
        got += reader.take_all()
    assert [message.data for message in got] == [0, 1, 2]
    publisher.publish(Int32(data=7))
    assert reader.wait(5.0) and reader.take_newest().data == 7 and reader.take() is None


def test_an_unread_message_does_not_wake_the_executor(node: Node) -> None:
    """Were the reader's events in the executor's wait set, each of its waits would return at once while a message lies unread."""
    reader = PolledSubscription(node, Int32, "numbers", RELIABLE)
    publisher = node.create_publisher(Int32, "numbers", RELIABLE)
    wait_for(lambda: publisher.get_subscription_count() == 1, "discovery")
    publisher.publish(Int32(data=1))
    assert reader.wait(5.0)
    assert reader._subscription.event_handlers == []
    assert reader.take().data == 1


def test_a_publisher_that_cannot_be_heard_is_said_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PolledSubscription(node, Int32, "numbers", RELIABLE)
    keep = node.create_publisher(Int32, "numbers", BEST_EFFORT), node.create_publisher(Int32, "numbers", RELIABLE)
    said: list[str] = []
    monkeypatch.setattr(type(node.get_logger()), "warning", lambda _logger, text, **_options: said.append(text) if "is not heard" in text else None)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def heard() -> bool:
        executor.spin_once(timeout_sec=0.1)
        return bool(said)

    wait_for(heard, "a word on the QoS", timeout_s=10 * LOOK_S)
    reader.look_for_deafness()
    assert len(said) == 1 and "reader publishes /numbers with incompatible QoS" in said[0] and "Best effort" in said[0]
    executor.shutdown()
    assert len(keep) == 2
