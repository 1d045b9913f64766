# SPDX-License-Identifier: Apache-2.0
"""The executor that tests share: it must outlive what they destroy under it."""

from __future__ import annotations

import threading

import pytest
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from std_msgs.msg import Empty

from dex_ros.testing import ros_domain, spinning, wait_for

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]


def test_an_entity_destroyed_while_the_wait_set_is_made_does_not_end_the_executor() -> None:
    with ros_domain(59) as context:
        node = Node("shared", context=context)
        ticks: list[int] = []
        node.create_timer(0.01, lambda: ticks.append(1))
        publisher = node.create_publisher(Empty, "gone", 1)
        raised = threading.Event()
        event = next(iter(publisher.event_handlers))
        add = event.add_to_wait_set

        def _destroyed_just_now(wait_set: object) -> None:
            if raised.is_set():
                add(wait_set)
                return
            raised.set()
            raise InvalidHandle("cannot use Destroyable because destruction was requested")  # what rclpy raises in this race

        event.add_to_wait_set = _destroyed_just_now  # type: ignore[method-assign]
        with spinning(node):
            assert raised.wait(5.0)
            before = len(ticks)
            wait_for(lambda: len(ticks) > before + 3, "the timer after the race")
