# SPDX-License-Identifier: Apache-2.0
"""The clock of another machine, from requests and answers that pass anyway, with bounds that hold whatever the network does.

Each exchange carries four stamps, as in NTP (RFC 5905, section 8): sent and received on our clock, arrived and left on theirs. Nothing
arrives before it was sent, so the offset (theirs less ours) lies between ``left - received`` and ``arrived - sent``: a fast exchange says it
sharply, a slow or lopsided one vaguely, never wrongly. Clocks drift at a bounded rate, so the bounds of several exchanges cut out a polygon of
offsets and rates (Marzullo's intersection of intervals, with a slope); its corners are the answer's bounds, its middle the estimate.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from dex_core.errors import DexError

MAX_DRIFT_PPM = 200.0
"""Between two machines: crystals are within 50 ppm, a clock that is being slewed by NTP adds up to 500 ppm for a while, rarely 100."""


class ClockOffset(NamedTuple):
    """Their clock less ours at one moment: ``offset_ns`` is at most ``error_ns`` wrong; so is ``drift_ppm`` by ``drift_error_ppm``."""

    offset_ns: int
    error_ns: int
    drift_ppm: float
    drift_error_ppm: float


class _Exchange(NamedTuple):
    at_ns: int
    low_ns: int
    high_ns: int


class HostClock:
    """Offset of one other machine's clock. One thread at a time.

    Args:
        max_drift_ppm: fastest the two clocks drift apart. slots: how many exchanges are kept, the fastest of each slot.
        slot_s: length of a slot [s].
    """

    def __init__(self, max_drift_ppm: float = MAX_DRIFT_PPM, slots: int = 48, slot_s: float = 2.0) -> None:
        if not 0.0 < max_drift_ppm < 1e5 or slots < 1 or not slot_s > 0.0:
            raise ValueError(f"allowed: max_drift_ppm above 0 to 1e5, slots from 1, slot_s above 0; got {max_drift_ppm}, {slots}, {slot_s}")
        self._max_drift, self._slot_ns = max_drift_ppm * 1e-6, round(slot_s * 1e9)
        self._kept: deque[_Exchange] = deque(maxlen=slots)
        self._slot = -1
        self.steps = 0
        """How often the other clock (or ours) was set, so that everything before was forgotten."""

    def add(self, sent_ns: int, arrived_ns: int, left_ns: int, received_ns: int) -> None:
        """Takes one exchange.

        Args:
            sent_ns, received_ns: on our clock. arrived_ns, left_ns: on theirs.

        Raises:
            DexError: ``clock_invalid``, the stamps run backwards on one machine or the server claims more time than passed here.
        """
        if received_ns < sent_ns or left_ns < arrived_ns or left_ns - arrived_ns > (received_ns - sent_ns) * (1.0 + self._max_drift) + 1000:
            raise DexError(
                f"stamps of an exchange do not fit: sent {sent_ns}, received {received_ns} here; arrived {arrived_ns}, left {left_ns} there",
                code="clock_invalid",
            )
        middle_ns = (sent_ns + received_ns) // 2
        slack_ns = 1 + round((received_ns - sent_ns) * self._max_drift / 2)  # either bound is exact at one end of the exchange, not in its middle
        found = _Exchange(middle_ns, left_ns - received_ns - slack_ns, arrived_ns - sent_ns + slack_ns)
        if self._kept and not self._fits(found):
            self._kept.clear()
            self.steps += 1
        slot = middle_ns // self._slot_ns
        if slot == self._slot and self._kept:
            if found.high_ns - found.low_ns < self._kept[-1].high_ns - self._kept[-1].low_ns:
                self._kept[-1] = found
            return
        self._slot = slot
        self._kept.append(found)

    @property
    def exchanges(self) -> int:
        """How many the answer rests on."""
        return len(self._kept)

    def offset(self, at_ns: int) -> ClockOffset | None:
        """Theirs less ours at ``at_ns`` on our clock; None before the first exchange."""
        if not self._kept:
            return None
        at, low, high = self._columns()
        slowest, fastest = self._drift_range(at, low, high)
        upper_ns = _highest(high, at_ns - at, slowest, fastest)
        lower_ns = -_highest(-low, at_ns - at, -fastest, -slowest)
        half_ns = max(0, upper_ns - lower_ns + 1) // 2
        return ClockOffset((upper_ns + lower_ns) // 2, half_ns + 1, (slowest + fastest) * 5e5, (fastest - slowest) * 5e5)

    def to_ours(self, theirs_ns: int) -> int:
        """A stamp of theirs on our clock [ns]. Raises DexError ``clock_unknown`` before the first exchange."""
        if not self._kept:
            raise DexError("no exchange with the other machine yet: its clock is not known", code="clock_unknown")
        newest = self._kept[-1]
        guess_ns = theirs_ns - (newest.low_ns + newest.high_ns) // 2
        found = self.offset(guess_ns)
        assert found is not None
        return theirs_ns - found.offset_ns

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times, lower and upper bounds (k,) [ns]."""
        return tuple(np.array(column, dtype=np.int64) for column in zip(*self._kept, strict=True))  # type: ignore[return-value]

    def _fits(self, found: _Exchange) -> bool:
        """Whether one offset and drift explain it and all before."""
        at, low, high = (np.append(column, value) for column, value in zip(self._columns(), found, strict=True))
        slowest, fastest = self._drift_range(at, low, high)
        return slowest <= fastest

    def _drift_range(self, at: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
        """Slowest and fastest drift that some offset explains all bounds with; the first above the second where none does."""
        slowest, fastest = -self._max_drift, self._max_drift
        order = np.argsort(at, kind="stable")
        at, low, high = at[order], low[order], high[order]
        apart = (at[None, :] - at[:, None]).astype(float)  # later column, earlier row
        later = np.triu(np.ones(apart.shape, bool), 1)
        same = later & (apart <= 0.0)
        if (same & ((low[None, :] > high[:, None]) | (high[None, :] < low[:, None]))).any():
            return 1.0, -1.0
        pairs = later & (apart > 0.0)
        if pairs.any():
            rise_least = (low[None, :] - high[:, None])[pairs] / apart[pairs]
            rise_most = (high[None, :] - low[:, None])[pairs] / apart[pairs]
            slowest, fastest = max(slowest, float(rise_least.max())), min(fastest, float(rise_most.min()))
        return slowest, fastest


def _highest(bound_ns: np.ndarray, age_ns: np.ndarray, slowest: float, fastest: float) -> int:
    """Largest value (k,) upper bounds leave open when all are carried over their ages with one drift, the one that leaves most [ns].

    The least of them is a concave function of the drift: it is largest at an end or where two bounds meet.
    """
    origin = int(bound_ns[-1])
    value, age = (bound_ns - origin).astype(float), age_ns.astype(float)
    drifts = np.array([slowest, fastest])
    if (age < 0.0).any():  # otherwise every bound rises with the drift
        rise = age[None, :] - age[:, None]
        meet = ((value[:, None] - value[None, :]) / np.where(rise == 0.0, np.nan, rise)).ravel()
        drifts = np.concatenate([drifts, meet[(meet > slowest) & (meet < fastest)]])
    return origin + round(float((value[:, None] + age[:, None] * drifts).min(axis=0).max()))
