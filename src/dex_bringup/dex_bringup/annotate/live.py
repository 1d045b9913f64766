# SPDX-License-Identifier: Apache-2.0
"""Samples of a running cell, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from dex_bringup.annotate.intake import Intake
from dex_bringup.client import CellClient
from dex_core.errors import DeadlineError
from dex_perception.keypoints.sample import Sample

NOBODY = "no picture comes: does the cell run in this namespace and ROS_DOMAIN_ID?"


class LiveSamples:
    """Subscribes to what an intake needs; a context manager.

    Args:
        intake: of the cell that runs.
        namespace: the cell's.
    """

    def __init__(self, intake: Intake, namespace: str = "") -> None:
        self.intake = intake
        self._client = CellClient(namespace)
        for topic, route in intake.routes.items():
            self._client.node.create_subscription(route.kind, topic, self._taker(topic), route.qos)

    def __enter__(self) -> LiveSamples:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def next(self, timeout_s: float) -> list[Sample]:
        """What is complete by now, oldest first; waits for at least one.

        Raises:
            DeadlineError: nothing was complete in time; says what is missing.
        """
        found: list[Sample] = []
        end_s = time.monotonic() + timeout_s
        while not found:
            self._client.pause(0.002)
            found = list(self.intake.assembler.ready(time.monotonic_ns()))
            if not found and time.monotonic() > end_s:
                raise DeadlineError(f"camera {self.intake.camera!r} on topic {self.intake.image!r}", timeout_s, self.missing)
        return found

    @property
    def missing(self) -> str:
        """Why there is no newer sample, as far as it is known."""
        return self.intake.assembler.newest_problem or self.intake.newest_refusal or NOBODY

    def _taker(self, topic: str) -> Callable[[Any], None]:
        return lambda message: self.intake.put(topic, message, time.monotonic_ns())
