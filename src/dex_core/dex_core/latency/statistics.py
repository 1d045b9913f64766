# SPDX-License-Identifier: Apache-2.0
"""Quantiles of durations, of the newest and of all since the start, in bounded memory and cheap enough for every chunk."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from typing import NamedTuple

FINE_US = 2048
"""Durations below this are counted by the microsecond; above, in buckets of at most 1/1024 of themselves."""
LARGEST_US = 2**32


class Summary(NamedTuple):
    """Durations in milliseconds; NaN where there is none.

    Attributes:
        count: how many. over: share (0 to 1) above the budget.
    """

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    over: float


class Window:
    """The newest values, always sorted: a quantile is a look-up. Exact.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int = 512) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self._newest: deque[float] = deque(maxlen=size)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        """Takes a value in, the oldest out where it is full. Raises ValueError for one that is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"a duration must be finite, got {value}")
        if len(self._newest) == self._newest.maxlen:
            del self._sorted[bisect_left(self._sorted, self._newest[0])]
        self._newest.append(value)
        insort(self._sorted, value)

    def quantile(self, share: float) -> float:
        """Linear between neighbours, as NumPy's; NaN without a value."""
        if not self._sorted:
            return math.nan
        place = (len(self._sorted) - 1) * share
        low = math.floor(place)
        high = min(low + 1, len(self._sorted) - 1)
        return self._sorted[low] + (self._sorted[high] - self._sorted[low]) * (place - low)

    def above(self, limit: float) -> int:
        """How many are larger than ``limit``."""
        return len(self._sorted) - bisect_right(self._sorted, limit)


class Histogram:
    """All values since the start. Ranks are exact; a value is known to 1 us below 2 ms and to 0.05 % of itself above.

    At most some 50 000 counters however long it runs; in practice some hundred.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.max_ms = math.nan

    def add(self, value_ms: float) -> None:
        """Takes a value in [ms]. Raises ValueError for one that is not finite."""
        if not math.isfinite(value_ms):
            raise ValueError(f"a duration must be finite, got {value_ms}")
        self._counts[_bucket(value_ms)] += 1
        self.count += 1
        self.max_ms = value_ms if math.isnan(self.max_ms) else max(self.max_ms, value_ms)

    def quantiles(self, *shares: float) -> list[float]:
        """The value at each rank ``ceil(share * count)`` [ms]; NaN without a value."""
        if not self.count:
            return [math.nan] * len(shares)
        ranks = [max(1, math.ceil(share * self.count)) for share in shares]
        found = [math.nan] * len(shares)
        passed = 0
        for bucket in sorted(self._counts):
            before, passed = passed, passed + self._counts[bucket]
            for i, rank in enumerate(ranks):
                if before < rank <= passed:
                    found[i] = min(_middle_ms(bucket), self.max_ms)
        return found


def _bucket(value_ms: float) -> int:
    """Lower edge of the value's bucket [us]; of a negative one, upper edge, less than zero."""
    us = min(round(abs(value_ms) * 1e3), LARGEST_US)
    shift = max(0, us.bit_length() - FINE_US.bit_length() + 1)
    return int(math.copysign(us >> shift << shift, value_ms))


def _middle_ms(bucket: int) -> float:
    width = 1 << max(0, abs(bucket).bit_length() - FINE_US.bit_length() + 1)
    return math.copysign((abs(bucket) + (width - 1) / 2) * 1e-3, bucket) if bucket else 0.0


class Statistics:
    """One stage: the newest values and all of them, against a budget.

    Args:
        budget_ms: above it a value is over. window: how many are the newest.
    """

    def __init__(self, budget_ms: float, window: int = 512) -> None:
        self.budget_ms = budget_ms
        self.last_ms = math.nan
        self._window, self._all = Window(window), Histogram()
        self._over = 0

    def add(self, value_ms: float) -> None:
        """Takes one duration. Raises ValueError for one that is not finite."""
        self._window.add(value_ms)
        self._all.add(value_ms)
        self.last_ms = value_ms
        self._over += value_ms > self.budget_ms

    @property
    def newest(self) -> Summary:
        """Of the window."""
        w, n = self._window, len(self._window)
        return Summary(
            n, w.quantile(0.5), w.quantile(0.95), w.quantile(0.99), w.quantile(1.0), w.above(self.budget_ms) / n if n else math.nan
        )

    @property
    def since_start(self) -> Summary:
        """Of everything."""
        n = self._all.count
        return Summary(n, *self._all.quantiles(0.5, 0.95, 0.99), self._all.max_ms, self._over / n if n else math.nan)
