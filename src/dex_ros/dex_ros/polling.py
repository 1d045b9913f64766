# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that a thread reads by itself, past the executor: a hot loop pays for a message only when it takes one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

M = TypeVar("M")
LOOK_S = 1.0
"""How often it looks whether a publisher's QoS makes it deaf."""


class _NeverExecuted(CallbackGroup):
    """A group whose members no executor touches."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        return None


class PolledSubscription(Generic[M]):
    """A subscription without callback. ``take`` and ``wait`` belong to one thread.

    Args:
        node: owner; destroys it.
        msg_type: message class.
        topic: relative name.
        qos: profile; with keep-last 1 ``take`` gives the newest message.
        raw: give serialized bytes.
    """

    def __init__(self, node: Node, msg_type: type[M], topic: str, qos: QoSProfile, *, raw: bool = False) -> None:
        self._node = node
        # no event handlers: in an executor they would wake it for every message, over and over until the message is taken
        self._subscription = node.create_subscription(
            msg_type, topic, lambda _msg: None, qos, callback_group=_NeverExecuted(), raw=raw,
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )
        self._any: WaitForAny | None = None
        self._deaf_to: set[str] = set()
        self._look = node.create_timer(LOOK_S, self.look_for_deafness)

    @property
    def handle(self) -> Any:
        """Of rclpy's subscription."""
        return self._subscription.handle

    @property
    def context_handle(self) -> Any:
        """Of the context it lives in."""
        return self._node.context.handle

    @property
    def topic(self) -> str:
        """Full topic name."""
        return self._subscription.topic_name

    def publisher_count(self) -> int:
        """How many publishers the graph shows for this topic."""
        return self._node.count_publishers(self.topic)

    def take(self) -> M | None:
        """The next message in the queue, or None at once."""
        handle = self._subscription.handle
        with handle:
            taken = handle.take_message(self._subscription.msg_type, self._subscription.raw)
        return None if taken is None else taken[0]

    def take_all(self) -> list[M]:
        """Everything in the queue, oldest first."""
        messages = []
        while (message := self.take()) is not None:
            messages.append(message)
        return messages

    def take_newest(self) -> M | None:
        """The newest message in the queue; older ones are dropped."""
        newest = None
        while (message := self.take()) is not None:
            newest = message
        return newest

    def wait(self, timeout_s: float) -> bool:
        """Blocks until a message is there or the time is over; True when one is there."""
        if self._any is None:
            self._any = WaitForAny([self])
        return self._any.wait(timeout_s)

    def look_for_deafness(self) -> None:
        """Warns once of each publisher that this subscription cannot hear because of its QoS; the graph knows, no message is needed."""
        for publisher in self._node.get_publishers_info_by_topic(self.topic):
            verdict, why = qos_check_compatible(publisher.qos_profile, self._subscription.qos_profile)
            who = bytes(publisher.endpoint_gid).hex()
            if verdict == QoSCompatibility.ERROR and who not in self._deaf_to:
                self._deaf_to.add(who)
                self._node.get_logger().warning(
                    f"{publisher.node_name} publishes {self.topic} with incompatible QoS and is not heard: {why.strip()}"
                )

    def destroy(self) -> None:
        """Ends the subscription; its wait set would keep the whole participant alive."""
        self._any = None
        self._node.destroy_timer(self._look)
        self._node.destroy_subscription(self._subscription)


class WaitForAny:
    """Waits until one of several polled subscriptions of one context has a message. One thread only; let it go before they are destroyed.

    Args:
        subscriptions: at least one.
    """

    def __init__(self, subscriptions: Sequence[PolledSubscription]) -> None:
        self._handles = tuple(subscription.handle for subscription in subscriptions)  # no cycle: a subscription keeps the one for itself alone
        context = subscriptions[0].context_handle
        with context:
            self._wait_set = _rclpy.WaitSet(len(self._handles), 0, 0, 0, 0, 0, context)

    def wait(self, timeout_s: float) -> bool:
        """Blocks until a message is there or the time is over; True when one is there."""
        with ExitStack() as held:
            held.enter_context(self._wait_set)
            self._wait_set.clear_entities()
            for handle in self._handles:
                held.enter_context(handle)
                self._wait_set.add_subscription(handle)
            self._wait_set.wait(max(0, round(timeout_s * 1e9)))
            return bool(self._wait_set.get_ready_entities("subscription"))
