# SPDX-License-Identifier: Apache-2.0
"""Joint states of the devices of a cell, put together: what is fresh, by name, in the cell's order."""

from __future__ import annotations

import numpy as np

from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.errors import ConfigError
from dex_core.types import JointState, index_map


class StateMerger:
    """The newest state of each interface. Ages are counted on the monotonic clock, from arrival.

    Args:
        cell: names the interfaces and their joints.
        max_age_s: an interface silent for longer is left out.
    """

    def __init__(self, cell: CellConfig, max_age_s: float = 0.5) -> None:
        self._names = {name: interface.names for name, interface in cell.interfaces.items()}
        self._max_age_ns = round(max_age_s * NS)
        self._newest: dict[str, tuple[JointState, int]] = {}

    def put(self, interface: str, state: JointState, now_ns: int) -> None:
        """Takes in a state. Raises JointNameError when its joints are not the interface's."""
        if interface not in self._names:
            raise ConfigError(f"no interface is called {interface!r}; there is: {list(self._names)}")
        order = index_map(state.names, self._names[interface], f"state of {interface}")
        if not np.array_equal(order, np.arange(len(order))):
            state = JointState(
                self._names[interface], state.position_rad[order], state.velocity_rad_s[order], state.effort[order], state.stamp_ns
            )
        self._newest[interface] = (state, now_ns)

    def missing(self, now_ns: int) -> tuple[str, ...]:
        """Interfaces without a fresh state."""
        return tuple(n for n in self._names if n not in self._newest or now_ns - self._newest[n][1] > self._max_age_ns)

    def merged(self, now_ns: int) -> JointState | None:
        """All fresh joints, stamped with the oldest measurement among them; None when nothing is fresh."""
        missing = self.missing(now_ns)
        fresh = [self._newest[n][0] for n in self._names if n not in missing]
        if not fresh:
            return None
        return JointState(
            tuple(name for s in fresh for name in s.names),
            np.concatenate([s.position_rad for s in fresh]),
            np.concatenate([s.velocity_rad_s for s in fresh]),
            np.concatenate([s.effort for s in fresh]),
            min(s.stamp_ns for s in fresh),
        )
