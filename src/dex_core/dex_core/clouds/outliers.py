# SPDX-License-Identifier: Apache-2.0
"""Points that stand alone: flying pixels at edges, reflections, dust."""

from __future__ import annotations

from dex_core.clouds.checks import check_count, check_positive
from dex_core.clouds.cloud import Cloud
from dex_core.clouds.points import nearest


def remove_outliers(cloud: Cloud, neighbours: int = 16, deviations: float = 2.0) -> Cloud:
    """Without the points whose mean distance to their neighbours exceeds the cloud's mean of it by so many standard deviations.

    A cloud of fewer than three points is returned as it is; one of fewer neighbours takes all it has.

    Raises:
        ShapeError: no neighbours, or a number of deviations that is not positive. NonFiniteError: a point is not finite.
    """
    check_positive(deviations, "deviations", "standard deviations")
    check_count(neighbours, 1, 1 << 16, "neighbours", "of each point")
    if len(cloud) < 3:
        return cloud
    k = min(neighbours + 1, len(cloud))  # the nearest is the point itself
    apart = nearest(cloud.points_m, cloud.points_m, k).distances_m[:, 1:].mean(axis=1, dtype="float64")
    return cloud.select(apart <= apart.mean() + deviations * apart.std())


def remove_isolated(cloud: Cloud, radius_m: float, neighbours: int = 4) -> Cloud:
    """Without the points that have fewer than so many others within ``radius_m``.

    Raises:
        ShapeError: no neighbours, or a radius that is not positive. NonFiniteError: a point is not finite.
    """
    check_positive(radius_m, "radius_m")
    check_count(neighbours, 1, 1 << 16, "neighbours", "of each point")
    if len(cloud) <= neighbours:
        return cloud.select([])
    return cloud.select(nearest(cloud.points_m, cloud.points_m, neighbours + 1).distances_m[:, -1] <= radius_m)
