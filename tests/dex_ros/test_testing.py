# SPDX-License-Identifier: Apache-2.0
"""The executor that tests share: it outlives what they destroy under it, and does not spin while a message waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from rclpy.action import ActionServer
from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from dex_msgs.action import RunTask
from dex_ros.testing import ros_domain, spinning, wait_for

MESSAGES = 50
pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]


@pytest.fixture
def node() -> Iterator[Node]:
    with ros_domain(59) as context:
        yield Node("shared", context=context)


def test_a_node_that_somebody_still_refers_to_leaves_the_graph_with_its_domain() -> None:
    kept: list[object] = []
    for _ in range(2):
        with ros_domain(59) as context:
            node = Node("kept", context=context)
            kept.append((node, node.create_publisher(Empty, "news", 10), ActionServer(node, RunTask, "work", lambda _goal: RunTask.Result())))
            wait_for(lambda n=node: n.count_publishers("news"), "the own publisher")
            assert node.count_publishers("news") == 1
            assert node.count_services("work/_action/send_goal") == 1
    with ros_domain(59) as context:
        node = Node("next", context=context)
        client = node.create_client(Trigger, "nobody")
        assert not client.wait_for_service(0.5)  # time enough for discovery within one machine
        assert not node.count_publishers("news") and not node.count_services("work/_action/send_goal")
    assert len(kept) == 2


def test_a_node_that_was_destroyed_before_is_left_alone() -> None:
    with ros_domain(59) as context:
        node = Node("gone", context=context)
        node.destroy_node()


def test_an_entity_destroyed_while_the_wait_set_is_made_does_not_end_the_executor(node: Node) -> None:
    ticks: list[int] = []
    node.create_timer(0.01, lambda: ticks.append(1))
    waitable = ActionServer(node, RunTask, "gone", lambda _goal: RunTask.Result())
    raised = threading.Event()
    add = waitable.add_to_wait_set

    def _destroyed_just_now(wait_set: object) -> None:
        if raised.is_set():
            add(wait_set)
            return
        raised.set()
        raise InvalidHandle("cannot use Destroyable because destruction was requested")  # what rclpy raises in this race

    waitable.add_to_wait_set = _destroyed_just_now  # type: ignore[method-assign]
    with spinning(node):
        assert raised.wait(5.0)
        before = len(ticks)
        wait_for(lambda: len(ticks) > before + 3, "the timer after the race")


def test_a_message_that_waits_for_its_callback_does_not_make_the_executor_spin(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    spin = MultiThreadedExecutor._spin_once_impl

    def _counted(self: MultiThreadedExecutor, *args: object) -> None:
        rounds.append(1)
        spin(self, *args)

    monkeypatch.setattr(MultiThreadedExecutor, "_spin_once_impl", _counted)
    heard: list[Empty] = []
    node.create_subscription(Empty, "news", heard.append, 10)
    publisher = node.create_publisher(Empty, "news", 10)
    with spinning(node):
        wait_for(lambda: publisher.get_subscription_count() == 1, "the subscription")
        before = len(rounds)
        for count in range(1, MESSAGES + 1):
            publisher.publish(Empty())
            wait_for(lambda n=count: len(heard) >= n, "the message", poll_s=0.002)
    assert len(rounds) - before < 5 * MESSAGES  # one to start the callback, one when it has ended, and some to spare
