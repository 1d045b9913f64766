# SPDX-License-Identifier: Apache-2.0
"""How even a stream is: statistics of the moments at which its messages came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dex_core.errors import ShapeError

NS = 1_000_000_000


@dataclass(frozen=True)
class Jitter:
    """Periods of a stream against its nominal rate, all [ms].

    Attributes:
        count: messages seen.
        period_p50_ms, period_p99_ms: median and 99th percentile of the periods.
        error_p50_ms, error_p99_ms, error_max_ms: of |period - nominal|.
        missed: messages that did not come: whole periods left out.
        longest_gap_ms: longest silence.
        rate_hz: messages per second over the whole time.
    """

    count: int
    nominal_ms: float
    period_p50_ms: float
    period_p99_ms: float
    error_p50_ms: float
    error_p99_ms: float
    error_max_ms: float
    missed: int
    longest_gap_ms: float
    rate_hz: float

    def figures(self) -> dict[str, float | int]:
        """As a plain dict, for a benchmark's JSON."""
        return asdict(self)


def measure_jitter(times_ns: Sequence[int], rate_hz: float) -> Jitter:
    """Statistics of a stream that should run at ``rate_hz``.

    Args:
        times_ns: monotonic time of each message, in order [ns].
        rate_hz: nominal rate.

    Raises:
        ShapeError: fewer than two times, times that do not grow, or a rate that is not positive.
    """
    times = np.asarray(times_ns, dtype=np.int64)
    if times.ndim != 1 or len(times) < 2:
        raise ShapeError(f"jitter needs at least two times, got {times.shape}")
    if not 0.0 < rate_hz < float("inf"):
        raise ShapeError(f"rate_hz must be positive and finite, got {rate_hz}")
    periods_ns = np.diff(times)
    if (periods_ns < 0).any():
        raise ShapeError(f"times must not go back; they do after message {int(np.argmax(periods_ns < 0))}")
    nominal_ns = NS / rate_hz
    periods, errors = periods_ns * 1e-6, np.abs(periods_ns - nominal_ns) * 1e-6
    span_s = (times[-1] - times[0]) / NS
    return Jitter(
        count=len(times), nominal_ms=nominal_ns * 1e-6,
        period_p50_ms=float(np.percentile(periods, 50)), period_p99_ms=float(np.percentile(periods, 99)),
        error_p50_ms=float(np.percentile(errors, 50)), error_p99_ms=float(np.percentile(errors, 99)), error_max_ms=float(errors.max()),
        missed=max(0, round(span_s * rate_hz) + 1 - len(times)), longest_gap_ms=float(periods.max()),
        rate_hz=float((len(times) - 1) / span_s) if span_s > 0.0 else float("inf"),
    )
