# SPDX-License-Identifier: Apache-2.0
"""Who has the cell: one goal owns it, at most one more waits to take its place, everybody else is turned away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from enum import Enum

BEGIN_S = 5.0
"""A place that was given but not begun for so long is free again: its goal was lost between acceptance and execution."""
LOOK_S = 0.02


class Ticket:
    """Stands for one request: equal in the callback that accepts a goal and in the one that executes it, which get the same object.

    Attributes:
        request: kept, so that no other request can get its id.
    """

    def __init__(self, request: object) -> None:
        self.request = request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ticket) and self.request is other.request

    def __hash__(self) -> int:
        return id(self.request)


class Turn(Enum):
    """What became of waiting for one's turn."""

    OWNER = "it is the owner now"
    DISPLACED = "another goal waits in its place"
    GIVEN_UP = "it gave up, or its place was lost"


class Ownership:
    """Places of goals. Callable from any thread.

    A goal claims its place when it is accepted, begins when it is executed, and releases it after its terminal state; whoever waits is
    owner from then on, so nobody can come between. A goal that pre-empts the owner tells it by ``displaced``; one that pre-empts a
    waiting goal takes that place at once.

    Args:
        clock_s: monotonic time [s].
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._owner: Hashable = None
        self._waiting: Hashable = None
        self._claimed_s: dict[Hashable, float] = {}
        self._cancelled: set[Hashable] = set()

    @property
    def owner(self) -> Hashable:
        """The goal that has the cell, or None."""
        return self._owner

    @property
    def waiting(self) -> Hashable:
        """The goal that takes its place, or None."""
        return self._waiting

    def claim(self, goal: Hashable, *, preempt: bool = False) -> bool:
        """Gives a goal a place: the cell if it is free, else the one behind its owner when it may pre-empt; False where there is none."""
        with self._changed:
            self._drop_lost()
            if self._owner is None:
                self._owner = goal
            elif preempt:
                if self._waiting is not None:
                    self._forget(self._waiting)
                self._waiting = goal
            else:
                return False
            self._claimed_s[goal] = self._clock_s()
            self._changed.notify_all()
            return True

    def begin(self, goal: Hashable) -> bool:
        """The goal is executed from now on; False when it has no place (any more)."""
        with self._changed:
            self._claimed_s.pop(goal, None)
            return goal in (self._owner, self._waiting)

    def wait(self, goal: Hashable, gave_up: Callable[[], bool]) -> Turn:
        """Blocks until a waiting goal is the owner, another one waits in its place, or it gives up.

        Args:
            goal: that has begun.
            gave_up: asked about 50 times a second.
        """
        with self._changed:
            while True:
                if self._owner == goal:
                    return Turn.OWNER
                if gave_up():
                    return Turn.GIVEN_UP
                if self._waiting != goal:
                    return Turn.DISPLACED if self._waiting is not None else Turn.GIVEN_UP
                self._changed.wait(LOOK_S)

    def displaced(self, goal: Hashable) -> bool:
        """True when the owner shall end because another goal waits."""
        with self._changed:
            self._drop_lost()
            return self._owner == goal and self._waiting is not None

    def cancel_all(self) -> bool:
        """Marks the owner and whoever waits; False when there is nobody."""
        with self._changed:
            marked = {goal for goal in (self._owner, self._waiting) if goal is not None}
            self._cancelled |= marked
            self._changed.notify_all()
            return bool(marked)

    def cancelled(self, goal: Hashable) -> bool:
        """True after ``cancel_all`` while it had a place."""
        return goal in self._cancelled

    def release(self, goal: Hashable) -> None:
        """Gives the place back, after the terminal state; who waits becomes the owner."""
        with self._changed:
            self._forget(goal)
            if self._waiting == goal:
                self._waiting = None
            elif self._owner == goal:
                self._owner, self._waiting = self._waiting, None
            self._changed.notify_all()

    def wait_free(self, timeout_s: float) -> bool:
        """Blocks until nobody has the cell; False when the time was too short."""
        with self._changed:
            return self._changed.wait_for(lambda: self._owner is None, timeout_s)

    def _forget(self, goal: Hashable) -> None:
        self._claimed_s.pop(goal, None)
        self._cancelled.discard(goal)

    def _drop_lost(self) -> None:
        late_s = self._clock_s() - BEGIN_S
        for goal in [goal for goal, since_s in self._claimed_s.items() if since_s < late_s]:
            self._forget(goal)
            if self._waiting == goal:
                self._waiting = None
            elif self._owner == goal:
                self._owner, self._waiting = self._waiting, None
