# SPDX-License-Identifier: Apache-2.0
"""Follows an object: where its points should be now becomes the clicks of the next picture, and what comes out must still be it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.clouds import farthest_points, nearest
from dex_perception.segment.base import Clicks
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.found import Found
from dex_perception.segment.view import View

SAMPLES, CANDIDATES = 160, 1500
REACH_M, REACH_M_S = 0.04, 0.35
"""How far the object may be from where it should be: at once, and for each second unseen."""
FASTEST_M_S = 1.5
PLACE_M, COLOUR = 0.02, 60.0
"""Distance and difference of colour (0 to 441) that weigh the same when points are matched."""
MATCH_M, MATCH_COLOUR = 0.015, 90.0
LEAST_MATCHED = 0.25
"""Share of the object's points that must be seen again: the rest may be behind something."""
ROUNDS, BEST, MOST_COST = 6, 0.6, 4.0
STILL_M = 0.001
INNER = 0.6
"""Further positive clicks lie within this part of the object's radius: an edge may belong to something else."""
MARGIN_M, RING_M = 0.025, 0.07
"""Negative clicks lie so far from the object."""
MORE_POSITIVE, NEGATIVE = 2, 4
SIZE_RATIO = (0.4, 1.8)
"""Of the box's diagonal, to its running mean."""
MEAN_COLOUR = 60.0
KEPT = 0.7
"""Share of the old values in running means."""
ON_TABLE = 0.5


class Tracker:
    """One object from picture to picture, all in the world frame.

    Args:
        found: the first sighting.
        view: the picture it was found in.
    """

    def __init__(self, found: Found, view: View) -> None:
        self._velocity_m_s = np.zeros(3)
        self._keep(found, view)
        self._diagonal_m = _diagonal(found)
        self._colour = found.cloud.rgb.mean(axis=0)
        self._expected_m = np.asarray(found.centre_m, dtype=np.float64)

    @property
    def velocity_m_s(self) -> NDArray[np.float64]:
        """(3,) of the object's visible middle [m/s]."""
        return self._velocity_m_s.copy()

    def clicks(self, view: View) -> Clicks:
        """Where to click in a newer picture.

        Raises:
            NoTarget: ``lost``, too little of the object is where it could have gone.
        """
        away_s = self._away_s(view)
        shift = self._velocity_m_s * away_s
        reach_m = REACH_M + REACH_M_S * away_s
        pool = self._pool(view, shift, reach_m)
        if not len(pool):
            raise NoTarget(f"nothing is within {reach_m * 1e2:.0f} cm of where the object should be", code="lost")
        shift, hits = self._aligned(view, pool, shift, reach_m)
        matched = len(hits) / len(self._points)
        if matched < LEAST_MATCHED:
            raise NoTarget(f"{matched:.0%} of the object's points are seen again; at least {LEAST_MATCHED:.0%} must be", code="lost")
        self._expected_m = self._centre + shift
        return _clicks(view, np.unique(hits), self._points + shift.astype(np.float32))

    def accept(self, found: Found, view: View) -> None:
        """Takes the newest sighting for the next prediction.

        Raises:
            NoTarget: ``lost``, it is somewhere else, of another size or of another colour; nothing is taken over.
        """
        away_s = self._away_s(view)
        jump = float(np.linalg.norm(found.centre_m - self._expected_m))
        allowed = REACH_M + REACH_M_S * away_s + 0.25 * self._diagonal_m
        if jump > allowed:
            raise NoTarget(f"the mask lies {jump * 1e2:.0f} cm from where the object should be; at most {allowed * 1e2:.0f} cm", code="lost")
        ratio = _diagonal(found) / max(self._diagonal_m, 1e-6)
        if not SIZE_RATIO[0] <= ratio <= SIZE_RATIO[1]:
            raise NoTarget(f"the mask is {ratio:.2f} times as large as the object; allowed are {SIZE_RATIO[0]} to {SIZE_RATIO[1]}", code="lost")
        colour = found.cloud.rgb.mean(axis=0)
        if (away := float(np.linalg.norm(colour - self._colour))) > MEAN_COLOUR:
            raise NoTarget(f"the mask's mean colour is {away:.0f} steps from the object's; at most {MEAN_COLOUR:.0f}", code="lost")
        if away_s > 0.0:
            speed = (found.centre_m - self._centre) / away_s
            mixed = 0.5 * self._velocity_m_s + 0.5 * speed
            self._velocity_m_s = mixed * min(1.0, FASTEST_M_S / max(float(np.linalg.norm(mixed)), 1e-9))
        self._keep(found, view)
        self._diagonal_m = KEPT * self._diagonal_m + (1.0 - KEPT) * _diagonal(found)
        self._colour = KEPT * self._colour + (1.0 - KEPT) * colour

    def _away_s(self, view: View) -> float:
        return max(0, view.picture.stamp_ns - self._stamp_ns) / NS

    def _keep(self, found: Found, view: View) -> None:
        some = np.linspace(0, len(found.cloud) - 1, min(SAMPLES, len(found.cloud))).round().astype(np.intp)
        self._points, self._rgb = found.cloud.points_m[some], found.cloud.rgb[some].astype(np.float32)
        self._centre, self._stamp_ns = found.centre_m.astype(np.float64), found.stamp_ns
        standing = view.standing
        inside = np.isin(view.cloud.pixels, found.cloud.pixels)
        self._stands = bool(standing.found and standing.off[inside].mean() > ON_TABLE)

    def _pool(self, view: View, shift: NDArray[np.float64], reach_m: float) -> NDArray[np.intp]:
        """Points of the view that could be the object's: near enough, and off the table if it stood off it."""
        low, high = self._points.min(axis=0) + shift - reach_m, self._points.max(axis=0) + shift + reach_m
        points = view.cloud.points_m
        near = ((points >= low) & (points <= high)).all(axis=1)
        if self._stands:
            near &= view.standing.off
        pool = np.flatnonzero(near)
        return pool[:: max(1, -(-len(pool) // CANDIDATES))]

    def _aligned(
        self, view: View, pool: NDArray[np.intp], shift: NDArray[np.float64], reach_m: float,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """The shift (3,) that lays the old points onto the pool, and which points of the view they then lie on.

        Points of one colour slide along each other and stop half way, so the search begins twice: where the velocity leads, and where the middle of
        the like-coloured points is.
        """
        places, unlike = view.cloud.points_m[pool], _squares(self._rgb, view.cloud.rgb[pool].astype(np.float32)) / np.float32(COLOUR**2)
        alike = unlike.min(axis=0) < 1.0
        starts = [shift]
        if alike.any():
            starts.append(places[alike].mean(axis=0, dtype=np.float64) - self._points.mean(axis=0, dtype=np.float64))
        ends = [self._slid(places, unlike, start) for start in starts if float(np.linalg.norm(start - shift)) <= reach_m]
        best, partner, _ = min(ends, key=lambda end: end[2])
        left = np.linalg.norm(places[partner] - (self._points + best.astype(np.float32)), axis=1)
        same = (left < MATCH_M) & (np.sqrt(unlike[np.arange(len(partner)), partner]) * COLOUR < MATCH_COLOUR)
        return best, pool[partner[same]]

    def _slid(
        self, places: NDArray[np.float32], unlike: NDArray[np.float32], shift: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], float]:
        """From one start: the shift, each old point's partner, and what it still costs."""
        for _ in range(ROUNDS):
            moved = self._points + shift.astype(np.float32)
            cost = _squares(moved, places) / np.float32(PLACE_M**2) + unlike
            partner = cost.argmin(axis=1)
            paid = cost[np.arange(len(moved)), partner]
            best = np.argsort(paid)[: max(3, round(BEST * len(moved)))]
            step = np.median((places[partner] - moved)[best], axis=0)
            shift = shift + step
            if float(np.linalg.norm(step)) < STILL_M:
                break
        return shift, partner, float(np.minimum(paid, MOST_COST).mean())


def _squares(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, m) squared distances of (n, 3) and (m, 3), taken about their middle: far from it the short form loses its digits."""
    middle = b.mean(axis=0)
    a, b = a - middle, b - middle
    return np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T, 0.0)


def _diagonal(found: Found) -> float:
    return float(np.linalg.norm(found.size_m))


def _clicks(view: View, hits: NDArray[np.intp], expected_m: NDArray[np.float32]) -> Clicks:
    """The middle of the points seen again, a few more around it, and some of what surrounds the object."""
    seen = view.cloud.points_m[hits]
    away = np.linalg.norm(seen - np.median(seen, axis=0), axis=1)
    inner = seen[away <= max(INNER * float(away.max()), float(away.min()))]
    first = int(np.linalg.norm(inner - np.median(seen, axis=0), axis=1).argmin())
    positive = inner[farthest_points(inner, min(1 + MORE_POSITIVE, len(inner)), first)]
    around = _around(view, expected_m, view.cloud.rgb[hits].mean(axis=0))
    points = np.concatenate([positive, around]).astype(np.float32)
    return Clicks(points, np.arange(len(points)) < len(positive))


def _around(view: View, expected_m: NDArray[np.float32], rgb: NDArray[np.float64]) -> NDArray[np.float32]:
    """Up to four points round about; what has the object's colour and stands near may still be the object."""
    low, high = expected_m.min(axis=0) - RING_M, expected_m.max(axis=0) + RING_M
    near = np.flatnonzero(((view.cloud.points_m >= low) & (view.cloud.points_m <= high)).all(axis=1))
    near = near[:: max(1, -(-len(near) // CANDIDATES))]
    if not len(near):
        return view.cloud.points_m[near]
    away = nearest(view.cloud.points_m[near], expected_m, 1).distances_m[:, 0]
    alike = np.linalg.norm(view.cloud.rgb[near] - rgb, axis=1) < MATCH_COLOUR
    ring = view.cloud.points_m[near[(away > MARGIN_M) & ~(alike & (away < 2.0 * MARGIN_M))]]
    return ring[farthest_points(ring, min(NEGATIVE, len(ring)))] if len(ring) else ring
