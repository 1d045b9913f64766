# SPDX-License-Identifier: Apache-2.0
"""Who may use the camera and the models: one goal at a time, the newest that asked to take over."""

from __future__ import annotations

import threading


class Ownership:
    """Goals claim, wait for their turn, and let go; any thread.

    A claim without ``preempt`` is refused while anyone owns or waits. One with it makes the owner leave, and whoever waits: ``must_leave`` says so.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner = ""
        self._waiting = ""
        self._closed = True

    def open(self) -> None:
        """Claims are taken from now on."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """No claim is taken any more, and everyone must leave."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def refusal(self, *, preempt: bool) -> str:
        """Why a claim would be refused now; empty: it would not."""
        with self._changed:
            return self._refusal(preempt)

    def _refusal(self, preempt: bool) -> str:
        if self._closed:
            return "the node is not active"
        holder = self._waiting or self._owner
        return f"goal {holder} is running and preempt is false" if holder and not preempt else ""

    def claim(self, goal_id: str, *, preempt: bool) -> str:
        """Takes the claim, to wait for its turn; empty when taken, else why not."""
        with self._changed:
            refused = self._refusal(preempt)
            if not refused:
                self._waiting = goal_id
                self._changed.notify_all()
            return refused

    def wait_turn(self, goal_id: str, timeout_s: float) -> bool:
        """True once the claim owns; False when a newer one took its place, everything closed, or the owner did not leave in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting != goal_id or not self._owner, timeout_s)
            if self._closed or self._waiting != goal_id or self._owner:
                if self._waiting == goal_id:
                    self._waiting = ""
                return False
            self._owner, self._waiting = goal_id, ""
            return True

    def must_leave(self, goal_id: str) -> str:
        """Empty while the owner may go on; else ``preempted`` or ``inactive``."""
        with self._changed:
            if self._closed:
                return "inactive"
            return "preempted" if self._waiting or self._owner != goal_id else ""

    def leave(self, goal_id: str) -> None:
        """The owner is done; the claim that waits has its turn. Anyone else's word changes nothing."""
        with self._changed:
            if self._owner == goal_id:
                self._owner = ""
            if self._waiting == goal_id:
                self._waiting = ""
            self._changed.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """True once nobody owns."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._owner, timeout_s)

    @property
    def owner(self) -> str:
        """Goal id of the owner; empty: none."""
        with self._changed:
            return self._owner
