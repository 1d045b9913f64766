# SPDX-License-Identifier: Apache-2.0
"""A cell that does not come along: a joint that lags at its step for long, or limits of the cell that let nothing move for long."""

from __future__ import annotations

from collections.abc import Container

from dex_core.limits import SafeCommand
from dex_core.safety import Reason, Trip

STANDS = 0.02
"""A cell whose limits leave less than this share of the wanted step stands."""


class Stuck:
    """Counts ticks of each kind.

    Args:
        period_s: of a tick.
        step_timeout_s: how long a joint may stay at its step from measured.
        blocked_timeout_s: how long the limits of the cell may let nothing move.
    """

    def __init__(self, period_s: float, step_timeout_s: float, blocked_timeout_s: float) -> None:
        self._period_s, self._step_s, self._blocked_s = period_s, step_timeout_s, blocked_timeout_s
        self.clear()

    def clear(self) -> None:
        """A new goal."""
        self._at_step = self._blocked = 0

    def look(self, command: SafeCommand, resting: Container[str]) -> Trip | None:
        """The trip that ``command`` is one too many for; joints in ``resting`` are not meant to follow."""
        step = next((change for change in command.changes if change.limit == "step" and change.joint not in resting), None)
        self._at_step = self._at_step + 1 if step else 0
        if step and self._at_step * self._period_s >= self._step_s - 1e-9:
            text = f"{step.joint} does not follow: for {self._step_s} s its command was {step.allowed:.3f} rad ahead of it"
            return Trip(Reason.LIMIT_STEP, step.joint, text)
        self._blocked = self._blocked + 1 if command.share < STANDS else 0
        if self._blocked * self._period_s < self._blocked_s - 1e-9:
            return None
        change = next(change for change in command.changes if change.limit in (Reason.COLLISION, Reason.WORKSPACE, Reason.SINGULARITY))
        text = f"{change.joint}: for {self._blocked_s} s the way led to {change.requested:.4f}; {change.limit} ends at {change.allowed:.4f}"
        return Trip(change.limit, change.joint, text)
