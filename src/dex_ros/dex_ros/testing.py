# SPDX-License-Identifier: Apache-2.0
"""What ROS tests share: a private domain, an executor in the background, and waits that end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import rclpy
from rclpy.context import Context
from rclpy.event_handler import EventHandler
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

from dex_core.errors import DeadlineError

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], who: str, timeout_s: float = 5.0, poll_s: float = 0.005) -> T:
    """Polls until ``predicate()`` is truthy and returns its value.

    Raises:
        DeadlineError: names ``who`` after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise DeadlineError(who, timeout_s)
        time.sleep(poll_s)


@contextmanager
def ros_domain(domain_id: int) -> Iterator[Context]:
    """A fresh rclpy context on ``domain_id``; child processes get it by ROS_DOMAIN_ID."""
    before = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    context = Context()
    rclpy.init(context=context, domain_id=domain_id)
    try:
        yield context
    finally:
        rclpy.try_shutdown(context=context)
        os.environ.pop("ROS_DOMAIN_ID") if before is None else os.environ.__setitem__("ROS_DOMAIN_ID", before)


class _WithoutEvents(MultiThreadedExecutor):
    """Leaves QoS events alone: the event handler of a subscription wakes the executor over and over from the arrival of a message until a
    pool thread takes it, and that spinning keeps the interpreter's lock from this very thread, for up to 0.5 s.
    """

    def can_execute(self, entity: Any) -> bool:
        return not isinstance(entity, EventHandler) and super().can_execute(entity)


@contextmanager
def spinning(*nodes: Node, threads: int = 2) -> Iterator[None]:
    """Spins nodes of one context in a background thread."""
    executor = _WithoutEvents(threads, context=nodes[0].context)
    for node in nodes:
        executor.add_node(node)

    closing = threading.Event()

    def _run() -> None:
        while not closing.is_set():
            try:
                executor.spin()
            except ExternalShutdownException:
                return
            except InvalidHandle:
                continue  # another thread destroyed an entity while the wait set was made; the next one is without it

    thread = threading.Thread(target=_run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        executor.shutdown(timeout_sec=2.0)
        thread.join(timeout=2.0)
