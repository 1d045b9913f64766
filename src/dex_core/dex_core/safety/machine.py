# SPDX-License-Identifier: Apache-2.0
"""The safety state machine: six modes, the allowed moves in one table, latches that keep their first reason."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import IntEnum

from dex_core.errors import DexError
from dex_core.safety.reasons import Reason, Trip


class Mode(IntEnum):
    """Values as in dex_msgs/SafetyState."""

    IDLE = 0
    RUNNING = 1
    HOLDING = 2
    STOPPED = 3
    FAULT = 4
    ARMED = 5


MOVES: dict[Mode, dict[Mode, str]] = {
    Mode.IDLE: {Mode.ARMED: "a goal, everyone is there", Mode.STOPPED: "stop", Mode.FAULT: "fault"},
    Mode.ARMED: {Mode.RUNNING: "first accepted chunk", Mode.HOLDING: "goal ended, or a trip", Mode.STOPPED: "stop", Mode.FAULT: "fault"},
    Mode.RUNNING: {Mode.HOLDING: "goal ended, or a trip", Mode.STOPPED: "stop", Mode.FAULT: "fault"},
    Mode.HOLDING: {Mode.IDLE: "at rest, or reset of a latch", Mode.ARMED: "a goal, not latched", Mode.STOPPED: "stop", Mode.FAULT: "fault"},
    Mode.STOPPED: {Mode.IDLE: "reset", Mode.FAULT: "fault"},
    Mode.FAULT: {Mode.IDLE: "reset"},
}
"""From -> to -> what leads there. A latched mode is left for IDLE by ``reset`` alone, ARMED is entered by ``arm`` and RUNNING by ``start`` alone."""
ACTIVE = frozenset({Mode.ARMED, Mode.RUNNING})
"""A goal is set: everyone it needs is watched."""
REMEMBERED_GOALS = 256


@dataclass(frozen=True)
class SafetyStatus:
    """Where the machine stands. ``latched``: only a reset and a new goal lead on. Reason, cause and detail: see Trip."""

    mode: Mode = Mode.IDLE
    latched: bool = False
    goal_id: str = ""
    reason: str = ""
    cause: str = ""
    detail: str = ""


class SafetyMachine:
    """Keeps the status; every change goes through the table. The first reason of a latch stays until the reset."""

    def __init__(self) -> None:
        self._status = SafetyStatus()
        self._spent: deque[str] = deque(maxlen=REMEMBERED_GOALS)

    @property
    def status(self) -> SafetyStatus:
        """Where it stands now."""
        return self._status

    @property
    def mode(self) -> Mode:
        """Mode of the status."""
        return self._status.mode

    def arm(self, goal_id: str) -> None:
        """IDLE (or an unlatched HOLDING) -> ARMED for a goal that was never set before. Raises as ``check_arm``."""
        self.check_arm(goal_id)
        self._spent.append(goal_id)
        self._go(SafetyStatus(Mode.ARMED, goal_id=goal_id))

    def start(self) -> bool:
        """ARMED -> RUNNING: there is something to follow. False in any other mode."""
        if self._status.mode is not Mode.ARMED:
            return False
        return self._go(replace(self._status, mode=Mode.RUNNING))

    def check_arm(self, goal_id: str) -> None:
        """Says whether ``arm`` would be allowed.

        Raises:
            DexError: ``latched``, ``busy`` (another goal runs), ``goal_ended`` (this one ran before), ``wrong_goal`` (empty).
        """
        status = self._status
        if status.latched:
            text = f"{status.mode.name} since {status.reason} ({status.cause}); it takes a reset and a new goal"
            raise DexError(text, code=Reason.LATCHED)
        if status.mode in ACTIVE:
            raise DexError(f"goal {status.goal_id!r} is {status.mode.name.lower()}; end it first", code=Reason.BUSY)
        if not goal_id:
            raise DexError("goal_id is empty", code=Reason.WRONG_GOAL)
        if goal_id in self._spent:
            raise DexError(f"goal {goal_id!r} has ended; a new goal needs a new id", code=Reason.GOAL_ENDED)

    def hold(self, trip: Trip, *, latched: bool = True) -> bool:
        """ARMED or RUNNING -> HOLDING. Latches an unlatched hold too; elsewhere nothing moves, so nothing happens."""
        status = self._status
        if status.mode in ACTIVE or (status.mode is Mode.HOLDING and latched and not status.latched):
            return self._go(replace(status, mode=Mode.HOLDING, latched=latched, **trip._asdict()))
        return False

    def settle(self) -> bool:
        """Unlatched HOLDING -> IDLE: the goal ended and the cell is at rest."""
        if self._status.mode is not Mode.HOLDING or self._status.latched:
            return False
        return self._go(SafetyStatus())

    def stop(self, trip: Trip) -> bool:
        """Any mode but FAULT -> STOPPED, latched."""
        if self._status.mode in (Mode.STOPPED, Mode.FAULT):
            return False
        return self._go(replace(self._status, mode=Mode.STOPPED, latched=True, **trip._asdict()))

    def fault(self, trip: Trip) -> bool:
        """Any mode -> FAULT, latched."""
        if self._status.mode is Mode.FAULT:
            return False
        return self._go(replace(self._status, mode=Mode.FAULT, latched=True, **trip._asdict()))

    def reset(self) -> bool:
        """A latched mode -> IDLE, without goal. False where nothing is latched."""
        if not self._status.latched:
            return False
        return self._go(SafetyStatus())

    def _go(self, status: SafetyStatus) -> bool:
        before = self._status.mode
        if status.mode is not before and status.mode not in MOVES[before]:
            raise DexError(f"safety cannot go from {before.name} to {status.mode.name}; allowed: {sorted(m.name for m in MOVES[before])}")
        self._status = status
        return True
