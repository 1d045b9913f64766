# SPDX-License-Identifier: Apache-2.0
"""A switch that somebody must keep pressed while anything moves."""

from __future__ import annotations

from dex_core.safety.reasons import Reason, Trip


class Deadman:
    """Newest word of the switch, judged on the monotonic clock: released or silent forbids motion.

    Args:
        topic: where it is heard; empty: there is none, and nothing is forbidden.
        timeout_s: longest silence [s].
    """

    def __init__(self, topic: str, timeout_s: float) -> None:
        self.topic = topic
        self._timeout_ns = round(timeout_s * 1e9)
        self._heard_ns: int | None = None
        self._pressed = False

    def hear(self, pressed: bool, now_ns: int) -> None:
        """Notes one message; ``now_ns`` is its time of arrival."""
        self._pressed, self._heard_ns = pressed, now_ns

    def trips(self, now_ns: int) -> list[Trip]:
        """What is wrong with it now: one trip, or none."""
        text = self._complaint(now_ns) if self.topic else ""
        return [Trip(Reason.DEADMAN, self.topic, text)] if text else []

    def _complaint(self, now_ns: int) -> str:
        if self._heard_ns is None:
            return f"nothing was heard on {self.topic} yet; the deadman switch must be pressed"
        if now_ns - self._heard_ns > self._timeout_ns:
            return f"{self.topic} is silent for {(now_ns - self._heard_ns) / 1e9:.3f} s; at most {self._timeout_ns / 1e9} s is allowed"
        return "" if self._pressed else f"the deadman switch on {self.topic} is released"
