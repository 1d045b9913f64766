# SPDX-License-Identifier: Apache-2.0
"""First limit: NaN passes every comparison, so it must be gone before anything compares."""

from __future__ import annotations

import numpy as np

from dex_core.limits.base import JointLimits, Limited, Moment
from dex_core.types import Array


def limit_finite(limits: JointLimits, moment: Moment, request_rad: Array) -> Limited:
    """Replaces NaN and infinity by the previous output, never by zero.

    Args:
        limits: of n joints.
        moment: previous output, measured joints, dt.
        request_rad: (n,) [rad].
    """
    acted = ~np.isfinite(request_rad)
    if not acted.any():
        return Limited(request_rad, acted, request_rad, request_rad)
    position = np.where(acted, moment.previous.position_rad, request_rad)
    return Limited(position, acted, request_rad, position)
