# SPDX-License-Identifier: Apache-2.0
"""How a lockstep cell executes chunks: what comes between a chunk and the servos' targets, one command every 10 ms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.chunks import Approach, Point
from dex_core.config import CellConfig
from dex_core.limits import JointLimits, Motion
from dex_sim.expert_path import DT_S
from dex_sim.plant import PlantState

Array = NDArray[np.float64]
Measure = Callable[[str], PlantState]

CONTROL_HZ = 100.0
BLEND_S = 0.25
INTERFACES = ("left_arm", "right_arm", "left_hand", "right_hand")


class Executor(Protocol):
    """Chunks in, targets out. Joints in the order of INTERFACES; times simulated [s]; ``measure`` gives the joints of an interface."""

    def begin(self, measure: Measure, time_s: float) -> None:
        """A new episode: the joints stand as measured."""
        ...

    def accept(self, actions: Array, stamp_s: float, measure: Measure, time_s: float) -> None:
        """A chunk (T, n) [rad] for an observation of ``stamp_s`` comes at ``time_s``; action k is for ``stamp_s`` + 0.05 s * (1 + k)."""
        ...

    def command(self, measure: Measure, time_s: float) -> Array | None:
        """(n,) targets of the 10 ms from ``time_s`` on [rad]; None: as before."""
        ...


@dataclass(frozen=True)
class _Scheduled:
    """A chunk and the simulated time of its observation."""

    actions: Array
    stamp_s: float

    def at(self, time_s: float) -> Array:
        """Joint targets (n,) for ``time_s``, linear between actions, the ends held."""
        where = float(np.clip((time_s - self.stamp_s) / DT_S - 1.0, 0.0, len(self.actions) - 1.0))
        low = min(int(where), len(self.actions) - 2)
        return self.actions[low] + (where - low) * (self.actions[low + 1] - self.actions[low])


class LinearExecutor:
    """The executor that demonstrations are recorded with and lockstep scores are told for; much quicker than the gate.

    Straight lines between actions, 0.25 s of linear blending between chunks, the joints' speeds; a hand that stands far from the first
    chunk approaches it slowly, as in the live cell (:class:`~dex_core.chunks.Approach`). What it does is part of what the shipped models
    were trained on: it does not change.
    """

    def __init__(self, cell: CellConfig) -> None:
        interfaces = [cell.interface(name) for name in INTERFACES]
        self._limits = JointLimits.of([n for i in interfaces for n in i.names], [limit for i in interfaces for limit in i.limits])
        self._step_rad = self._limits.velocity_rad_s / CONTROL_HZ
        ends = np.cumsum([len(i.names) for i in interfaces])
        hands = {name: slice(end - len(i.names), end) for name, i, end in zip(INTERFACES, interfaces, ends, strict=True) if "hand" in name}
        self._approach = Approach(self._limits, hands, cell.control.first_command_max_rad, cell.control.hand_approach_rad_s)
        self._old: _Scheduled | None = None
        self._new: _Scheduled | None = None
        self._since_s = 0.0

    def begin(self, measure: Measure, time_s: float) -> None:
        """See Executor."""
        del time_s
        self._old = self._new = None
        self._stand(measure)

    def accept(self, actions: Array, stamp_s: float, measure: Measure, time_s: float) -> None:
        """See Executor; blends from the chunk before over 0.25 s."""
        self._old, self._new = self._new, _Scheduled(actions, stamp_s)
        self._since_s = time_s
        if self._old is None:
            self._come(measure, self._limits.clip(self._new.at(time_s)))

    def command(self, measure: Measure, time_s: float) -> Array | None:
        """See Executor."""
        del measure
        if self._new is None:
            return None
        now, dt_s = time_s + 1.0 / CONTROL_HZ, 1.0 / CONTROL_HZ
        wanted = self._followed(now)
        if self._approach.pending.any():
            speed = (wanted - self._followed(now - dt_s)) / dt_s
            wanted = self._approach.toward(Point(wanted, speed, np.zeros_like(wanted)), Motion(self._command, self._velocity), dt_s).position_rad
        step = np.clip(wanted - self._command, -self._step_rad, self._step_rad)
        self._command, self._velocity = self._command + step, step / dt_s
        return self._command

    def _stand(self, measure: Measure) -> None:
        self._command = np.concatenate([measure(name).position_rad for name in INTERFACES])
        self._velocity = np.zeros(len(self._command))
        self._approach.clear()

    def _come(self, measure: Measure, first_rad: Array) -> None:
        """The first chunk begins at ``first_rad`` (n,): a hand far from it approaches it, everything else comes from where it stands."""
        self._stand(measure)
        self._approach.begin(first_rad - self._command)
        self._start = np.where(self._approach.pending, first_rad, np.nan)

    def _followed(self, time_s: float) -> Array:
        """(n,) joint targets at a simulated time, the chunk before fading out."""
        wanted = self._new.at(time_s)  # type: ignore[union-attr]
        weight = min(1.0, (time_s - self._since_s) / BLEND_S)
        if weight < 1.0:
            before = np.where(np.isnan(self._start), self._command, self._start) if self._old is None else self._old.at(time_s)
            wanted = (1.0 - weight) * before + weight * wanted
        return self._limits.clip(wanted)
