# SPDX-License-Identifier: Apache-2.0
"""Second limit: the joint's range."""

from __future__ import annotations

import numpy as np

from dex_core.limits.base import JointLimits, Limited, Moment
from dex_core.types import Array


def limit_position(limits: JointLimits, moment: Moment, request_rad: Array) -> Limited:
    """Moves the request into the range; how fast it may get there is for the next limits to say.

    Args:
        limits: of n joints.
        moment: previous output, measured joints, dt.
        request_rad: (n,) finite [rad].
    """
    position = np.minimum(np.maximum(request_rad, limits.lower_rad), limits.upper_rad)
    return Limited(position, position != request_rad, request_rad, position)
