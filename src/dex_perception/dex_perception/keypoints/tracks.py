# SPDX-License-Identifier: Apache-2.0
"""Joints of a cell between their measurements: interpolated at a picture's stamp, never beyond the newest one or across a gap."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.errors import ConfigError, DexError
from dex_core.types import Array, index_map

KEPT_S = 5.0
MOST_KEPT = 8192
"""Measurements of one robot; a source that sends faster than 1 kHz fills no memory."""
CLOCK_STEP_NS = NS
"""Stamps that run back by more than this are a clock set back or a recording begun anew, and what came before is of another time."""


class NoPosture(DexError):
    """The joints at a stamp are not known. ``code``: joints_missing (nothing was ever measured), joints_early (before the first measurement),
    joints_late (after the newest: more may come), joints_gap (between two that lie too far apart)."""

    code = "joints_missing"


class JointTracks:
    """Measured joints of every robot of a cell over the last seconds.

    Args:
        cell: its robots and their joints.
        max_gap_s: longest time between two measurements that is bridged.
    """

    def __init__(self, cell: CellConfig, max_gap_s: float = 0.1) -> None:
        self._names = {name: interface.names for name, interface in cell.interfaces.items()}
        self._max_gap_ns = round(max_gap_s * NS)
        self._stamps: dict[str, list[int]] = {name: [] for name in self._names}
        self._places: dict[str, list[Array]] = {name: [] for name in self._names}

    def put(self, interface: str, stamp_ns: int, names: Sequence[str], position_rad: Sequence[float] | Array) -> None:
        """One measurement of one robot [rad or m].

        Raises:
            ConfigError: no such interface. JointNameError: joints of another robot.
        """
        if interface not in self._names:
            raise ConfigError(f"no interface is called {interface!r}; there is: {list(self._names)}")
        order = index_map(tuple(names), self._names[interface], f"joints of {interface}")
        place = np.asarray(position_rad, dtype=np.float64)[order]
        if not np.isfinite(place).all():
            return  # a joint that was not measured: as if this message had not come
        stamps, places = self._stamps[interface], self._places[interface]
        if stamps and stamp_ns <= stamps[-1]:
            if stamps[-1] - stamp_ns < CLOCK_STEP_NS:
                return
            stamps.clear()
            places.clear()
        stamps.append(stamp_ns)
        places.append(place)
        first = max(bisect_left(stamps, stamp_ns - round(KEPT_S * NS)), len(stamps) - MOST_KEPT)
        del stamps[:first], places[:first]

    def at(self, stamp_ns: int) -> NDArray[np.float64]:
        """(n,) all joints in the order of ``cell.joint_names``. Raises NoPosture."""
        return np.concatenate([self._of(interface, stamp_ns) for interface in self._names])

    def _of(self, interface: str, stamp_ns: int) -> Array:
        stamps, places = self._stamps[interface], self._places[interface]
        if not stamps:
            raise NoPosture(f"{interface} has not reported any joints", code="joints_missing")
        after = bisect_left(stamps, stamp_ns)
        if after == len(stamps):
            raise NoPosture(f"{interface} was last measured {(stamp_ns - stamps[-1]) * 1e-6:.1f} ms before the picture", code="joints_late")
        if stamps[after] == stamp_ns:
            return places[after]
        if after == 0:
            raise NoPosture(f"{interface} was first measured {(stamps[0] - stamp_ns) * 1e-6:.1f} ms after the picture", code="joints_early")
        gap_ns = stamps[after] - stamps[after - 1]
        if gap_ns > self._max_gap_ns:
            text = f"{interface} was not measured for {gap_ns * 1e-6:.0f} ms around the picture; at most {self._max_gap_ns * 1e-6:.0f} ms are bridged"
            raise NoPosture(text, code="joints_gap")
        share = (stamp_ns - stamps[after - 1]) / gap_ns
        return (1.0 - share) * places[after - 1] + share * places[after]
