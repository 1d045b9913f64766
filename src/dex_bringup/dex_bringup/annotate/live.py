# SPDX-License-Identifier: Apache-2.0
"""Samples of a running cell, as they come."""

from __future__ import annotations

import time
from types import TracebackType

from dex_bringup.annotate.intake import Intake
from dex_bringup.client import CellClient
from dex_core.errors import DeadlineError
from dex_perception.keypoints.sample import Sample
from dex_ros.polling import PolledSubscription, WaitForAny

NOBODY = "no picture comes: does the cell run in this namespace and ROS_DOMAIN_ID?"
LOOK_S = 0.02


class LiveSamples:
    """Subscribes to what an intake needs; a context manager, of one thread.

    Everything that came is taken before a sample is looked for: 300 joint states a second outrun an executor that is only run between two drawings.

    Args:
        intake: of the cell that runs.
        namespace: the cell's.
    """

    def __init__(self, intake: Intake, namespace: str = "") -> None:
        self.intake = intake
        self._client = CellClient(namespace)
        self._subscriptions = {topic: PolledSubscription(self._client.node, route.kind, topic, route.qos) for topic, route in intake.routes.items()}
        self._any: WaitForAny | None = WaitForAny(tuple(self._subscriptions.values()))

    def __enter__(self) -> LiveSamples:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._any = None
        for subscription in self._subscriptions.values():
            subscription.destroy()
        self._client.close()

    def next(self, timeout_s: float) -> list[Sample]:
        """What is complete by now, oldest first; waits for at least one.

        Raises:
            DeadlineError: nothing was complete in time; says what is missing. A publisher that cannot be heard because of its QoS is warned of.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            self._take()
            found = list(self.intake.assembler.ready(time.monotonic_ns()))
            if found:
                return found
            if time.monotonic() > end_s:
                for subscription in self._subscriptions.values():
                    subscription.look_for_deafness()
                raise DeadlineError(f"camera {self.intake.camera!r} on topic {self.intake.image!r}", timeout_s, self.missing)
            self._any.wait(LOOK_S)  # type: ignore[union-attr]

    @property
    def missing(self) -> str:
        """Why there is no newer sample, as far as it is known."""
        return self.intake.assembler.newest_problem or self.intake.newest_refusal or NOBODY

    def _take(self) -> None:
        for topic, subscription in self._subscriptions.items():
            for message in subscription.take_all():
                self.intake.put(topic, message, time.monotonic_ns())
