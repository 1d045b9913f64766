# SPDX-License-Identifier: Apache-2.0
"""Planned moves of the xArm controller (modes 0 and 6): which are taken, what their client is told, and where they are now."""

from __future__ import annotations

import math
from collections.abc import Callable

from dex_core.clock import NS, Clock
from dex_sim import xarm_controller_wire as wire
from dex_sim.plant import Plant
from dex_sim.xarm_controller_motion import ERROR_JOINT_RANGE, MoveTask, Planner
from dex_sim.xarm_controller_requests import ClientSession, out_of_range
from dex_sim.xarm_controller_wire import Request

WARNING_PARAMETER = 12
PLANNER_PERIOD_S = 0.01
MAX_ACCELERATION_RAD_S2 = 20.0


class PlannedMoves:
    """The queue of moves in front of a plant. Not thread-safe: the controller's lock guards it."""

    def __init__(self, plant: Plant, clock: Clock) -> None:
        self._plant, self._clock = plant, clock
        self._planner = Planner()
        self._stepped_ns = 0
        self._tasks = 0

    @property
    def active(self) -> bool:
        """A move is running or waiting."""
        return self._planner.active

    @property
    def queued(self) -> int:
        """Moves that have not ended."""
        return self._planner.queued

    def clear(self) -> None:
        """Discards every move and tells its client."""
        self._planner.clear()

    def resume(self) -> None:
        """The time that passed while nothing moved does not count."""
        self._stepped_ns = self._clock.now_ns()

    def step(self, *, online: bool) -> None:
        """Moves the plant to where it should be now."""
        now_ns = self._clock.now_ns()
        dt_s = min((now_ns - self._stepped_ns) / NS, 5 * PLANNER_PERIOD_S)
        if dt_s <= 1e-4:
            return
        self._stepped_ns = now_ns
        target = self._planner.step(dt_s, self._plant.read().position_rad, online=online)
        if target is not None:
            self._plant.command(target)

    def add(
        self, request: Request, session: ClientSession, target: tuple[float, ...], speed: float, acceleration: float, *, online: bool
    ) -> tuple[int, int]:
        """Takes one move to seven joints [rad]; infinity keeps a joint where it is.

        Returns:
            (error, warning) codes, zeros when it was taken.
        """
        if not (speed > 0.0 and acceleration > 0.0 and math.isfinite(speed * acceleration)) or any(map(math.isnan, target)):
            return 0, WARNING_PARAMETER
        if out_of_range(tuple(0.0 if math.isinf(q) else q for q in target)):
            return ERROR_JOINT_RANGE, 0
        if not self._planner.active:
            self.resume()
        task = MoveTask(target, min(speed, math.pi), min(acceleration, MAX_ACCELERATION_RAD_S2), self._feedback_of(request, session))
        self._planner.add(task, self._plant.read().position_rad, replace=online)
        return 0, 0

    def _feedback_of(self, request: Request, session: ClientSession) -> Callable[[int], None]:
        self._tasks += 1
        task, mask, transaction, function = self._tasks, session.feedback_mask, request.transaction, request.function

        def tell(kind: int, result: int) -> None:
            session.send(wire.feedback(transaction, kind, function, task, result, self._clock.now_ns() // 1000))

        if mask & 1:
            tell(1, 0)
        return (lambda result: tell(2, result)) if mask & 2 else (lambda _result: None)
