# SPDX-License-Identifier: Apache-2.0
"""A device's clock seen from the host's: offset and drift from the times at which exposures arrive.

An exposure never arrives before it was made, and the wait in between has a floor with a long tail above it. So the line that tells host time
from device time is the one that touches the arrivals from below: the lower convex hull of the least waits, one a second, gives its slope
where most of the window lies, and the least wait of all its height. What remains unknown is the floor itself, a few milliseconds of USB.
"""

from __future__ import annotations

from collections import deque

from dex_core.clock import NS

BUCKET_S, BUCKETS = 1.0, 60
"""Of each second the least wait is kept, for a minute: temperature changes a crystal more slowly."""
MIN_SPAN_S = 8.0
"""Over less than this the floor's own noise would pass for drift."""
MAX_DRIFT = 500e-6
"""Crystals differ by some 50 ppm; more than this is no drift."""
STEP_S = 0.02
"""Further off than this, the device's clock was set and the map begins anew."""
LATE_BUCKETS = 3
"""So many seconds without one arrival near the line mean a step back, not a busy host."""

Point = tuple[float, float]


class DeviceClock:
    """Maps times of a device to the host's.

    Attributes:
        drift: how much faster the host's clock runs than the device's, a ratio.
        restarts: how often the device's clock was found set anew.
    """

    def __init__(self) -> None:
        self.restarts = 0
        self._newest_ns = 0
        self._begun = False
        self._returned_ns: int | None = None
        self._begin(0, 0)

    def host_ns(self, device_ns: int, arrival_ns: int) -> int:
        """When an exposure was made, on the clock of ``arrival_ns``; later than every time returned before, never after its arrival.

        Args:
            device_ns: when it was made, on the device's clock [ns].
            arrival_ns: when it arrived, on a clock of the host that nobody sets, i.e. the monotonic one [ns].
        """
        if not self._begun:
            self._begin(device_ns, arrival_ns)
        elif device_ns < self._newest_ns or self._ahead_s(device_ns, arrival_ns) > STEP_S or self._late >= LATE_BUCKETS:
            self.restarts += 1
            self._begin(device_ns, arrival_ns)
        self._begun, self._newest_ns = True, device_ns
        at_s, wait_s = self._place(device_ns, arrival_ns)
        self._collect(at_s, wait_s)
        self._floor_s = min(self._floor_s, wait_s - self.drift * at_s)
        host_ns = arrival_ns - round((wait_s - self._floor_s - self.drift * at_s) * NS)
        self._returned_ns = host_ns if self._returned_ns is None else max(host_ns, self._returned_ns + 1)
        return self._returned_ns

    def _begin(self, device_ns: int, arrival_ns: int) -> None:
        self._device0_ns, self._arrival0_ns = device_ns, arrival_ns
        self.drift, self._floor_s, self._late = 0.0, 0.0, 0
        self._least: deque[Point] = deque(maxlen=BUCKETS)
        self._bucket: Point = (0.0, 0.0)

    def _place(self, device_ns: int, arrival_ns: int) -> Point:
        """Seconds of the device since the beginning, and by how much more the host's clock went on meanwhile."""
        device = device_ns - self._device0_ns
        return device / NS, (arrival_ns - self._arrival0_ns - device) / NS

    def _ahead_s(self, device_ns: int, arrival_ns: int) -> float:
        at_s, wait_s = self._place(device_ns, arrival_ns)
        return self._floor_s + self.drift * at_s - wait_s

    def _collect(self, at_s: float, wait_s: float) -> None:
        """Keeps the least wait above the line of each second; a full second may change the line."""
        if at_s // BUCKET_S == self._bucket[0] // BUCKET_S:
            self._bucket = min(self._bucket, (at_s, wait_s), key=lambda point: point[1] - self.drift * point[0])
            return
        above_s = self._bucket[1] - self._floor_s - self.drift * self._bucket[0]
        self._late = self._late + 1 if above_s > STEP_S else 0
        self._least.append(self._bucket)
        self._bucket = (at_s, wait_s)
        self._fit()

    def _fit(self) -> None:
        if self._least[-1][0] - self._least[0][0] >= MIN_SPAN_S:
            self.drift = max(-MAX_DRIFT, min(MAX_DRIFT, _slope_below(self._least)))
        self._floor_s = min(wait_s - self.drift * at_s for at_s, wait_s in (*self._least, self._bucket))


def _slope_below(points: deque[Point]) -> float:
    """Slope of the line under all points (sorted by abscissa) that lies nearest to them, summed over them.

    It is the edge of the lower convex hull over their mean abscissa: of all lines below, the sum of distances is least for the highest there.
    """
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    mean = sum(at for at, _ in points) / len(points)
    left, right = next((a, b) for a, b in zip(hull[:-1], hull[1:], strict=True) if mean <= b[0])
    return (right[1] - left[1]) / (right[0] - left[0])


def _turns_right(a: Point, b: Point, c: Point) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0])
