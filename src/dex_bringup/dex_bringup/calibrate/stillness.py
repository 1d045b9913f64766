# SPDX-License-Identifier: Apache-2.0
"""Tells when an arm stands still: then it does not matter that pictures and joints have different clocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from dex_core.clock import NS
from dex_core.types import Array

STILL_RAD = 0.002
STILL_S = 0.4
SILENT_S = 0.25
"""A gap in the joint states longer than this ends what is known of a rest."""


class Stillness:
    """Remembers an arm's joints of the last moments.

    Args:
        joints: whose.
        still_s: so long around a picture no joint may move by more than ``STILL_RAD``.
    """

    def __init__(self, joints: Sequence[str], still_s: float = STILL_S) -> None:
        self._joints, self._half_ns = tuple(joints), round(still_s * NS / 2)
        self._seen: deque[tuple[int, Array]] = deque(maxlen=4096)

    def add(self, stamp_ns: int, joints_rad: Mapping[str, float]) -> None:
        """A measured state; one that lacks a joint, or is older than the last, is passed over."""
        if all(name in joints_rad for name in self._joints) and (not self._seen or stamp_ns > self._seen[-1][0]):
            self._seen.append((stamp_ns, np.array([joints_rad[name] for name in self._joints])))

    @property
    def newest_ns(self) -> int:
        """Stamp of the last state; 0 when there was none."""
        return self._seen[-1][0] if self._seen else 0

    def known(self, stamp_ns: int) -> bool:
        """Whether states reach half a rest beyond a picture, so that ``joints_at`` has its answer."""
        return self.newest_ns >= stamp_ns + self._half_ns

    def joints_at(self, stamp_ns: int) -> dict[str, float] | None:
        """Mean of the joints [rad] around a picture; None where one moved, or states are missing there."""
        around = [(s, q) for s, q in self._seen if abs(s - stamp_ns) <= self._half_ns]
        if len(around) < 3:
            return None
        stamps = np.array([stamp_ns - self._half_ns, *(s for s, _ in around), stamp_ns + self._half_ns])
        values = np.array([q for _, q in around])
        if np.diff(stamps).max() > SILENT_S * NS or np.ptp(values, axis=0).max() > STILL_RAD:
            return None
        return dict(zip(self._joints, values.mean(axis=0).tolist(), strict=True))
