# SPDX-License-Identifier: Apache-2.0
"""Everyone a goal needs, watched in one place: devices, nodes, the command topic, the deadman switch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig
from dex_core.config.cell import BODY_SIDE
from dex_core.limits import JointLimits
from dex_core.safety import Deadman, HeartbeatBook, Reason, StateBook, Trip, Watch
from dex_core.types import Array


class Watchdog:
    """Says what forbids motion, and what a fault of one device does to the others.

    Args:
        cell: with its safety.
        limits: of all joints.
        watched: nodes whose heartbeat a goal needs.

    Attributes:
        states, heartbeats, deadman: the books it asks.
        publishers: how many publishers the command topic has.
        held: interfaces that hold on their own until the next goal, with what made them.
    """

    def __init__(self, cell: CellConfig, limits: JointLimits, watched: Sequence[Watch]) -> None:
        control, safety = cell.control, cell.safety
        self.states = StateBook([(name, i.names) for name, i in cell.interfaces.items()], limits, control.state_timeout_s)
        self.heartbeats = HeartbeatBook(watched, control.heartbeat_timeout_s, control.hang_timeout_s)
        self.deadman = Deadman(safety.deadman_topic, safety.deadman_timeout_s)
        self._limits = limits
        self.publishers = 1
        self.held: dict[str, Trip] = {}
        self._side = {name: interface.side for name, interface in cell.interfaces.items()}
        self._actions = {name: safety.fail.get(name, "hold") for name in cell.interfaces}
        self._place = {name: [limits.names.index(joint) for joint in i.names] for name, i in cell.interfaces.items()}
        self._still = np.zeros(len(limits.names), dtype=bool)

    @property
    def still(self) -> NDArray[np.bool_]:
        """(n,) joints of the interfaces that hold on their own."""
        return self._still

    def clear(self) -> None:
        """A new goal: nobody holds on their own."""
        self.held, self._still = {}, np.zeros_like(self._still)

    def duplicate(self) -> list[Trip]:
        """Somebody else publishes commands: one trip, or none."""
        text = f"joint_command has {self.publishers} publishers; only the gate may publish it"
        return [Trip(Reason.DUPLICATE_PUBLISHER, "joint_command", text)] if self.publishers > 1 else []

    def obstacles(self, now_ns: int) -> list[Trip]:
        """Everything that forbids motion now; empty: a goal may start."""
        return self.duplicate() + self.deadman.trips(now_ns) + self.states.trips(now_ns) + self.heartbeats.lost(now_ns)

    def outside(self, most_rad: float) -> list[Trip]:
        """A joint measured too far outside its range to be commanded near where it is: by more than its step, or ``most_rad``."""
        measured, limits = self.states.position_rad, self._limits
        far = np.abs(measured - limits.clip(measured)) - np.minimum(limits.step_rad, most_rad)
        worst = int(np.argmax(far))
        if far[worst] <= 0.0:
            return []
        text = f"{limits.names[worst]} is measured at {measured[worst]:.3f} rad, outside its range by more than its step; move it back by hand"
        return [Trip(Reason.FIRST_COMMAND_FAR, limits.names[worst], text)]

    def trips(self, now_ns: int, commanded_rad: Array | None) -> list[Trip]:
        """What is wrong while a goal runs; devices whose side holds already are past complaining."""
        found = self.deadman.trips(now_ns) + self.states.trips(now_ns, commanded_rad) + self.heartbeats.lost(now_ns)
        return [trip for trip in found if trip.cause not in self.held]

    def action(self, trip: Trip) -> str:
        """What a trip does: ``hold``, ``stop`` or ``side``; what is not of one device, or of the last side that moves, holds the cell."""
        action = self._actions.get(trip.cause, "hold")
        if action != "side":
            return action
        side = self._side[trip.cause]
        others = [name for name, its in self._side.items() if its != side and name not in self.held]
        return "side" if others and side != BODY_SIDE and BODY_SIDE not in self._side.values() else "hold"

    def hold_side(self, trip: Trip) -> None:
        """The side of the device that caused ``trip`` holds until the next goal."""
        still = self._still.copy()
        for name, side in self._side.items():
            if side == self._side[trip.cause]:
                self.held.setdefault(name, trip)
                still[self._place[name]] = True
        self._still = still
