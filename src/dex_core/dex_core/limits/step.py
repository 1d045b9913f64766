# SPDX-License-Identifier: Apache-2.0
"""Last limit, and a hard one: never further from the measured joint than its step, never outside its range."""

from __future__ import annotations

import numpy as np

from dex_core.errors import LimitError
from dex_core.limits.base import JointLimits, Limited, Moment
from dex_core.types import Array


def limit_step(limits: JointLimits, moment: Moment, request_rad: Array) -> Limited:
    """Keeps the command near the measured joint, whatever that costs in smoothness.

    Args:
        limits: of n joints.
        moment: previous output, measured joints, dt.
        request_rad: (n,) finite [rad].

    Raises:
        LimitError: a joint is measured so far outside its range that no command is both inside and near.
    """
    measured = moment.measured_rad
    low = np.maximum(limits.lower_rad, measured - limits.step_rad)
    high = np.minimum(limits.upper_rad, measured + limits.step_rad)
    if (low > high).any():
        bad = int(np.flatnonzero(low > high)[0])
        raise LimitError(
            f"{limits.names[bad]} is measured at {measured[bad]:.4f} rad, more than its step {limits.step_rad[bad]} rad "
            f"outside {limits.lower_rad[bad]} to {limits.upper_rad[bad]} rad",
            code="limit_step",
        )
    position = np.minimum(np.maximum(request_rad, low), high)
    return Limited(position, position != request_rad, np.abs(request_rad - measured), np.abs(position - measured))
