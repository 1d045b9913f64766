# SPDX-License-Identifier: Apache-2.0
"""What ROS tests share: a private domain, an executor in the background, and waits that end."""

from __future__ import annotations

import os
import threading
import time
import weakref
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
    """A fresh rclpy context on ``domain_id``; child processes get it by ROS_DOMAIN_ID.

    At the end it destroys the nodes that were made in it and left: whoever still refers to one (a fixture, the traceback of a failed test,
    a cycle that the collector has not come to) would keep its publishers in the graph, and the next test would meet them.
    """
    before = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    context = Context()
    rclpy.init(context=context, domain_id=domain_id)
    try:
        with _noting_nodes() as made:
            yield context
    finally:
        for node in [n for n in made if n.context is context]:
            _destroy(node)
        rclpy.try_shutdown(context=context)
        os.environ.pop("ROS_DOMAIN_ID") if before is None else os.environ.__setitem__("ROS_DOMAIN_ID", before)


@contextmanager
def _noting_nodes() -> Iterator[weakref.WeakSet[Node]]:
    """Every node that is made meanwhile; rclpy keeps no list."""
    made: weakref.WeakSet[Node] = weakref.WeakSet()
    make = Node.__init__

    def _noted(node: Node, *args: Any, **kwargs: Any) -> None:
        make(node, *args, **kwargs)
        made.add(node)

    Node.__init__ = _noted
    try:
        yield made
    finally:
        Node.__init__ = make


def _destroy(node: Node) -> None:
    """Destroys a node and its action servers and clients, which rclpy leaves; nothing when that was done already."""
    try:
        with node.handle:
            pass
    except InvalidHandle:
        return
    for waitable in list(node.waitables):
        if hasattr(waitable, "destroy"):
            waitable.destroy()
    node.destroy_node()


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
